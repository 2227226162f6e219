"""The contractions, by their definitions, and the cotangents that need little more than those."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, Self

import numpy as np

from tracer.arrays.parallel import in_parallel, threads
from tracer.arrays.types import Array, DType, Present, Shape, Signs, Some, Stack
from tracer.cotangents.contractions import (
    accumulate,
    picked,
    second_moment,
    squared_norms_of,
    sum_of_squares,
    weighed,
)
from tracer.cotangents.kronecker import Kronecker, NoFactors
from tracer.errors import QuantityError
from tracer.record.frames import source_line

#: bytes of a temporary of a contraction, where no memory budget says less: it stays in cache
BLOCK_BYTES = 4 << 20
#: bytes of what inner products of all pairs are made from, where no memory budget says less
GRAM_BYTES = 256 << 20


class ChunkOfRows(QuantityError):
    """Where products of all pairs of rows are wanted of a chunk of them.

    A sweep then keeps the rows, and calls `extract` with all of them.
    """


#: a function of a block of samples, and of which samples these are
Block = Callable[[Any, slice], Array]


class Cotangent:
    """`U[v, n, *p]`, represented. Subclasses give `per_sample` and `select`, and what is cheaper.

    Attributes: `rows` V, `samples` N, `shape` of the parameter, `dtype`, `budget` in bytes or None,
    `unbatched` a stack `[V, *p]` of what reached the parameter through no sample, or None,
    `unbatched_squares` the sum of squares `[*p]` of further such rows, or None.
    """

    shape: Shape
    rows: int
    samples: int
    dtype: DType
    budget: int | None = None
    unbatched: Stack | None = None
    unbatched_squares: Array | None = None
    signs: Signs = None
    #: length of the rows that an index picks, if one does
    row_width: int | None = None
    #: whether it is a chunk of the rows that there are
    partial = False
    #: `[V, *p]`, the sum over samples, where a quantity has made it already: see `Quantity.first`
    known_total: Stack | None = None

    @property
    def _source(self) -> Array | None:
        """An array that it is made of, or None: blocks of NumPy's arrays go to several threads."""
        return None

    # -- what subclasses define ---------------------------------------------------------------

    def per_sample(self) -> Array:
        """`[V, N, *p]`, all of it."""
        raise NotImplementedError  # every subclass defines it

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Cotangent:
        """The same for some rows and samples, each a slice or an array of ints."""
        raise NotImplementedError  # every subclass defines it

    def whole(self) -> Cotangent:
        """The same from an array of all of it, with its elements in the order that costs least."""
        return Dense(self.per_sample())

    def _total(self) -> Stack:
        return self._added(lambda block, _: block.per_sample().sum(1))

    def _squared_norms(self) -> Array:
        return np.concatenate(self._each(lambda block, _: squared_norms_of(block.per_sample())), 1)

    def _sum_of_squares(self, signs: Signs) -> Array:
        return self._added(lambda block, some: sum_of_squares(block.per_sample(), signs, some))

    def _per_sample_squares(self, signs: Signs) -> Array:
        def squares(block: Cotangent, some: slice) -> Array:
            u = block.per_sample()
            return np.sum(weighed(u * u, signs, some), 0)

        return np.concatenate(self._each(squares))

    def _gram(self) -> Array:
        u = self.per_sample().reshape(self.rows * self.samples, math.prod(self.shape))
        return (u @ u.T).reshape(self.rows, self.samples, self.rows, self.samples)

    def _project(self, direction: Array) -> Array:
        flat = direction.reshape(-1)

        def projected(block: Cotangent, _: slice) -> Array:
            return block.per_sample().reshape(block.rows, block.samples, len(flat)) @ flat

        return np.concatenate(self._each(projected), 1)

    def _kronecker(self, sharing: str) -> Kronecker:
        """One factor, the block itself, where the parameter is a vector."""
        if len(self.shape) > 1:
            raise NoFactors(self.shape, f"is used {self.role()}, not by a linear map or a sum")
        return self._whole_block()

    def _whole_block(self) -> Kronecker:
        u = self.per_sample().reshape(self.rows * self.samples, math.prod(self.shape))
        return Kronecker((second_moment(u),), self.shape)

    # -- the contractions ---------------------------------------------------------------------

    def total(self) -> Stack:
        """`[V, *p]`: the sum over samples, and what came through no sample."""
        total = self._total() if self.known_total is None else self.known_total
        return total if self.unbatched is None else total + self.unbatched

    def batch_total(self) -> Stack:
        """`[V, *p]`: the sum over samples alone."""
        return self._total() if self.known_total is None else self.known_total

    def sum_of_squares(self, signs: Signs = None) -> Array:
        """`[*p]`: squares summed over rows and samples, weighed by `signs [V, N]` (or `[V, 1]`)."""
        return self._sum_of_squares(self.signs if signs is None else signs)

    def total_of_squares(self) -> Array:
        """`[*p]`: squares summed over rows and samples, and of what came through no sample."""
        squares = self._sum_of_squares(None)
        if self.unbatched is not None:
            squares = squares + np.sum(self.unbatched * self.unbatched, 0)
        return squares if self.unbatched_squares is None else squares + self.unbatched_squares

    def per_sample_squares(self, signs: Signs = None) -> Array:
        """`[N, *p]`: squares summed over rows, weighed by `signs [V, N]` (or `[V, 1]`)."""
        return self._per_sample_squares(self.signs if signs is None else signs)

    def squared_norms(self) -> Array:
        """`[V, N]`: squared Euclidean norms."""
        return self._squared_norms()

    def gram(self) -> Array:
        """`[V, N, V, N]`: inner products of all pairs.

        Raises `QuantityError` for a chunk of rows, whose products with other rows it cannot have.
        """
        if self.partial:
            raise ChunkOfRows(
                f"gram() pairs all rows, and this is a chunk of {self.rows} of them: write "
                f"`all_rows = True` in the class of the quantity, whose extract then gets all rows"
            )
        limit = GRAM_BYTES if self.budget is None else self.budget
        return self._gram() if self._gram_bytes() <= limit else self._gram_in_blocks(limit)

    def _gram_bytes(self) -> int:
        """Bytes of what `_gram` makes besides its result."""
        return 2 * self.samples * self._bytes_per_sample()

    def _gram_in_blocks(self, limit: int) -> Array:
        """The same from two blocks of samples at a time."""
        step = max(1, limit // max(1, 4 * self._bytes_per_sample()))
        slices = [slice(i, i + step) for i in range(0, self.samples, step)]

        def flat(some: slice) -> Array:
            u = self.select(samples=some).within(self.budget).per_sample()
            return u.reshape(-1, math.prod(self.shape))

        def by_row_and_sample(pairs: Array) -> Array:
            return pairs.reshape(self.rows, -1, self.rows, len(pairs[0]) // self.rows)

        found: dict[tuple[int, int], Array] = {}
        for i, some in enumerate(slices):
            first = flat(some)
            for j, other in enumerate(slices[: i + 1]):
                pairs = first @ (first if i == j else flat(other)).T
                found[i, j] = by_row_and_sample(pairs)
                if i != j:
                    found[j, i] = by_row_and_sample(pairs.T)
        every = range(len(slices))
        return np.concatenate([np.concatenate([found[i, j] for j in every], 3) for i in every], 1)

    def project(self, direction: Array) -> Array:
        """`[V, N]`: inner products with one direction `[*p]`."""
        return self._project(direction)

    def scaled(self, weights: Array | float) -> Cotangent:
        """The same, row v of sample n multiplied by `weights [V, N]` (or `[V, 1]`, or a number)."""
        u = self.per_sample()
        return Dense(weighed(u, weights))

    def beside(self, other: Cotangent) -> Cotangent:
        """The same rows for the samples of both: those of `other` follow."""
        joined = self._joined(other) if self.kind() == other.kind() else None
        return joined or Dense(np.concatenate([self.per_sample(), other.per_sample()], 1))

    def _joined(self, other: Self) -> Cotangent | None:
        return None

    def stacked(self, other: Cotangent) -> Cotangent:
        """The same samples, the rows of both: those of `other`, a later chunk of them, follow."""
        both = self._stacked(other) if self.kind() == other.kind() else None
        both = both or Dense(np.concatenate([self.per_sample(), other.per_sample()]))
        if self.unbatched is not None or other.unbatched is not None:
            both.unbatched = np.concatenate([_unbatched(self, other), _unbatched(other, self)])
        squares = [s for s in (self.unbatched_squares, other.unbatched_squares) if s is not None]
        both.unbatched_squares = accumulate(squares)
        if self.signs is not None or other.signs is not None:
            both.signs = np.concatenate([_signs(self), _signs(other)])
        return both.within(self.budget)

    def _stacked(self, other: Self) -> Cotangent | None:
        return None

    def kronecker(self, sharing: str = "expand") -> Kronecker:
        """Kronecker factors of `sum_vn u u^T`; `sharing` is "expand", "reduce" or "independent".

        That time steps are independent, and alike, gives `E[T] A_0 (x) G_0` for the means A_0 and
        G_0 over samples and steps (Martens, Ba and Johnson 2018, section 3): summed over samples,
        that is "expand".
        """
        if sharing not in ("expand", "reduce", "independent"):
            raise QuantityError(f'sharing is "expand", "reduce" or "independent", got {sharing!r}')
        return self._kronecker("expand" if sharing == "independent" else sharing)

    def among(self, present: Present) -> Cotangent:
        """The same, its Kronecker factors of those uses alone that are there: `present [N, S]`."""
        return self

    def combine(self, others: Sequence[Cotangent]) -> Cotangent:
        """The sum with further uses of the same parameter, structured where it can be."""
        uses = [self, *others]
        merged = self._merge(others) if len({use.kind() for use in uses}) == 1 else None
        return merged or Mixed(uses)

    def role(self) -> str:
        """How the parameter is used, as an adverbial phrase for messages."""
        return "in a way of its own"

    def as_table(self, width: int | None = None) -> Cotangent | None:
        """The same as a `Gather` of rows of `width`, if the parameter is used row by row."""
        return None

    def use_terms(self) -> Any:
        """The same as a `Summed`, if the parameter is added, scaled or moved, use by use."""
        return None

    def places(self) -> Array | None:
        """`[*p]`: 1 where elements of the parameter are used, 0 elsewhere; None if by no index."""
        return None

    def kind(self) -> object:
        """Uses of equal kind merge into one of that kind."""
        return type(self)

    def _merge(self, others: Sequence[Self]) -> Cotangent | None:
        return None

    # -- chunks -------------------------------------------------------------------------------

    def within(self, budget: int | None) -> Cotangent:
        """The same, the temporaries of its contractions bounded by `budget` bytes."""
        self.budget = budget
        return self

    def _bytes_per_sample(self) -> int:
        """Bytes of a sample's `[V, *p]`, and of what else is made beside it."""
        return self.rows * math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def _sample_slices(self, bytes_per_sample: int | None = None) -> list[slice]:
        """Blocks of samples that fit the budget with two temporaries of their size each."""
        each = self._bytes_per_sample() if bytes_per_sample is None else bytes_per_sample
        budget = BLOCK_BYTES if self.budget is None else min(self.budget // threads(), BLOCK_BYTES)
        step = max(1, budget // max(1, 3 * each))
        if step >= self.samples:
            return [slice(None)]
        starts = range(0, self.samples, step)
        return [slice(start, start + step) for start in starts]

    def _each(self, function: Block, bytes_per_sample: int | None = None) -> list[Array]:
        """`function(block, slice)` of each block of samples, on several threads."""
        slices = self._sample_slices(bytes_per_sample)

        def made(some: slice) -> Array:
            return function(self.select(samples=some), some)

        if self._one_by_one(bytes_per_sample):
            return [made(some) for some in slices]
        return in_parallel(made, slices, self._source)

    def _one_by_one(self, bytes_per_sample: int | None = None) -> bool:
        """Whether single samples take so much that threads would be beyond the budget together."""
        each = self._bytes_per_sample() if bytes_per_sample is None else bytes_per_sample
        return self.budget is not None and 3 * each * threads() > self.budget

    def _added(self, function: Block, bytes_per_sample: int | None = None) -> Array:
        """The sum of `function(block, slice)` over blocks of samples, on several threads."""
        slices = self._sample_slices(bytes_per_sample)
        count = 1 if self._one_by_one(bytes_per_sample) else min(len(slices), threads())

        def part(several: list[slice]) -> Array:
            return accumulate(function(self.select(samples=some), some) for some in several)

        return accumulate(in_parallel(part, [slices[i::count] for i in range(count)], self._source))


def _unbatched(cotangent: Cotangent, like: Cotangent) -> Stack:
    """`[V, *p]`, zeros where nothing came through no sample."""
    if cotangent.unbatched is not None:
        return cotangent.unbatched
    assert like.unbatched is not None
    return np.zeros_like(like.unbatched, shape=(cotangent.rows, *cotangent.shape))


def _signs(cotangent: Cotangent) -> Array:
    """`[V, N]`, of rows without signs ones."""
    shape = cotangent.rows, cotangent.samples
    if cotangent.signs is None:
        return np.ones(shape, cotangent.dtype)
    return np.broadcast_to(cotangent.signs, shape)


class Dense(Cotangent):
    """The array `[V, N, *p]` itself.

    `through` is the operation that left no more structure, (name, code, position in it), or None.
    """

    def __init__(self, array: Stack, through: tuple[str, CodeType | None, int] | None = None):
        self.array = array
        self.through = through
        self.rows, self.samples = array.shape[:2]
        self.shape = tuple(array.shape[2:])
        self.dtype = array.dtype

    @property
    def _source(self) -> Array | None:
        return self.array

    def per_sample(self) -> Array:
        return self.array

    def role(self) -> str:
        if self.through is None:
            return "as a whole"
        name, code, lasti = self.through
        line = None if code is None else source_line(code, lasti)
        return f"through {name}" + (f" ({line})" if line else "")

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Dense:
        return Dense(picked(self.array, rows, samples), self.through)

    def _merge(self, others: Sequence[Self]) -> Dense:
        every = accumulate([self.array, *(other.array for other in others)])
        return Dense(every, self.through)

    def _total(self) -> Stack:
        if self.samples != 1:
            return self.array.sum(1)
        only = self.array[:, 0]  # what callers of `backward` get is made theirs at its end
        return only if type(only) is np.ndarray and only.flags.c_contiguous else only.copy()

    def _squared_norms(self) -> Array:
        return squared_norms_of(self.array)

    def _sum_of_squares(self, signs: Signs) -> Array:
        return sum_of_squares(self.array, signs)


class Mixed(Cotangent):
    """The sum of uses of different kinds, as of a table that is also a linear map's weight."""

    def __init__(self, uses: Sequence[Cotangent]):
        self.uses = list(uses)
        first = self.uses[0]
        self.shape, self.rows, self.samples = first.shape, first.rows, first.samples
        self.dtype = np.result_type(*(use.dtype for use in self.uses))

    @property
    def _source(self) -> Array | None:
        return self.uses[0]._source

    def within(self, budget: int | None) -> Cotangent:
        for use in self.uses:
            use.within(budget)
        return super().within(budget)

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Mixed:
        return Mixed([use.select(rows, samples) for use in self.uses])

    def per_sample(self) -> Array:
        return accumulate(use.per_sample() for use in self.uses)

    def _total(self) -> Stack:
        return accumulate(use.total() for use in self.uses)

    def _project(self, direction: Array) -> Array:
        return accumulate(use.project(direction) for use in self.uses)

    def _parts(self) -> list[tuple[Cotangent, int]]:
        """The uses in the order of their elements, if each element of the parameter has one.

        With each, of how many it is.
        """
        places = [found for use in self.uses if (found := use.places()) is not None]
        if len(places) < len(self.uses) or not bool((accumulate(places) == 1).all()):
            return []
        order = sorted(range(len(places)), key=lambda i: int(np.argmax(places[i])))
        return [(self.uses[i], int(places[i].sum())) for i in order]

    def _kronecker(self, sharing: str) -> Kronecker:
        if len(self.shape) == 1:
            return super()._kronecker(sharing)
        if (terms := self.use_terms()) is not None:
            vector = max(self.shape) == math.prod(self.shape)
            return self._whole_block() if vector else terms._kronecker(sharing)
        if parts := self._parts():
            sizes = [size for _, size in parts]
            return _beside([part._kronecker(sharing) for part, _ in parts], sizes, self.shape)
        if (table := self.as_table()) is not None:
            return table._kronecker(sharing)
        roles = list(dict.fromkeys(use.role() for use in self.uses))
        listed = ", ".join(roles[:-1]) + (" and " if roles[:-1] else "") + roles[-1]
        raise NoFactors(self.shape, f"is used in several different ways ({listed})")

    def role(self) -> str:
        return "in several different ways"

    def use_terms(self) -> Any:
        return _as_one([use.use_terms() for use in self.uses])

    def as_table(self, width: int | None = None) -> Cotangent | None:
        """The uses as one of a table, of rows as long as those that an index picks."""
        for use in self.uses:
            width = use.row_width or width
        return _as_one([use.as_table(width) for use in self.uses])


def _as_one(uses: Sequence[Any]) -> Any:
    """Uses as one of their kind; None if some are none, or of several kinds."""
    if any(use is None for use in uses) or len({use.kind() for use in uses}) > 1:
        return None
    return uses[0]._merge(uses[1:])


def _beside(parts: list[Kronecker], sizes: list[int], shape: Shape) -> Kronecker:
    """The block-diagonal one of a parameter whose elements are those of the parts."""

    def pull(stack: Stack) -> Stack:
        stops = np.cumsum(sizes).tolist()
        pieces = zip(parts, sizes, stops, strict=True)
        return accumulate(part.pull(stack[:, stop - n : stop]) for part, n, stop in pieces)

    return Kronecker(tuple(factor for part in parts for factor in part.factors), shape, pull)


def collect(uses: Sequence[Cotangent]) -> Cotangent:
    """All uses of one parameter as one cotangent: uses of one kind merge, kinds are mixed."""
    groups: dict[object, list[Cotangent]] = {}
    for use in uses:
        groups.setdefault(use.kind(), []).append(use)
    merged = [first.combine(rest) if rest else first for first, *rest in groups.values()]
    return merged[0] if len(merged) == 1 else Mixed(merged)
