"""Rows that are visited once: `source/visits.hpp` and `source/pairs.hpp`."""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from tracer.extend import Array, Tally, Visited
from tracer_native.kernels.base import Calling, alike, all_rows
from tracer_native.library import address, addresses

#: elements up to which a matrix whose rows do not lie in memory one after the other is copied
COPIED = 1 << 22


class Visits(Calling):
    """What instruments ask of the gradients of samples."""

    def visit(
        self,
        x: Array,
        directions: Sequence[Array] = (),
        tallies: Sequence[Tally] = (),
        squares: bool = False,
    ) -> Visited | None:
        if not (x.ndim == 2 and alike(x, *directions)):
            return None
        if x.size > COPIED and not x.flags.c_contiguous:
            return None
        x, *directions = map(np.ascontiguousarray, (x, *directions))
        samples, width = x.shape
        if not all(d.shape == (width,) for d in directions):
            return None
        norms, dots = np.empty(samples), np.empty((len(directions), samples))
        summed = np.empty(width, x.dtype) if squares else None
        counts = [np.zeros((t.rows, len(t.edges) - 1), np.int64) for t in tallies]
        missing = np.zeros(len(tallies), np.int64)
        histograms = histograms_of(tallies, counts, missing)
        along = addresses(directions), len(directions), dots
        counted = histograms, len(tallies)
        self._call("visit", x.dtype, x, samples, width, norms, *along, summed, *counted)
        return Visited(norms, dots, summed, list(zip(counts, missing.tolist(), strict=True)))

    def count_products(self, left: Array, right: Array, tally: Tally) -> Array | None:
        fits = left.ndim == right.ndim == 2 and len(left) == len(right)
        if not (fits and alike(left, right)):
            return None
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        counts = np.zeros((tally.rows, len(tally.edges) - 1), np.int64)
        histogram = histograms_of([tally], [counts], np.zeros(1, np.int64))
        sizes = len(left), left.shape[1], right.shape[1]
        self._call("count_products", left.dtype, left, right, histogram, *sizes)
        return counts

    def pairs(
        self, left: Array, right: Array, others: Sequence[tuple[Array, Array]]
    ) -> Array | None:
        lefts, rights = [pair[0] for pair in others], [pair[1] for pair in others]
        if not alike(left, right, *lefts, *rights):
            return None
        fits = all(a.ndim == 2 and a.shape[1:] == left.shape[1:] for a in (left, *lefts))
        fits = fits and all(
            a.ndim == 2 and a.shape[1:] == right.shape[1:] for a in (right, *rights)
        )
        if not fits or any(len(a) != len(b) for a, b in ((left, right), *others)):
            return None
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        lefts, rights = ([*map(np.ascontiguousarray, each)] for each in (lefts, rights))
        dots = np.empty((len(others), len(left)))
        numbers = np.array([len(a) for a in lefts], np.int64)
        given = left, right, addresses(lefts), addresses(rights), numbers, dots
        sizes = len(others), len(left), left.shape[1], right.shape[1]
        self._call("pairs", left.dtype, *given, *sizes)
        return dots

    def travel(
        self, now: Array, before: Array | None, first: Array | None, copy: Array | None
    ) -> tuple[float, float] | None:
        given = [a for a in (before, first, copy) if a is not None]
        if not all_rows(now, *given) or any(a.shape != now.shape for a in given):
            return None
        squares = np.empty(2)
        self._call("travel", now.dtype, now, before, first, copy, squares, now.size)
        return float(squares[0]), float(squares[1])


# -- histograms ------------------------------------------------------------------------------


class Histogram(ctypes.Structure):
    """`Histogram` in `source/visits.hpp`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("edges", "column", "counts", "missing")),
        *((name, ctypes.c_int64) for name in ("bins", "rows")),
        ("scale", ctypes.c_double),
        *((name, ctypes.c_int64) for name in ("below", "above")),
        ("limit", ctypes.c_double),
    ]


def histograms_of(
    tallies: Sequence[Tally], counts: Sequence[Array], missing: Array
) -> ctypes.Array[Histogram]:
    """The structs of tallies, whose counts go to `counts` and `missing [len(tallies)]`."""
    made = (Histogram * len(tallies))()
    for k, (tally, into) in enumerate(zip(tallies, counts, strict=True)):
        column = None if tally.column is None else address(tally.column)
        where = address(tally.edges), column, address(into), address(missing) + 8 * k
        made[k] = Histogram(*where, *into.shape[::-1], tally.scale, *_beside_zero(tally.edges))
    return made


def _beside_zero(edges: Array) -> tuple[int, int, float]:
    """The bins below and above zero, and up to where both reach; bin 0 and -inf if 0 is no edge."""
    place = bisect_left(edges, 0.0)
    if not 0 < place < len(edges) - 1 or edges[place] != 0:
        return 0, 0, -math.inf
    return place - 1, place, float(min(-edges[place - 1], edges[place + 1]))
