"""`visualize` and `summary` say where a model's precision changes by accident."""

import json

import pytest

MODEL = """
    import numpy as np
    import tracer_layers as nn

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            d = x.shape[-1]
            return self.second(self.first(x) / {scale})

    model = Scaled()
    example_inputs = np.ones((3, 4), {dtype})
"""
LINE = (
    "float32 becomes float64 at scaled.py:12 (divide, by the NumPy scalar np.sqrt(d)): "
    "float(np.sqrt(d)) keeps float32"
)


def model(write_file, scale="np.sqrt(d)", dtype="np.float32"):
    return write_file("scaled.py", MODEL.format(scale=scale, dtype=dtype))


@pytest.mark.parametrize("name", ["visualize", "summary"])
def test_the_line_is_on_stderr(name, command, write_file):
    outcome = command(name, model(write_file))
    assert outcome.code == 0
    assert f"trace-net: {LINE}" in outcome.err.splitlines()
    outcome = command(name, model(write_file, scale="float(np.sqrt(d))"))
    assert "becomes" not in outcome.err


def test_json_has_the_lines(command, write_file):
    document = json.loads(command("summary", model(write_file), "--json").out)
    assert document["precision_changes"] == [LINE]


def test_an_input_that_is_too_wide_is_named(command, write_file):
    outcome = command("visualize", model(write_file, "2.0", "np.float64"))
    assert "by x, an input of float64): x.astype(np.float32) keeps float32" in outcome.err


def test_many_places_are_counted(command, write_file):
    many = " / ".join(["(self.first(x) * np.float64(2))"] * 7)
    outcome = command("visualize", model(write_file, f"1 + self.first(x) / {many}"))
    assert outcome.err.count(" becomes ") == 4
    assert "more places where numbers become wider" in outcome.err
