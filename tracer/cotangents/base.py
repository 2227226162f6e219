"""The contractions, by their definitions, and the cotangents that need little more than those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer import backend
from tracer.errors import QuantityError
from tracer.kronecker import Kronecker

#: bytes of a temporary of a contraction, where no memory budget says less: it stays in cache
BLOCK_BYTES = 4 << 20


def samples_first(array: Any, axis: int, lead: int = 0) -> Any:
    """`array` with axis `axis + lead` moved to position `lead` (`lead` stack axes come first)."""
    return array if axis == 0 else np.moveaxis(array, axis + lead, lead)


class Cotangent:
    """`U[v, n, *p]`, represented. Subclasses give `per_sample` and `select`, and what is cheaper.

    Attributes: `rows` V, `samples` N, `shape` of the parameter, `dtype`, `budget` in bytes or None,
    `unbatched` a stack `[V, *p]` of what reached the parameter through no sample, or None.
    """

    shape: tuple[int, ...]
    rows: int
    samples: int
    dtype: Any
    budget: int | None = None
    unbatched: Any = None
    signs: Any = None

    # -- what subclasses define ---------------------------------------------------------------

    def per_sample(self) -> Any:
        """`[V, N, *p]`, all of it."""
        raise NotImplementedError  # every subclass defines it

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Cotangent:
        """The same for some rows and samples; `samples` is a slice or an array of ints."""
        raise NotImplementedError  # every subclass defines it

    def _total(self) -> Any:
        return accumulate(block.per_sample().sum(1) for block in self._sample_blocks())

    def _squared_norms(self) -> Any:
        return np.concatenate([_norms(block.per_sample()) for block in self._sample_blocks()], 1)

    def _sum_of_squares(self, signs: Any) -> Any:
        return accumulate(squares.sum(0) for squares in self._squares(signs))

    def _per_sample_squares(self, signs: Any) -> Any:
        return np.concatenate(list(self._squares(signs)))

    def _squares(self, signs: Any) -> Any:
        """Squares summed over rows, `[n, *p]` for one block of samples after the other."""
        start = 0
        for block in self._sample_blocks():
            u = block.per_sample()
            stop = start + block.samples
            yield np.sum(weighed(u * u, signs, slice(start, stop)), 0)
            start = stop

    def _gram(self) -> Any:
        u = self.per_sample().reshape(self.rows * self.samples, math.prod(self.shape))
        return (u @ u.T).reshape(self.rows, self.samples, self.rows, self.samples)

    def _project(self, direction: Any) -> Any:
        flat = direction.reshape(-1)
        parts = [
            block.per_sample().reshape(block.rows, block.samples, len(flat)) @ flat
            for block in self._sample_blocks()
        ]
        return np.concatenate(parts, 1)

    def _kronecker(self, sharing: str) -> Kronecker:
        """One factor, the block itself, where the parameter is a vector."""
        if len(self.shape) > 1:
            raise QuantityError(
                f"a parameter of shape {list(self.shape)} is used by no linear map here, so its "
                f"curvature block has no Kronecker factors: use diag_ggn_exact or sqrt_ggn_exact"
            )
        u = self.per_sample().reshape(self.rows * self.samples, math.prod(self.shape))
        return Kronecker((u.T @ u,), self.shape)

    # -- the contractions ---------------------------------------------------------------------

    def total(self) -> Any:
        """`[V, *p]`: the sum over samples, and what came through no sample."""
        total = self._total()
        return total if self.unbatched is None else total + self.unbatched

    def batch_total(self) -> Any:
        """`[V, *p]`: the sum over samples alone."""
        return self._total()

    def sum_of_squares(self, signs: Any = None) -> Any:
        """`[*p]`: squares summed over rows and samples, weighed by `signs [V, N]` (or `[V, 1]`)."""
        return self._sum_of_squares(self.signs if signs is None else signs)

    def total_of_squares(self) -> Any:
        """`[*p]`: squares summed over rows and samples, and of what came through no sample."""
        squares = self._sum_of_squares(None)
        if self.unbatched is None:
            return squares
        return squares + np.sum(self.unbatched * self.unbatched, 0)

    def per_sample_squares(self, signs: Any = None) -> Any:
        """`[N, *p]`: squares summed over rows, weighed by `signs [V, N]` (or `[V, 1]`)."""
        return self._per_sample_squares(self.signs if signs is None else signs)

    def squared_norms(self) -> Any:
        """`[V, N]`: squared Euclidean norms."""
        return self._squared_norms()

    def gram(self) -> Any:
        """`[V, N, V, N]`: inner products of all pairs."""
        return self._gram()

    def project(self, direction: Any) -> Any:
        """`[V, N]`: inner products with one direction `[*p]`."""
        return self._project(direction)

    def scaled(self, weights: Any) -> Cotangent:
        """The same, row v of sample n multiplied by `weights [V, N]` (or `[V, 1]`, or a number)."""
        u = self.per_sample()
        return Dense(weighed(u, weights))

    def beside(self, other: Cotangent) -> Cotangent:
        """The same rows for the samples of both: those of `other` follow."""
        joined = self._joined(other) if self.kind() == other.kind() else None
        return joined or Dense(np.concatenate([self.per_sample(), other.per_sample()], 1))

    def _joined(self, other: Any) -> Cotangent | None:
        return None

    def kronecker(self, sharing: str = "expand") -> Kronecker:
        """Kronecker factors of `sum_vn u u^T`; `sharing` is "expand" or "reduce"."""
        if sharing not in ("expand", "reduce"):
            raise QuantityError(f'sharing is "expand" or "reduce", got {sharing!r}')
        return self._kronecker(sharing)

    def among(self, present: Any) -> Cotangent:
        """The same, its Kronecker factors of those uses alone that are there: `present [N, S]`."""
        return self

    def combine(self, others: Sequence[Cotangent]) -> Cotangent:
        """The sum with further uses of the same parameter, structured where it can be."""
        uses = [self, *others]
        merged = self._merge(others) if len({use.kind() for use in uses}) == 1 else None
        return merged or Mixed(uses)

    def kind(self) -> Any:
        """Uses of equal kind merge into one of that kind."""
        return type(self)

    def _merge(self, others: Sequence[Any]) -> Cotangent | None:
        return None

    # -- chunks -------------------------------------------------------------------------------

    def within(self, budget: int | None) -> Cotangent:
        """The same, the temporaries of its contractions bounded by `budget` bytes."""
        self.budget = budget
        return self

    def _sample_blocks(self, bytes_per_sample: int | None = None) -> Any:
        """Blocks of samples whose `[V, n, *p]`, and two temporaries of its size, fit the budget."""
        if bytes_per_sample is None:
            bytes_per_sample = self.rows * math.prod(self.shape) * np.dtype(self.dtype).itemsize
        budget = min(self.budget or BLOCK_BYTES, BLOCK_BYTES)
        step = max(1, budget // max(1, 3 * bytes_per_sample))
        if step >= self.samples:
            yield self
            return
        for start in range(0, self.samples, step):
            yield self.select(samples=slice(start, start + step))


def picked(array: Any, rows: Any, samples: Any) -> Any:
    """`array [V, N, ...]` for some rows and samples: slices, or the host's indices."""
    return indexed(indexed(array, (), rows), (slice(None),), samples)


