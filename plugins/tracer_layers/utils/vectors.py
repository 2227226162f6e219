"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, raw

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor | Array:
    """The elements of all parameters in a row, `[P]`; recorded where a tape is open."""
    flat = [parameter.reshape(-1) for parameter in parameters]
    if not flat:
        raise TracerError("parameters_to_vector expects parameters, got none")
    return np.concatenate(flat)


def vector_to_parameters(vec: Tensor | Array, parameters: Iterable[Tensor]) -> None:
    """Give parameters the elements of a vector `[P]`, in their order. They are copied.

    Raises `ShapeError` for a vector that has not as many elements, and changes nothing then.
    """
    vector, held = raw(vec), list(parameters)
    total = sum(parameter.size for parameter in held)
    if vector.shape != (total,):
        raise ShapeError(
            f"{len(held)} parameters take a vector of {total} elements, got {list(vector.shape)}"
        )
    start = 0
    for parameter in held:
        parameter.data = vector[start : start + parameter.size].reshape(parameter.shape)
        start += parameter.size
