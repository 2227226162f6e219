"""In which dtype layers compute: data of ints, bools and half precision never decide it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import Tensor
from tracer.dtypes import SINGLE
from tracer.operation import PARAMETER
from tracer_layers.module import model_dtype

#: the characters of dtypes in which layers compute as they are
WIDE = "fdgFDG"


def floats(data: Any, *others: Any) -> Any:
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


def _is_of_parameters(value: Any) -> bool:
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
