"""Trainings with `DampedNewton` against the same rule on BackPACK's curvature, step by step.

Initial values are small, as those of mnist_mlp: the curvature begins far below the damping, grows
by orders of magnitude, and its running mean comes after. All in double precision.
"""

import math

import numpy as np
import pytest

import tracer
import tracer_layers
import tracer_training as training

torch = pytest.importorskip("torch")
backpack = pytest.importorskip("backpack")
ext = pytest.importorskip("backpack.extensions")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

STEPS = 60
#: name here -> that of an extension there
EXTENSIONS = {"diag_ggn_exact": "DiagGGNExact", "kflr": "KFLR", "kfra": "KFRA"}


@pytest.fixture(autouse=True)
def _double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(nn):
    return nn.Sequential(
        *(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU()), nn.Linear(10, 4)
    )


def batches():
    """Four classes that can be told apart."""
    draw = np.random.default_rng(0)
    centres = 2 * draw.normal(size=(4, 12))
    for _ in range(STEPS):
        y = draw.integers(4, size=16)
        yield centres[y] + draw.normal(size=(16, 12)), y


def stepped(curvature, gradient, damping):
    """The damped curvature's inverse times a gradient, by inverses of dense matrices."""
    if not isinstance(curvature, list):
        return gradient / (curvature + damping)
    one = [torch.eye(len(factor)) for factor in curvature]
    if len(curvature) == 1:
        return torch.linalg.inv(curvature[0] + damping * one[0]) @ gradient
    b, a = curvature
    pi = math.sqrt((a.trace() / len(a)) / (b.trace() / len(b)))
    left = torch.linalg.inv(b + math.sqrt(damping) / pi * one[0])
    return left @ gradient @ torch.linalg.inv(a + pi * math.sqrt(damping) * one[1])


@pytest.mark.parametrize(("lr", "damping"), [(0.01, 0.01), (0.01, 0.1), (0.1, 0.1)])
@pytest.mark.parametrize("curvature", EXTENSIONS)
def test_a_training_has_the_same_losses_and_parameters(curvature, lr, damping):
    ours = build(tracer_layers).double()
    draw = np.random.default_rng(1)
    for parameter in ours.parameters():
        values = 0.05 * draw.normal(size=parameter.shape) if parameter.data.ndim > 1 else 0.0
        parameter.data[...] = values
    theirs = build(torch.nn)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    theirs, criterion = backpack.extend(theirs), backpack.extend(torch.nn.CrossEntropyLoss())
    optimizer = training.DampedNewton(
        ours.parameters(), curvature, lr=lr, damping=damping, average=1.0
    )
    means, losses = {}, []
    for t, (x, y) in enumerate(batches(), 1):
        with tracer.Tape() as tape:
            loss = tracer_layers.cross_entropy(ours(x), y)
        optimizer.step(tape.backward(loss, optimizer.quantities))
        expected = criterion(theirs(torch.tensor(x)), torch.tensor(y))
        theirs.zero_grad()
        with backpack.backpack(getattr(ext, EXTENSIONS[curvature])()):
            expected.backward()
        losses.append(expected.item())
        np.testing.assert_allclose(float(loss.data), losses[-1], rtol=1e-9)
        with torch.no_grad():
            for name, parameter in theirs.named_parameters():
                new = getattr(parameter, curvature)
                new = new if isinstance(new, list) else [new]
                old = means.get(name, new)
                means[name] = [a + (b - a) / t for a, b in zip(old, new, strict=True)]
                mean = means[name][0] if curvature.startswith("diag") else means[name]
                parameter -= lr * stepped(mean, parameter.grad, damping)
    assert losses[-1] < losses[0]
    for (name, parameter), there in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        expected = there.detach().numpy()
        np.testing.assert_allclose(
            parameter.data, expected, rtol=0, atol=1e-9 * np.abs(expected).max(), err_msg=name
        )
