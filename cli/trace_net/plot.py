"""Pictures of what quantities are: norms as bars, factors as images, the rest as histograms.

A section per quantity, one below the other: bars of the norms of all parameters, then a panel for
each parameter.
"""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trace_net import flow, report, spectra, streams
from trace_net.errors import DrawingError, UsageError
from trace_net.scalars import norm
from trace_net.values import arrays, by_parameter, elide, form, kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")

#: Parameters with a panel; of more, those of largest norm have one. Bars are drawn for all.
MOST_PANELS = 48
COLUMNS = 6
BINS = 24

#: Inches.
WIDTH, PANEL, IMAGE, BAR, HEADING, AXIS, FLOW = 11.0, 1.45, 1.9, 0.17, 0.55, 0.45, 2.6

#: Inches for the names of parameters, left of bars and of operators.
NAMES = 1.9

#: Entries below this fraction of the largest are drawn on a linear scale, as next to zero.
NEXT_TO_ZERO = 1e-2

POSITIVE, NEGATIVE, INK = "#2166ac", "#b2182b", "#333333"
TITLES = {
    "kronecker": "Kronecker factors, each relative to its largest entry (symmetric log scale)",
    "elements": "magnitudes of the elements, number of elements",
    "samples": "values of the samples, number of samples",
    "pairs": "pairs of samples, each relative to its largest entry (symmetric log scale)",
    "stack": "norms of the samples' parts, number of samples",
    "operator": "all parameters, relative to the largest entry (symmetric log scale)",
    "": "",
}


@dataclass(frozen=True)
class Panel:
    """One small drawing: `images` are matrices side by side, else `numbers` are counted.

    `spans` are the parameters whose rows and columns the matrix of an operator has.
    """

    title: str
    images: tuple[np.ndarray, ...] = ()
    numbers: np.ndarray = field(default_factory=lambda: np.zeros(0))
    spans: Mapping[str, slice] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """What is drawn of one quantity: norms by parameter, and panels of one form."""

    quantity: str
    form: str
    norms: dict[str, float]
    panels: tuple[Panel, ...]

    @property
    def heading(self) -> str:
        hidden = len(self.norms) - len(self.panels)
        less = f", the {MOST_PANELS} of largest norm" if self.panels and hidden > 0 else ""
        return f"{TITLES[self.form]}{less}"

    @property
    def columns(self) -> int:
        if self.form == "kronecker":
            return COLUMNS // 2
        return min(COLUMNS, max(4, len(self.panels)))

    @property
    def rows(self) -> int:
        return math.ceil(len(self.panels) / self.columns)

    @property
    def bars_height(self) -> float:
        return BAR * len(self.norms) + AXIS if self.norms else 0.0

    @property
    def panels_height(self) -> float:
        tall = IMAGE if self.form in ("kronecker", "pairs", "operator") else PANEL
        return tall * (3 if self.form == "operator" else self.rows) + HEADING * bool(self.panels)

    @property
    def height(self) -> float:
        return HEADING + self.bars_height + self.panels_height


def require_matplotlib() -> None:
    """Raise `DrawingError` where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise DrawingError(
            "--plot draws with matplotlib, which is not installed",
            hint="pip install 'trace-net[plot]'",
        )


def draw(
    results: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    gradient_flow: Mapping[str, np.ndarray],
    title: str,
    format: str,
) -> bytes:
    """The picture of all quantities in results, as a file in one of `FORMATS`.

    `shapes` are those of the parameters, `gradient_flow` the norms by recurrent state, which stand
    above all where there are any. Raises `UsageError` where no quantity can be drawn.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = list(sections(results, shapes))
    if not found and not gradient_flow:
        raise UsageError(
            f"--plot draws arrays, Kronecker products and operators of at most "
            f"{spectra.LARGEST_DENSE} parameters, and {', '.join(results)} gives none",
            hint="ask for another quantity, as in --quantity kfac",
        )
    heights = [section.height for section in found]
    above = HEADING + FLOW + AXIS if gradient_flow else 0.0
    figure = Figure((WIDTH, above + sum(heights) + 0.4), facecolor="white")
    FigureCanvasAgg(figure)
    top = 0.4
    _text(figure, 0.15, 0.22, streams.one_line(title), size=13, weight="bold")
    if gradient_flow:
        _text(figure, 0.15, top + 0.28, flow.TITLE, size=11, weight="bold", color=POSITIVE)
        axes = _axes(figure, 0.7, top + HEADING, WIDTH - NAMES - 1.5, FLOW)
        flow.draw(axes, gradient_flow)
        _quiet(axes)
        top += above
    for section in found:
        _draw_section(figure, section, top)
        top += section.height
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script without a font
        figure.savefig(file, format=format, dpi=110, metadata=UNDATED.get(format))
    return file.getvalue()


