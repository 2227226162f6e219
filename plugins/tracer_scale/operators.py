"""Curvature matrices of all shards: their products run on the engine, shard by shard."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from tracer.errors import QuantityError, ShapeError
from tracer.extend import Array, Backend, backend
from tracer_scale.engines import Engine
from tracer_scale.states import Plain
from tracer_scale.together import together
from tracer_scale.work import Job, Product, Work


class Multiplies(Protocol):
    """What gives products of matrices of all shards."""

    def product(self, job: Job) -> Plain: ...

    def close(self) -> None: ...


class Multiplier:
    """Products with the matrices of shards; `shares` are the shards' weights in the objective.

    The engine's workers are kept for the next product, until `close`.
    """

    def __init__(self, engine: Engine, work: Work, shares: Sequence[float]):
        self.engine, self.work, self.shares = engine, work, list(shares)
        weakref.finalize(self, engine.abandon)

    def product(self, job: Job) -> Plain:
        """The sum over shards, in their order."""
        return together(self.engine, self._summed, self.work, job, self._used)

    @property
    def _used(self) -> list[int]:
        """The shards that have samples."""
        return [shard for shard, share in enumerate(self.shares) if share]

    def _summed(self, parts: Iterable[Any]) -> Plain:
        total: Plain = None
        for shard, part in zip(self._used, parts, strict=True):
            assert isinstance(part, Product)
            total = added(total, part.value, self.shares[shard])
        return total

    def close(self) -> None:
        self.engine.close()


def added(total: Plain, value: Plain, share: float) -> Plain:
    """A sum of products so far, and one more with its share."""
    if value is None:
        return total
    if isinstance(value, dict):
        before = total or {}
        return {name: added(before.get(name), each, share) for name, each in value.items()}
    scaled = share * value
    return scaled if total is None else total + scaled


def operator(
    name: str, about: Plain, multiplier: Multiplies, library: Backend = backend.NUMPY
) -> Any:
    """A matrix over all parameters of all shards, `[P, P]`, on vectors of a library.

    It is a `LinearOperator` of SciPy's, or of CuPy's. As the operator of a sweep it is symmetric,
    and its `parameters` map names to slices; `matmat` takes many columns through one pass over the
    data. Its workers stay for the next product: `close()`, or the end of a `with` block, ends them.
    """
    spans = {p: slice(*span) for p, span in about["spans"].items()}
    size = max((span.stop for span in spans.values()), default=0)

    class ShardedOperator(library.linear_operator):  # type: ignore[name-defined]  # of the library
        backend = library  # where its vectors are
        parameters = spans

        def _matmat(self, columns: Array) -> Array:
            if columns.dtype.kind == "c":
                return self._matmat(columns.real) + 1j * self._matmat(columns.imag)
            given = library.namespace.asarray(columns, dtype=self.dtype, order="C")
            return multiplier.product(Job(name, given))

        def _matvec(self, vector: Array) -> Array:
            return self._matmat(vector.reshape(-1, 1)).reshape(vector.shape)

        def _adjoint(self) -> Any:
            return self

        _transpose = _adjoint

        def close(self) -> None:
            """End the workers; a later product begins them anew."""
            multiplier.close()

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            self.close()

        def __reduce__(self) -> Any:
            raise QuantityError(
                f"the operator of {name!r} works with its engine, and cannot be pickled: pickle "
                f"what it gives, as in operator @ vectors"
            )

    return ShardedOperator(dtype=np.dtype(about["dtype"]), shape=(size, size))


class ShardedBlock:
    """`product(v)` or `product @ v`: a parameter's block times `[V, *p]` or `[*p]`."""

    def __init__(self, name: str, parameter: str, shape: Sequence[int], multiplier: Multiplies):
        self.shape = tuple(shape)
        self._name, self._parameter, self._multiplier = name, parameter, multiplier

    def __call__(self, v: Array) -> Array:
        v = v if backend.is_array(v) else np.asarray(v)
        if v.shape == self.shape:
            return self(v[None])[0]
        if v.ndim == 0 or v.shape[1:] != self.shape:
            raise ShapeError(
                f"a stack of vectors of shape [{', '.join(['V', *map(str, self.shape)])}] is "
                f"expected, got {list(v.shape)}"
            )
        found = self._multiplier.product(Job(self._name, {self._parameter: v}))
        return found[self._parameter]

    __matmul__ = __call__

    def __repr__(self) -> str:
        return f"<product with a block of shape {list(self.shape)}>"


def matrix(
    name: str, about: Plain, multiplier: Multiplies, library: Backend = backend.NUMPY
) -> Any:
    """The operator, on vectors of a library, or a function for each parameter."""
    if "spans" in about:
        return operator(name, about, multiplier, library)
    return {
        parameter: ShardedBlock(name, parameter, shape, multiplier)
        for parameter, shape in about["shapes"].items()
    }
