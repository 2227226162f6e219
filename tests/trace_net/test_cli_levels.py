"""Quantities of layers, of the model and of its outputs: tables, files, pictures and overlays."""

import json

import numpy as np
import pytest

import tracer
from tracer.extend import Quantity, jacobian


class LayerNorms(Quantity):
    """Squared norm of a layer's gradient."""

    name = "test_layer_norms"
    per = "layer"

    def extract(self, cotangent, context):
        return np.sum(np.square(cotangent.total()[0]))


class WholeNorm(LayerNorms):
    """Squared norm of the whole gradient."""

    name = "test_whole_norm"
    per = "model"


class OutputKernel(Quantity):
    """The tangent kernel of the model, `[N, N]`, summed over its outputs."""

    name = "test_output_kernel"
    rows = jacobian
    per = "model"
    lists_samples = True

    def extract(self, cotangent, context):
        return np.einsum("cncm->nm", cotangent.gram())


QUANTITIES = (LayerNorms, WholeNorm, OutputKernel)


@pytest.fixture(autouse=True)
def registered():
    for quantity in QUANTITIES:
        tracer.register(quantity)
    yield
    for quantity in QUANTITIES:
        tracer.unregister(quantity)


def asked(*quantities):
    return [word for quantity in quantities for word in ("--quantity", quantity.name)]


def test_layers_and_the_model_have_rows_of_their_own(command, folder, layers):
    outcome = command(
        "quantities", layers, *asked(*QUANTITIES), "--quantity", "grad", "--json", "-o", "q.npz"
    )
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)["values"]
    names = [(row["quantity"], row["parameter"]) for row in rows if row["quantity"] != "grad"]
    assert names == [
        ("test_layer_norms", "0"),
        ("test_layer_norms", "2"),
        ("test_whole_norm", ""),
        ("test_output_kernel", ""),
    ]
    arrays = np.load(folder / "q.npz")
    gradients = {name: arrays[f"grad/{name}"] for name in ("0.weight", "0.bias")}
    squares = sum(float(np.sum(np.square(g))) for g in gradients.values())
    assert arrays["test_layer_norms/0"] == pytest.approx(squares, rel=1e-4)
    both = arrays["test_layer_norms/0"] + arrays["test_layer_norms/2"]
    assert arrays["test_whole_norm"] == pytest.approx(both, rel=1e-4)
    assert arrays["test_output_kernel"].ndim == 2
    assert "test_whole_norm" in command("quantities", layers, *asked(*QUANTITIES)).out


def test_they_are_drawn(command, folder, layers):
    pytest.importorskip("matplotlib")
    outcome = command("quantities", layers, *asked(*QUANTITIES), "--plot", "q.svg")
    assert outcome.code == 0, outcome.err
    assert (folder / "q.svg").stat().st_size


def test_parameters_have_the_colour_of_their_layer(command, folder, layers):
    outcome = command("visualize", layers, *asked(LayerNorms), "-o", "m.json")
    assert outcome.code == 0, outcome.err
    assert "without a colour" not in outcome.err
    graph = json.loads((folder / "m.json").read_text())
    nodes = {n["label"]: n for n in graph["nodes"] if n["kind"] == "parameter"}
    norms = {name: node["quantities"]["test_layer_norms"] for name, node in nodes.items()}
    assert norms["0.weight"] == norms["0.bias"] != norms["2.weight"] == norms["2.bias"]


def test_a_value_of_the_model_colours_nothing_and_says_so(command, layers):
    outcome = command("visualize", layers, *asked(WholeNorm), "-o", "m.svg")
    assert "test_whole_norm is one value of the whole model" in outcome.err


def test_outputs_need_no_loss(command, write_file):
    model = write_file(
        "outputs.py",
        """
        import numpy as np
        import tracer

        w = tracer.parameter(np.ones((3, 2)), name="w")
        example_inputs = np.arange(6.0).reshape(2, 3)


        def model(x):
            return x @ w
        """,
    )
    outcome = command("quantities", model, *asked(OutputKernel), "--json")
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)["values"]
    x = np.arange(6.0).reshape(2, 3)
    assert row["norm"] == pytest.approx(np.linalg.norm(2 * x @ x.T))