def indexed(array: Any, lead: tuple[slice, ...], index: Any) -> Any:
    """`array[*lead, index]`."""
    if isinstance(index, np.ndarray):
        index = backend.of(array).from_host(index)
    return array[(*lead, index)]


def accumulate(parts: Any) -> Any:
    """The sum of arrays that are made one after the other."""
    total = None
    for part in parts:
        total = part if total is None else total + part
    return total


def weighed(squares: Any, signs: Any, samples: slice = slice(None)) -> Any:
    """`squares [V, n, ...]` times `signs [V, N]` (or `[V, 1]`) of these samples, or a number."""
    if signs is None:
        return squares
    if isinstance(signs, int | float):
        return squares * signs
    signs = signs[:, samples] if signs.shape[1] > 1 else signs
    return squares * signs.reshape(*signs.shape, *(1,) * (squares.ndim - 2))


def _norms(u: Any) -> Any:
    flat = u.reshape(*u.shape[:2], math.prod(u.shape[2:]))
    return np.einsum("vnp,vnp->vn", flat, flat)


class Dense(Cotangent):
    """The array `[V, N, *p]` itself."""

    def __init__(self, array: Any):
        self.array = array
        self.rows, self.samples = array.shape[:2]
        self.shape = tuple(array.shape[2:])
        self.dtype = array.dtype

    def per_sample(self) -> Any:
        return self.array

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Dense:
        return Dense(picked(self.array, rows, samples))

    def _merge(self, others: Sequence[Any]) -> Dense:
        return Dense(accumulate([self.array, *(other.array for other in others)]))

    def _total(self) -> Any:
        return self.array.sum(1)

    def _squared_norms(self) -> Any:
        return _norms(self.array)

    def _sum_of_squares(self, signs: Any) -> Any:
        flat = self.array.reshape(self.rows, self.samples, math.prod(self.shape))
        squares = np.einsum("vnp,vnp->p", weighed(flat, signs), flat)
        return squares.reshape(self.shape)


