"""Curves of runs, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import TracerError
from tracer_experiments.charts import Chart
from tracer_experiments.plots.files import blank
from tracer_experiments.stored_run import StoredRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves"]

#: what a curve can be drawn along, and the word at its axis
AXES = {"step": "step", "epoch": "epoch", "time": "seconds"}
#: inches of one panel
PANEL = (7.0, 3.4)
#: points of a curve that are marked each
FEW = 30
#: runs whose names stand within the axes, and inches beside these for the names of more
WITHIN, LEGEND = 6, 2.8
#: colours of more runs than matplotlib has colours for, which it would give out twice
COLOURS = "tab20"


def curves(
    runs: Sequence[StoredRun],
    *names: str,
    x: str = "step",
    smooth: float = 0.0,
    log: bool = False,
) -> Figure:
    """Series of numbers of runs as curves: a panel for each name, a line for each run that has it.

    `x` is `"step"`, `"epoch"` or `"time"` (seconds since a run began). `smooth` in [0, 1) is the
    weight of the past in a moving average, drawn over the values. What is not finite is a gap with
    a cross below it. Raises `TracerError` where no run has a series.
    """
    if not names:
        raise TracerError("name a series to draw, as in curves(runs, 'loss')")
    if x not in AXES:
        raise TracerError(f"x is one of {', '.join(AXES)}, got {x!r}")
    if not 0 <= smooth < 1:
        raise TracerError(f"smooth is a weight of at least 0 and below 1, got {smooth!r}")
    width, height = PANEL
    width += LEGEND * (len(runs) > WITHIN)
    figure = blank(width, height * len(names))
    for name, axes in zip(names, figure.subplots(len(names), squeeze=False)[:, 0], strict=True):
        panel(axes, runs, name, x, smooth, log)
    return figure


def panel(
    axes: Any, runs: Sequence[StoredRun], name: str, x: str, smooth: float, log: bool
) -> None:
    """The curves of one series."""
    from matplotlib import colormaps

    having = [(run, info) for run in runs if (info := run.names().get(name)) is not None]
    having = [(run, info) for run, info in having if info.kind == "number"]
    if not having:
        known = list(dict.fromkeys(
            name for run in runs for name, info in run.names().items() if info.kind == "number"
        ))  # fmt: skip
        raise TracerError(
            f"no run has a series {name!r} of numbers; there are {', '.join(known) or 'none yet'}"
        )
    if len(having) > 10:
        axes.set_prop_cycle(color=colormaps[COLOURS](range(20)))
    for run, _ in having:
        at, values = along(run, name, x)
        label = plain_text(f"{run.name} ({run.id})")
        marker = "." if len(values) <= FEW else None  # one point alone is no line
        (line,) = axes.plot(at, values, marker=marker, label=label, linewidth=1.2)
        if smooth:
            line.set_alpha(0.25)
            line.set_label("_raw")
            axes.plot(at, smoothed(values, smooth), label=label, color=line.get_color())
        missing = ~np.isfinite(values)
        if missing.any():
            marks = np.full(int(missing.sum()), 0.02)
            axes.plot(
                at[missing],
                marks,
                "x",
                color=line.get_color(),
                transform=axes.get_xaxis_transform(),
            )
    chart = next((info.chart for _, info in having if info.chart), None) or Chart()
    axes.set_title(plain_text(chart.title or name))
    axes.set_xlabel(AXES[x])
    axes.set_ylabel(plain_text(chart.unit))
    axes.set_yscale("log" if log else chart.scale)
    for value, word in chart.lines:
        axes.axhline(value, color="gray", linestyle="--", linewidth=1, label=plain_text(word))
    axes.grid(alpha=0.3)
    if len(having) > WITHIN:  # beside the curves, which it would cover
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    else:
        axes.legend(fontsize="small")


def along(run: StoredRun, name: str, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of a series stand, and their values (NaN where they are not finite)."""
    columns = run.columns(name)
    values = np.where(np.isfinite(columns.numbers), columns.numbers, np.nan)
    if x == "time":
        return columns.times, values
    if x == "step":
        return columns.steps, values
    if "epoch" not in run.names():
        raise TracerError(f"the run {run.name!r} has no series 'epoch': draw it along step or time")
    ends, epochs = run.series("epoch")
    return epochs_of(columns.steps, ends, epochs), values


def epochs_of(steps: np.ndarray, ends: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Epochs at steps, in parts: `epochs` were over at the steps `ends`; beyond as before."""
    at, over = np.append(0, ends), np.append(0.0, epochs)
    found = np.interp(steps, at, over)
    if len(at) > 1 and at[-1] > at[-2]:
        rate = (over[-1] - over[-2]) / (at[-1] - at[-2])
        found = np.where(steps > at[-1], over[-1] + rate * (steps - at[-1]), found)
    return found


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """A moving average with this weight of the past, corrected for its beginning; gaps stay."""
    average = share = 0.0
    averages = np.full(len(values), np.nan)
    for place, value in enumerate(values.tolist()):
        if value == value:
            share = weight * share + (1 - weight)
            part = (1 - weight) / share
            if value != average:  # a constant stays what it is, to the last bit
                average = (1 - part) * average + part * value
            averages[place] = average
    return averages


def plain_text(text: str) -> str:
    """A name that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")
