"""States of models in files: safetensors, NumPy's and PyTorch's, of which nothing is executed."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError

EXECUTED = []


def mlp(width=4):
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def same(model, other):
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array, err_msg=name)


@pytest.mark.parametrize("name", ["model.safetensors", "model", "model.pt"])
def test_what_is_saved_is_loaded_whatever_it_is_called(tmp_path, name):
    model, other = mlp(), mlp()
    model.save(tmp_path / name)
    assert other.load(tmp_path / name) == ([], [])
    same(model, other)


def test_files_of_numpy_are_loaded(tmp_path):
    model, other = mlp(), mlp()
    np.savez(tmp_path / "a.npz", **model.state_dict())
    other.load(tmp_path / "a.npz")
    same(model, other)
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(TracerError, match="cannot be read"):
        other.load(tmp_path / "b.npz")


def test_a_state_of_another_model_changes_nothing(tmp_path):
    mlp(5).save(tmp_path / "a")
    model = mlp()
    before = model.state_dict()
    with pytest.raises(ShapeError, match=r"0\.weight is of shape \[4, 3\], got \[5, 3\]"):
        model.load(tmp_path / "a")
    for name, array in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)
    part = nn.Sequential(nn.Linear(3, 5))
    assert part.load(tmp_path / "a", strict=False).unexpected_keys[0].startswith("1.")


# -- files of PyTorch, made by hand ----------------------------------------------------------------


class Named:
    """What is pickled by a name of a module that is not here."""

    def __init__(self, module, name, arguments=None):
        self.module, self.name, self.arguments = module, name, arguments


class Pickler(pickle._Pickler):
    """Writes names of PyTorch's without having it."""

    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, value):
        return value if isinstance(value, tuple) and value[:1] == ("storage",) else None

    def save_named(self, value):
        self.write(f"c{value.module}\n{value.name}\n".encode())
        if value.arguments is not None:
            self.save(value.arguments)
            self.write(pickle.REDUCE)

    dispatch[Named] = save_named


def tensor(key, count, size, stride, offset=0, kind="FloatStorage"):
    storage = ("storage", Named("torch", kind), key, "cpu", count)
    arguments = (storage, offset, size, stride, False, OrderedDict())
    return Named("torch._utils", "_rebuild_tensor_v2", arguments)


