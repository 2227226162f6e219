"""What a model, a loss or a source of data is: a short text that changes where it does."""

from __future__ import annotations

import functools
import hashlib
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.extend import backend


def fingerprint(value: object) -> str:
    """Hexadecimal digits, the same in every process for equal values.

    Arrays count by their numbers, mapped files by path, size and time of change, functions by their
    name, code and what they enclose, objects by their class and fields.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(value, digest, {})
    return digest.hexdigest()


def _feed(value: Any, digest: Any, seen: dict[int, tuple[int, object]]) -> None:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        digest.update(f"{type(value).__name__}:{value!r};".encode())
        return
    if id(value) in seen:  # shared, or around itself
        digest.update(f"again:{seen[id(value)][0]};".encode())
        return
    seen[id(value)] = len(seen), value  # which is kept, so that no other has its id
    if isinstance(value, Tensor):
        digest.update(f"tensor:{value.name}:{value.requires_grad};".encode())
        value = value.data
    if isinstance(value, np.memmap) and value.filename is not None:
        about = os.stat(value.filename)
        text = f"{value.filename}:{about.st_size}:{about.st_mtime_ns}:{value.offset}:{value.shape}"
        digest.update(f"mapped:{text};".encode())
    elif backend.is_array(value) or isinstance(value, np.generic):
        array = np.ascontiguousarray(backend.to_host(value))
        digest.update(f"array:{array.dtype}:{array.shape};".encode())
        if array.dtype.kind == "O":
            _feed_all(array.ravel().tolist(), digest, seen)
        else:
            digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    elif isinstance(value, Mapping):
        _feed_all(value.items(), digest, seen)
    elif isinstance(value, list | tuple):
        _feed_all(value, digest, seen)
    elif isinstance(value, set | frozenset):
        _feed_all(sorted(map(repr, value)), digest, seen)
    elif isinstance(value, np.dtype | type | types.BuiltinFunctionType | np.ufunc):
        digest.update(f"name:{_name(value)};".encode())
    elif isinstance(value, functools.partial):
        _feed_all([value.func, value.args, value.keywords], digest, seen)
    elif isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        _feed_all([_name(value), value.__code__, value.__defaults__, cells], digest, seen)
    elif isinstance(value, types.MethodType):
        _feed_all([value.__func__, value.__self__], digest, seen)
    elif isinstance(value, types.CodeType):
        _feed_all([value.co_code, value.co_names, value.co_consts], digest, seen)
    elif isinstance(value, np.random.Generator):
        _feed(value.bit_generator.state, digest, seen)
    else:
        digest.update(f"object:{_name(type(value))};".encode())
        _feed(_state(value), digest, seen)


def _feed_all(values: Any, digest: Any, seen: dict[int, tuple[int, object]]) -> None:
    digest.update(b"[")
    for each in values:
        _feed(each, digest, seen)
    digest.update(b"]")


def _state(value: object) -> object:
    """The fields of an object; nothing of one that has none, or does not say."""
    try:
        return value.__getstate__()
    except Exception:
        return None


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', str(value))}"
