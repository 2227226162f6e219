"""Series of numbers as curves: reduced, by step, time or epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tracer_experiments.board.buckets import Buckets, Floats, reduce
from tracer_experiments.board.wire import packed

if TYPE_CHECKING:
    from tracer_experiments.run import StoredRun

__all__ = ["AXES", "EPOCH", "curve", "packed_curves"]

#: the series that an axis by epoch takes its numbers from
EPOCH = "epoch"
AXES = ("step", "time", EPOCH)


def curve(
    run: StoredRun,
    name: str,
    axes: Sequence[str],
    most: int,
    span: tuple[float, float] | None = None,
    *,
    early: bool = False,
) -> Buckets | None:
    """A series by one or more of `AXES`, in at most `most` buckets; None where it has no such axis.

    `span` is the part of the first of the axes that is wanted; one point on either side comes with
    it, so that lines go on beyond the edges of what is seen.
    """
    steps, values = run.series(name)
    places: dict[str, Floats] = {}
    for axis in axes:
        found = _places(run, name, axis, steps)
        if found is not None:
            places[axis] = found
    if axes[0] not in places:
        return None
    if span is not None:
        at = places[axes[0]]
        inside = np.flatnonzero((at >= span[0]) & (at <= span[1]))
        if inside.size:
            begin, end = max(inside[0] - 1, 0), inside[-1] + 2
        else:
            begin = max(int(np.searchsorted(at, span[0])) - 1, 0)
            end = begin + 2
        places = {axis: at[begin:end] for axis, at in places.items()}
        values = values[begin:end]
    return reduce(places, values, most, early=early)


def _places(run: StoredRun, name: str, axis: str, steps: np.ndarray) -> Floats | None:
    if axis == "step":
        return steps.astype(np.float64)
    if axis == "time":
        return np.asarray(run.times(name), np.float64)
    if EPOCH not in run.names():
        return None
    at, epochs = run.series(EPOCH)
    known = np.isfinite(epochs)
    return np.interp(steps, at[known], epochs[known]) if known.any() else None


def packed_curves(curves: Mapping[int, Buckets], dtype: str = "<f8") -> bytes:
    """Curves of one series by run, as `wire.packed` packs them.

    Where each bucket is one point, low and high are left out: they are the mean.
    """
    heads, columns = [], []
    for run, buckets in curves.items():
        heads.append({"run": run, "exact": buckets.exact})
        sides = {} if buckets.exact else {"low": buckets.low, "high": buckets.high}
        marks = {"marks": buckets.marks} if buckets.marks.any() else {}
        columns.append({**buckets.places, "mean": buckets.mean, **sides, **marks})
    return packed(heads, columns, dtype)
