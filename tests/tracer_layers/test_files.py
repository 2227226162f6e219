"""States in files: written whole, read by what is in them, and nothing of a file is executed."""

import contextlib
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError
from tracer.extend import read_safetensors, write_safetensors
from tracer_layers.module import pt_files
from tracer_layers.module.files import read_state

KINDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "?": "Bool", "u1": "Byte"}


def network():
    tracer.seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def same(found, wanted):
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def changed(model):
    for parameter in model.parameters():
        parameter.data = parameter.data + 1
    return model


# -- files of PyTorch, by hand ---------------------------------------------------------------------


def plain(value):
    """The opcodes of a number, a text or a tuple of them."""
    return pickle.dumps(value, 2)[2:-1]


def named(dotted):
    module, _, name = dotted.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def saved_tensor(key, kind, shape, strides, offset=0):
    storage = b"(" + plain("storage") + named(f"torch.{kind}Storage") + plain(key)
    storage += plain("cpu") + plain(0) + b"tQ"
    hooks = named("collections.OrderedDict") + b")R"
    arguments = storage + plain(offset) + plain(shape) + plain(strides) + plain(False) + hooks
    return named("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(**items):
    return b"}(" + b"".join(plain(key) + value for key, value in items.items()) + b"u"


def pt(path, opcodes, storages=(), order="little", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", b"\x80\x02" + opcodes + b".")
        file.writestr("a/byteorder", order)
        for key, raw in enumerate(storages):
            file.writestr(f"a/data/{key}", raw)
    return path


def of_array(array, key="0"):
    strides = tuple(s // array.itemsize for s in array.strides)
    return saved_tensor(key, KINDS[array.dtype.str.lstrip("<|").replace("b1", "?")], array.shape,
                        strides)  # fmt: skip


# -- what is written is read -----------------------------------------------------------------------


def test_a_model_is_saved_and_loaded(tmp_path):
    model, other = changed(network()), network()
    model(np.random.default_rng(0).standard_normal((5, 1, 4, 4), np.float32))
    assert model.save(tmp_path / "m.safetensors") is None
    assert other.load(tmp_path / "m.safetensors") == ([], [])
    same(other.state_dict(), model.state_dict())
    assert other[1].num_batches_tracked == 1
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_what_is_written_is_of_the_format(tmp_path):
    network().save(tmp_path / "m")
    arrays, metadata = read_safetensors(tmp_path / "m")
    assert metadata == {"format": "trace-net state", "version": "1"}
    assert set(arrays) == set(network().state_dict())


@pytest.mark.parametrize("write", ["safetensors", "npz", "npz compressed", "pt"])
def test_the_format_is_found_out_from_the_content(tmp_path, write):
    state, path = changed(network()).state_dict(), tmp_path / "m.of_any_name"
    if write == "safetensors":
        write_safetensors(path, state)
    elif write == "pt":
        tensors = {name: of_array(a, str(i)) for i, (name, a) in enumerate(state.items())}
        pt(path, mapping(**tensors), [a.tobytes() for a in state.values()])
    else:
        with path.open("wb") as file:
            (np.savez_compressed if "compressed" in write else np.savez)(file, **state)
    model = network()
    weight = model[0].weight
    model.load(path)
    same(model.state_dict(), state)
    assert model[0].weight is weight


def test_ties_are_saved_under_both_names_and_have_to_agree(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    model.save(tmp_path / "m")
    assert model.load(tmp_path / "m") == ([], [])
    assert model[1].weight is model[0].weight
    state = model.state_dict()
    write_safetensors(tmp_path / "m", {**state, "0.weight": state["0.weight"] + 1})
    with pytest.raises(ShapeError, match=r"0.weight and 1.weight are one parameter here"):
        model.load(tmp_path / "m")


def test_names_may_differ_if_it_is_not_strict(tmp_path):
    model = network()
    nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(2, 2)).save(tmp_path / "m")
    before = model.state_dict()
    with pytest.raises(ShapeError, match=r"missing: 1.running_mean"):
        model.load(tmp_path / "m")
    same(model.state_dict(), before)
    with pytest.raises(ShapeError, match=r"1.weight is of shape \[2\], got \[2, 2\]"):
        model.load(tmp_path / "m", strict=False)
    same(model.state_dict(), before)
    nn.Sequential(nn.Conv2d(1, 2, 3)).save(tmp_path / "m")
    keys = model.load(tmp_path / "m", strict=False)
    assert keys.unexpected_keys == []
    assert set(keys.missing_keys) == {name for name in before if name[0] != "0"}


# -- files of PyTorch ------------------------------------------------------------------------------


def test_views_of_storages_are_read_by_their_strides(tmp_path):
    data = np.arange(12, dtype=np.float32)
    opcodes = mapping(
        whole=saved_tensor("0", "Float", (3, 4), (4, 1)),
        transposed=saved_tensor("0", "Float", (4, 3), (1, 4)),
        part=saved_tensor("0", "Float", (2, 2), (4, 1), 5),
        repeated=saved_tensor("0", "Float", (2, 3), (0, 1), 9),
        number=saved_tensor("0", "Float", (), (), 11),
        empty=saved_tensor("0", "Float", (0, 7), (7, 1), 12),
    )
    found = read_state(pt(tmp_path / "a.pt", opcodes, [data.tobytes()]))
    table = data.reshape(3, 4)
    wanted = {
        "whole": table,
        "transposed": table.T,
        "part": table[1:, 1:3],
        "repeated": np.stack([data[9:]] * 2),
        "number": data[11],
        "empty": np.zeros((0, 7), np.float32),
    }
    same(found, {name: np.asarray(array) for name, array in wanted.items()})


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_and_byte_orders(tmp_path, kind, order):
    array = np.array([0, 1, 3, 200]).astype(kind)
    raw = array.astype(array.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    path = pt(tmp_path / "a.pt", mapping(x=of_array(array)), [raw], order)
    same(read_state(path), {"x": array})


def test_bfloat16_is_read_as_float32(tmp_path):
    values = np.array([1.0, -2.5, 3e38, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    opcodes = mapping(x=saved_tensor("0", "BFloat16", (4,), (1,)))
    found = read_state(pt(tmp_path / "a.pt", opcodes, [bits.tobytes()]))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (bits.astype(np.uint32) << 16).view(np.float32))


@pytest.mark.parametrize("name", pt_files.NESTED)
def test_states_in_checkpoints(tmp_path, name):
    tensor = saved_tensor("0", "Float", (2,), (1,))
    opcodes = mapping(epoch=plain(3), rates=plain((0.1, None)), **{name: mapping(x=tensor)})
    found = read_state(pt(tmp_path / "a.pt", opcodes, [np.ones(2, np.float32).tobytes()]))
    same(found, {"x": np.ones(2, np.float32)})


def test_the_model_is_taken_out_of_a_checkpoint_of_a_training(tmp_path):
    state = changed(network()).state_dict()
    arrays = {f"model.{name}": array for name, array in state.items()}
    arrays["optimizer.state.0"] = np.ones(3)
    write_safetensors(tmp_path / "c", arrays, {"format": "trace-net checkpoint"})
    model = network()
    assert model.load(tmp_path / "c") == ([], [])
    same(model.state_dict(), state)


def test_sizes_are_passed_over(tmp_path):
    size = named("torch.Size") + b"(" + plain((2, 3)) + b"tR"
    opcodes = mapping(shape=size, model=mapping(x=saved_tensor("0", "Float", (2,), (1,))))
    found = read_state(pt(tmp_path / "a.pt", opcodes, [np.ones(2, np.float32).tobytes()]))
    same(found, {"x": np.ones(2, np.float32)})


def test_a_parameter_is_its_tensor(tmp_path):
    tensor = saved_tensor("0", "Float", (2,), (1,))
    parameter = named("torch._utils._rebuild_parameter") + b"(" + tensor + plain(True)
    parameter += named("collections.OrderedDict") + b")RtR"
    path = pt(tmp_path / "a.pt", mapping(x=parameter), [np.ones(2, np.float32).tobytes()])
    same(read_state(path), {"x": np.ones(2, np.float32)})


# -- files that would do harm ----------------------------------------------------------------------


class Exploit:
    """What pickle calls when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def exploits(witness):
    """Name of what is refused -> opcodes that would make a file, or do other harm."""
    touch = f"open({str(witness)!r}, 'w').close()"
    system = "nt.system" if os.name == "nt" else "posix.system"
    return {
        system: plain(Exploit(os.system, f"touch {witness}")),
        "builtins.exec": pickle.dumps(Exploit(exec, touch), 4)[2:-1],
        "__builtin__.eval": plain(Exploit(eval, touch)),
        "pathlib.Path.touch": plain("pathlib") + plain("Path.touch") + b"\x93" + b")R",
        "torch.load": named("torch.load") + b"(" + plain(str(witness)) + b"tR",
        "INST": b"(" + plain(touch) + b"ibuiltins\nexec\n",
        "OBJ": b"(" + named("collections.OrderedDict") + b"o",
        "NEWOBJ": named("collections.OrderedDict") + b")\x81",
        "EXT1": b"\x82\x01",
        "PERSID": b"Pstorage\n",
    }


@pytest.mark.parametrize("name", exploits("x"))
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_in_a_file_is_executed(tmp_path, name, inside):
    witness = tmp_path / "witness"
    opcodes = exploits(witness)[name]
    model = network()
    before = model.state_dict()
    path = pt(tmp_path / "a.pt", mapping(x=opcodes) if inside else opcodes)
    with pytest.raises(TracerError, match=rf"a\.pt' (names|holds) {name},"):
        model.load(path)
    assert not witness.exists()
    same(model.state_dict(), before)


def test_the_exploits_are_real(tmp_path):
    pickle.loads(b"\x80\x02" + exploits(tmp_path / "witness")["__builtin__.eval"] + b".")
    assert (tmp_path / "witness").exists()


def deep(count):
    return b")" + b"\x85" * count


@pytest.mark.parametrize(
    ("opcodes", "said"),
    [
        (mapping(x=saved_tensor("0", "Float", (2, 3), (3, 1))), "ends at element 5 of a storage"),
        (mapping(x=saved_tensor("0", "Float", (2,), (1,), 3)), "ends at element 4 of a storage"),
        (mapping(x=saved_tensor("0", "Float", (10**15,), (1,))), "ends at element"),
        (mapping(x=saved_tensor("0", "Float", (0, 1 << 70), (1, 1))), "no whole file"),
        (mapping(x=saved_tensor("0", "Float", (1 << 70,), (0,))), "no whole file"),
        (mapping(x=saved_tensor("0", "Float", (1 << 4000,), (1,))), "no whole file"),
        (mapping(x=saved_tensor("0", "Float", (1 << 20000,), (1,))), "no whole file"),
        (mapping(x=saved_tensor("0", "Float", (1,) * 99, (1,) * 99)), "no whole file"),
        (mapping(x=saved_tensor("0", "Float", (2,), (-1,), 3)), "tensor of shape"),
        (mapping(x=saved_tensor("0", "Float", (2,), ())), "tensor of shape"),
        (mapping(x=saved_tensor("0", "Float", (-2,), (1,))), "tensor of shape"),
        (mapping(x=saved_tensor("7", "Float", (2,), (1,))), "data/7, are not there"),
        (mapping(x=saved_tensor("../byteorder", "Float", (1,), (1,))), "are not there"),
        (mapping(x=saved_tensor("0", "ComplexFloat", (1,), (1,))), "torch.ComplexFloatStorage"),
        (plain([1, 2]), "holds a list, and no state"),
        (plain({"epoch": 3}), "holds 'epoch', and no state"),
        (named("torch.FloatStorage") + b")R", "it calls torch.FloatStorage"),
        (named("torch.FloatStorage") + plain(3) + b"b", "what is no dict"),
        (plain(1) + b")R", "it calls what is no function"),
        (plain(("module", 1, 2)) + b"Q", "it refers to 'module'"),
        (b"}" + deep(100_000) + b"Ns", "a key is a tuple"),
        (b"s", "its stack is empty"),
        (b"u", "pop from empty list"),
        (b"j\xff\xff\xff\xff", "breaks off"),
        (b"", "breaks off"),
        (b"\x8e" + struct.pack("<Q", 1 << 62), "breaks off"),
        (b"\xff", "breaks off"),
        (b"S'\\ '\n", "holds STRING, a step"),
    ],
)
def test_pickles_that_describe_no_state(tmp_path, opcodes, said):
    path = pt(tmp_path / "a.pt", opcodes, [np.zeros(4, np.float32).tobytes()])
    with pytest.raises(TracerError) as error:
        read_state(path)
    assert said in str(error.value)
    assert "a.pt'" in str(error.value)


def state_file(path):
    state = network().state_dict()
    tensors = {name: of_array(a, str(i)) for i, (name, a) in enumerate(state.items())}
    return pt(path, mapping(**tensors), [a.tobytes() for a in state.values()])


@pytest.mark.parametrize("kind", ["pt", "npz", "safetensors"])
def test_a_truncated_file_changes_nothing(tmp_path, kind):
    model, path = changed(network()), tmp_path / "m"
    before = model.state_dict()
    if kind == "pt":
        state_file(path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **network().state_dict())
    else:
        network().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(TracerError, match="m'"):
            model.load(path)
    same(model.state_dict(), before)
    path.write_bytes(whole)
    model.load(path)


@pytest.mark.parametrize("kind", ["pt", "npz", "safetensors"])
def test_a_changed_byte_is_an_error_or_another_state(tmp_path, kind):
    model, path = network(), tmp_path / "m"
    if kind == "pt":
        state_file(path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **network().state_dict())
    else:
        network().save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 11):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            model.load(path)
        except TracerError:
            continue


@given(st.binary(max_size=40), st.integers(0, 400), st.integers(0, 8))
def test_any_pickle_is_followed_or_refused(inserted, place, removed):
    opcodes = b"\x80\x02" + mapping(x=saved_tensor("0", "Float", (2, 3), (3, 1))) + b"."
    opcodes = opcodes[:place] + inserted + opcodes[place + removed :]
    with contextlib.suppress(*pt_files.OF_PICKLES, TracerError):
        pt_files.followed(opcodes)


def test_sizes_that_a_zip_claims_are_not_believed(tmp_path):
    path = state_file(tmp_path / "a.pt")
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4)
    raw[entry + 24 : entry + 28] = struct.pack("<I", 0xF0000000)
    path.write_bytes(raw)
    with pytest.raises(TracerError, match=r"its parts would have \d{10} bytes, and the file has"):
        read_state(path)


def test_what_is_compressed_or_there_twice_is_refused(tmp_path):
    opcodes = mapping(x=saved_tensor("0", "Float", (1 << 20,), (1,)))
    bomb = pt(tmp_path / "a.pt", opcodes, [bytes(4 << 20)], compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 10_000
    with pytest.raises(TracerError, match="is compressed, and PyTorch compresses nothing"):
        read_state(bomb)
    path = state_file(tmp_path / "b.pt")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("a/data/0", b"")
    with pytest.raises(TracerError, match="data/0 is there twice"):
        read_state(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(
        TracerError, match=r"convert it with torch.save\(torch.load\(path\), path\)"
    ):
        network().load(path)
    for content in (b"", b"\x00", b"PK", b"weights", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(TracerError, match=r"a\.pt'"):
            network().load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no state")
    with pytest.raises(TracerError, match="is a zip, and neither one"):
        network().load(path)
    np.savez(tmp_path / "o.npz", x=np.array([object()]))
    with pytest.raises(TracerError, match=r"o\.npz': 'x' is not read: Object arrays"):
        network().load(tmp_path / "o.npz")
    write_safetensors(path, {}, {"format": "trace-net state", "version": "2"})
    with pytest.raises(TracerError, match="version 2, and version 1 is known"):
        network().load(path)
    with pytest.raises(FileNotFoundError):
        network().load(tmp_path / "none")
    with pytest.raises(IsADirectoryError if os.name == "posix" else PermissionError):
        network().load(Path(tmp_path))
