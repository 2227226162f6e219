"""What is made of single samples' gradients in one visit: readers are shown each block in turn.

Those of all samples are far more than a core's cache holds, so that a visit for each number that is
made of them would fetch them from memory as often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from tracer.extend import Array, Tally, compiled, widened
from tracer_experiments.instruments.binning import Bins, Counts

Made = TypeVar("Made")

#: elements of a block, 512 kB of float32: with all that is made of it, it stays in a core's cache
BLOCK = 1 << 17


class Reader(Generic[Made]):
    """Makes something of samples' gradients, which it is shown in blocks."""

    def read(self, block: Array) -> None:
        """Take in `[n, P]`, the next n samples."""
        raise NotImplementedError(f"{type(self).__name__} reads nothing: define read(self, block)")

    def made(self) -> Made:
        """What was made of all that was read."""
        raise NotImplementedError(f"{type(self).__name__} makes nothing: define made(self)")


class _Numbers(Reader[Array]):
    """A number for each sample, `[N]`."""

    def __init__(self) -> None:
        self._found: list[Array] = []

    def made(self) -> Array:
        return self._found[0] if len(self._found) == 1 else np.concatenate(self._found)


class SquaredNorms(_Numbers):
    """`[N]`, `|g_n|^2`."""

    def read(self, block: Array) -> None:
        self._found.append(squared_rows(widened(block)))


class Dots(_Numbers):
    """`[N]`, `<g_n, d>` with a direction d `[P]`."""

    def __init__(self, direction: Array):
        super().__init__()
        self.direction = widened(direction)

    def read(self, block: Array) -> None:
        self._found.append(widened(block) @ self.direction)


class SumsOfSquares(Reader[Array]):
    """`[P]`, `sum_n g_n^2`, element by element."""

    def __init__(self) -> None:
        self._sum: Any = 0.0

    def read(self, block: Array) -> None:
        u = widened(block)
        self._sum = self._sum + np.einsum("np,np->p", u, u)

    def made(self) -> Array:
        return self._sum


class Counting(Reader[Counts]):
    """How many elements of `scale * g_n` lie in each bin; `column [P]` of ints tells columns."""

    def __init__(self, bins: Bins, scale: float, column: Array | None = None, columns: int = 1):
        self.scale, self.column = scale, column
        self._counts = Counts(bins, columns)

    def read(self, block: Array) -> None:
        self._counts.add(widened(block), self.scale, self.column)

    def made(self) -> Counts:
        return self._counts

    def tally(self) -> Tally:
        """What a kernel is told to count."""
        counts = self._counts
        return Tally(counts.bins.edges, self.scale, self.column, counts.columns)

    def counted(self, counts: Array, missing: int) -> Counts:
        """What a kernel has counted."""
        self._counts.counts, self._counts.nan = counts.astype(np.float64), missing
        return self._counts


def squared_rows(x: Array) -> Array:
    """`[N]`, the squared norms of the rows of `[N, P]`."""
    return np.vecdot(x, x) if type(x) is np.ndarray else (x * x).sum(1)


def shown(blocks: Iterable[Array], reader: Reader[Made]) -> Made:
    """What a reader makes of blocks."""
    for block in blocks:
        reader.read(block)
    return reader.made()


def visited(array: Array, readers: Sequence[Reader[Any]]) -> list[Any] | None:
    """What readers make of `[N, P]` by a compiled kernel, in one visit; None if none takes it."""
    dots = [each for each in readers if isinstance(each, Dots)]
    counting = [each for each in readers if isinstance(each, Counting)]
    squares = any(isinstance(each, SumsOfSquares) for each in readers)
    found = compiled().visit(
        array, [each.direction for each in dots], [each.tally() for each in counting], squares
    )
    if found is None:
        return None
    made: list[Any] = []
    products, counts = iter(found.dots), iter(found.counts)
    for reader in readers:
        if isinstance(reader, Dots):
            made.append(next(products))
        elif isinstance(reader, Counting):
            made.append(reader.counted(*next(counts)))
        else:
            made.append(found.squares if isinstance(reader, SumsOfSquares) else found.norms)
    return made