#: format -> what leaves the date out of the file, so that equal pictures are equal files
UNDATED: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def sections(results: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> Iterator[Section]:
    """What is drawn of each quantity; functions and large operators are left out."""
    for quantity, whole in results.items():
        if kind(whole) == "operator":
            matrix = spectra.dense(whole)
            if matrix is not None:
                spans = getattr(whole, "parameters", {})
                yield Section(quantity, "operator", {}, (Panel("", (matrix,), spans=spans),))
            continue
        values = {
            name: value
            for name, value in by_parameter(results, quantity).items()
            if kind(value) in ("array", "kronecker")
        }
        if not values:
            continue
        shaped = _form(values, shapes)
        norms = {name: norm(value) for name, value in values.items()}
        chosen = sorted(norms, key=lambda name: -np.nan_to_num(norms[name]))[:MOST_PANELS]
        panels = tuple(
            _panel(name, value, shaped, shapes)
            for name, value in values.items()
            if shaped and name in chosen
        )
        yield Section(quantity, shaped, norms, panels)


def _form(values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> str:
    kinds = {kind(value) for value in values.values()}
    return "kronecker" if kinds == {"kronecker"} else form(values, shapes)


def _panel(name: str, value: Any, shaped: str, shapes: Mapping[str, Sequence[int]]) -> Panel:
    if shaped == "kronecker":
        factors = tuple(arrays(value).values())
        groups = f"  first of {value.groups} groups" if value.groups > 1 else ""
        return Panel(f"{elide(name)}{groups}", images=factors[:2])
    (array,) = arrays(value).values()
    if shaped == "pairs":
        return Panel(elide(name), images=(array,))
    if shaped == "stack":
        batch = array.ndim - len(shapes[name]) - 1
        wide = np.moveaxis(array.astype(np.float64), batch, 0)
        array = np.linalg.norm(wide.reshape(len(wide), -1), axis=1)
    return Panel(elide(name), numbers=array.astype(np.float64).reshape(-1))


def _draw_section(figure: Figure, section: Section, top: float) -> None:
    """One quantity, from `top` inches below the upper edge."""
    _text(figure, 0.15, top + 0.28, section.quantity, size=11, weight="bold", color=POSITIVE)
    top += HEADING
    if section.norms:
        height = section.bars_height - AXIS
        _bars(_axes(figure, NAMES, top, WIDTH - NAMES - 0.6, height), section.norms)
        top += section.bars_height
    if not section.panels:
        return
    _text(figure, 0.15, top + 0.3, section.heading, size=9)
    top += HEADING
    if section.form == "operator":
        side = 3 * IMAGE - 0.4
        _operator(_axes(figure, NAMES, top, side, side), section.panels[0])
        _scale(figure, NAMES + side + 0.3, top, side)
    elif section.form in ("kronecker", "pairs"):
        _images(figure, section, top)
    else:
        _histograms(figure, section, top)


def _images(figure: Figure, section: Section, top: float) -> None:
    """Matrices of every panel side by side, panels in rows."""
    wide = (WIDTH - 0.9) / section.columns
    most = max(len(panel.images) for panel in section.panels)
    side = min(IMAGE - 0.5, wide / most - 0.15)
    for i, panel in enumerate(section.panels):
        row, column = divmod(i, section.columns)
        left, upper = 0.2 + column * wide, top + row * IMAGE
        _text(figure, left, upper, panel.title, size=7.5, weight="bold")
        for k in range(len(panel.images)):
            _image(_axes(figure, left + k * (side + 0.12), upper + 0.12, side, side), panel, k)
    _scale(figure, WIDTH - 0.6, top + 0.12, IMAGE - 0.5)


def _image(axes: Axes, panel: Panel, k: int) -> None:
    """One matrix relative to its entry of largest magnitude, which is written below."""
    from matplotlib.colors import SymLogNorm

    matrix = panel.images[k].astype(np.float64)
    finite = np.isfinite(matrix)
    largest = float(abs(matrix[finite]).max()) if finite.any() else 0.0
    shown = np.where(finite, matrix, np.nan) / (largest or 1.0)
    axes.set_facecolor("#bbbbbb")  # seen where an entry is not finite
    axes.imshow(shown, norm=SymLogNorm(NEXT_TO_ZERO, vmin=-1, vmax=1), cmap="RdBu")
    axes.set_xticks([])
    axes.set_yticks([])
    size = report.shape(matrix.shape)
    axes.set_xlabel(f"{size}, largest {largest:.2g}{_strange(matrix)}", fontsize=6.5, labelpad=2)


def _operator(axes: Axes, panel: Panel) -> None:
    """A matrix over all parameters, with a line between two of them and their names."""
    _image(axes, panel, 0)
    spans = panel.spans.values()
    for span in spans:
        axes.axhline(span.stop - 0.5, color=INK, linewidth=0.9)
        axes.axvline(span.stop - 0.5, color=INK, linewidth=0.9)
    centres = [(span.start + span.stop - 1) / 2 for span in spans]
    axes.set_yticks(
        centres, [elide(name, 24) for name in panel.spans], fontsize=7, parse_math=False
    )
    axes.tick_params(length=0)


def _scale(figure: Figure, left: float, top: float, height: float) -> None:
    """The colours of all images in a section."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import SymLogNorm

    axes = _axes(figure, left, top, 0.1, height)
    bar = figure.colorbar(
        ScalarMappable(SymLogNorm(NEXT_TO_ZERO, vmin=-1, vmax=1), "RdBu"), cax=axes
    )
    ticks = (-1, -0.1, 0, 0.1, 1)
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.minorticks_off()
    axes.tick_params(labelsize=6.5)


def _histograms(figure: Figure, section: Section, top: float) -> None:
    """Magnitudes of every panel on one logarithmic axis, positive and negative numbers apart."""
    edges = _edges([panel.numbers for panel in section.panels])
    wide = (WIDTH - 0.4) / section.columns
    for i, panel in enumerate(section.panels):
        row, column = divmod(i, section.columns)
        left, upper = 0.2 + column * wide, top + row * PANEL
        axes = _axes(figure, left + 0.28, upper + 0.1, wide - 0.42, PANEL - 0.55)
        numbers = panel.numbers
        signs = ((1, POSITIVE), (-1, NEGATIVE))
        counts = [_count(sign * numbers, edges) for sign, _ in signs]
        for (_, colour), count in zip(signs, counts, strict=True):
            if count.any():
                axes.stairs(count, edges, fill=True, color=colour, alpha=0.75)
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        zeros = int(np.count_nonzero(numbers == 0))
        remarks = (f", {zeros} zero" if zeros else "") + _strange(numbers)
        negative = ", red: negative" if counts[1].any() else ""
        axes.set_title(
            panel.title, fontsize=7.5, weight="bold", pad=2, loc="left", parse_math=False
        )
        axes.set_xlabel(f"{numbers.size} values{remarks}{negative}", fontsize=6.5, labelpad=1)
        _quiet(axes)
        axes.minorticks_off()
        axes.locator_params(axis="y", nbins=3)
        axes.set_xticks(_decades(edges[0], edges[-1]) or [edges[0], edges[-1]])
        if len(axes.get_xticks()) == 2:
            axes.set_xticklabels([f"{tick:.2g}" for tick in axes.get_xticks()])


def _count(numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Positive finite numbers in each bin; the first holds all that are smaller."""
    return np.histogram(np.maximum(numbers[numbers > 0], edges[0]), edges)[0]


def _edges(many: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of logarithmic bins over the magnitudes of all numbers that have a logarithm."""
    magnitudes = abs(np.concatenate(many))
    held = magnitudes[np.isfinite(magnitudes) & (magnitudes > 0)]
    if not held.size:
        return np.geomspace(0.1, 10.0, BINS + 1)
    low, high = held.min() / 1.05, held.max() * 1.05
    return np.geomspace(max(low, high * 1e-12), high, BINS + 1)


def _decades(low: float, high: float) -> list[float]:
    """Two to five powers of ten between `low` and `high`; empty if there are fewer."""
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    if len(exponents) < 2:
        return []
    return [10.0**e for e in exponents[:: math.ceil(len(exponents) / 5)]]


def _strange(numbers: np.ndarray) -> str:
    """`, 3 not finite` where that is so."""
    count = int(numbers.size - np.count_nonzero(np.isfinite(numbers)))
    return f", {count} not finite" if count else ""


def _bars(axes: Axes, norms: Mapping[str, float]) -> None:
    """Norms by parameter from top to bottom, logarithmic where they span decades."""
    heights = np.array(list(norms.values()))
    drawn = np.where(np.isfinite(heights), heights, 0.0)
    places = np.arange(len(norms))
    axes.barh(places, drawn, height=0.7, color=POSITIVE, alpha=0.75)
    positive = drawn[drawn > 0]
    if positive.size and positive.max() > 50 * positive.min():
        axes.set_xscale("log")
        axes.set_xlim(positive.min() / 2, positive.max() * 4)
    else:
        axes.set_xlim(0, float(positive.max()) * 1.15 if positive.size else 1.0)
    for place, height, length in zip(places, heights, drawn, strict=True):
        start = length if length > 0 else axes.get_xlim()[0]
        axes.annotate(
            f"{height:.3g}", (start, place), (3, 0), textcoords="offset points",
            va="center", fontsize=6.5, color=INK,
        )  # fmt: skip
    axes.set_yticks(places, [elide(name) for name in norms], fontsize=7.5, parse_math=False)
    axes.set_ylim(len(norms) - 0.4, -0.6)
    axes.set_xlabel("norm", fontsize=7.5, labelpad=1)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=6.5, pad=1)
    axes.tick_params(axis="y", labelsize=7, length=2, pad=2)


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )


def _text(figure: Figure, left: float, top: float, words: str, **style: Any) -> None:
    """Text that ends at a baseline in inches from the upper left corner."""
    across, down = figure.get_size_inches()
    style = {"color": INK, **style}
    figure.text(left / across, 1 - top / down, words, va="baseline", parse_math=False, **style)
