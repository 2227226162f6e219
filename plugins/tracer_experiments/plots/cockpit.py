"""A run as a cockpit: its instruments in their places, drawn by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import TracerError
from tracer_experiments.charts import GROUPS, Chart
from tracer_experiments.plots.files import blank
from tracer_experiments.stored_run import StoredRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cockpit", "draw_instrument"]

#: words above the columns of a cockpit
TITLES = {
    "training": "Training",
    "step": "Step",
    "gradients": "Gradients",
    "curvature": "Curvature",
    "histograms": "Histograms",
    "activations": "Activations",
    "other": "Others",
}
#: panels below each other in a column, before another column is begun
MOST = 4
#: inches of a panel
WIDTH, HEIGHT = 3.5, 2.2
#: points of a line from which on single ones are not seen, and are averaged
POINTS = 600
#: values from which on a few far ones are told from the others
FEWEST = 40
#: where words on lines stand, one after the other: share of the width, and the side that is there
WORDS = ((1.0, "right"), (0.0, "left"), (0.5, "center"))
INK, LINE, FAINT, MARK = "#1f2933", "#3a7ebf", "#c9d0d9", "#d9822b"


def cockpit(run: StoredRun, names: Sequence[str] | None = None) -> Figure:
    """The instruments of a run as a figure of matplotlib: `figure.savefig("cockpit.png")`.

    A column for each group of charts (training, step, gradients, curvature, histograms,
    activations, others), or more where it has many. Lines go over steps; of histograms over time
    each column of the picture is one, with darker colours where more is counted; of those of two
    axes the last one is drawn. `names` are the series to draw, by default those that a chart
    describes, without those of single parameters. Raises `TracerError` if there are none.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise TracerError(
            "plots are drawn by matplotlib, which is not installed: pip install 'trace-net[plot]'"
        ) from error
    charts = _charts(run, names)
    if not charts:
        raise TracerError(
            f"the run {run.name!r} has no instruments to draw: call instruments.describe(run), or "
            f"name series"
        )
    columns = _columns(charts)
    rows = max(len(column) for _, column in columns)
    figure = blank(WIDTH * len(columns), HEIGHT * rows + 0.9, facecolor="white")
    figure.suptitle(_plain(f"{run.name}  ({run.status})"), fontsize=11, color=INK)
    panels = figure.subplots(rows, len(columns), squeeze=False)
    for (title, column), axes in zip(columns, panels.T, strict=True):
        for name, panel in zip(column, axes, strict=False):
            draw_instrument(panel, run, name, charts[name])
        for panel in axes[len(column) :]:
            panel.set_axis_off()
        if title:
            _heading(axes[0], title)
    return figure


def _charts(run: StoredRun, names: Sequence[str] | None) -> dict[str, Chart]:
    """The charts of the series to draw."""
    known = run.names()
    if names is None:
        described = [name for name, info in known.items() if info.chart and "/" not in name]
        return {name: known[name].chart or Chart() for name in described if known[name].count}
    missing = [name for name in names if name not in known]
    if missing:
        raise TracerError(
            f"the run {run.name!r} has no series {missing[0]!r}; there are {', '.join(known)}"
        )
    return {name: known[name].chart or Chart(title=name) for name in names}


