"""In which dtype layers compute: data of ints, bools and half precision never decide it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import PARAMETER, SINGLE, TensorLike, backend_for
from tracer_layers.module.calls import model_dtype

#: the characters of dtypes in which layers compute as they are
WIDE = "fdgFDG"


def floats(data: TensorLike, *others: Any) -> TensorLike:
    """What a layer computes with, in a float dtype.

    Data of ints, bools and half precision take the dtype of `others` that are of a float dtype (the
    layer's parameters, a prediction); where there are none, that of the parameters of the model
    which is called, and outside of all models NumPy's own for them, which is at least float32.
    """
    dtype = data.dtype
    if dtype.char in WIDE or _is_of_parameters(data):
        return data
    found = [each.dtype for each in others if _decides(each)]
    if not found and (parameters := model_dtype()) is not None:
        found = [parameters]
    if not found and dtype.kind != "f":
        found = [np.promote_types(dtype, SINGLE)]
    if dtype.kind == "f":
        found.append(dtype)
    wanted = np.result_type(*found)
    return data if wanted == dtype else data.astype(wanted)


def _is_of_parameters(value: object) -> bool:
    """Whether a value is a parameter, or depends on some that want a gradient."""
    if not isinstance(value, Tensor) or value.node is None:
        return False
    return value.node.wants or value.node.op is PARAMETER


def _decides(value: Any) -> bool:
    """Whether a value is of a float dtype, and no data of half precision."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or dtype.kind != "f":
        return False
    return dtype.char in WIDE or _is_of_parameters(value)


def float_dtype(dtype: DTypeLike | None = None, device: object = None) -> np.dtype:
    """The dtype of new parameters: float32 unless given; a device that does not work is refused."""
    if device is not None:
        backend_for(device)
    try:
        found = np.dtype(np.float32 if dtype is None else dtype)
    except TypeError:
        raise TracerError(f"dtype is one of NumPy's, such as np.float64, got {dtype!r}") from None
    if found.kind != "f":
        raise TracerError(f"parameters are of a float dtype, got {found}: use np.float32")
    return found
