"""Colours, texts and their sizes: what all formats share so that they look like one another."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

TITLE_SIZE = 12.0
NOTE_SIZE = 9.0
LABEL_SIZE = 8.0
LINE_HEIGHT = 1.25
FONT = "Helvetica"
FONT_STACK = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
#: Of the numbers in boxes: a font whose characters are all this wide, in parts of its size.
FIXED_STACK = "Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"
FIXED_FONT = "monospace"
FIXED_WIDTH = 0.605
#: Room above them.
ROWS_GAP = 2.0
LONGEST = 48
TIMES = "\N{MULTIPLICATION SIGN}"
MINUS = "\N{MINUS SIGN}"
#: What stands before the title of what two compared graphs do not have in common.
SIGNS = {"removed": MINUS, "added": "+", "changed": "~"}


@dataclass(frozen=True, slots=True)
class Ink:
    """Colours of one kind of thing: inside, outline and text, as `#rrggbb`."""

    fill: str
    line: str
    text: str


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture on light or on dark ground."""

    paper: str
    text: str
    faint: str
    cluster: Ink
    alarm: Ink
    widened: Ink
    changes: dict[str, Ink]
    boxes: dict[str, Ink]
    lines: dict[str, str]


LIGHT = Theme(
    paper="#ffffff",
    text="#1f2933",
    faint="#5f6b7a",
    cluster=Ink("#f7f8fa", "#c9d0d9", "#5f6b7a"),
    alarm=Ink("#fde4e1", "#c02718", "#7d150b"),
    widened=Ink("#fdebd7", "#d2691e", "#5c2c08"),
    changes={
        "removed": Ink("#fbeae8", "#c0392b", "#6d1f17"),
        "added": Ink("#e3f4e1", "#2e8540", "#14401d"),
        "changed": Ink("#fdf3d0", "#b8860b", "#463408"),
    },
    boxes={
        "operation": Ink("#eaf0f8", "#5b7aa6", "#1f2933"),
        "input": Ink("#e2f2ea", "#3d8b68", "#17352a"),
        "parameter": Ink("#fcf0d4", "#b5832a", "#3d2c0c"),
        "constant": Ink("#f1f1f1", "#8c8c8c", "#333333"),
        "cotangent": Ink("#f3e9f6", "#8d5fa8", "#35203f"),
        "module": Ink("#dce8f7", "#3f6597", "#16283f"),
        "elided": Ink("#ffffff", "#8b97a8", "#4a5564"),
    },
    lines={"data": "#64748b", "cotangent": "#9a6fb3", "pair": "#c3cad4"},
)

DARK = Theme(
    paper="#14181f",
    text="#e4e9f0",
    faint="#9aa7b8",
    cluster=Ink("#1a2029", "#3a4554", "#9aa7b8"),
    alarm=Ink("#4a1714", "#ff7b6b", "#ffd9d3"),
    widened=Ink("#43280f", "#f0a05a", "#fbe3cc"),
    changes={
        "removed": Ink("#3d1c1a", "#ef8379", "#f8d6d2"),
        "added": Ink("#173a1f", "#6cc97f", "#d6f5dc"),
        "changed": Ink("#3a300f", "#e0b84a", "#f7ebc5"),
    },
    boxes={
        "operation": Ink("#22304a", "#7f9fd0", "#e4e9f0"),
        "input": Ink("#173629", "#62b890", "#dcf3e8"),
        "parameter": Ink("#3b2d10", "#d8a94f", "#f9ebcb"),
        "constant": Ink("#2b2e33", "#9a9fa6", "#e3e3e3"),
        "cotangent": Ink("#35233f", "#b98bd3", "#f1e4f7"),
        "module": Ink("#1d3b63", "#8db6ea", "#e4effc"),
        "elided": Ink("#14181f", "#6b7789", "#b6c1d0"),
    },
    lines={"data": "#8a99ad", "cotangent": "#b58fcb", "pair": "#465364"},
)


