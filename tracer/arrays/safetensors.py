"""Files of named arrays in the safetensors format, read and written without pickles.

Eight bytes with the length of a header, the header in JSON (dtype, shape and place of each array,
and texts under `__metadata__`), then the arrays, row by row and little-endian.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tracer.arrays import backend
from tracer.arrays.types import Array, DType, Shape
from tracer.errors import TracerError

#: the format's names of dtypes, and NumPy's
DTYPES: dict[str, DType] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
#: floats of 8 and 16 bits that NumPy lacks: bits of the exponent and of the fraction
SMALL_FLOATS = {"BF16": (8, 7), "F8_E4M3": (4, 3), "F8_E5M2": (5, 2)}
#: bytes of the longest header that is read, as of the format's own library
LONGEST_HEADER = 100_000_000


class Entry(NamedTuple):
    """What a header says of an array; `start` and `stop` count bytes after the header."""

    name: str
    kind: str
    shape: Shape
    start: int
    stop: int


def write_safetensors(
    path: str | PathLike[str],
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays of numbers by name, and texts; those on a device are fetched.

    The file is written beside and renamed: whatever ends the program, under `path` is what was
    there before, or all of this. Raises `TracerError` for dtypes that the format has no name for,
    as complex ones.
    """
    path = Path(os.path.realpath(path))  # what a link leads to is written, and the link stays
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = {str(key): str(value) for key, value in metadata.items()}
    prepared: list[np.ndarray] = []
    place = 0
    # wide dtypes first, so that each array begins at a multiple of its item's size
    for name in sorted(arrays, key=lambda name: -arrays[name].dtype.itemsize):
        array = _prepared(name, arrays[name])
        prepared.append(array)
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [place, place := place + array.nbytes],
        }
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST_HEADER:
        raise TracerError(
            f"{str(path)!r} would have {len(text)} bytes of names and texts, and {LONGEST_HEADER} "
            f"can be read again: keep large values as arrays"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{str(path)!r} cannot be written: there is no such folder")
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("xb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in prepared:
                file.write(array.reshape(-1).view(np.uint8).data if array.size else b"")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _prepared(name: str, array: Array) -> np.ndarray:
    """An array on the host, row by row and little-endian."""
    if name == "__metadata__":
        raise TracerError("no array can be called '__metadata__', which the format keeps for texts")
    on_host = backend.to_host(array)
    little = on_host.dtype.newbyteorder("<")
    if little not in NAMES:
        raise TracerError(
            f"{name!r} is of dtype {on_host.dtype}, which safetensors has no name for: convert it, "
            f"as with array.astype(np.float32)"
        )
    return np.asarray(on_host, dtype=little, order="C")


def _sync_folder(folder: Path) -> None:
    """Make a renaming last, where the system has folders that can be synchronised."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_safetensors(path: str | PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file by name, and its texts.

    Floats of 8 bits and bfloat16 become float32, which holds their values. Raises `TracerError` for
    a file that is truncated or corrupt, or no safetensors, and `OSError` for one that is not there.
    """
    path = Path(path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        entries, metadata, begin = _header(path, file, size)
        arrays = {}
        for entry in entries:
            file.seek(begin + entry.start)
            raw = bytearray(entry.stop - entry.start)
            if file.readinto(raw) != len(raw):
                raise _corrupt(path, f"it ends within {entry.name!r}")
            try:
                arrays[entry.name] = _array(entry, raw)
            except ValueError as error:  # more axes, or longer ones, than NumPy has
                raise _corrupt(path, f"of {entry.name!r} no array is made: {error}") from error
    return arrays, metadata


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins so, with at least 9 bytes, may be of this format."""
    return len(start) >= 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**40


def _header(path: Path, file: BinaryIO, size: int) -> tuple[list[Entry], dict[str, str], int]:
    """The entries in the order of the file, the texts, and where arrays begin."""
    if size < 8:
        raise _corrupt(path, f"it has {size} bytes, and the length of its header alone takes 8")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, LONGEST_HEADER):
        raise _corrupt(path, f"its header would have {length} bytes, and the file has {size}")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, f"its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise _corrupt(path, f"its header is a {type(header).__name__}, and no mapping")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(t, str) for t in texts.values()):
        raise _corrupt(path, "its __metadata__ are no texts")
    entries = [_entry(path, name, about) for name, about in header.items()]
    entries.sort(key=lambda entry: (entry.start, entry.stop))
    place = 0
    for entry in entries:
        if entry.start != place:
            raise _corrupt(path, f"{entry.name!r} begins at byte {entry.start}, and not at {place}")
        place = entry.stop
    if place != size - 8 - length:
        raise _corrupt(
            path, f"its arrays take {place} bytes, and {size - 8 - length} follow the header"
        )
    return entries, texts, 8 + length


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _entry(path: Path, name: str, about: Any) -> Entry:
    """What the header says of an array, looked at before anything is made of it."""
    try:
        kind, shape, (start, stop) = about["dtype"], about["shape"], about["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, f"of {name!r} it says {about!r}") from error
    if not isinstance(kind, str) or kind not in DTYPES | SMALL_FLOATS:
        raise _corrupt(path, f"{name!r} is of dtype {kind!r}, which is not known")
    numbers = [*shape, start, stop] if isinstance(shape, list) else [None]
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise _corrupt(path, f"{name!r} has the shape {shape!r} and bytes {start!r} to {stop!r}")
    itemsize = DTYPES[kind].itemsize if kind in DTYPES else 2 if kind == "BF16" else 1
    if math.prod(shape) * itemsize != stop - start:
        raise _corrupt(
            path,
            f"{name!r} {kind}{shape} takes {math.prod(shape) * itemsize} bytes, and has "
            f"{stop - start}",
        )
    return Entry(name, kind, tuple(shape), start, stop)


def _array(entry: Entry, raw: bytearray) -> np.ndarray:
    if entry.kind == "BOOL":
        return (np.frombuffer(raw, np.uint8) != 0).reshape(entry.shape)
    if entry.kind in DTYPES:
        dtype = DTYPES[entry.kind]
        return (
            np.frombuffer(raw, dtype)
            .astype(dtype.newbyteorder("="), copy=False)
            .reshape(entry.shape)
        )
    bits = np.frombuffer(raw, np.uint16 if entry.kind == "BF16" else np.uint8)
    return widened(bits, entry.kind).reshape(entry.shape)


def widened(bits: np.ndarray, kind: str) -> np.ndarray:
    """The values of floats of 8 bits, or of bfloat16, as float32."""
    if kind == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    exponent_bits, fraction_bits = SMALL_FLOATS[kind]
    bias = 2 ** (exponent_bits - 1) - 1
    sign = np.where(bits >> 7, -1.0, 1.0)
    exponent = (bits >> fraction_bits & (2**exponent_bits - 1)).astype(np.int32)
    fraction = (bits & (2**fraction_bits - 1)).astype(np.float64) / 2**fraction_bits
    values = sign * np.where(
        exponent > 0,
        np.ldexp(1 + fraction, exponent - bias),
        np.ldexp(fraction, 1 - bias),
    )
    last = exponent == 2**exponent_bits - 1
    if kind == "F8_E5M2":
        values = np.where(last, np.where(fraction == 0, sign * np.inf, np.nan), values)
    else:  # one code is no number, and none is infinite
        values = np.where(last & (fraction == 1 - 2.0**-fraction_bits), np.nan, values)
    return values.astype(np.float32)


def _corrupt(path: Path, why: str) -> TracerError:
    return TracerError(f"{str(path)!r} is no whole safetensors file: {why}")
