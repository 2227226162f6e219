"""Gradient flow through time as a table and as a plot: norms against steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from trace_net.values import elide
from tracer.extend import REVERSE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "gradient flow through time: norms of the gradient at recurrent states"
COLUMNS = ("state", ">steps", ">first", ">last", ">smallest", ">largest", ">per step back")

#: Lines that the plot has room to name.
MOST_NAMED = 20


def rows(flow: Mapping[str, np.ndarray]) -> Iterator[tuple[str, int, *tuple[float, ...]]]:
    """A row of `COLUMNS` for each state; NaN for what is not known.

    First and last are meant in the order in which the loop went. The last column is the factor of
    the norm per step back, on geometric average over the steps where there is one: below 1 the
    gradient vanishes, above it explodes.
    """
    for name, norms in flow.items():
        known = in_order(name, norms)
        held = known[~np.isnan(known)]
        if not held.size:
            yield name, norms.size, *[np.nan] * 5
            continue
        some = np.flatnonzero(np.isfinite(known) & (known > 0))
        rate = np.nan
        if some.size > 1:
            start, stop = some[[0, -1]]
            rate = float((known[start] / known[stop]) ** (1 / (stop - start)))
        yield name, norms.size, *map(float, (held[0], held[-1], held.min(), held.max())), rate


def in_order(name: str, norms: np.ndarray) -> np.ndarray:
    """Norms in the order in which the loop went, loops in loops one after the other."""
    flat = norms.reshape(-1)
    return flat[::-1] if REVERSE in name else flat


def draw(axes: Axes, flow: Mapping[str, np.ndarray]) -> None:
    """A line for each state, dashed for loops that go backward; the norms on a log scale."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 0.85, len(flow)))
    for index, (name, norms) in enumerate(flow.items()):
        flat = norms.reshape(-1)
        drawn = np.where(np.isfinite(flat) & (flat > 0), flat, np.nan)
        zero, infinite = np.count_nonzero(flat == 0), np.count_nonzero(np.isinf(flat))
        remarks = f", {zero:,} zero" * bool(zero) + f", {infinite:,} infinite" * bool(infinite)
        axes.plot(
            drawn,
            color=colours[index],
            linewidth=1.4,
            linestyle="--" if REVERSE in name else "-",
            marker="." if flat.size <= 60 else "",
            markersize=4,
            label=f"{elide(name, 40)}{remarks}" if index < MOST_NAMED else None,
        )
    steps = max(norms.size for norms in flow.values())
    axes.set_xlim(-0.02 * steps, 1.02 * steps - 1)
    axes.set_yscale("log")
    axes.set_xlabel("step", fontsize=7.5, labelpad=1)
    axes.set_ylabel("norm of the gradient", fontsize=7.5, labelpad=2)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    legend = axes.legend(
        fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
