"""Pictures of results: what quantities cost relative to the gradient, and how times grow."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .curvature import Cell
from .growth import Growth
from .results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, FAINT = "#ffffff", "#1f2933", "#c9d0d9"
#: what these colours become in an SVG that is seen where dark ones are preferred
DARK = {PAPER: "#14181f", INK: "#d8dee6", FAINT: "#39424f"}

OURS, PEER = "#3a7ebf", "#d9822b"
LINES = ("#3a7ebf", "#d9822b", "#2f9e6b", "#9b6bc4")
MARKERS = "osD^"

#: Inches.
PANEL, BAR = 3.3, 0.3

LABELS = {
    "N": "samples N",
    "V": "outputs V, one exact row each",
    "T": "steps in time T",
    "depth": "layers",
}
COLOURED = {
    INK: ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"),
    FAINT: ("axes.edgecolor", "grid.color"),
    PAPER: ("axes.facecolor", "figure.facecolor", "savefig.facecolor"),
}
SETTINGS = {
    **{setting: colour for colour, settings in COLOURED.items() for setting in settings},
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
}


class NothingToDrawError(Exception):
    """Results lack what a picture shows."""


def draw(results: Results, group: str, file: Path) -> None:
    """Write the picture of a group of `PLOTS`, in the format that the file's name ends in.

    Raises `NothingToDrawError` where the results lack what the picture shows.
    """
    save(lambda figure: PLOTS[group](figure, results), file)


def save(paint: Callable[[Figure], None], file: Path) -> None:
    """Write what is painted on an empty figure, in the format that the file's name ends in."""
    import matplotlib
    from matplotlib.figure import Figure

    format = file.suffix.removeprefix(".") or "svg"
    written = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(layout="constrained")
        paint(figure)
        figure.savefig(written, format=format, dpi=120, metadata=UNDATED.get(format))
    picture = written.getvalue()
    file.write_bytes(with_dark_colours(picture) if format == "svg" else picture)


#: format -> what leaves the date out of the file, so that equal pictures are equal files
UNDATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def with_dark_colours(svg: bytes) -> bytes:
    """The same picture with a second set of colours, for readers who prefer dark ones."""
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>"
    head, closing, rest = svg.partition(b"</metadata>")
    return head + closing + style.encode() + rest


# -- overhead -----------------------------------------------------------------------------------


def overhead(figure: Figure, results: Results) -> None:
    """A panel per network: bars of each library's time over that of its own gradient.

    A bar begins at 1, the gradient itself. As in Dangel, Kunstner and Hennig 2020.
    """
    networks = {
        name: costs
        for name in dict.fromkeys(cell.network for cell in results.cells)
        if (costs := relative([cell for cell in results.cells if cell.network == name]))
    }
    if not networks:
        raise NothingToDrawError(
            "the picture of curvature is of times over that of grad: take both"
        )
    columns = min(4, len(networks))
    rows = math.ceil(len(networks) / columns)
    most = max(map(len, networks.values()))
    figure.set_size_inches(PANEL * columns, rows * (0.8 + BAR * most) + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).reshape(-1)
    ratios = numbers(
        ratio for costs in networks.values() for pair in costs.values() for ratio in pair
    )
    axes[0].set_xscale("log")
    axes[0].set_xlim(0.9 * min([0.5, *ratios]), 2.2 * max([2.0, *ratios]))
    for each, (name, costs) in zip(axes, networks.items(), strict=False):
        bars(each, costs)
        each.set_title(name, loc="left")
    for each in axes[len(networks) :]:
        each.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def relative(cells: Sequence[Cell]) -> dict[str, tuple[float | str, float | str]]:
    """Quantity -> our time over that of our `grad`, and the peer's likewise, or why there is none.

    Empty if the gradient was not measured.
    """
    gradient = next((cell for cell in cells if cell.quantity == "grad"), None)
    if gradient is None:
        return {}
    return {
        cell.quantity: (over(cell.ours, gradient.ours), over(cell.peer, gradient.peer))
        for cell in cells
        if cell.quantity != "grad"
    }


def over(time: float | str, gradient: float | str) -> float | str:
    """A ratio, or why there is none."""
    if isinstance(time, str):
        return time
    return gradient if isinstance(gradient, str) else time / gradient


def numbers(values: Iterable[float | str]) -> list[float]:
    """Those that are no text."""
    return [value for value in values if not isinstance(value, str)]


def bars(axes: Axes, costs: Mapping[str, tuple[float | str, float | str]]) -> None:
    """Two bars for each quantity, ours above."""
    places = np.arange(len(costs))
    libraries = (("trace-net / its grad", OURS), ("PyTorch with BackPACK / PyTorch's grad", PEER))
    for library, (label, color) in enumerate(libraries):
        ratios = [pair[library] for pair in costs.values()]
        lengths = [0.0 if isinstance(ratio, str) else ratio - 1 for ratio in ratios]
        heights = places + 0.38 * (library - 0.5)
        axes.barh(heights, lengths, height=0.36, left=1, color=color, label=label)
        for ratio, length, height in zip(ratios, lengths, heights, strict=True):
            text = f" {ratio}" if isinstance(ratio, str) else f" {ratio:.1f}"
            axes.text(max(1.0, 1 + length), height, text, va="center", size=6)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(places, list(costs))
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelbottom=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", linewidth=0.5)


# -- scaling ------------------------------------------------------------------------------------


def scaling(figure: Figure, results: Results) -> None:
    """A panel per thing that grows, a line per quantity, in logarithmic scales."""
    if not results.scaling:
        raise NothingToDrawError("the results have no scaling")
    figure.set_size_inches(2.3 * PANEL, 1.8 * PANEL)
    for panel, (name, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        growth(panel, [line for line in results.scaling if line.axis == name])
        panel.set_xlabel(label)
        panel.set_ylabel("time of a step, ms")


def growth(axes: Axes, lines: Sequence[Growth]) -> None:
    """Times against sizes; the legend has the exponents between the last two."""
    for line, color, marker in zip(lines, LINES, MARKERS, strict=False):
        axes.plot(
            list(line.seconds),
            [1e3 * seconds for seconds in line.seconds.values()],
            color=color,
            marker=marker,
            markersize=3.5,
            linewidth=1.2,
            label=f"{line.quantity}: {line.exponent:.2f}",
        )
    sizes = list(lines[0].seconds)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.tick_params(which="minor", bottom=False, labelbottom=False, labelleft=False)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(linewidth=0.5)
    axes.legend(loc="upper left")


#: group -> what draws its results
PLOTS: dict[str, Callable[[Figure, Results], None]] = {"curvature": overhead, "scaling": scaling}