class Summed(Cotangent):
    """`U[v, n] = sum_t terms[v, n, t]`: a bias, used T times by each sample."""

    def __init__(self, terms: Any):
        self.terms = terms
        self.rows, self.samples = terms.shape[:2]
        self.shape = tuple(terms.shape[3:])
        self.dtype = terms.dtype
        self._dense: Any = None

    def per_sample(self) -> Any:
        if self._dense is None:
            self._dense = self.terms[:, :, 0] if self.terms.shape[2] == 1 else self.terms.sum(2)
        return self._dense

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Summed:
        return Summed(picked(self.terms, rows, samples))

    def _merge(self, others: Sequence[Any]) -> Summed:
        return Summed(np.concatenate([self.terms, *(other.terms for other in others)], 2))

    def _total(self) -> Any:
        return self.terms.sum((1, 2))

    def _squared_norms(self) -> Any:
        return _norms(self.per_sample())

    def _sum_of_squares(self, signs: Any) -> Any:
        return Dense(self.per_sample())._sum_of_squares(signs)

    def _kronecker(self, sharing: str) -> Kronecker:
        if len(self.shape) > 1:
            return super()._kronecker(sharing)
        b = self.terms if sharing == "expand" else self.per_sample()
        b = b.reshape(-1, *self.shape)
        return Kronecker((b.T @ b,), self.shape)


class Reindexed(Cotangent):
    """Another cotangent, its elements put elsewhere: what a transposed or sliced weight has.

    `pull` takes stacks `[K, *inner.shape]` to `[K, *shape]`, each element to one place; `push`
    takes a direction `[*shape]` back. Cotangents with equal `key` merge.
    """

    def __init__(
        self,
        inner: Cotangent,
        shape: tuple[int, ...],
        pull: Callable[[Any], Any],
        push: Callable[[Any], Any],
        key: Any,
    ):
        self.inner = inner
        self.shape = tuple(shape)
        self.pull = pull
        self.push = push
        self.key = key
        self.rows, self.samples, self.dtype = inner.rows, inner.samples, inner.dtype

    def kind(self) -> Any:
        return Reindexed, self.key, self.shape, self.inner.kind()

    def within(self, budget: int | None) -> Cotangent:
        self.inner.within(budget)
        return super().within(budget)

    def scaled(self, weights: Any) -> Reindexed:
        return self._like(self.inner.scaled(weights))

    def among(self, present: Any) -> Reindexed:
        return self._like(self.inner.among(present))

    def _like(self, inner: Cotangent) -> Reindexed:
        return Reindexed(inner.within(self.budget), self.shape, self.pull, self.push, self.key)

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Reindexed:
        return self._like(self.inner.select(rows, samples))

    def _merge(self, others: Sequence[Any]) -> Reindexed:
        return self._like(self.inner.combine([other.inner for other in others]))

    def per_sample(self) -> Any:
        inner = self.inner.per_sample()
        pulled = self.pull(inner.reshape(-1, *self.inner.shape))
        return pulled.reshape(self.rows, self.samples, *self.shape)

    def _total(self) -> Any:
        return self.pull(self.inner.total())

    def _squared_norms(self) -> Any:
        return self.inner.squared_norms()

    def _sum_of_squares(self, signs: Any) -> Any:
        return self.pull(self.inner.sum_of_squares(signs)[None])[0]

    def _per_sample_squares(self, signs: Any) -> Any:
        return self.pull(self.inner.per_sample_squares(signs))

    def _gram(self) -> Any:
        return self.inner.gram()

    def _project(self, direction: Any) -> Any:
        return self.inner.project(self.push(direction))

    def _kronecker(self, sharing: str) -> Kronecker:
        inner = self.inner.kronecker(sharing)
        return Kronecker(inner.factors, self.shape, pull=lambda stack: self.pull(inner.pull(stack)))


