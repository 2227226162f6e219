"""The call of a model that is going on."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

import numpy as np

from tracer.errors import HintError
from tracer.extend import DType, Place
from tracer_layers.module.naming import Named, Naming


class Call(NamedTuple):
    """A call of an outermost module, or of one of another model inside of it.

    `model` is the outermost one; `naming` tells where the modules of the model that is called are,
    and `place` where that was called.
    """

    model: Named
    naming: Naming
    place: Place


#: the call of the outermost module that is going on
active: ContextVar[Call | None] = ContextVar("tracer_layers_active", default=None)


def model_dtype() -> DType | None:
    """The dtype of the parameters of the model that is being called; None if there are none."""
    call = active.get()
    if call is None:
        return None
    try:
        dtypes = {parameter.dtype for parameter in call.model.parameters()}
    except HintError:  # some are made in this call
        dtypes = {parameter.dtype for parameter in call.model._made_parameters()}
    return np.result_type(*dtypes) if dtypes else None
