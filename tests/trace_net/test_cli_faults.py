"""Pictures of models in which something is wrong: what raised, and what an overlay lacks."""

import json
import re

import pytest

MODEL = """
    import numpy as np
    import tracer
    import tracer_layers as nn

    class Net(nn.Module):
        def __init__(self, fails=False):
            super().__init__()
            self.body, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
            self.table = tracer.parameter(np.full((2, 3, 4), 0.1, np.float32))
            self.fails = fails

        def forward(self, x):
            x = self.body(x)
            if self.fails:
                raise RuntimeError("no luck")
            return self.head(np.einsum("nd,abd,abe->ne", x, self.table, self.table))

    model = Net()
    example_inputs = np.eye(4, dtype=np.float32)
    loss = nn.CrossEntropyLoss()
    targets = np.array([0, 1, 1, 0])
"""


def test_an_overlay_colours_what_is_defined_and_says_what_is_not(command, write_file, folder):
    model = write_file("net.py", MODEL)
    outcome = command("visualize", model, "--overlay", "kfac:trace", "-o", "out.json")
    assert outcome.code == 0
    assert "without a colour, since trace of kfac is not defined: table" in outcome.err
    document = json.loads((folder / "out.json").read_text())
    undefined = {n["label"]: n["undefined"] for n in document["nodes"] if "undefined" in n}
    assert undefined == {"table": "trace of kfac"}
    names = {n["id"]: n["label"] for n in document["nodes"] if n["kind"] == "parameter"}
    coloured = {names[n] for n in document["overlay"]["values"] if n in names}
    assert coloured == {"body.weight", "body.bias", "head.weight", "head.bias"}
    assert command("visualize", model, "--overlay", "kfac:trace", "-o", "out.svg").code == 0
    assert "no trace of kfac" in (folder / "out.svg").read_text()


def test_an_overlay_that_all_parameters_have_says_nothing(command, layers):
    outcome = command("visualize", layers, "--overlay", "kfac:trace")
    assert "without a colour" not in outcome.err


def test_an_error_outside_of_operations_is_in_the_picture_with_its_line(
    command, write_file, folder
):
    model = write_file("net.py", MODEL)
    outcome = command("visualize", f"{model}:Net(fails=True)", "-o", "out.svg")
    assert outcome.code == 1
    assert "RuntimeError: no luck" in outcome.error
    drawn = (folder / "out.svg").read_text()
    assert "forward failed: RuntimeError: no luck (net.py:16)" in drawn
    assert ">raise RuntimeError<" in drawn


def test_an_error_in_the_loss_is_in_the_picture_too(command, write_file, folder):
    model = write_file(
        "net.py", MODEL + "    def loss(output, y):\n        return output[y['a']]\n"
    )
    assert command("visualize", model, "-o", "out.svg").code == 1
    assert "forward failed: IndexError: " in (folder / "out.svg").read_text()


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("model", ["Net({fails})", "function({fails})"])
def test_the_picture_and_the_summary_count_the_same_parameters(
    command, write_file, folder, fails, model
):
    write_file(
        "count.py",
        """
        import numpy as np, tracer, tracer_layers as nn
        class Net(nn.Module):
            def __init__(self, fails):
                super().__init__()
                self.a, self.b = nn.Linear(4, 8), nn.Linear(7 if fails else 8, 5)
                self.c, self.frozen = nn.Linear(5, 2), nn.Linear(2, 2).requires_grad_(False)
            def forward(self, x):
                return self.frozen(self.c(self.b(np.tanh(self.a(x)))))
        def function(fails):
            a, b = (tracer.parameter(np.ones((4, n))) for n in (4, 3))
            c = tracer.parameter(np.ones((3 + fails, 2)))
            return lambda x: ((x @ a) @ b) @ c
        def example_inputs():
            return np.ones((2, 4), np.float32)
        """,
    )
    target = f"count.py:{model.format(fails=fails)}"
    code = int(fails)
    assert command("visualize", target, "-o", "out.svg").code == code
    outcome = command("summary", target, "--json")
    assert outcome.code == code
    told = json.loads(outcome.out)
    found = re.search(r"(\d+) parameters", (folder / "out.svg").read_text())
    whole = told["modules"][0]
    assert int(found[1]) == told["total"]["parameters"] == whole["trainable"] + whole["frozen"]
    sizes = {"Net": (40 + 5 * (9 - fails) + 12, 6), "function": (28 + 2 * (3 + fails), 0)}
    assert (whole["trainable"], whole["frozen"]) == sizes[model.partition("(")[0]]