class Coupled(Cotangent):
    """Masked rows, where samples are coupled: each sample's cotangent is a total over all samples.

    `inner` has `V * slots` rows, a row per sample after each other.
    Its own structure survives, so that Kronecker factors do: of rows at all samples and uses.
    """

    def __init__(self, inner: Cotangent, slots: int):
        self.inner = inner
        self.rows, self.samples = inner.rows // slots, slots
        self.shape, self.dtype = inner.shape, inner.dtype

    def kind(self) -> Any:
        return Coupled, self.samples, self.inner.kind()

    def within(self, budget: int | None) -> Coupled:
        self.budget = budget
        self.inner.within(budget)
        return self

    def select(self, rows: Any = slice(None), samples: Any = slice(None)) -> Coupled:
        every = np.arange(self.rows * self.samples).reshape(self.rows, self.samples)
        chosen = every[rows][:, samples]
        return Coupled(self.inner.select(chosen.reshape(-1)), chosen.shape[1]).within(self.budget)

    def _merge(self, others: Sequence[Any]) -> Coupled:
        return Coupled(self.inner.combine([other.inner for other in others]), self.samples)

    def per_sample(self) -> Any:
        return self.inner.total().reshape(self.rows, self.samples, *self.shape)

    def _sum_of_squares(self, signs: Any) -> Any:
        return Dense(self.per_sample())._sum_of_squares(signs)

    def _kronecker(self, sharing: str) -> Kronecker:
        return self.inner.kronecker(sharing)


class Mixed(Cotangent):
    """The sum of uses of different kinds, as of a table that is also a linear map's weight."""

    def __init__(self, uses: Sequence[Cotangent]):
        self.uses = list(uses)
        first = self.uses[0]
        self.shape, self.rows, self.samples = first.shape, first.rows, first.samples
        self.dtype = np.result_type(*(use.dtype for use in self.uses))

    def within(self, budget: int | None) -> Cotangent:
        for use in self.uses:
            use.within(budget)
        return super().within(budget)

    def select(self, rows: slice = slice(None), samples: Any = slice(None)) -> Mixed:
        return Mixed([use.select(rows, samples) for use in self.uses])

    def per_sample(self) -> Any:
        return accumulate(use.per_sample() for use in self.uses)

    def _total(self) -> Any:
        return accumulate(use.total() for use in self.uses)

    def _project(self, direction: Any) -> Any:
        return accumulate(use.project(direction) for use in self.uses)

    def _parts(self) -> list[Reindexed]:
        """The uses in the order of their elements, if each element of the parameter has one."""
        uses = [use for use in self.uses if isinstance(use, Reindexed)]
        places = [use.pull(np.ones((1, *use.inner.shape)))[0] for use in uses]
        if len(uses) < len(self.uses) or not bool((accumulate(places) == 1).all()):
            return []
        order = sorted(range(len(uses)), key=lambda i: int(np.argmax(places[i])))
        return [uses[i] for i in order]

    def _kronecker(self, sharing: str) -> Kronecker:
        if len(self.shape) == 1:
            return super()._kronecker(sharing)
        if parts := self._parts():
            sizes = [math.prod(part.inner.shape) for part in parts]
            return _beside([part.kronecker(sharing) for part in parts], sizes, self.shape)
        raise QuantityError(
            f"a parameter of shape {list(self.shape)} is used in several different ways "
            f"({', '.join(type(use).__name__ for use in self.uses)}), so its curvature block has "
            f"no Kronecker factors: use diag_ggn_exact or sqrt_ggn_exact"
        )


def _beside(parts: list[Kronecker], sizes: list[int], shape: tuple[int, ...]) -> Kronecker:
    """The block-diagonal one of a parameter whose elements are those of the parts."""

    def pull(stack: Any) -> Any:
        stops = np.cumsum(sizes).tolist()
        pieces = zip(parts, sizes, stops, strict=True)
        return accumulate(part.pull(stack[:, stop - n : stop]) for part, n, stop in pieces)

    return Kronecker(tuple(factor for part in parts for factor in part.factors), shape, pull)


def collect(uses: Sequence[Cotangent]) -> Cotangent:
    """All uses of one parameter as one cotangent: uses of one kind merge, kinds are mixed."""
    groups: dict[Any, list[Cotangent]] = {}
    for use in uses:
        groups.setdefault(use.kind(), []).append(use)
    merged = [first.combine(rest) if rest else first for first, *rest in groups.values()]
    return merged[0] if len(merged) == 1 else Mixed(merged)