def archive(path, value, storages=None, order=b"little", compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", buffer.getvalue())
        file.writestr("a/byteorder", order)
        for key, content in (storages or {}).items():
            file.writestr(f"a/data/{key}", content)


class OneWeight(nn.Module):
    def __init__(self, array):
        self.weight = tracer.parameter(array)


def loaded(path, shape=(2, 3), dtype=np.float32):
    model = OneWeight(np.zeros(shape, dtype))
    model.load(path)
    return model.weight.data


SIX = np.arange(6, dtype=np.float32)


def test_tensors_are_built_of_their_storages(tmp_path):
    for name, made, content, wanted in (
        ("plain", tensor("0", 6, (2, 3), (3, 1)), SIX.tobytes(), SIX.reshape(2, 3)),
        ("transposed", tensor("0", 6, (2, 3), (1, 2)), SIX.tobytes(), SIX.reshape(3, 2).T),
        ("part", tensor("0", 6, (2,), (2,), 1), SIX.tobytes(), SIX[1::2][:2]),
        ("broadcast", tensor("0", 6, (2, 3), (0, 1)), SIX.tobytes(), np.stack([SIX[:3]] * 2)),
        (
            "bfloat16",
            tensor("0", 2, (2,), (1,), 0, "BFloat16Storage"),
            struct.pack("<2H", 0x3F80, 0xC040),
            np.float32([1, -3]),
        ),
        (
            "half",
            tensor("0", 2, (2,), (1,), 0, "HalfStorage"),
            np.float16([0.5, 7]).tobytes(),
            np.float32([0.5, 7]),
        ),
    ):
        archive(tmp_path / name, OrderedDict(weight=made), {"0": content})
        np.testing.assert_array_equal(loaded(tmp_path / name, wanted.shape), wanted, err_msg=name)
    big = OrderedDict(weight=tensor("0", 6, (2, 3), (3, 1)))
    archive(tmp_path / "big", big, {"0": SIX.astype(">f4").tobytes()}, order=b"big")
    np.testing.assert_array_equal(loaded(tmp_path / "big"), SIX.reshape(2, 3))


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model"])
def test_a_state_is_found_under_its_usual_names(tmp_path, name):
    state = OrderedDict(weight=tensor("0", 6, (2, 3), (3, 1)))
    archive(tmp_path / "a", {name: state, "epoch": 3}, {"0": SIX.tobytes()})
    np.testing.assert_array_equal(loaded(tmp_path / "a"), SIX.reshape(2, 3))
    archive(tmp_path / "b", {"weights": state, "epoch": 3}, {"0": SIX.tobytes()})
    with pytest.raises(TracerError, match="no state of a model: it has weights, epoch"):
        loaded(tmp_path / "b")


class Exploit:
    def __reduce__(self):
        return EXECUTED.append, ("executed",)


def test_nothing_is_executed(tmp_path):
    calls = [
        Named("os", "system", ("touch executed",)),
        Named("builtins", "eval", ("1",)),
        Named("torch._utils", "_rebuild_wrapper_subclass", ()),
        Named("numpy", "zeros", ((1 << 40,),)),
        Named("tracer_layers.module.files", "write_state", ("executed", {})),
    ]
    for call in calls:
        archive(tmp_path / "a", OrderedDict(weight=call))
        with pytest.raises(TracerError, match=rf"asks for {call.module}\.{call.name}, which"):
            loaded(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({"weight": Exploit()}))
    with pytest.raises(TracerError, match=r"asks for|no whole file"):
        loaded(tmp_path / "a")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(TracerError, match=r"is a pickle, .* which would be executed"):
        loaded(tmp_path / "old.pt")
    assert EXECUTED == []
    assert not (tmp_path / "executed").exists()


GOOD = OrderedDict(weight=tensor("0", 6, (2, 3), (3, 1)))


@pytest.mark.parametrize(
    ("value", "storages", "said"),
    [
        (GOOD, {"0": SIX.tobytes()[:-1]}, "storage of 6 FloatStorage elements has 23 bytes"),
        (GOOD, {}, "data/0"),
        (OrderedDict(weight=tensor("0", 6, (2, 4), (3, 1))), {"0": SIX.tobytes()}, "element 6"),
        (OrderedDict(weight=tensor("0", 6, (2, 3), (-3, 1))), {"0": SIX.tobytes()}, "strides"),
        (OrderedDict(weight=tensor("0", 6, (2, 3), (3, 1), -1)), {"0": SIX.tobytes()}, "offset -1"),
        (
            OrderedDict(weight=tensor("0", 6, (1 << 40, 3), (0, 1))),
            {"0": SIX.tobytes()},
            "too often",
        ),
        (OrderedDict(weight=tensor("0", 6, 3, 1)), {"0": SIX.tobytes()}, "builds nothing"),
        ([1, 2], {}, "holds no state of a model: it has list"),
        ({}, {}, "holds no state"),
    ],
    ids=range(9),
)
def test_files_that_are_broken(tmp_path, value, storages, said):
    archive(tmp_path / "a", value, storages)
    with pytest.raises(TracerError, match=said):
        loaded(tmp_path / "a")


def test_archives_that_are_truncated_or_compressed(tmp_path):
    archive(tmp_path / "a", GOOD, {"0": SIX.tobytes()})
    content = (tmp_path / "a").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "b").write_bytes(content[:length])
        with pytest.raises(TracerError, match=r"truncated or corrupt|neither|no whole"):
            loaded(tmp_path / "b")
    archive(tmp_path / "c", GOOD, {"0": SIX.tobytes()}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(TracerError, match="is compressed"):
        loaded(tmp_path / "c")


def test_other_files_are_named(tmp_path):
    (tmp_path / "a").write_text("weights")
    with pytest.raises(TracerError, match="neither safetensors, nor a file of torch"):
        loaded(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        loaded(tmp_path / "missing")
