"""Files are those of the format's own library, both ways."""

import numpy as np
import pytest

from tracer.extend import read_safetensors, write_safetensors

safetensors = pytest.importorskip("safetensors")
pytestmark = pytest.mark.oracle

KINDS = ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]


def arrays():
    rng = np.random.default_rng(0)
    return {
        f"{kind}.{i}": np.asarray(100 * rng.standard_normal(shape)).astype(kind)
        for kind in KINDS
        for i, shape in enumerate([(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
    }


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_their_library_reads_our_files(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", arrays(), {"made": "here"})
    with safetensors.safe_open(tmp_path / "a.safetensors", "np") as file:
        assert file.metadata() == {"made": "here"}
        same({name: file.get_tensor(name) for name in file.keys()}, arrays())  # noqa: SIM118


def test_we_read_their_files(tmp_path):
    from safetensors.numpy import save_file

    save_file(arrays(), tmp_path / "a.safetensors", {"made": "there"})
    found, metadata = read_safetensors(tmp_path / "a.safetensors")
    assert metadata == {"made": "there"}
    same(found, arrays())


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_small_floats_have_the_values_that_pytorch_gives_them(tmp_path, kind):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    wide = torch.tensor([0.0, -0.0, 1, -3.7, 1e-3, 300, 0.01, 448, 2**-9, float("nan")])
    values = wide.to(getattr(torch, kind))
    save_file({"x": values}, tmp_path / "a.safetensors")
    found = read_safetensors(tmp_path / "a.safetensors")[0]["x"]
    np.testing.assert_array_equal(found, values.to(torch.float32).numpy())
