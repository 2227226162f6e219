"""Pictures of a study as in the paper: median and quartiles over epochs, and over seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..plots import PANEL, save
from .study import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: method -> colour and dashes; those that may lie on each other differ in both
STYLES = {
    "sgd": ("#8a8f98", "-"),
    "adam": ("#d9822b", "-"),
    "diag_ggn_exact": ("#3a7ebf", "-"),
    "diag_ggn_mc": ("#58b4d1", (0, (4, 1.5))),
    "kfac": ("#2f9e6b", "-"),
    "kflr": ("#9b6bc4", (0, (4, 1.5))),
    "kfra": ("#d1476d", (0, (1.2, 1.2))),
}
#: rows and columns of panels: a value, and how it is called
VALUES = (
    (("train_loss", "training loss"), ("test_loss", "test loss")),
    (("train_accuracy", "training accuracy"), ("test_accuracy", "test accuracy")),
)


def draw(name: str, outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Write `optimisation-NAME.svg`, over epochs, and `...-seconds.svg`; their paths.

    Nothing is drawn of no outcomes.
    """
    if not outcomes:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        folder / f"optimisation-{name}.svg": False,
        folder / f"optimisation-{name}-seconds.svg": True,
    }
    for file, over_seconds in files.items():
        save(partial(panels, outcomes=outcomes, over_seconds=over_seconds), file)
    return list(files)


def panels(figure: Figure, outcomes: Sequence[Outcome], over_seconds: bool) -> None:
    """A panel for each value that there is, and one legend below."""
    rows = [row for row in VALUES if outcomes[0].has(row[0][0])]
    figure.set_size_inches(2.3 * PANEL, (0.75 * len(rows) + 0.2) * PANEL)
    axes = figure.subplots(len(rows), 2, squeeze=False, sharex=True)
    for line, row in zip(axes, rows, strict=True):
        for panel, (name, label) in zip(line, row, strict=True):
            curves(panel, outcomes, name, over_seconds)
            panel.set_title(label, loc="left")
    for panel in axes[-1]:
        panel.set_xlabel("seconds of the processor" if over_seconds else "epochs")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))


def curves(axes: Axes, outcomes: Sequence[Outcome], name: str, over_seconds: bool) -> None:
    """A line for the median of each optimiser, and a band from quartile to quartile."""
    lowest, highest = np.inf, -np.inf
    for each in outcomes:
        low, median, high = each.quartiles(name)
        x = each.seconds() if over_seconds else np.arange(len(median))
        if over_seconds:  # a logarithmic axis has no beginning
            x, low, median, high = x[1:], low[1:], median[1:], high[1:]
        color, dashes = STYLES[each.method.name]
        shown = np.isfinite(high)
        axes.plot(x, median, color=color, linestyle=dashes, linewidth=1.3, label=each.method.label)
        axes.fill_between(x[shown], low[shown], high[shown], color=color, alpha=0.2, linewidth=0)
        lowest, highest = min(lowest, np.min(median)), max(highest, median[0])
    if name.endswith("loss"):
        losses(axes, lowest, highest)
    else:
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_ylim(*accuracies(outcomes, name))
    if over_seconds:
        axes.set_xscale("log")
        decades(axes.xaxis)
    axes.grid(linewidth=0.5)


def losses(axes: Axes, lowest: float, highest: float) -> None:
    """A logarithmic axis of losses, or a linear one of the last third where little is between them.

    What grows beyond the beginning is not shown.
    """
    if highest > 4 * lowest:
        axes.set_yscale("log")
        axes.set_ylim(0.85 * lowest, 1.2 * highest)
        decades(axes.yaxis)
    else:
        between = (highest - lowest) / 3 or 0.1 * highest
        axes.set_ylim(lowest - 0.1 * between, lowest + between)


def decades(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 of each decade of a logarithmic axis, or at 1 where these are many."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e-"))
    axis.set_minor_formatter(NullFormatter())


def accuracies(outcomes: Sequence[Outcome], name: str) -> tuple[float, float]:
    """Limits within which there is the second half of what is learned, of all optimisers."""
    last = [each.quartiles(name)[1] for each in outcomes]
    best = max(row.max() for row in last)
    worst = min(np.median(row) for row in last)
    return worst - 0.5 * (best - worst) - 0.02, min(1.0, best + 0.02)
