"""Files of arrays: what is written is read, and what is corrupt is refused in a sentence."""

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tracer.errors import TracerError
from tracer.extend import read_safetensors, write_safetensors

KINDS = ["?", "i1", "u1", "<i2", ">i4", "<u4", "<i8", ">u8", "<f2", ">f4", "<f8"]


def file_of(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


ARRAY = st.sampled_from(KINDS).flatmap(
    lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
NAMES = st.text(max_size=8).filter(lambda name: name != "__metadata__")


@given(st.dictionaries(NAMES, ARRAY, max_size=4), st.dictionaries(st.text(), st.text(), max_size=3))
def test_what_is_written_is_read(tmp_path_factory, arrays, texts):
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    write_safetensors(path, arrays, texts)
    found, metadata = read_safetensors(path)
    assert metadata == texts
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(24.0).reshape(4, 6)[::2, ::-3],
        np.broadcast_to(np.float32(2), (3, 2)),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(3.5),
    ],
    ids=["transposed", "strided", "broadcast", "fortran", "no axes"],
)
def test_arrays_of_any_order_are_written_row_by_row(tmp_path, array):
    write_safetensors(tmp_path / "a", {"x": array})
    found = read_safetensors(tmp_path / "a")[0]["x"]
    assert found.shape == array.shape
    np.testing.assert_array_equal(found, array)


GOOD = {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
EIGHT = b"\0" * 8


def said(**about):
    return {"x": {**GOOD["x"], **about}}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "0 bytes"),
        (b"\1\0\0", "3 bytes"),
        (file_of(GOOD, EIGHT, length=1 << 60), "header would have"),
        (file_of(GOOD, EIGHT, length=10**6), "header would have"),
        (file_of(b"{not json", EIGHT), "no JSON"),
        (file_of(b"\xff\xfe{}", EIGHT), "no JSON"),
        (file_of(b"[" * 100000), "no JSON"),
        (file_of(b"[]"), "no mapping"),
        (file_of(b'{"x": 1, "x": 2}'), "twice"),
        (file_of({"x": 3}), "of 'x' it says 3"),
        (file_of({"x": {"dtype": "F32"}}), "of 'x' it says"),
        (file_of(said(dtype="C64"), EIGHT), "not known"),
        (file_of(said(dtype=["F32"]), EIGHT), "not known|of 'x'"),
        (file_of(said(shape=[3]), EIGHT), "takes 12 bytes, and has 8"),
        (file_of(said(shape=[-2]), EIGHT), "shape"),
        (file_of(said(shape=[2.0]), EIGHT), "shape"),
        (file_of(said(shape=[True, 2]), EIGHT), "shape"),
        (file_of(said(shape=[1 << 62, 8]), EIGHT), "takes"),
        (file_of(said(data_offsets=[8, 0]), EIGHT), "has -8"),
        (file_of(said(data_offsets=[4, 12]), EIGHT), "begins at byte 4"),
        (file_of(GOOD, EIGHT[:5]), "take 8 bytes, and 5"),
        (file_of(GOOD, EIGHT + b"more"), "take 8 bytes, and 12"),
        (file_of({**GOOD, "y": GOOD["x"]}, EIGHT), "'y' begins at byte 0|'x' begins"),
        (file_of({"__metadata__": {"a": 1}}), "no texts"),
    ],
    ids=range(24),
)
def test_what_is_corrupt_is_refused(tmp_path, content, why):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(TracerError, match=rf"broken' is no whole safetensors file: .*({why})"):
        read_safetensors(path)


def test_every_truncation_is_refused(tmp_path):
    write_safetensors(tmp_path / "a", {"x": np.arange(5.0), "y": np.arange(3)})
    content = (tmp_path / "a").read_bytes()
    for length in range(len(content)):
        (tmp_path / "b").write_bytes(content[:length])
        with pytest.raises(TracerError, match="no whole safetensors"):
            read_safetensors(tmp_path / "b")


def test_complex_numbers_are_refused_and_what_was_there_stays(tmp_path):
    write_safetensors(tmp_path / "a", {"x": np.arange(5.0)})
    with pytest.raises(TracerError, match="'y' is of dtype complex128"):
        write_safetensors(tmp_path / "a", {"x": np.zeros(2), "y": np.zeros(2, complex)})
    np.testing.assert_array_equal(read_safetensors(tmp_path / "a")[0]["x"], np.arange(5.0))
    assert os.listdir(tmp_path) == ["a"]


def test_a_failure_while_writing_leaves_what_was_there(tmp_path, monkeypatch):
    write_safetensors(tmp_path / "a", {"x": np.arange(5.0)})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_safetensors(tmp_path / "a", {"x": np.zeros(5)})
    np.testing.assert_array_equal(read_safetensors(tmp_path / "a")[0]["x"], np.arange(5.0))
    assert os.listdir(tmp_path) == ["a"]


def test_bfloat16_and_floats_of_8_bits_become_float32(tmp_path):
    header = {
        "b": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]},
        "e": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [6, 10]},
        "f": {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [10, 14]},
    }
    data = struct.pack("<3H", 0x3F80, 0xC040, 0x7F80)
    data += bytes([0x38, 0x7E, 0x01, 0x7F, 0x3C, 0x7B, 0x01, 0xFC])
    (tmp_path / "a").write_bytes(file_of(header, data))
    found = read_safetensors(tmp_path / "a")[0]
    np.testing.assert_array_equal(found["b"], np.float32([1, -3, np.inf]))
    np.testing.assert_array_equal(found["e"], np.float32([1, 448, 2**-9, np.nan]))
    np.testing.assert_array_equal(found["f"], np.float32([1, 57344, 2**-16, -np.inf]))
    assert all(array.dtype == np.float32 for array in found.values())


@pytest.mark.parametrize("shape", [[0, 10**30], [1] * 100, [0, 2**62, 8]])
def test_shapes_that_numpy_has_not_are_refused(tmp_path, shape):
    size = 4 * int(0 not in shape)
    header = {"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}
    (tmp_path / "broken").write_bytes(file_of(header, b"\0" * size))
    with pytest.raises(TracerError, match="of 'x' no array is made"):
        read_safetensors(tmp_path / "broken")


def test_every_byte_that_is_not_zero_is_true(tmp_path):
    header = {"x": {"dtype": "BOOL", "shape": [3], "data_offsets": [0, 3]}}
    (tmp_path / "a").write_bytes(file_of(header, b"\0\1\5"))
    assert (read_safetensors(tmp_path / "a")[0]["x"].astype(int) == [0, 1, 1]).all()
