"""`--device`, by the double of a device; and `doctor`, which tells what there is."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tracer import registry
from tracer.sweep.timing import RUNS

sys.path.append(str(Path(__file__).parents[1]))
import device


@pytest.fixture(autouse=True)
def backend():
    registry.load_plugins()
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


PLACES = ("cpu", "double")
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
QUANTITIES = [
    word
    for name in ("grad", "grad_batch", "variance", "kflr", "diag_ggn_exact", "diag_h")
    for word in ("--quantity", name)
]


def test_quantities_are_those_of_the_host(command, folder, layers):
    for place in ("cpu", "double"):
        outcome = command(
            "quantities", layers, *QUANTITIES, "--device", place, "-o", f"{place}.npz"
        )
        assert outcome.code == 0, outcome.err
    assert "device: double" in outcome.err
    here, there = np.load(folder / "cpu.npz"), np.load(folder / "double.npz")
    assert here.files == there.files != []
    for name in here.files:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3, atol=1e-6, err_msg=name)


NETWORKS = ("char_lstm", "char_transformer", "digits_mlp", "plain_numpy", "recurrence")


@pytest.mark.slow
@pytest.mark.parametrize("example", NETWORKS)
def test_an_example_is_what_it_is_on_the_host(command, folder, example, monkeypatch):
    """Those of the documentation that are networks: their graph, and their quantities."""
    monkeypatch.syspath_prepend(EXAMPLES)
    asked = ("--quantity", "grad", "--quantity", "batch_l2", "--quantity", "variance")
    target = EXAMPLES / f"{example}.py"
    for place in PLACES:
        given = (*asked, "--device", place)
        outcome = command("quantities", target, *given, "-o", f"{place}.npz")
        assert outcome.code == 0, outcome.err
        outcome = command("visualize", target, "--device", place, "-o", f"{place}.json")
        assert outcome.code == 0, outcome.err
    here, there = np.load(folder / "cpu.npz"), np.load(folder / "double.npz")
    assert here.files == there.files != []
    for name in here.files:
        scale = np.abs(here[name]).max()
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3, atol=1e-4 * scale)
    drawn = [json.loads((folder / f"{place}.json").read_text())["nodes"] for place in PLACES]
    labels = [sorted(n["label"] for n in nodes if n["kind"] == "parameter") for nodes in drawn]
    assert labels[0] == labels[1] != []


def test_the_arguments_of_a_plain_function_are_moved(command, write_file):
    name = write_file(
        "plain.py",
        """
        from functools import partial
        import numpy as np
        import tracer

        def model(parameters, x):
            return np.tanh(x @ parameters["w"])

        def build_model():
            return partial(model, {"w": tracer.parameter(np.ones((3, 2)), "w")})

        example_inputs = np.ones((5, 3))
        """,
    )
    outcome = command("quantities", name, "--device", "double")
    assert outcome.code == 0, outcome.err
    assert "w" in outcome.out


@pytest.mark.parametrize("largest", [0, 1000])
def test_operators_are_summed_up(command, layers, monkeypatch, largest):
    """As matrices, and by a few products where they are large."""
    monkeypatch.setattr("trace_net.spectra.LARGEST_DENSE", largest)
    found = []
    for place in ("cpu", "double"):
        asked = ("--quantity", "ggn", "--quantity", "hessian", "--device", place, "--json")
        outcome = command("quantities", layers, *asked)
        assert outcome.code == 0, outcome.err
        found.append([row["largest"] for row in json.loads(outcome.out)["values"]])
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_nothing_is_computed_on_the_host(command, layers, monkeypatch):
    kinds = set()
    seen = lambda tape, node, value: kinds.add(type(value).__name__)  # noqa: E731
    monkeypatch.setattr(sys.modules["tracer.record.recording"], "watch", seen)
    assert command("quantities", layers, "--device", "double").code == 0
    assert kinds == {"DeviceArray"}


@pytest.mark.parametrize("form", ["svg", "html", "json"])
def test_a_graph_is_drawn_with_the_same_numbers(command, folder, layers, form):
    drawn = []
    for place in ("cpu", "double"):
        file = folder / f"{place}.{form}"
        outcome = command(
            *("visualize", layers, "--overlay", "grad_norm", "--quantity", "kflr"),
            *("--device", place, "-o", str(file)),
        )
        assert outcome.code == 0, outcome.err
        drawn.append(file.read_text())
    assert all("weight" in text for text in drawn)
    if form == "json":
        here, there = map(norms, drawn)
        assert here.keys() == there.keys() != set()
        for name, found in here.items():
            assert there[name] == pytest.approx(found, rel=1e-4)


def norms(text):
    """Parameter -> norms of its quantities, from a drawn graph."""
    nodes = [node for node in json.loads(text)["nodes"] if node["kind"] == "parameter"]
    return {node["label"]: [*node["quantities"].values()] for node in nodes}


@pytest.mark.parametrize("command_name", ["quantities", "visualize"])
def test_a_device_that_does_not_work_is_one_line(command, layers, command_name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    outcome = command(command_name, layers, "--device", "cuda")
    assert outcome.code == 2
    assert "CuPy is not installed: pip install 'trace-net[cuda12]'" in outcome.error
    assert "trace-net doctor" in outcome.hint
    assert "a device is one of" in command(command_name, layers, "--device", "tpu").error


def test_doctor_describes_every_device(command):
    document = json.loads(command("doctor", "--json").out)
    assert document["devices"]["cpu"] == f"numpy {np.__version__}"
    assert document["devices"].keys() == {"cpu", "cuda", "double"}
    assert document["backends"]["device"] == "tests"


def test_time_is_measured_on_the_device(command, folder, layers, monkeypatch):
    """Each run waits for its end: what a device computes is not done when the call returns."""
    waits = []
    monkeypatch.setattr(device.DeviceBackend, "wait", lambda self: waits.append(1), raising=False)
    options = ("--overlay", "time", "--device", "double", "-o", "g.json")
    outcome = command("visualize", layers, *options)
    assert outcome.code == 0, outcome.err
    numbers = json.loads((folder / "g.json").read_text())["overlay"]["values"]
    assert len(waits) == 2 * RUNS * len(numbers) > 0
