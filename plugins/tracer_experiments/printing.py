"""What the commands print: tables that fit, small curves, JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import numpy as np

from tracer_experiments.sinks.json_lines import json_able

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1
#: columns where tables go to a file or a pipe, and are not broken
PIPE_WIDTH = 1000
#: between two columns of a table
GAP = 3
#: letters of a cell of a list, at most
LONGEST = 28
#: letters of a column's name at most, where it is folded
FOLDED = 18
HEIGHTS = "▁▂▃▄▅▆▇█"


def console(file: TextIO | None = None) -> Console:
    """A console that takes text as it is; `NO_COLOR` is honoured by rich itself."""
    from rich.console import Console

    stream = file or sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Text on one line, with control characters escaped, so that no name moves the cursor."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def note(message: str) -> None:
    """A line on stderr."""
    print(f"trace-net: {printable(message)}", file=sys.stderr)


def print_json(command: str, document: Mapping[str, object]) -> None:
    """A document on stdout, with the version of its schema."""
    whole = {"schema_version": SCHEMA_VERSION, "command": command, **document}
    print(json.dumps(json_able(whole), indent=2, allow_nan=False))


def cell(value: object) -> str:
    """A value in a table: numbers with four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | dict):
        return printable(json.dumps(value))
    return printable(str(value))


def shortened(text: str) -> str:
    """A text that is no longer than a cell of a list."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], least: int | None = None
) -> list[str]:
    """Print rows under their columns; `>` before a column's name aligns it to the right.

    With `least`, columns after so many are left out where the terminal is too narrow: their names
    are given back.
    """
    shown = len(columns)
    while least is not None and shown > least and room_beside(columns[:shown], rows) < 0:
        shown -= 1
    _print(columns[:shown], [row[:shown] for row in rows])
    return [printable(name.removeprefix(">")) for name in columns[shown:]]


def print_side_by_side(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column says what the rows are, and the others are alike.

    In a narrow terminal their names are folded, and where that is not enough there are several
    tables below each other, each with the first column.
    """
    first, *others = _widths(columns, rows)
    room = console().width + 1 - first - GAP
    if sum(others) + GAP * len(others) > room:
        others = [max(_narrow(name), *_widths([""], [[row[i]] for row in rows]))
                  for i, name in enumerate(columns[1:], 1)]  # fmt: skip
    begun = 0
    while begun < len(others):
        end = begun + 1
        while end < len(others) and sum(others[begun : end + 1]) + GAP * (end + 1 - begun) <= room:
            end += 1
        places = [0, *range(begun + 1, end + 1)]
        cells = [[row[i] for i in places] for row in rows]
        _print([columns[i] for i in places], cells, [first, *others[begun:end]])
        begun = end


def room_beside(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Letters that the terminal has beside these columns; below zero where they do not fit."""
    return console().width + 1 - sum(_widths(columns, rows)) - GAP * len(columns)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Letters of the widest cell of each column, its name among them."""
    from rich.cells import cell_len

    heads = [printable(name.removeprefix(">")) for name in columns]
    return [
        max(cell_len(text) for text in (name, *(row[i] for row in rows)))
        for i, name in enumerate(heads)
    ]


def _narrow(name: str) -> int:
    """Letters of a column's name at least, where it may be folded: those of its longest word."""
    return min(FOLDED, max(len(word) for word in ("", *name.removeprefix(">").split())))


def _print(
    columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None
) -> None:
    """A table as it is; without `widths`, texts are folded in a terminal that is too narrow."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        right = column.startswith(">")
        table.add_column(
            printable(column.removeprefix(">")),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right and widths is None,
            width=None if widths is None else widths[place],
        )
    for row in rows:
        table.add_row(*row)
    console().print(table)


def duration(seconds: float) -> str:
    """A time span: `3.2 s`, `4 min 5 s`, `2 h 3 min`."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(seconds: float) -> str:
    """A time since 1970 as date and time here."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def mean_of(values: np.ndarray) -> float:
    """The mean of finite values, rounded to none outside of them, or NaN where there are none."""
    if not values.size:
        return math.nan
    return float(np.clip(values.mean(), values.min(), values.max()))


def sparkline(values: np.ndarray, width: int = 24) -> str:
    """A curve as one line of letters: means of equally many values; `!` where none is finite."""
    if not len(values):
        return ""
    parts = np.array_split(values, min(width, len(values)))
    means = [mean_of(part[np.isfinite(part)]) for part in parts]
    known = [mean for mean in means if not math.isnan(mean)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(HEIGHTS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        "!" if math.isnan(mean) else HEIGHTS[round((mean - low) * scale)] for mean in means
    )
