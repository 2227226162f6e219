"""Tensors of PyTorch as inputs and targets, as they are."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracingError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def test_a_training_step_on_tensors_is_that_on_arrays():
    tracer.seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(18, 3))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 1, 5, 5)).astype(np.float32), rng.integers(0, 3, 4)
    found = []
    for given, target in ((x, y), (torch.tensor(x), torch.tensor(y))):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(given), target)
        found.append(tape.backward(loss, ("grad_batch", "kflr")))
    for key, value in found[0]["grad_batch"].items():
        np.testing.assert_array_equal(found[1]["grad_batch"][key], value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.ones(4, 3, requires_grad=True), r"x\.detach\(\)"),
        (lambda: torch.nn.Parameter(torch.ones(4, 3)), r"x\.detach\(\)"),
        (lambda: torch.ones(4, 3, dtype=torch.bfloat16), r"x\.float\(\)"),
        (lambda: torch.ones(4, 3, device="meta"), r"on the device 'meta'"),
        (lambda: torch.eye(3).to_sparse(), r"x\.to_dense\(\)"),
    ],
)
def test_what_is_no_array_is_refused(make, message):
    for call in (nn.Linear(3, 2), nn.functional.relu, tracer.batch):
        with pytest.raises(TracingError, match=message):
            call(make())
