"""Instruments agree with those of Cockpit itself, on the same trainings."""

import sys
import types

import numpy as np
import pytest

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training

torch = pytest.importorskip("torch")
backpack = pytest.importorskip("backpack")
# what it imports to look up its version, and setuptools has no more
sys.modules.setdefault(
    "pkg_resources",
    types.SimpleNamespace(DistributionNotFound=KeyError, get_distribution={}.__getitem__),
)
quantities = pytest.importorskip("cockpit.quantities")
Cockpit = pytest.importorskip("cockpit").Cockpit

pytestmark = [
    pytest.mark.oracle,
    # of Cockpit and PyTorch on their own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STEPS, SAMPLES = 4, 6
NUMBERS = (
    *("Alpha", "CABS", "Distance", "EarlyStopping", "GradNorm", "HessTrace", "InnerTest", "Loss"),
    *("MeanGSNR", "NormTest", "OrthoTest", "TICDiag", "TICTrace", "UpdateSize"),
)
PER_PARAMETER = ("Distance", "GradNorm", "UpdateSize", "HessTrace")

MODELS = {
    "mlp": (lambda of: of.Sequential(of.Linear(5, 7), of.Sigmoid(), of.Linear(7, 3)), (5,)),
    "convolutions": (
        lambda of: of.Sequential(
            *(of.Conv2d(2, 4, 3), of.ReLU(), of.MaxPool2d(2), of.Flatten(), of.Linear(16, 3)),
        ),
        (2, 6, 6),
    ),
}
LOSSES = {
    "cross-entropy": (torch.nn.CrossEntropyLoss, nn.CrossEntropyLoss),
    "squared error": (torch.nn.MSELoss, nn.MSELoss),
}


def batches(shape, loss):
    rng = np.random.default_rng(0)
    for _ in range(STEPS + 1):
        x = rng.standard_normal((SAMPLES, *shape))
        target = rng.standard_normal((SAMPLES, 3))
        yield x, target if loss == "squared error" else target.argmax(1)


def cockpits(model, loss, data, rate, momentum):
    """What Cockpit tracks, by name and step."""
    kinds = (*NUMBERS, "GradHist1d", "GradHist2d")
    if momentum:
        kinds = [name for name in kinds if name not in ("CABS", "EarlyStopping")]
    made = [getattr(quantities, name)(lambda step: 0 <= step < STEPS) for name in kinds]
    model, loss = backpack.extend(model), backpack.extend(loss())
    single = type(loss)(reduction="none")
    cockpit = Cockpit(model.parameters(), quantities=made)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    for step, (x, y) in enumerate(data):
        optimizer.zero_grad()
        output, y = model(torch.tensor(x)), torch.tensor(y)
        objective = loss(output, y)
        losses = single(output.detach(), y).reshape(SAMPLES, -1).mean(1)
        info = {
            "batch_size": SAMPLES,
            "individual_losses": losses,
            "loss": objective,
            "optimizer": optimizer,
        }
        with cockpit(step, info=info):
            objective.backward(create_graph=cockpit.create_graph(step))
        optimizer.step()
    return {name: quantity.get_output() for name, quantity in zip(kinds, made, strict=True)}


def ours(model, loss, data, rate, momentum):
    """The same, of ours."""
    which = [*NUMBERS, "GradHist1d", "GradHist2d"]
    instruments = experiments.Instruments(
        which, every=lambda step: step < STEPS, layers=True, curvature="diag_h"
    )
    optimizer, loss = training.SGD(model.named_parameters(), lr=rate, momentum=momentum), loss()
    found = {}
    for step, (x, y) in enumerate(data):
        with tracer.Tape() as tape:
            objective = loss(model(x), y)
        results = tape.backward(objective, (*optimizer.quantities, *instruments.quantities(step)))
        values = instruments.measure(
            step, results, loss=objective, model=model, optimizer=optimizer
        )
        for name, value in values.items():
            found.setdefault(name, {})[getattr(value, "step", step)] = value
        optimizer.step(results)
    return found


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", MODELS)
def test_instruments_agree_with_cockpit(name, loss, momentum):
    tracer.seed(0)
    build, shape = MODELS[name]
    model, theirs = build(nn).double(), build(torch.nn).double()
    theirs.load_state_dict({key: torch.tensor(v) for key, v in model.state_dict().items()})
    names = [name for name, _ in model.named_parameters()]
    of_torch, of_ours = LOSSES[loss]
    expected = cockpits(theirs, of_torch, list(batches(shape, loss)), 0.1, momentum)
    found = ours(model, of_ours, list(batches(shape, loss)), 0.1, momentum)
    for kind, by_step in expected.items():
        assert sorted(found[kind]) == list(range(STEPS)), kind
        for step, value in by_step.items():
            got = found[kind][step]
            if kind == "GradHist1d":
                assert np.array_equal(got, value["hist"])
                assert np.allclose(got.edges, value["edges"], atol=1e-6)  # float32
            elif kind == "GradHist2d":
                assert np.array_equal(got.T, value["hist"])
            elif kind in PER_PARAMETER:
                each = [found[f"{kind}/{parameter}"][step] for parameter in names]
                assert np.allclose(each, value, rtol=1e-9, atol=1e-13), (kind, step)
            else:
                assert np.isclose(got, value, rtol=1e-7, atol=1e-12), (kind, step, got, value)
