"""Figures, as files and in notebooks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tracer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: suffixes of figures, as matplotlib names them
FORMATS = ("png", "svg", "pdf")
#: pixels in an inch of a PNG
RESOLUTION = 150


def blank(width: float, height: float, **options: Any) -> Figure:
    """An empty figure outside of pyplot, in inches; a notebook shows it where it ends a cell."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return drawn(self, "png")

    return Shown(figsize=(width, height), layout="constrained", **options)


def check_matplotlib() -> None:
    """Raise `UsageError` where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("drawing needs matplotlib", "pip install 'trace-net[plot]'") from error


def drawn(figure: Figure, suffix: str) -> bytes:
    """A figure as a file. Text of an SVG stays text, and the same figure is the same file."""
    import matplotlib

    file = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trace-net"}):
        figure.savefig(file, format=suffix, dpi=RESOLUTION, metadata=undated)
    return file.getvalue()
