"""The arrays of a `.pt2` archive: whole storages, and where in them each tensor lies."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tracer.extend import DType
from tracer_import.archive import Archive, Document
from tracer_import.errors import ProgramError
from tracer_import.program import Held

#: PyTorch's numbers of dtypes; bfloat16 is read by its bits, and becomes float32
DTYPES: dict[int, DType] = {
    1: np.dtype(np.uint8),
    2: np.dtype(np.int8),
    3: np.dtype(np.int16),
    4: np.dtype(np.int32),
    5: np.dtype(np.int64),
    6: np.dtype(np.float16),
    7: np.dtype(np.float32),
    8: np.dtype(np.float64),
    10: np.dtype(np.complex64),
    11: np.dtype(np.complex128),
    12: np.dtype(np.bool_),
    13: np.dtype(np.float32),
    28: np.dtype(np.uint16),
    34: np.dtype(np.uint32),
    35: np.dtype(np.uint64),
}
BFLOAT16 = 13
#: elements that tensors may have besides those that lie in the file, where strides repeat them
REPEATED = 1 << 24
#: axes of a tensor at most, as NumPy has them
MOST_AXES = 64


def dtype_of(number: int) -> np.dtype:
    """NumPy's dtype for PyTorch's number of one."""
    if number not in DTYPES:
        raise ProgramError(
            f"the program has arrays of PyTorch's dtype number {number} (8-bit floats, quantised "
            f"or complex halves), which are not read: export the model in float32"
        )
    return DTYPES[number]


class Weights:
    """The arrays by name. Tensors that are one place of one storage are one array."""

    def __init__(self, archive: Archive):
        self._archive = archive
        self._order = archive.read("byteorder").decode() if "byteorder" in archive else "little"
        self._entries: dict[str, tuple[str, Document]] = {}
        for folder in ("data/constants/", "data/weights/"):
            for name in archive.names(folder):
                if name.endswith("_config.json"):
                    config = archive.document(name)["config"]
                    self._entries.update({str(k): (folder, entry) for k, entry in config.items()})
        self._storages: dict[tuple[str, int], np.ndarray] = {}
        self._arrays: dict[Any, np.ndarray] = {}
        self._elements = 0
        self._bfloat16 = 0

    def notes(self) -> tuple[str, ...]:
        """What a user should know of what was read."""
        if not self._bfloat16:
            return ()
        return (f"{self._bfloat16} arrays of bfloat16 became float32, which holds their values",)

    def held(self, value: str, path: str, kind: str) -> Held:
        """The array that the program has under a path."""
        if path not in self._entries:
            raise ValueError(f"the array of {path!r} is not there")
        folder, entry = self._entries[path]
        meta = entry.get("tensor_meta")
        if entry.get("use_pickle") or meta is None or str(entry["path_name"]).endswith(".pt"):
            raise ProgramError(
                f"{str(self._archive.path)!r} keeps {path!r} as a pickle, which is a program and "
                f"is not run: export the model with plain tensors as its parameters and buffers"
            )
        if meta.get("layout", 7) != 7:
            raise ProgramError(f"{path!r} is sparse: convert it with to_dense() before the export")
        trained = bool(meta.get("requires_grad")) and kind == "parameter"
        return Held(str(value), path, self._array(path, folder, entry), kind, trained)

    def ties(self, held: Sequence[Held]) -> list[Held]:
        """Parameters that are other names of those that are held, and no values of the program."""
        known = {each.path for each in held}
        arrays = {id(each.array): each for each in held}
        found = []
        for path, (folder, entry) in self._entries.items():
            if path in known or not entry.get("is_param") or entry.get("tensor_meta") is None:
                continue
            array = self._arrays.get(self._place(folder, entry))
            if array is not None and id(array) in arrays:
                found.append(replace(arrays[id(array)], value="", path=path))
        return found

    def _place(self, folder: str, entry: Document) -> Any:
        """The member that an array lies in, its dtype, and where it lies there."""
        meta = entry["tensor_meta"]
        (offset,) = _ints([meta["storage_offset"]])
        shape, strides = _ints(meta["sizes"]), _ints(meta["strides"])
        (number,) = _ints([{"as_int": meta["dtype"]}])
        return f"{folder}{entry['path_name']}", number, offset, shape, strides

    def _array(self, path: str, folder: str, entry: Document) -> np.ndarray:
        place = self._place(folder, entry)
        if place not in self._arrays:
            dtype_of(place[1])
            self._arrays[place] = self._view(path, *place)
        return self._arrays[place]

    def _view(
        self, path: str, member: str, number: int, offset: int, shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> np.ndarray:  # fmt: skip
        if len(shape) != len(strides) or len(shape) > MOST_AXES:
            raise ValueError(f"{path!r} has {len(shape)} sizes and {len(strides)} strides")
        if min((offset, *shape, *strides), default=0) < 0:
            raise ValueError(f"{path!r} has negative sizes or strides: {shape}, {strides}")
        dtype = DTYPES[number]
        if 0 in shape:
            return np.zeros(shape, dtype)
        count = self._archive.bytes_of(member) // (2 if number == BFLOAT16 else dtype.itemsize)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if last >= count:
            raise ValueError(
                f"{path!r} {list(shape)} ends at element {last} of a storage of {count}"
            )
        self._elements += math.prod(shape)
        if self._elements > self._archive.size + REPEATED:
            raise ValueError(
                f"{path!r} {list(shape)} repeats the elements of its storage too often"
            )
        storage = self._storage(member, number)
        steps = [stride * storage.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
        return np.array(view, order="C")

    def _storage(self, member: str, number: int) -> np.ndarray:
        """All elements of a member."""
        key = (member, number)
        if key not in self._storages:
            self._bfloat16 += number == BFLOAT16
            stored = np.dtype(np.uint16) if number == BFLOAT16 else DTYPES[number]
            raw = self._archive.read(member)
            elements = np.frombuffer(raw[: len(raw) // stored.itemsize * stored.itemsize], stored)
            if self._order != sys.byteorder:
                elements = elements.byteswap()
            if number == BFLOAT16:
                elements = (elements.astype(np.uint32) << 16).view(np.float32)
            self._storages = {key: elements}  # the last alone: what was read is copied out
        return self._storages[key]


def _ints(entries: list[Document]) -> tuple[int, ...]:
    """Sizes or strides that are numbers, `{"as_int": 3}`."""
    numbers = tuple(entry["as_int"] for entry in entries)
    if not all(type(n) is int and abs(n) < 2**62 for n in numbers):
        raise ValueError(f"sizes that are no numbers: {numbers}")
    return numbers
