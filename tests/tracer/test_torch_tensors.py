"""Tensors of PyTorch as arrays, by a double of them: PyTorch itself is not there."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.arrays import torch_tensors
from tracer.errors import TracingError


class Tensor:
    """What of a tensor is asked."""

    def __init__(self, array, requires_grad=False, device="cpu", dtype=None):
        self.array, self.requires_grad = array, requires_grad
        self.shape, self.dtype = array.shape, dtype or f"torch.{array.dtype}"
        self.device = SimpleNamespace(type=device.partition(":")[0])

    def numpy(self):
        if self.dtype == "torch.sparse":
            raise TypeError("no strides")
        return self.array


@pytest.fixture(autouse=True)
def torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=Tensor))
    monkeypatch.setattr(torch_tensors, "_told", [])


X, Y = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), np.array([0, 1, 1, 0])


def test_inputs_and_targets_are_taken_and_it_is_said_once(capsys):
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    found = []
    for x, y in ((X, Y), (Tensor(X), Tensor(Y))):
        with tracer.Tape() as tape:
            loss = nn.CrossEntropyLoss()(model(x), y) + nn.functional.cross_entropy(model(x), y)
        found.append(tape.backward(loss, ("grad", "grad_batch")))
    for quantity in ("grad", "grad_batch"):
        for key, value in found[0][quantity].items():
            np.testing.assert_array_equal(found[1][quantity][key], value)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("tensors of PyTorch are taken") == said.err.count("\n") == 1


def test_they_are_taken_in_tuples_and_by_name_and_by_the_core():
    tracer.seed(0)
    lstm = nn.LSTM(3, 2)
    x, state = X[:, None], (np.ones((1, 1, 2), np.float32),) * 2
    expected, _ = lstm(x, state)
    found, _ = lstm(Tensor(x), tuple(map(Tensor, state)))
    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_array_equal(nn.functional.relu(input=Tensor(X)), np.maximum(X, 0))
    np.testing.assert_array_equal(tracer.parameter(Tensor(X)).data, X)
    np.testing.assert_array_equal(nn.Embedding(2, 3)(Tensor(Y)).shape, (4, 3))
    with tracer.Tape():
        np.testing.assert_array_equal(tracer.batch(Tensor(X)).data, X)


def test_a_loss_within_a_model_takes_them():
    class Model(nn.Module):
        def __init__(self):
            self.layer, self.criterion = nn.Linear(3, 2), nn.CrossEntropyLoss()

        def forward(self, x):
            return self.criterion(self.layer(x), Tensor(Y))

    assert Model()(X).shape == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"requires_grad": True}, r"shape \[4, 3\] requires grad, .*x\.detach\(\)"),
        ({"device": "cuda:0"}, r"is on the device .*x\.cpu\(\)"),
        ({"dtype": "torch.bfloat16"}, r"bfloat16, which NumPy does not have: give x\.float\(\)"),
        ({"dtype": "torch.sparse"}, r"no array of NumPy's \(no strides\)"),
    ],
)
def test_what_is_no_array_is_refused(options, message):
    for call in (nn.Linear(3, 2), nn.functional.relu, tracer.batch):
        with pytest.raises(TracingError, match=message):
            call(Tensor(X, **options))


def test_nothing_imports_pytorch():
    code = "import sys, tracer, tracer_layers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
