"""States in files of PyTorch's, and ours read there."""

import zipfile

import numpy as np
import pytest

import tracer_layers as nn
from tracer.errors import TracerError
from tracer_layers.module.files import read_state

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def residual(nn):
    """A small ResNet in either library."""

    class Block(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(x + self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))))

    return nn.Sequential(
        nn.Conv2d(1, 4, 3), Block(4), nn.AvgPool2d(2), Block(4), nn.Flatten(), nn.Linear(36, 5)
    )


def tied(nn):
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7, bias=False))
    model[1].weight = model[0].weight
    return model


def same_state(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array.numpy(), strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("build", [residual, tied])
def test_a_state_of_pytorch_is_loaded(tmp_path, build, protocol):
    torch.manual_seed(0)
    theirs, ours = build(torch.nn), build(nn)
    if build is residual:
        x = torch.randn(6, 1, 8, 8)
        theirs(x)  # running statistics
    torch.save(theirs.state_dict(), tmp_path / "m.pth", pickle_protocol=protocol)
    assert ours.load(tmp_path / "m.pth") == ([], [])
    same_state(ours, theirs)
    if build is residual:
        expected = theirs.eval()(x).detach().numpy()
        np.testing.assert_allclose(ours.eval()(x.numpy()).data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_a_state_in_a_checkpoint_is_found(tmp_path, name):
    theirs, ours = residual(torch.nn), residual(nn)
    optimizer = torch.optim.AdamW(theirs.parameters())
    theirs(torch.randn(6, 1, 8, 8)).sum().backward()
    optimizer.step()
    saved = {"epoch": 3, name: theirs.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(saved, tmp_path / "checkpoint.pt")
    ours.load(tmp_path / "checkpoint.pt")
    same_state(ours, theirs)


def test_parameters_are_read(tmp_path):
    """Not of a state, where tensors are detached."""
    theirs = residual(torch.nn)
    torch.save(dict(theirs.named_parameters()), tmp_path / "m.pt")
    found = read_state(tmp_path / "m.pt")
    for name, parameter in theirs.named_parameters():
        np.testing.assert_array_equal(found[name], parameter.detach().numpy(), strict=True)


@pytest.mark.parametrize(
    "dtype", "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
)
@pytest.mark.parametrize("order", ["little", "big"])
def test_dtypes(tmp_path, dtype, order):
    values = (3 * torch.randn(4, 5)).to(getattr(torch, dtype))
    torch.save({"x": values}, tmp_path / "m.pt")
    if order == "big":
        swapped(tmp_path / "m.pt", values.element_size())
    found = read_state(tmp_path / "m.pt")["x"]
    wanted = values.float() if dtype == "bfloat16" else values
    np.testing.assert_array_equal(found, wanted.numpy(), strict=True)


def swapped(path, size):
    """Make a file what a machine of the other byte order would have written."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, raw in parts.items():
            if "/data/" in name:
                raw = np.frombuffer(raw, f"u{size}").byteswap().tobytes()
            file.writestr(name, b"big" if name.endswith("/byteorder") else raw)


def test_views_and_shared_storages(tmp_path):
    x = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "whole": x,
        "transposed": x.transpose(0, 2),
        "part": x[1, ::2, 1:3],
        "expanded": x[0, 0].expand(3, 4),
        "number": x[1, 2, 3],
        "empty": x[:0],
        "last": x.view(-1)[-1:],
    }
    torch.save(state, tmp_path / "m.pt")
    found = read_state(tmp_path / "m.pt")
    for name, tensor in state.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)


def test_half_precision(tmp_path):
    theirs, ours = residual(torch.nn).half(), residual(nn)
    torch.save(theirs.state_dict(), tmp_path / "m.pt")
    ours.load(tmp_path / "m.pt")
    assert ours[0].weight.dtype == np.float32
    same_state(ours.half(), theirs)


def test_our_files_are_read_there(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    theirs, ours = residual(torch.nn), residual(nn)
    ours.save(tmp_path / "m.safetensors")
    theirs.load_state_dict(safetensors.load_file(tmp_path / "m.safetensors"))
    same_state(ours, theirs)


def test_their_safetensors_are_loaded(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    theirs, ours = residual(torch.nn), residual(nn)
    safetensors.save_file(theirs.state_dict(), tmp_path / "m.safetensors")
    ours.load(tmp_path / "m.safetensors")
    same_state(ours, theirs)


def test_what_is_not_read(tmp_path):
    theirs, ours, path = residual(torch.nn), residual(nn), tmp_path / "m.pt"
    torch.save(theirs[0], path)
    with pytest.raises(TracerError, match=r"names torch\.nn\.modules\.conv\.Conv2d,"):
        ours.load(path)
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(TracerError, match=r"before PyTorch 1\.6"):
        ours.load(path)


def test_views_that_are_negated_when_they_are_read_are_refused(tmp_path):
    imaginary = torch.tensor([[1 + 2j, 3 + 4j], [5 + 6j, 7 + 8j]]).conj().imag
    torch.save({"weight": imaginary, "bias": torch.zeros(2)}, tmp_path / "a")
    with pytest.raises(TracerError, match="negative or conjugate view"):
        nn.Linear(2, 2).load(tmp_path / "a")
