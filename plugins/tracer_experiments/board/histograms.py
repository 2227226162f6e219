"""Histograms over time, on common bins, and at one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer_experiments.board.buckets import Floats
from tracer_experiments.values import Histogram

if TYPE_CHECKING:
    from tracer_experiments.stored_run import StoredRun

__all__ = ["at_step", "over_time", "told"]

#: columns and rows of a heat map, at most
COLUMNS, ROWS = 160, 64


def over_time(run: StoredRun, name: str) -> dict[str, Any]:
    """Histograms of a series as a heat map: `steps`, `edges`, and `shares` of the values by bin.

    `shares` has a row of `len(edges) - 1` for each of at most `COLUMNS` steps, each of which adds
    up to 1 (or to 0 where no value is finite). Of histograms of pairs, only `steps` are given.
    """
    found = run.histograms(name)
    steps = [step for step, _ in found]
    if not found or found[0][1].ndim != 1:
        return {"steps": steps, "pairs": bool(found)}
    places = np.unique(np.linspace(0, len(found) - 1, COLUMNS).round().astype(int))
    shown = [found[place][1] for place in places if found[place][1].ndim == 1]
    edges = common_edges(shown)
    return {
        "steps": steps,
        "columns": [steps[place] for place in places],
        "edges": np.round(edges, 12),
        "shares": [np.round(moved(each, edges), 5) for each in shown],
        "pairs": False,
    }


def common_edges(histograms: Sequence[Histogram]) -> Floats:
    """The bins of all if they have the same, else equal ones over their whole range."""
    first = histograms[0].edges
    if all(np.array_equal(each.edges, first) for each in histograms):
        return first
    low = min(each.edges[0] for each in histograms)
    high = max(each.edges[-1] for each in histograms)
    return np.linspace(low, high, ROWS + 1)


def moved(histogram: Histogram, edges: Floats) -> Floats:
    """Shares of a histogram's values in other bins, as if values lay evenly within each bin."""
    counts = np.asarray(histogram, np.float64)
    total = counts.sum()
    if not total > 0:
        return np.zeros(len(edges) - 1)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / total
    return np.diff(np.interp(edges, histogram.edges, below))


def at_step(run: StoredRun, name: str, step: int) -> dict[str, Any] | None:
    """The histogram nearest to a step: `step`, `counts`, `edges`, and what has no place."""
    found = run.histograms(name)
    if not found:
        return None
    return told(*min(found, key=lambda each: abs(each[0] - step)))


def told(step: int, histogram: Histogram) -> dict[str, Any]:
    """A histogram as `at_step` gives it."""
    return {
        "step": step,
        "counts": np.asarray(histogram),
        "edges": histogram.edges,
        "nan": histogram.nan,
        "infinite": histogram.infinite,
    }
