"""How kernels are told of histograms: as one struct each."""

from __future__ import annotations

import ctypes
import math
from bisect import bisect_left
from collections.abc import Sequence

from tracer.extend import Array, Tally
from tracer_native.library import address


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
