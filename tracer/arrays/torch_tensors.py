"""Tensors of PyTorch as NumPy arrays, where a program has them. PyTorch is not imported here."""

from __future__ import annotations

import operator
import sys
from typing import Protocol, TypeGuard, TypeVar, cast

import numpy as np

from tracer.errors import TracingError

#: what may hold tensors
Given = TypeVar("Given")

_told: list[bool] = []


class TorchTensor(Protocol):
    """What of a tensor of PyTorch is asked."""

    shape: tuple[int, ...]
    dtype: object
    device: TorchDevice
    requires_grad: bool

    def numpy(self) -> np.ndarray: ...


class TorchDevice(Protocol):
    """Of its device, the kind."""

    type: str


def is_torch(value: object) -> TypeGuard[TorchTensor]:
    """Whether a value is a tensor of PyTorch, which somebody has imported then."""
    torch = sys.modules.get("torch")
    kind = None if torch is None else getattr(torch, "Tensor", None)
    return isinstance(kind, type) and isinstance(value, kind)


def of_torch(tensor: TorchTensor) -> np.ndarray:
    """The array of a tensor of PyTorch, in the same memory; the first time, stderr says so.

    Raises `TracingError` for one that has a history, is on another device, or of a dtype or layout
    that NumPy does not have, with what to write.
    """
    what = f"a tensor of PyTorch of shape {list(tensor.shape)}"
    if tensor.requires_grad:
        raise TracingError(
            f"{what} requires grad, and its history is PyTorch's: give x.detach(), and make "
            f"parameters here with tracer.parameter"
        )
    if tensor.device.type != "cpu":
        raise TracingError(f"{what} is on the device {str(tensor.device)!r}: give x.cpu()")
    if str(tensor.dtype) == "torch.bfloat16":
        raise TracingError(f"{what} is of bfloat16, which NumPy does not have: give x.float()")
    try:
        array = tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise TracingError(
            f"{what} and {tensor.dtype} is no array of NumPy's ({error}): give "
            f"x.to_dense() or x.resolve_conj()"
        ) from error
    if not _told:
        _told.append(True)
        print(
            "trace-net: tensors of PyTorch are taken as the NumPy arrays in their memory, here and "
            "from now on",
            file=sys.stderr,
        )
    return array


def without_torch(value: Given) -> Given:
    """A value, in which tensors of PyTorch are arrays: alone, or in tuples, lists and dicts."""
    if "torch" not in sys.modules:
        return value
    return cast("Given", _without(value))


def _without(value: object) -> object:
    if is_torch(value):
        return of_torch(value)
    if type(value) is dict:
        return {key: _without(each) for key, each in value.items()}
    if type(value) is list or type(value) is tuple:
        made = [_without(each) for each in value]
        return value if all(map(operator.is_, made, value)) else type(value)(made)
    return value
