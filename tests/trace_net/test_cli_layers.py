"""The commands on a model made of layers."""

import json

import numpy as np
import pytest
from cli_models import LAYERS


def test_every_node_has_its_place_in_the_model(command, folder, layers):
    outcome = command("visualize", layers, "-o", "g.json")
    assert outcome.code == 0, outcome.err
    nodes = json.loads((folder / "g.json").read_text())["nodes"]
    assert {"0", "1", "2"} <= {node["scope"] for node in nodes if node["kind"] == "operation"}
    labels = {node["label"] for node in nodes if node["kind"] == "parameter"}
    assert labels == {"0.weight", "0.bias", "2.weight", "2.bias"}


def test_a_factory_with_an_argument(command, layers):
    document = json.loads(command("summary", f"{layers}:build_model(width=7)", "--json").out)
    assert document["choices"]["model"] == "build_model(width=7)"
    assert document["total"]["parameters"] == 4 * 7 + 7 + 7 * 3 + 3


def test_frozen_parameters_are_drawn_and_counted_as_parameters(command, folder, write_file):
    code = LAYERS + "\n    model = build_model()\n    model[0].requires_grad_(False)\n"
    target = write_file("net.py", code) + ":model"
    document = json.loads(command("summary", target, "--json").out)
    assert document["total"]["parameters"] == 4 * 6 + 6 + 6 * 3 + 3
    outcome = command("visualize", target, "-o", "g.json")
    assert outcome.code == 0, outcome.err
    nodes = json.loads((folder / "g.json").read_text())["nodes"]
    drawn = {node["label"]: node for node in nodes if node["kind"] == "parameter"}
    assert {name: node["scope"] for name, node in drawn.items()} == {
        "0.weight": "0", "0.bias": "0", "2.weight": "2", "2.bias": "2",
    }  # fmt: skip
    assert {name for name, node in drawn.items() if node.get("frozen")} == {"0.weight", "0.bias"}
    assert command("visualize", target, "-o", "g.svg").code == 0
    assert (folder / "g.svg").read_text().count(" frozen</text>") == 2
    results = json.loads(command("quantities", target, "--json").out)
    assert "2.weight" in json.dumps(results)
    assert "0.weight" not in json.dumps(results)


def test_the_same_run_gives_the_same_values(command, layers):
    first, second = (command("quantities", layers, "--json").out for _ in range(2))
    assert first == second


def test_quantities_of_one_sweep(command, folder, layers):
    names = ("grad", "grad_batch", "kfac")
    options = [word for name in names for word in ("--quantity", name)]
    outcome = command("quantities", layers, *options, "-o", "q.npz")
    assert outcome.code == 0, outcome.err
    arrays = np.load(folder / "q.npz")
    assert arrays["grad/0.weight"].shape == (6, 4)
    assert arrays["grad_batch/0.weight"].shape == (5, 6, 4)
    assert arrays["kfac/0.weight/factor0"].shape == (6, 6)
    assert arrays["kfac/0.weight/factor1"].shape == (4, 4)


def test_norms_of_kronecker_products_are_drawn(command, folder, layers):
    from trace_net.scalars import norm
    from tracer import Kronecker

    rng = np.random.default_rng(0)
    factors = (rng.standard_normal((2, 2)), rng.standard_normal((3, 3)))
    assert norm(Kronecker(factors, (2, 3))) == pytest.approx(np.linalg.norm(np.kron(*factors)))
    outcome = command("visualize", layers, "-o", "g.json", "--quantity", "kfac")
    assert outcome.code == 0, outcome.err
    nodes = json.loads((folder / "g.json").read_text())["nodes"]
    assert all(n["quantities"]["kfac"] > 0 for n in nodes if n["kind"] == "parameter")


def test_check_compares_every_parameter(command, layers):
    outcome = command("check", layers)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("ok") == 8


def test_a_wrong_shape_names_the_layer(command, folder, layers):
    outcome = command("visualize", layers, "--input", "x=f32[5,9]")
    assert outcome.code == 1
    assert "Linear" in outcome.error
    assert (folder / "layers.svg").exists()