def corner_radius(kind: str, height: float) -> float:
    """Of the corners of a box of a kind: inputs have round ends, parameters and constants none."""
    if kind in ("parameter", "constant"):
        return 0.0
    return min(26.0 if kind == "input" else 6.0, height / 2)


def fixed(theme: str) -> Theme:
    """The theme of a format that cannot follow the reader's preference: light unless dark."""
    return DARK if theme == "dark" else LIGHT


def printable(text: object) -> str:
    """One line without control characters and lone surrogates, which XML forbids."""
    line = str(text)
    if not line.isprintable():
        line = "".join(c if c.isprintable() else " " for c in line)
    return line.strip()


def elide(text: object, longest: int = LONGEST) -> str:
    """`printable(text)`, its middle replaced by an ellipsis where it is longer than `longest`."""
    line = printable(text)
    if len(line) <= longest:
        return line
    head = (longest - 1) // 2
    return f"{line[:head]}…{line[head + 1 - longest :]}"


def cut(text: object, longest: int = LONGEST) -> str:
    """`printable(text)`, its end replaced by an ellipsis where it is longer than `longest`."""
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def wrapped(text: object, width: int, longest: int) -> list[str]:
    """`cut(text, longest)` in lines of at most `width` characters, broken between words."""
    return textwrap.wrap(cut(text, longest), width, break_on_hyphens=False)


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """About the width of a line of sans-serif text, in points; rather too much than too little."""
    return size * sum(map(_em, text)) * (1.07 if bold else 1.0)


def _em(character: str) -> float:
    if character in "iIjl.,:;'|!()[]{}ftr ":
        return 0.34
    if character in f"mwMW@%∇…{TIMES}":
        return 0.9
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.7 if character.isupper() else 0.58


def shape_text(shape: Iterable[int] | None) -> str:
    """The sizes with multiplication signs between; `scalar` for a number, empty if unknown."""
    if shape is None:
        return ""
    return TIMES.join(map(str, shape)) or "scalar"


def number_text(value: float) -> str:
    """Three significant digits; `NaN` and `±Inf` as words."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.3g}"


def amount_text(value: float, unit: str) -> str:
    """Three digits and the unit with a prefix, as in 1.25 MB; without a unit the number alone."""
    if not unit or not math.isfinite(value) or value == 0:
        return f"{number_text(value)} {unit}".rstrip()
    power = math.floor(math.log10(abs(float(f"{value:.3g}")))) // 3
    power = min(max(power, -len(SMALLER) if unit == "s" else 0), len(LARGER))
    prefix = LARGER[power - 1] if power > 0 else SMALLER[-power - 1] if power else ""
    return f"{value / 1000.0**power:.3g} {prefix}{unit}"


#: Prefixes of thousands, and of thousandths.
LARGER, SMALLER = "kMGT", "mµn"


#: From low to high: ColorBrewer's sequential YlGnBu, whose lightness falls steadily, also in print.
SCALE = ((255, 255, 217), (199, 233, 180), (65, 182, 196), (34, 94, 168), (8, 29, 88))


#: Of modules that are called several times, on light and dark ground.
MODULES = ("#d9712b", "#1f9488", "#b0468f", "#6f8f24", "#3a7bd0", "#b8942a", "#7a62c9", "#c94f4f")


def module_colour(module: int) -> str:
    """The colour of a module's calls, as `#rrggbb`."""
    return MODULES[module % len(MODULES)]


def scale_colour(position: float) -> str:
    """The scale's colour at `position` in [0, 1], as `#rrggbb`."""
    at = min(max(position, 0.0), 1.0) * (len(SCALE) - 1)
    low = min(int(at), len(SCALE) - 2)
    pairs = zip(SCALE[low], SCALE[low + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (at - low)):02x}" for a, b in pairs)


def text_on(colour: str) -> str:
    """Black or white, whichever is read better on `colour`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#111111" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
