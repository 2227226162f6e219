"""Series of numbers as curves: reduced, by step, time or epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tracer_experiments.board.buckets import Buckets, Floats, reduce
from tracer_experiments.board.wire import packed
from tracer_experiments.epochs import epochs_of
from tracer_experiments.store.schema import RecordError

if TYPE_CHECKING:
    from tracer_experiments.recorder import Reader
    from tracer_experiments.store.reading import Columns

__all__ = ["AXES", "EPOCH", "curves", "packed_curves"]

#: the series that an axis by epoch takes its numbers from
EPOCH = "epoch"
AXES = ("step", "time", EPOCH)


def curves(
    reader: Reader,
    name: str,
    runs: Sequence[int],
    axes: Sequence[str],
    most: int,
    span: tuple[float, float] | None = None,
    *,
    early: bool = False,
) -> Iterator[tuple[int, Buckets]]:
    """A series of several runs by one or more of `AXES`, in at most `most` buckets each.

    Runs without the series, or without the first of the axes, are left out. `span` is the part of
    that axis that is wanted; one point on either side comes with it, so that lines go on beyond the
    edges of what is seen. `early` is that of `buckets.reduce`.
    """
    epochs = dict(_readable(reader, EPOCH, runs)) if EPOCH in axes else {}
    for run, columns in _readable(reader, name, runs):
        places = _places(columns, axes, epochs.get(run))
        if axes[0] not in places:
            continue
        values = columns.numbers
        if span is not None:
            part = _part(places[axes[0]], span)
            places = {axis: at[part] for axis, at in places.items()}
            values = values[part]
        yield run, reduce(places, values, most, early=early)


def _readable(reader: Reader, name: str, runs: Sequence[int]) -> list[tuple[int, Columns]]:
    """The columns of all runs, or where some are damaged, of the others."""
    try:
        return list(reader.columns(name, runs))
    except (RecordError, ValueError):
        if len(runs) < 2:
            return []
        return [found for run in runs for found in _readable(reader, name, [run])]


def _places(columns: Columns, axes: Sequence[str], epochs: Columns | None) -> dict[str, Floats]:
    """The horizontal coordinates of points by axis; an epoch is that of the step."""
    places: dict[str, Floats] = {}
    for axis in axes:
        if axis == "step":
            places[axis] = columns.steps.astype(np.float64)
        elif axis == "time":
            # where a run was gone on with, seconds may go back: they are made to ascend
            places[axis] = np.maximum.accumulate(columns.times)
        elif epochs is not None and (known := np.isfinite(epochs.numbers)).any():
            at, numbers = epochs.steps[known], np.maximum.accumulate(epochs.numbers[known])
            places[axis] = epochs_of(columns.steps, at, numbers)
    return places


def _part(at: Floats, span: tuple[float, float]) -> slice:
    begin = int(np.searchsorted(at, span[0])) - 1
    end = int(np.searchsorted(at, span[1], side="right")) + 1
    return slice(max(begin, 0), end)


def packed_curves(found: Mapping[int, Buckets], dtype: str = "<f8") -> bytes:
    """Curves of one series by run, as `wire.packed` packs them.

    Where each bucket is one point, low and high are left out: they are the mean.
    """
    heads, columns = [], []
    for run, buckets in found.items():
        heads.append({"run": run, "exact": buckets.exact})
        sides = {} if buckets.exact else {"low": buckets.low, "high": buckets.high}
        marks = {"marks": buckets.marks} if buckets.marks.any() else {}
        table: dict[str, np.ndarray] = {**buckets.places, "mean": buckets.mean, **sides, **marks}
        columns.append(table)
    return packed(heads, columns, dtype)
