"""Measures everything and prints a table; `--markdown` prints docs/reference/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata

from . import graphs, jacobian, recording, sweep
from .measure import PEERS, Row, installed

GROUPS = (recording, sweep, jacobian, graphs)
COLUMNS = ("NumPy", "trace-net", *PEERS)
HEADER = ("measurement", *COLUMNS, "goal", "reached")
UNITS = {1e-6: "µs", 1e-3: "ms", 1.0: "s"}

PAGE = """---
hide:
  - toc
---

# Benchmarks

Measured on {date}, {machine}, with {versions}.

{table}

Recording and sweeping are per operation, on arrays of three elements, in a chain of 1,000
operations. NumPy is the same call on plain arrays; the other columns are totals and contain that
call, or the library's own. Each number is the shortest of several runs. The libraries take turns in
one process. The Jacobians are of a network of 20, 50 and 100 units at one sample.

The page is made by

```console
$ python -m tests.benchmarks --markdown > docs/reference/benchmarks.md
```

with the peers installed by `pip install '.[benchmarks]' torch`. Without `--markdown` only the table
is printed. A peer that is not installed is marked so.
"""


def main() -> None:
    """Measure, telling stderr what is measured, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the page of the docs")
    arguments = parser.parse_args()
    cells = []
    for group in GROUPS:
        print(f"measuring {group.__name__.rpartition('.')[2]} ...", file=sys.stderr)
        cells += [line(row) for row in group.rows()]
    table = aligned([HEADER, *cells])
    if arguments.markdown:
        date = datetime.now(UTC).strftime("%Y-%m-%d")
        text = PAGE.format(date=date, machine=machine(), versions=versions(), table=table)
        print(text, end="")
    else:
        print(table)


def line(row: Row) -> tuple[str, ...]:
    """The cells of one row."""
    cells = [number(row, column) for column in COLUMNS]
    reached = ""
    if row.goal is not None:
        ours = row.seconds["trace-net"]
        assert ours is not None
        reached = "yes" if ours <= row.goal else "no"
    return f"{row.what}, {UNITS[row.unit]}", *cells, row.goal_text, reached


def number(row: Row, column: str) -> str:
    """A time in the row's unit; empty where there is nothing to measure."""
    if column not in row.seconds:
        return ""
    seconds = row.seconds[column]
    return "not installed" if seconds is None else f"{seconds / row.unit:.2f}"


def aligned(lines: list[tuple[str, ...]]) -> str:
    """A table in Markdown whose columns line up, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def text(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if 1 <= i <= len(COLUMNS) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * width for width in widths]
    for i in range(1, 1 + len(COLUMNS)):
        rule[i] = rule[i][:-1] + ":"
    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])


def machine() -> str:
    """Cores, architecture and system; nothing that names the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()} {platform.system()}"


def versions() -> str:
    """Python, NumPy and the peers that are installed."""
    packages = ["numpy", *(package for name, package in PEERS.items() if installed(name))]
    found = [f"{package} {metadata.version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *found])


if __name__ == "__main__":
    main()
