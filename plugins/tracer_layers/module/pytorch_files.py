"""Files of `torch.save`, read without PyTorch and without running anything.

Such a file is a zip archive of a pickle, which names functions to be called, and of storages, the
bytes of tensors. What may be named is listed here, and is ours: the pickle builds dicts, lists and
arrays, and anything else that it asks for is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tracer.errors import TracerError

#: PyTorch's kinds of storages, and its dtypes, and NumPy's
DTYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "BFloat16Storage": "bfloat16",
}
#: elements beyond those of its storage that a tensor may have, as one that is broadcast
MOST_REPEATED = 1 << 20


class Kind(NamedTuple):
    """A kind of storage, as it is named in the pickle."""

    name: str


class Storage(NamedTuple):
    """The elements of one or more tensors."""

    name: str
    elements: np.ndarray


def read_pytorch(path: Path) -> Any:
    """What `torch.save` wrote: containers, numbers, texts, and arrays in place of tensors.

    bfloat16 becomes float32. Raises `TracerError` for a file that is truncated or corrupt, or whose
    pickle asks for anything but tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(names) != 1:
                raise _broken(path, f"it has {len(names)} data.pkl, where one is expected")
            return _Unpickler(path, archive, names[0]).load()
    except (zipfile.BadZipFile, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise _broken(path, str(error) or type(error).__name__) from error
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise _broken(path, f"its pickle builds nothing that is known ({error})") from error


class _Unpickler(pickle.Unpickler):
    """Builds what a pickle says, of what is listed here alone."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str):
        self.path, self.archive = path, archive
        self.root = name[: -len("data.pkl")]
        self.storages: dict[str, Storage] = {}
        order = f"{self.root}byteorder"
        known = order in archive.namelist()
        self.big = known and _stored(path, archive, order).strip() == b"big"
        super().__init__(io.BytesIO(_stored(path, archive, name)))

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return Kind(name)
        found = ALLOWED.get((module, name))
        if found is None:
            raise TracerError(
                f"{str(self.path)!r} asks for {module}.{name}, which is neither a tensor nor a "
                f"container, and nothing of it was run: save a state, "
                f"torch.save(model.state_dict(), path)"
            )
        return found

    def persistent_load(self, pid: Any) -> Storage:
        tag, kind, key, _, count = pid
        if tag != "storage" or not isinstance(kind, Kind) or not isinstance(key, str):
            raise _broken(self.path, f"it refers to {pid!r}, which is no storage")
        if key not in self.storages:
            content = _stored(self.path, self.archive, f"{self.root}data/{key}")
            self.storages[key] = Storage(key, self._elements(kind.name, content, count))
        return self.storages[key]

    def _elements(self, kind: str, content: bytes, count: int) -> np.ndarray:
        dtype = DTYPES[kind]
        is_small = dtype == "bfloat16"
        stored = np.dtype("u2" if is_small else dtype).newbyteorder(">" if self.big else "<")
        if len(content) != count * stored.itemsize:
            raise _broken(
                self.path, f"a storage of {count} {kind} elements has {len(content)} bytes"
            )
        found = np.frombuffer(content, stored).astype(stored.newbyteorder("="))
        return (found.astype(np.uint32) << 16).view(np.float32) if is_small else found


def _stored(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a file in the archive, which is not compressed, so that it is no longer."""
    about = archive.getinfo(name)
    if about.compress_type != zipfile.ZIP_STORED:
        raise _broken(path, f"{name} is compressed, and PyTorch compresses nothing")
    return archive.read(about)


def _tensor(storage: Storage, offset: int, size: Any, stride: Any, *_: object) -> np.ndarray:
    """A copy of the elements of a tensor, `torch._utils._rebuild_tensor_v2`."""
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise TracerError(f"a tensor has the size {size}, strides {stride} and offset {offset}")
    elements = storage.elements
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= len(elements):
        raise TracerError(
            f"a tensor of size {size} reaches element {last} of a storage of {len(elements)}"
        )
    if count > len(elements) + MOST_REPEATED:
        raise TracerError(
            f"a tensor of size {size} repeats a storage of {len(elements)} elements too often"
        )
    if not count:
        return np.empty(size, elements.dtype)
    strides = tuple(step * elements.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(elements[offset:], size, strides).copy()


def _parameter(data: Any, *_: object) -> Any:
    """The tensor of `torch._utils._rebuild_parameter`."""
    return data


#: what a pickle may name, and what stands for it here
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


def state_in(path: Path, found: Any) -> Mapping[str, np.ndarray]:
    """The state of a model in what was read: itself, or what it has under a usual name."""
    for name in (None, "state_dict", "model_state_dict", "model"):
        inner = found if name is None else found.get(name) if isinstance(found, Mapping) else None
        if isinstance(inner, Mapping) and inner and _is_state(inner):
            return inner
    keys = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    raise TracerError(
        f"{str(path)!r} holds no state of a model: it has {keys}. Save one with "
        f"torch.save(model.state_dict(), path)"
    )


def _is_state(found: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, np.ndarray) for k, v in found.items())


def _broken(path: Path, why: str) -> TracerError:
    return TracerError(f"{str(path)!r} is no whole file of PyTorch's: {why}")
