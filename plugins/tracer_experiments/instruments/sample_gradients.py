"""Gradients of single samples in the form that the sweep has them in, to be measured after it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tracer.extend import (
    Array,
    Context,
    Cotangent,
    Dense,
    Gather,
    Outer,
    Quantity,
    Reindexed,
    Shape,
    Shard,
    Tally,
    backend,
    compiled,
    current_work,
    widened,
)
from tracer_experiments.instruments.binning import Counts, below
from tracer_experiments.instruments.reading import (
    BLOCK,
    Dots,
    SquaredNorms,
    shown,
    squared_rows,
)

#: bytes that the gradients of all samples may take as arrays, of all parameters in a step
WHOLE = 1 << 30
#: elements that are read together where arrays are not NumPy's, and launching work takes longer
LAUNCHED = 1 << 24
#: rows of an outer product that are looked at together
ROWS = 256
#: rows of a weight of which sums are made together
TILE = 128


class SampleGradients(Quantity):
    """What the samples' gradients `g_n` by a parameter are made of: values are `OfParameter`.

    Left out where samples are coupled, as in batch normalisation. `losses` are the shares of the
    samples in the objective, of each sweep that it was asked of.
    """

    name = "sample_gradients"
    per_sample = True
    optional = True
    first = True

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin another step."""
        self.losses: list[Any] = []
        self.room = WHOLE
        #: what the sweep is part of: it tells whose threads multiply
        self.work: Any = None

    def elements(self, context: Context) -> int:
        return 0  # what the record holds anyway

    def begin(self, objective: Any) -> None:
        self.losses.append(objective.sample_losses())
        self.work = current_work()

    def extract(self, cotangent: Cotangent, context: Context) -> Cotangent:
        inner, _ = unwrapped(cotangent)
        nbytes = inner.samples * math.prod(inner.shape) * np.dtype(inner.dtype).itemsize
        if _is_made_whole(inner) and nbytes <= self.room and cotangent.budget is None:
            self.room -= nbytes
            whole = around(cotangent, inner.whole())
            cotangent.known_total = whole.batch_total()  # which takes as long again otherwise
            return whole
        return cotangent

    def join(self, first: Cotangent, second: Cotangent) -> Cotangent:
        return first

    def merge(self, first: Cotangent, second: Cotangent, shards: tuple[Shard, Shard]) -> Cotangent:
        return first.scaled(shards[0].weight).beside(second.scaled(shards[1].weight))

    def finish(self, state: Cotangent, context: Context) -> OfParameter:
        return of_parameter(state)


def _is_made_whole(inner: Cotangent) -> bool:
    """Whether the samples' gradients cost no more, as arrays, than their sum does."""
    return not isinstance(inner, Gather) and not _is_outer(inner)


def _is_outer(inner: Cotangent) -> bool:
    return isinstance(inner, Outer) and inner.uses == inner.groups == 1


def unwrapped(cotangent: Cotangent) -> tuple[Cotangent, list[Any]]:
    """The cotangent whose elements another one has in another order, and what takes them there."""
    inner, pushes = cotangent, []
    while isinstance(inner, Reindexed) and math.prod(inner.inner.shape) == math.prod(inner.shape):
        pushes.append(inner.push)
        inner = inner.inner
    return inner, pushes


def around(cotangent: Cotangent, whole: Cotangent) -> Cotangent:
    """A cotangent with `whole` in place of its unwrapped one."""
    if not isinstance(cotangent, Reindexed) or math.prod(cotangent.inner.shape) != math.prod(
        cotangent.shape
    ):
        made = whole
    else:
        made = cotangent.around(around(cotangent.inner, whole))
    made.unbatched = cotangent.unbatched
    return made


def of_parameter(cotangent: Cotangent) -> OfParameter:
    """The samples' gradients by a parameter, in the form that is cheapest to measure."""
    inner, pushes = unwrapped(cotangent)
    kind: type[OfParameter] = OfOuter if _is_outer(inner) else OfArray
    made = kind(inner, tuple(cotangent.shape), pushes)
    made.given = cotangent
    made.has_penalty = cotangent.unbatched is not None
    return made