def _columns(charts: Mapping[str, Chart]) -> list[tuple[str, list[str]]]:
    """Titles and names, a column each; a group that goes on in the next column has one title."""
    columns = []
    for group in GROUPS:
        names = [name for name, chart in charts.items() if chart.group == group]
        count = math.ceil(len(names) / MOST)
        for i in range(count):
            part = names[len(names) * i // count : len(names) * (i + 1) // count]
            columns.append(("" if i else TITLES[group], part))
    return columns


def _heading(axes: Any, title: str) -> None:
    axes.annotate(
        title,
        (0, 1),
        xytext=(0, 24),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11,
        fontweight="bold",
        color=LINE,
        annotation_clip=False,
    )


def draw_instrument(axes: Any, run: StoredRun, name: str, chart: Chart) -> None:
    """Draw a series of a run into axes, as its chart says."""
    axes.set_title(_plain(chart.title or name), fontsize=8, loc="left", color=INK)
    axes.tick_params(which="both", labelsize=6.5, colors=INK)
    for side, spine in axes.spines.items():
        spine.set_color(FAINT)
        spine.set_visible(side in ("left", "bottom"))
    kind = run.names()[name].kind
    if kind == "number":
        _line(axes, run, name, chart)
    elif kind == "histogram":
        found = run.histograms(name)
        if found[-1][1].ndim == 2:
            _pairs(axes, found[-1])
        else:
            _over_time(axes, found)
    elif kind == "image":
        _image(axes, run.images(name)[-1])
    else:
        axes.set_axis_off()


def _line(axes: Any, run: StoredRun, name: str, chart: Chart) -> None:
    """A number over steps, with the lines that it is compared with."""
    points = run.points(name, most=POINTS)
    steps = np.asarray(points.steps)
    low, mean, high = (np.asarray(v, float) for v in (points.low, points.mean, points.high))
    finite = np.isfinite(mean)
    scale = chart.scale
    if scale == "log" and not (mean[finite] > 0).any():
        scale = "linear"
    axes.set_yscale(scale)
    if (low < high).any():
        axes.fill_between(steps, low, high, color=LINE, alpha=0.25, linewidth=0)
    marker = "." if finite.sum() < 30 else None
    axes.plot(steps, np.where(finite, mean, np.nan), color=LINE, linewidth=1.1, marker=marker)
    if not finite.all():
        floor = axes.get_xaxis_transform()
        axes.plot(
            steps[~finite], np.full(int((~finite).sum()), 0.03), "x", color=MARK, transform=floor
        )
    if scale != "log":
        _leave_out_far_values(axes, mean[finite])
    lines = [line for line in chart.lines if scale != "log" or line[0] > 0]
    for place, (value, word) in enumerate(lines):
        axes.axhline(value, color=MARK, linewidth=0.8, linestyle="--")
        _word_on_a_line(axes, value, word, WORDS[place % len(WORDS)])
    axes.grid(color=FAINT, alpha=0.5, linewidth=0.5)
    axes.set_axisbelow(True)
    if chart.unit:
        axes.set_ylabel(_plain(chart.unit), fontsize=7)


def _leave_out_far_values(axes: Any, values: np.ndarray) -> None:
    """Show where nearly all values are, where a few far ones would flatten them, and say so.

    The rule is that of the board: the middle 96 %, widened by its own extent to both sides, where
    the whole extent is more than eight times as large.
    """
    if len(values) < FEWEST:
        return
    low, high = np.quantile(values, [0.02, 0.98])
    room = high - low
    if not (room > 0 and values.max() - values.min() > 8 * room):
        return
    bottom, top = max(values.min(), low - room), min(values.max(), high + room)
    axes.set_ylim(bottom, top)
    axes.set_title("far values left out", fontsize=6.5, loc="right", color=MARK)


def _word_on_a_line(axes: Any, value: float, word: str, place: tuple[float, str]) -> None:
    """What a line that values are compared with means, on it; neighbours stand side by side."""
    x, side = place
    axes.annotate(
        _plain(word),
        (x, value),
        xycoords=("axes fraction", "data"),
        xytext=({"right": -2, "center": 0, "left": 2}[side], 2),
        textcoords="offset points",
        fontsize=6.5,
        color=MARK,
        ha=side,
        annotation_clip=True,
    )


def _over_time(axes: Any, found: Sequence[tuple[int, Any]]) -> None:
    """Histograms over steps: a column each, the logarithm of counts as colour."""
    from matplotlib.colors import LogNorm

    found = found[:: max(1, len(found) // 400)]
    steps = np.array([step for step, _ in found], float)
    edges = np.asarray(found[0][1].edges)
    same = all(np.array_equal(h.edges, edges) for _, h in found)
    if not same:
        low = min(h.edges[0] for _, h in found)
        high = max(h.edges[-1] for _, h in found)
        edges = np.linspace(low, high, 65)
    counts = np.array([np.asarray(h) if same else _rebinned(h, edges) for _, h in found]).T
    widths = np.diff(steps)
    last = widths[-1] if len(widths) else 1.0
    sides = np.append(steps, steps[-1] + last) - last / 2
    shown = np.where(counts > 0, counts, np.nan)
    if edges[0] == 0 and edges[1] > 0 and edges[-1] / edges[1] > 1e4:
        edges = np.append(edges[1] ** 2 / edges[2], edges[1:])
        axes.set_yscale("log")
    norm = LogNorm(1, max(2.0, float(counts.max(initial=1)))) if counts.any() else None
    axes.pcolormesh(sides, edges, shown, cmap="Blues", norm=norm, rasterized=True)
    inside = np.flatnonzero(counts.any(1))
    if len(inside):
        axes.set_ylim(edges[inside[0]], edges[inside[-1] + 1])


def _rebinned(histogram: Any, edges: np.ndarray) -> np.ndarray:
    """Counts in other bins, those of a bin being spread over it evenly."""
    total = np.concatenate([[0.0], np.cumsum(np.asarray(histogram))])
    return np.diff(np.interp(edges, histogram.edges, total))


def _pairs(axes: Any, last: tuple[int, Any]) -> None:
    """A histogram of two axes, with what it is of along each of them."""
    from matplotlib.colors import LogNorm

    step, histogram = last
    rows, columns = histogram.edges
    counts = np.asarray(histogram)
    shown = np.where(counts > 0, counts, np.nan)
    norm = LogNorm(1, max(2.0, float(counts.max(initial=1))))
    axes.pcolormesh(columns, rows, shown, cmap="Blues", norm=norm, rasterized=True)
    axes.axhline(0, color=FAINT, linewidth=0.6)
    axes.axvline(0, color=FAINT, linewidth=0.6)
    axes.set_xlabel(f"elements of gradients, step {step}", fontsize=7)
    axes.set_ylabel("parameters", fontsize=7)


def _image(axes: Any, last: tuple[int, bytes]) -> None:
    import io

    from matplotlib.image import imread

    axes.imshow(imread(io.BytesIO(last[1]), format="png"), cmap="gray")
    axes.set_axis_off()


def _plain(text: str) -> str:
    """Text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")
