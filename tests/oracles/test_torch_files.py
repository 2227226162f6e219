"""Files that PyTorch wrote are read to the same numbers."""

import numpy as np
import pytest

import tracer_layers as nn
from tracer.errors import TracerError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def network(nn):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.LayerNorm(5),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict", "model"])
def test_a_state(tmp_path, dtype, wrap):
    theirs = network(torch.nn).to(getattr(torch, dtype))
    theirs[1].running_mean += 1
    state = theirs.state_dict()
    torch.save(state if wrap is None else {wrap: state, "epoch": 3, "best": [0.5]}, tmp_path / "a")
    ours = network(nn)
    ours.load(tmp_path / "a")
    for name, value in state.items():
        found = ours.state_dict()[name]
        np.testing.assert_array_equal(found, value.to(torch.float64).numpy().astype(found.dtype))


def test_tied_strided_and_parameter_tensors(tmp_path):
    weight = torch.arange(24.0).reshape(4, 6)
    state = {
        "0.weight": torch.nn.Parameter(weight.t()[:4, ::2]),
        "0.bias": weight[1, 2:],
        "1.weight": weight[:, :2].expand(4, 2),
        "1.bias": torch.zeros(4),
    }
    torch.save(state, tmp_path / "a")
    ours = nn.Sequential(nn.Linear(2, 4), nn.Linear(2, 4))
    ours.load(tmp_path / "a")
    for name, value in state.items():
        np.testing.assert_array_equal(ours.state_dict()[name], value.detach().numpy())


def test_a_whole_module_is_refused(tmp_path):
    torch.save(network(torch.nn), tmp_path / "a")
    with pytest.raises(TracerError, match="asks for torch"):
        network(nn).load(tmp_path / "a")