class OfParameter:
    """The samples' shares of the gradient by a parameter, `[N, *shape]`.

    Elements may be stored in another order than the parameter's: `stored` takes a direction there.
    """

    cotangent: Cotangent
    #: whether they are read in `blocks`
    is_read = False
    #: `[N, P]`, in the order of the cotangent's elements, where they are made whole
    array: Array | None = None
    #: the cotangent in the parameter's order, and with a penalty
    given: Cotangent | None = None

    def __init__(self, cotangent: Cotangent, shape: Shape, pushes: Sequence[Any]):
        self.cotangent, self.shape, self.pushes = cotangent, shape, pushes
        self.samples = cotangent.samples
        #: whether what came through no sample is part of the gradient, too
        self.has_penalty = False

    def stored(self, direction: Array) -> Array:
        """`[*shape]` in the order of the cotangent's elements."""
        for push in self.pushes:
            direction = push(direction)
        return direction

    def gradient(self) -> Array:
        """The gradient of the objective, `[*shape]`."""
        assert self.given is not None
        return self.given.total()[0]

    def total(self) -> Array:
        """Their sum, in the order of the cotangent's elements."""
        return self.cotangent.batch_total()[0]

    def blocks(self, some: slice) -> Iterator[Array]:
        """`[n, P]` of some samples, few at a time, in the order of the cotangent's elements."""
        width = max(1, math.prod(self.shape))
        step = max(1, BLOCK // width)
        for start in range(*some.indices(self.samples)[:2], step):
            few = slice(start, min(start + step, some.indices(self.samples)[1]))
            yield self.cotangent.select(samples=few).per_sample()[0].reshape(-1, width)

    def sum_of_squares(self) -> Array:
        """`[P]`, `sum_n g_n^2`, in the order of the cotangent's elements."""
        return widened(self.cotangent.sum_of_squares())

    def sum_of_quotients(
        self, divisor: Array, share: float, least: float, squares: Array | None = None
    ) -> float:
        """`sum_j (sum_n g_nj^2) / (share d_j + least)`, with a divisor d `[*shape]`.

        `squares` are those sums, where they are known.
        """
        squares = self.sum_of_squares() if squares is None else squares
        d = widened(self.stored(divisor)).reshape(squares.shape) * share + least
        return float(on_host((squares / d).sum()))

    def squared_norms(self) -> Array:
        """`[N]`, `|g_n|^2`."""
        return widened(self.cotangent.squared_norms()[0])

    def dots(self, direction: Array) -> Array:
        """`[N]`, `<g_n, d>` with a direction that is `stored`."""
        return widened(self.cotangent.project(direction)[0])

    def dots_with_total(self, total: Array) -> Array:
        """`[N]`, `<g_n, sum_m g_m>`, of which `total` is the sum."""
        return self.dots(total)

    def dots_with_total_of(self, other: OfParameter, with_own: bool = True) -> Array | None:
        """`[N]`, `<g_n, sum_m h_m>` with gradients of another step, if no sum is needed for it.

        `with_own` says that `dots_with_total` will be asked for, too.
        """
        return None

    def count(self, counts: Counts, scale: float, column: Array | None = None) -> None:
        """Count the elements of `scale * g_n`; `column [*shape]` tells columns apart."""
        raise NotImplementedError(
            f"{type(self).__name__} counts nothing: define count(self, counts, scale, column)"
        )

    def kept(self) -> OfParameter:
        """The same, safe from what is done to the inputs of the model later."""
        return self


class OfArray(OfParameter):
    """Of a parameter whose samples' gradients are made as an array, whole if it is small enough."""

    def __init__(self, cotangent: Cotangent, shape: Shape, pushes: Sequence[Any]):
        super().__init__(cotangent, shape, pushes)
        if isinstance(cotangent, Dense):
            self.array = cotangent.array[0].reshape(self.samples, math.prod(shape))
        self.is_read = type(self.array) is np.ndarray

    def blocks(self, some: slice) -> Iterator[Array]:
        if self.array is None:
            yield from super().blocks(some)
            return
        step = max(1, (BLOCK if self.is_read else LAUNCHED) // max(1, self.array.shape[1]))
        begin, end, _ = some.indices(self.samples)
        for start in range(begin, end, step):
            yield self.array[start : min(start + step, end)]

    def total(self) -> Array:
        if self.array is None:
            return super().total()
        return self.array.sum(0).reshape(self.cotangent.shape)

    def squared_norms(self) -> Array:
        if self.array is None:
            return super().squared_norms()
        return shown(self.blocks(slice(None)), SquaredNorms())

    def sum_of_squares(self) -> Array:
        if self.array is None:
            return super().sum_of_squares()
        u = widened(self.array)
        return np.einsum("np,np->p", u, u).reshape(self.cotangent.shape)

    def dots(self, direction: Array) -> Array:
        if self.array is None:
            return super().dots(direction)
        return shown(self.blocks(slice(None)), Dots(direction.reshape(-1)))

    def count(self, counts: Counts, scale: float, column: Array | None = None) -> None:
        if column is not None:
            column = self.stored(column).reshape(-1)
        for block in self.blocks(slice(None)):
            counts.add(widened(block), scale, column)

    def kept(self) -> OfParameter:
        self.given = None
        if self.array is None:
            self.cotangent = copy.deepcopy(self.cotangent)
        return self


class OfOuter(OfParameter):
    """Of a linear map's weight that each sample uses once: `g_n = right[n] (x) left[n]`."""

    def __init__(self, cotangent: Any, shape: Shape, pushes: Sequence[Any]):
        super().__init__(cotangent, shape, pushes)
        self.left = widened(cotangent.left[:, 0, 0])
        self.right = widened(cotangent.right[0, :, 0, 0])
        #: inner products with their own sum, where they were made beside others
        self._own_dots: Array | None = None

    @cached_property
    def factors_squared_norms(self) -> tuple[Array, Array]:
        """`[N]`, `|left[n]|^2` and `|right[n]|^2`."""
        left, right = self.left, self.right
        return squared_rows(left), squared_rows(right)

    def squared_norms(self) -> Array:
        of_left, of_right = self.factors_squared_norms
        return of_left * of_right

    def sum_of_squares(self) -> Array:
        return ((self.right**2).T @ (self.left**2)).reshape(self.cotangent.shape)

    def sum_of_quotients(
        self, divisor: Array, share: float, least: float, squares: Array | None = None
    ) -> float:
        """In tiles that stay in a core's cache: the sums themselves are not needed."""
        if type(self.left) is not np.ndarray:
            return super().sum_of_quotients(divisor, share, least)
        left, right = self.left**2, (self.right**2).T
        d = widened(self.stored(divisor)).reshape(len(right), left.shape[1])
        if share != 1:
            d = d * share
        squares, below = np.empty((2, min(TILE, len(right)), left.shape[1]), left.dtype)
        total = 0.0
        for start in range(0, len(right), TILE):
            some = slice(start, start + TILE)
            count = len(d[some])
            above = np.matmul(right[some], left, out=squares[:count])
            under = np.add(d[some], least, out=below[:count])
            np.reciprocal(under, out=under)
            total += float(np.dot(above.reshape(-1), under.reshape(-1)))
        return total

    def dots(self, direction: Array) -> Array:
        matrix = widened(direction).reshape(self.right.shape[1], self.left.shape[1])
        products = self.right @ matrix
        if type(products) is np.ndarray:
            return np.vecdot(self.left, products)
        return np.einsum("ni,ni->n", self.left, products)

    def _pairs_pay(self, others: int) -> bool:
        """Whether inner products with so many samples take less than those with a direction."""
        outputs, inputs = self.right.shape[1], self.left.shape[1]
        return others * (outputs + inputs) < outputs * inputs

    def dots_with_total(self, total: Array) -> Array:
        if self._own_dots is not None:
            return self._own_dots
        if not self._pairs_pay(self.samples):
            return self.dots(total)
        left, right = self.left, self.right
        found = compiled().pairs(left, right, [(left, right)])
        if found is not None:
            return found[0]
        return np.einsum("nm,nm->n", left @ left.T, right @ right.T)

    def dots_with_total_of(self, other: OfParameter, with_own: bool = True) -> Array | None:
        """With its own total, too, it is one product, which takes less than two."""
        if not isinstance(other, OfOuter) or not self._pairs_pay(other.samples):
            return None
        left, right = other.left, other.right
        pairs = [(left, right), *([(self.left, self.right)] if with_own else [])]
        found = compiled().pairs(self.left, self.right, pairs)
        if found is not None:
            self._own_dots = found[1] if with_own else None
            return found[0]
        if with_own:
            left, right = (np.concatenate(p) for p in ((left, self.left), (right, self.right)))
        products = left @ self.left.T
        products *= right @ self.right.T
        if with_own:
            self._own_dots = products[other.samples :].sum(0)
        return products[: other.samples].sum(0)

    def kept(self) -> OfParameter:
        self.left = self.left.copy()  # the first one is what the model was given
        self.cotangent = self.given = None  # type: ignore[assignment]
        return self

    def count(self, counts: Counts, scale: float, column: Array | None = None) -> None:
        left, right, zero = self.left, self.right, counts.bins.beside_zero
        if column is not None:
            column = self.stored(column).reshape(right.shape[1], left.shape[1])
        if zero is None or type(left) is not np.ndarray:
            self._count_all(counts, scale, column)
            return
        of_left, of_right = self.factors_squared_norms
        if not math.isfinite(of_left.sum() + of_right.sum()):
            self._count_all(counts, scale, column)
            return
        if self._count_by_kernel(counts, scale, column):
            return
        self._count_signs(counts, column)
        limit = below(zero[1], scale, left.dtype)
        if not (np.sqrt(of_left) * np.sqrt(of_right) >= limit).any():
            return  # no element is larger than the norm
        most_left, most = _largest(left), _largest(right)
        least = limit / np.maximum(most_left, np.finfo(left.dtype).tiny)
        less = 1 - 4 * np.finfo(left.dtype).eps  # what rounding takes from a product
        some = np.flatnonzero(most >= least * less)
        found = np.flatnonzero(np.abs(right[some]) >= (least[some] * less)[:, None])
        for start in range(0, len(found), ROWS):
            row, o = np.divmod(found[start : start + ROWS], right.shape[1])
            n = some[row]
            factor = right[n, o]
            reach = limit / np.abs(factor) * less
            row, i = np.divmod(np.flatnonzero(np.abs(left[n]) >= reach[:, None]), left.shape[1])
            few = None if column is None else column[o[row], i]
            counts.add_large(factor[row] * left[n[row], i], scale, few)

    def _count_by_kernel(self, counts: Counts, scale: float, column: Array | None) -> bool:
        """Count all elements by a compiled kernel; whether one does."""
        flat = None if column is None else np.ascontiguousarray(column, np.int64)
        tally = Tally(counts.bins.edges, scale, flat, counts.columns)
        found = compiled().count_products(self.left, self.right, tally)
        if found is not None:
            counts.counts = counts.counts + found
        return found is not None

    def _count_all(self, counts: Counts, scale: float, column: Array | None) -> None:
        for n in range(self.samples):
            counts.add_all(self.right[n][:, None] * self.left[n], scale, column)

    def _count_signs(self, counts: Counts, column: np.ndarray | None) -> None:
        """Count all elements as small ones, by their signs."""
        left, right = self.left, self.right
        if column is None:
            negative = int(_counted(left > 0) @ _counted(right < 0))
            if left.min(initial=0) < 0:  # as of what a rectifier gives none is
                negative += int(_counted(left < 0) @ _counted(right > 0))
            counts.add_small(self.samples * left.shape[1] * right.shape[1] - negative, negative)
            return
        kind, below = left.dtype, left < 0
        each = (right < 0).T.astype(kind) @ (left > 0).astype(kind)
        if below.any():
            each += (right > 0).T.astype(kind) @ below.astype(kind)
        columns = counts.columns
        negatives = np.bincount(column.reshape(-1), each.reshape(-1), columns)
        every = np.bincount(column.reshape(-1), minlength=columns) * self.samples
        counts.add_small(every - negatives, negatives)


def _largest(rows: np.ndarray) -> np.ndarray:
    """The largest magnitude in each row."""
    return np.maximum(rows.max(1, initial=0), -rows.min(1, initial=0))


def _counted(mask: np.ndarray) -> np.ndarray:
    """How many are true, in each row."""
    return np.bitwise_count(np.packbits(mask, axis=1)).sum(1, dtype=np.int64)


def on_host(value: Any) -> np.ndarray:
    """The values as an array of NumPy in double precision; a device is waited for."""
    is_there = isinstance(value, (np.ndarray, np.generic)) or not hasattr(value, "dtype")
    return np.asarray(value if is_there else backend.to_host(value), np.float64)
