"""Every command on models that work."""

import json
import textwrap

import numpy as np
import pytest
from cli_models import PLAIN

from tracer import Quantity, registry, testing
from tracer.extensions import Command, Overlay, Renderer, RendererUnavailable


def test_visualize_writes_beside_by_default(command, folder, plain):
    outcome = command("visualize", plain)
    assert outcome.code == 0, outcome.err
    assert (folder / "plain.svg").read_text().lstrip().startswith("<")
    assert outcome.out == ""
    assert "model: model" in outcome.err
    assert "inputs: example_inputs()" in outcome.err


def test_visualize_to_stdout_prints_nothing_else(command, write_file, folder):
    target = write_file("net.py", PLAIN + "\n    print('loading')\n")
    outcome = command("visualize", target, "-o", "-", "--format", "json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["nodes"]
    assert "loading" in outcome.err
    assert [p.name for p in folder.iterdir()] == ["net.py"]


def test_a_model_that_changes_folder_does_not_move_the_output(command, folder, write_file):
    (folder / "elsewhere").mkdir()
    target = write_file("net.py", PLAIN + "\n    import os; os.chdir('elsewhere')\n")
    assert command("visualize", target, "-o", "net.dot").code == 0
    assert (folder / "net.dot").exists()


def test_visualize_json_says_what_was_drawn(command, plain):
    outcome = command(
        "visualize", plain, "-o", "g.dot", "--direction", "forward", "--json", "--depth", "1"
    )
    document = json.loads(outcome.out)
    assert document["schema_version"] == 1
    assert document["file"] == "g.dot"
    assert document["format"] == "dot"
    assert document["direction"] == "forward"
    assert document["kinds"]["parameter"] == 2
    assert document["choices"]["loss"] == "loss"


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("time", ["unrolled", "folded"])
def test_visualize_every_view(command, folder, plain, direction, time):
    outcome = command("visualize", plain, "-o", "g.json", "--direction", direction, "--time", time)
    assert outcome.code == 0, outcome.err
    kinds = {node["kind"] for node in json.loads((folder / "g.json").read_text())["nodes"]}
    assert ("cotangent" in kinds) == (direction != "forward")
    assert ("parameter" in kinds) == (direction != "backward")


def test_visualize_with_a_quantity_keeps_its_norms(command, folder, plain):
    outcome = command("visualize", plain, "-o", "g.json", "--quantity", "grad")
    assert outcome.code == 0, outcome.err
    nodes = json.loads((folder / "g.json").read_text())["nodes"]
    norms = {n["label"]: n["quantities"]["grad"] for n in nodes if n["kind"] == "parameter"}
    assert set(norms) == {"w", "b"}
    assert all(norm > 0 for norm in norms.values())


def test_visualize_with_given_inputs(command, write_file):
    write_file("net.py", PLAIN.replace("def example_inputs", "def unused"))
    outcome = command("visualize", "net.py", "--input", "x=f64[5,4]", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["choices"]["inputs"] == "--input x"


def test_without_a_loss_the_output_is_summed(command, write_file):
    write_file("net.py", PLAIN.replace("def loss", "def unused"))
    outcome = command("quantities", "net.py", "--json")
    assert "loss: the sum of the output" in outcome.err
    (w,) = [v for v in json.loads(outcome.out)["values"] if v["parameter"] == "w"]
    assert w["shape"] == [4, 3]


def test_summary_counts_a_shared_parameter_once(command, write_file):
    code = PLAIN.replace("np.tanh(x @ w + b)", "np.tanh(np.tanh(x @ w + b) @ w.T)").replace(
        "np.ones((5, 3))", "np.ones((5, 4))"
    )
    outcome = command("summary", write_file("net.py", code), "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["total"]["parameters"] == 4 * 3 + 3
    first = document["operations"][0]
    assert (first["operation"], first["shape"], first["bytes"]) == ("matmul", [5, 3], 5 * 3 * 8)
    assert document["total"]["flops"] == sum(row["flops"] for row in document["operations"])


def test_summary_counts_the_operations_of_a_product(command, plain):
    rows = json.loads(command("summary", plain, "--json").out)["operations"]
    assert rows[0]["flops"] == 2 * 5 * 4 * 3


def test_summary_is_a_table(command, plain):
    outcome = command("summary", plain)
    assert outcome.code == 0
    for word in ("operation", "parameters", "FLOPs", "bytes", "matmul", "[5, 3]"):
        assert word in outcome.out


def test_quantities_writes_arrays_under_their_names(command, folder, plain):
    outcome = command("quantities", plain, "--quantity", "grad", "-o", "q.npz")
    assert outcome.code == 0, outcome.err
    arrays = np.load(folder / "q.npz")
    assert sorted(arrays.files) == ["grad/b", "grad/w"]
    assert arrays["grad/w"].shape == (4, 3)
    assert f"{np.linalg.norm(arrays['grad/w']):.4g}" in outcome.out


def test_quantities_of_a_wrong_loss_shape(command, write_file):
    write_file("net.py", PLAIN.replace(".sum()", ""))
    outcome = command("quantities", "net.py")
    assert outcome.code == 1
    assert "one element" in outcome.error


def test_a_value_that_is_no_array_is_said_not_to_be_shown(command, register, plain):
    class Operator(Quantity):
        name = "operator"

        def extract(self, cotangent, context):
            return object()

    register(registry.quantities, Operator)
    outcome = command("quantities", plain, "--quantity", "operator", "--quantity", "grad")
    assert outcome.code == 0, outcome.err
    assert "operator has no arrays" in outcome.err
    assert "grad" in outcome.out
    assert command("visualize", plain, "--quantity", "operator").code == 0


def test_curvature_of_a_loss_in_plain_code(command, plain):
    outcome = command("quantities", plain, "--quantity", "diag_ggn_exact", "--json")
    assert outcome.code == 0, outcome.err
    (b,) = [v for v in json.loads(outcome.out)["values"] if v["parameter"] == "b"]
    assert b["min"] >= 0
    assert b["shape"] == [3]


def test_check_accepts_right_gradients(command, plain):
    outcome = command("check", plain)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("ok") == 4
    assert "WRONG" not in outcome.out


def test_check_finds_parameters_in_objects_and_closures(command, write_file):
    write_file(
        "net.py",
        """
        import numpy as np
        import tracer

        class Layer:
            def __init__(self):
                self.weights = [tracer.parameter(np.ones((2, 2), np.float32), name="inner")]

            def __call__(self, x):
                return np.sin(x @ self.weights[0])

        def build_model():
            layer, scale = Layer(), tracer.parameter(np.array([2.0, 3.0]), name="scale")
            return lambda x: layer(x) * scale

        example_inputs = np.arange(6.0).reshape(3, 2)
        """,
    )
    outcome = command("check", "net.py")
    assert outcome.code == 0, outcome.err
    assert "inner" in outcome.out
    assert "scale" in outcome.out


def test_check_reports_a_wrong_rule(command, write_file):
    write_file(
        "net.py",
        """
        import numpy as np
        import tracer

        @tracer.operation("wrong_square")
        class WrongSquare(tracer.Elementwise):
            def forward(x):
                return x * x

            def vjp(node, g):
                return (g * node.inputs[0],)

        w = tracer.parameter(np.ones(3), name="w")
        model = lambda x: WrongSquare(x * w)
        example_inputs = np.ones((2, 3))
        """,
    )
    outcome = command("check", "net.py")
    assert outcome.code == 1
    assert "central differences at w" in outcome.error
    assert "WRONG" in outcome.out


def test_check_refuses_a_model_that_changes_between_runs(command, write_file):
    write_file("net.py", PLAIN.replace("x @ w + b", "x @ w + b + rng.standard_normal(3)"))
    outcome = command("check", "net.py")
    assert outcome.code == 1
    assert "different losses" in outcome.error


def test_check_of_an_unknown_plugin(command):
    outcome = command("check", "nonsense")
    assert outcome.code == 2
    assert "plugin" in outcome.error


def test_check_of_a_plugin_runs_the_kit_on_all_that_it_registers(command, monkeypatch):
    checked = []

    def check_quantity(quantity):
        checked.append(quantity.name)
        return testing.Report(
            {"chunks": "one with the other"}, {}, is_defined="_mc" not in checked[-1]
        )

    monkeypatch.setattr(testing, "check_quantity", check_quantity)
    outcome = command("check", "quantities")
    assert outcome.code == 0, outcome.err
    assert checked == registry.quantities.provided_by("quantities")
    sampled = sum("_mc" in name for name in checked)
    assert outcome.out.count(" ok ") == len(checked) - sampled
    assert outcome.out.count("no definition") == sampled
    assert "one with the other" in outcome.out
    assert f"{sampled} of {len(checked)} ran and agree with themselves" in outcome.err


def test_check_says_in_json_what_was_compared_with_what(command):
    outcome = command("check", "render", "--json")
    assert outcome.code == 0, outcome.err
    found = {each["name"]: each for each in json.loads(outcome.out)["checked"]}
    assert set(found) == {
        *registry.renderers.provided_by("render"), *registry.overlays.provided_by("render")
    }  # fmt: skip
    assert found["dot"]["result"] == "no definition"
    assert "render" in found["dot"]["compared"]
    assert found["dot"]["missing"]["picture"] == "whether it is right is for eyes to say"


def test_check_of_an_operation_uses_its_examples(command, monkeypatch):
    monkeypatch.setattr(registry.operations, "provided_by", lambda plugin: ["tanh"])
    outcome = command("check", "tracer")
    assert outcome.code == 0, outcome.err
    assert "with numerical derivatives" in outcome.out


def test_check_of_a_plugin_names_what_fails(command, monkeypatch):
    def check_quantity(quantity):
        assert quantity.name != "grad", "shards do not merge"
        return testing.Report({}, {}, is_defined=True)

    monkeypatch.setattr(testing, "check_quantity", check_quantity)
    outcome = command("check", "quantities")
    assert outcome.code == 1
    assert "failed: quantity grad" in outcome.error
    assert "shards do not merge" in outcome.out


@pytest.mark.parametrize("shown", ["right", "wrong"])
def test_the_table_of_a_check_fits_into_80_columns_and_says_meanings_once(
    command, monkeypatch, shown
):
    long = "a difference of two arrays of some size, told at length, " * 5

    def check_quantity(quantity):
        if shown == "wrong" and quantity.name in ("grad", "kfac"):
            raise AssertionError(f"quantity {quantity.name!r}: {long}")
        missing = {"merge": "it has no rows"} if "diag" in quantity.name else {}
        compared = {"chunks": "one with the other " * 6, "reference": "with brute force"}
        compared |= {} if missing else {"merge": "all with one"}
        return testing.Report(compared, missing, is_defined=True)

    monkeypatch.setattr(testing, "check_quantity", check_quantity)
    outcome = command("check", "quantities")
    assert max(map(len, outcome.out.splitlines())) <= 80
    text = " ".join(outcome.out.split())
    for once in ("with brute force", "it has no rows", "all with one"):
        assert text.count(once) == 1
    assert text.count("told at length") == 5 * 2 * (shown == "wrong")
    assert ("quantity grad: AssertionError: quantity 'grad': a diff" in text) == (shown == "wrong")


def test_plugins_lists_what_each_registers(command):
    outcome = command("plugins", "--json")
    assert outcome.code == 0, outcome.err
    found = {plugin["name"]: plugin for plugin in json.loads(outcome.out)["plugins"]}
    assert found["tracer"]["status"] == "loaded"
    assert "matmul" in found["tracer"]["provides"]["operation"]
    assert "svg" in found["render"]["provides"]["renderer"]
    assert "render" in command("plugins").out


def test_doctor_names_engines_backends_and_versions(command):
    document = json.loads(command("doctor", "--json").out)
    assert document["schema_version"] == 1
    assert document["versions"]["numpy"] == np.__version__
    assert "svg" in document["renderers"]
    assert "cupy" in document["backends"]
    assert "numpy" in command("doctor").out


def test_version(command):
    assert command("--version").out.startswith("trace-net ")


@pytest.fixture
def register():
    """Register something for the time of one test."""
    added = []

    def add(registered, value):
        registered.add(value, "guest")
        added.append((registered, value.name))

    yield add
    for registered, name in added:
        registered.remove(name)


def test_a_plugins_command_is_a_subcommand(command, register):
    def greet(name: str, loud: bool = False):
        print(name.upper() if loud else name)

    register(registry.commands, Command("greet", greet, help="Say a name."))
    assert command("greet", "--loud", "ada").out == "ADA\n"
    assert "Say a name." in command("--help").out


def test_a_plugins_command_that_fails_is_named(command, register):
    def crash():
        raise RuntimeError("broken")

    register(registry.commands, Command("crash", crash))
    outcome = command("crash")
    assert outcome.code == 4
    assert "plugin 'guest'" in outcome.error
    assert "TRACER_DISABLE_PLUGINS=guest" in outcome.hint


def test_a_renderer_that_is_missing_or_broken(command, register, plain, folder):
    class Missing(Renderer):
        name = "missing"

        def render(self, graph, options):
            raise RendererUnavailable("no engine draws this: install one")

    class Broken(Renderer):
        name = "broken"

        def render(self, graph, options):
            raise ZeroDivisionError("oops")

    register(registry.renderers, Missing())
    register(registry.renderers, Broken())
    assert command("visualize", plain, "--format", "missing").code == 3
    outcome = command("visualize", plain, "--format", "broken")
    assert outcome.code == 4
    assert "plugin 'guest'" in outcome.error
    assert [p.name for p in folder.iterdir()] == ["plain.py"]


def test_an_overlay_gets_its_quantities_and_the_renderer_its_values(command, register, plain):
    seen = {}

    class Constant(Overlay):
        name = "constant"
        quantities = ("grad",)

        def values(self, graph, results):
            seen["results"] = sorted(results["grad"])
            return dict.fromkeys(graph, 1.0)

    class Spy(Renderer):
        name = "spy"

        def render(self, graph, options):
            seen.update(options=options, values=options.values)
            return b"spied"

    register(registry.overlays, Constant())
    register(registry.renderers, Spy())
    outcome = command(
        "visualize", plain, "--format", "spy", "--overlay", "constant", "--timeout", "7",
        "--theme", "dark", "--depth", "2",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert seen["results"] == ["b", "w"]
    assert set(seen["values"].values()) == {1.0}
    assert (seen["options"].timeout, seen["options"].theme, seen["options"].depth) == (7, "dark", 2)


def test_a_function_without_parameters_is_differentiated_by_its_inputs(command, write_file):
    write_file(
        "plain.py",
        """
        import numpy as np

        def model(x, w):
            return np.tanh(x @ w)

        example_inputs = np.ones((3, 4)), np.ones((4, 2))
        """,
    )
    outcome = command("visualize", "plain.py", "--format", "json", "-o", "-")
    assert outcome.code == 0
    assert "by the inputs, since there are no parameters" in outcome.err
    nodes = json.loads(outcome.out)["nodes"]
    by_label = {node["label"]: node["kind"] for node in nodes}
    assert (by_label["x"], by_label["w"]) == ("input", "input")
    assert {"\N{NABLA} x", "\N{NABLA} w"} <= by_label.keys()


def test_a_module_without_parameters_is_differentiated_by_its_inputs(command, write_file):
    write_file(
        "relu.py",
        """
        import numpy as np, tracer_layers as nn
        model, example_inputs = nn.Sequential(nn.ReLU()), np.ones((3, 4))
        """,
    )
    outcome = command("visualize", "relu.py", "--format", "json", "-o", "-")
    assert outcome.code == 0
    labels = {node["label"] for node in json.loads(outcome.out)["nodes"]}
    assert {"input", "relu", "\N{NABLA} input", "\N{NABLA} relu"} <= labels


NESTED = """
    import numpy as np, tracer, tracer_layers as nn
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.act = nn.Linear(4, 6), nn.Linear(6, 4), nn.Tanh()
        def forward(self, x):
            return self.act(x + self.down(self.act(self.up(x))))
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(), Block()])
            self.blocks[1].up.requires_grad_(False)
        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x
    model, example_inputs = Net(), np.ones((5, 4), np.float32)
"""


def test_a_summary_is_a_tree_of_modules(command, write_file):
    target = write_file("net.py", NESTED)
    rows = {
        row["path"]: row for row in json.loads(command("summary", target, "--json").out)["modules"]
    }
    assert list(rows) == [
        "", "blocks.0", "blocks.0.up", "blocks.0.act", "blocks.0.down",
        "blocks.1", "blocks.1.up", "blocks.1.act", "blocks.1.down",
    ]  # fmt: skip
    whole, first, second = rows[""], rows["blocks.0"], rows["blocks.1"]
    assert (whole["class"], whole["shape"]) == ("Net", [5, 4])
    assert (first["class"], first["trainable"], first["frozen"]) == ("Block", 58, 0)
    assert (second["trainable"], second["frozen"]) == (28, 30)
    assert whole["trainable"] + whole["frozen"] == 116
    assert rows["blocks.0.act"]["calls"] == 2
    assert rows["blocks.0.up"]["multiply_adds"] == 5 * 4 * 6
    assert first["multiply_adds"] == 2 * 5 * 4 * 6
    assert first["bytes"] == 4 * 5 * (6 + 6 + 4 + 4 + 4)  # up, tanh, down, sum, tanh
    assert first["kept"] == 4 * 5 * (6 + 4)  # what both tanh gave; `down` reads the first as well


def test_a_summary_has_the_shape_of_what_leaves_a_module(command, write_file):
    target = write_file(
        "net.py",
        """
        import numpy as np
        import tracer_layers as nn


        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(3, 5)
                self.head = nn.Linear(5, 2)

            def forward(self, x):
                output, _ = self.lstm(x)
                return self.head(output)


        model = Net()
        example_inputs = np.ones((7, 4, 3))
        """,
    )
    rows = {
        row["path"]: row for row in json.loads(command("summary", target, "--json").out)["modules"]
    }
    assert rows["lstm"]["shape"] == [7, 4, 5]
    assert rows["head"]["shape"] == [7, 4, 2]


def test_a_summary_to_a_depth(command, write_file):
    target = write_file("net.py", NESTED)
    assert "blocks.0.up" in command("summary", target).out
    shallow = command("summary", target, "--depth", "1").out
    assert "blocks.1" in shallow
    assert "blocks.0.up" not in shallow
    assert "tanh" in command("summary", target, "--operations").out


FUNCTIONS = """
    import functools
    import numpy as np

    def energy(x, power=2):
        return np.sum(x ** power)

    class Field:
        def __call__(self, x):
            return np.sum(x)

        def flux(self, x):
            return np.sum(x)

    example_inputs = np.ones((3, 2))
    cubic = functools.partial(functools.partial(energy), power=3)
    field = Field()
    short = lambda x: np.sum(x)
"""


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("energy", "energy"),
        ("cubic", "energy"),
        ("field", "Field"),
        ("field.flux", "flux"),
        ("short", None),
    ],
)
def test_the_title_names_the_function(command, write_file, folder, name, shown):
    file = write_file("functions.py", FUNCTIONS)
    assert command("visualize", f"{file}:{name}", "-o", "g.json").code == 0
    assert json.loads((folder / "g.json").read_text())["graph"].get("model") == shown
    assert command("visualize", f"{file}:{name}", "-o", "g.mmd").code == 0
    title = f"functions  {shown} (" if shown else "functions ("
    assert title in (folder / "g.mmd").read_text()


def test_what_the_file_registers_is_known(command, write_file):
    own = """
        import tracer


        @tracer.register
        class Magnitudes(tracer.Quantity):
            name = "magnitudes_of_file"
            needs_samples = False

            def extract(self, cotangent, context):
                return np.abs(cotangent.total()[0])
    """
    target = write_file("own.py", textwrap.dedent(PLAIN) + textwrap.dedent(own))
    try:
        outcome = command("quantities", target, "--quantity", "magnitudes_of_file", "--json")
        assert outcome.code == 0, outcome.err
        outcome = command("visualize", target, "--overlay", "magnitudes_of_file", "-o", "own.svg")
        assert outcome.code == 0, outcome.err
    finally:
        registry.quantities.remove("magnitudes_of_file")


def test_summary_has_the_shape_of_the_first_of_several_outputs(command, tmp_path):
    file = tmp_path / "two.py"
    file.write_text(
        "import numpy as np\n"
        "import tracer_layers as nn\n"
        "class Two(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 2)\n"
        "    def forward(self, x):\n"
        "        return {'a': self.a(x), 'b': (self.b(x), x)}\n"
        "model = Two()\n"
        "def example_inputs():\n"
        "    return np.ones((5, 3))\n"
        "def loss(output):\n"
        "    return np.sum(output['a']) + np.sum(output['b'][0])\n"
    )
    (whole,) = [line for line in command("summary", file).out.splitlines() if "the model" in line]
    assert "5, 4" in whole
