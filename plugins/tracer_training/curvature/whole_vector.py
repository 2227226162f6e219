"""All parameters of an optimiser as one vector, that of an operator over a model's parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, DType, backend


class Operator(Protocol):
    """What the quantities "ggn" and "hessian" give."""

    dtype: DType
    shape: tuple[int, ...]
    parameters: Mapping[str, slice]

    def matvec(self, vector: Array) -> Array: ...


class WholeVector:
    """The places of parameters in the vectors `[P]` of an operator over P elements.

    `found` has parameters and their names, as results have them. What an operator
    is of besides, parameters that are not stepped, is zero in all vectors.
    """

    def __init__(
        self,
        operator: Operator,
        found: Iterable[tuple[Tensor, str]],
    ):
        self.operator = operator
        self.places: list[tuple[Tensor, slice]] = []
        for parameter, name in found:
            if name not in operator.parameters:
                raise TracerError(
                    f"the operator over all parameters is not of {name!r}, which has a gradient: "
                    f"ask for both in one sweep, tape.backward(loss, optimizer.quantities)"
                )
            self.places.append((parameter, operator.parameters[name]))
        stepped = sum(place.stop - place.start for _, place in self.places)
        self.is_whole = stepped == operator.shape[0]

    def vector(self, values: Iterable[Array]) -> Array:
        """`[P]` of values for the parameters, in their order here."""
        values = list(values)
        out = self._zeros(values[0])
        for (_, place), value in zip(self.places, values, strict=True):
            out[place] = value.reshape(-1).astype(self.operator.dtype)
        return out

    def parts(self, vector: Array) -> Iterator[tuple[Tensor, Array]]:
        """Parameters, and a vector's values of their shapes."""
        for parameter, place in self.places:
            yield parameter, vector[place].reshape(parameter.shape)

    def product(self, vector: Array) -> Array:
        """The operator's block of these parameters, times a vector."""
        moved = self.operator.matvec(vector)
        if self.is_whole:
            return moved
        out = self._zeros(moved)
        for _, place in self.places:
            out[place] = moved[place]
        return out

    def _zeros(self, like: Array) -> Array:
        return backend.namespace(like).zeros(self.operator.shape[0], dtype=self.operator.dtype)
