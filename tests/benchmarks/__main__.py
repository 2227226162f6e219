"""Measures everything and prints tables; `--markdown` prints docs/reference/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata

from . import curvature, graphs, growth, jacobian, recording, sweep, transformer
from .curvature import Cell
from .growth import Growth
from .measure import PEERS, Row, installed
from .networks import NETWORKS

GROUPS = {
    "recording": recording,
    "sweep": sweep,
    "jacobian": jacobian,
    "graphs": graphs,
    "transformer": transformer,
}
CHOICES = (*GROUPS, "growth", "curvature")
COLUMNS = ("NumPy", "trace-net", *PEERS)
HEADER = ("measurement", *COLUMNS, "goal", "reached")
CURVATURE_HEADER = ("network", "quantity", "trace-net, ms", "peer, ms", "ratio")
GROWTH_HEADER = ("quantity", *(f"T = {steps}, ms" for steps in growth.STEPS), "exponent")
UNITS = {1e-6: "µs", 1e-3: "ms", 1.0: "s"}

PAGE = """---
hide:
  - toc
---

# Benchmarks

Measured on {date}, {machine}, with {versions}.

## Quantities of networks

{curvature}

Times are of one step: the network's forward pass, cross-entropy and the backward sweep with that
one quantity. The peer is PyTorch for `grad` and PyTorch with BackPACK for the others. A ratio
below 1 means that trace-net is faster; means are geometric, over the cells that both have. Data
are random, float32, the same for both. For each cell both have a process of their own with
{threads} threads and take turns: one to warm up, then {turns}, each of one run or of as many as
fit into a tenth of a second. The shortest run counts. A library that does not end its first two
turns within {limit:g} s is said to be over it. The networks are those of DeepOBS: batches of 128,
and of 16 with 100 classes for All-CNN-C. The recurrent ones have 64 units, take 64 sequences of 50
steps of 32 numbers, and read out all steps at once; they have the quantities that the peer has.

## Growth with time

{growth}

An LSTM of 8 units takes 8 sequences of T steps of 4 numbers; the loss is on the last step. The
exponent p is that of `T^p` between the last two columns: 1 is linear. The Hessian's diagonal takes
whichever is cheaper of rows, whose cost grows with T^2, and products, whose cost grows with T.

## Recording, sweeping and drawing

{table}

Recording and sweeping are per operation, on arrays of three elements, in a chain of 1,000
operations. NumPy is the same call on plain arrays; the other columns are totals and contain that
call, or the library's own. Each number is the shortest of several runs. The libraries take turns in
one process. The Jacobians are of a network of 20, 50 and 100 units at one sample. The Transformer
has 2 layers of width 128, 512 inside, with 4 heads, and takes 16 sequences of 64 positions.

## Measuring again

The page is made by

```console
$ python -m tests.benchmarks --markdown > docs/reference/benchmarks.md
```

with the peers installed by `pip install '.[benchmarks]' torch` and `pip install --no-deps
backpack-for-pytorch unfoldNd`. Without `--markdown` only the tables are printed, or with `--json`
their numbers. A peer that is not installed is marked so. A part is measured by its name:

```console
$ python -m tests.benchmarks recording sweep
$ python -m tests.benchmarks curvature --network 2c2d --quantity kfac --json
```
"""


def main() -> None:
    """Measure, telling stderr what is measured, and print."""
    arguments = parser().parse_args()
    chosen = arguments.group or CHOICES
    measured: list[Row] = []
    for name in (name for name in GROUPS if name in chosen):
        print(f"measuring {name} ...", file=sys.stderr)
        measured += GROUPS[name].rows()
    cells: list[Cell] = []
    if "curvature" in chosen:
        networks = arguments.network or NETWORKS
        quantities = arguments.quantity or curvature.QUANTITIES
        for cell in curvature.cells(networks, quantities, arguments.limit):
            print(f"measured {' '.join(curvature_line(cell))}", file=sys.stderr)
            cells.append(cell)
    growths: list[Growth] = []
    if "growth" in chosen:
        print("measuring growth ...", file=sys.stderr)
        growths = list(growth.lines())
    print(report(arguments, measured, cells, growths))


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "group",
        nargs="*",
        type=group,
        metavar="GROUP",
        help=f"of {', '.join(CHOICES)}; default all",
    )
    parser.add_argument("--network", action="append", choices=NETWORKS, help="of curvature")
    parser.add_argument(
        "--quantity", action="append", choices=curvature.QUANTITIES, help="of curvature"
    )
    parser.add_argument(
        "--limit", type=float, default=60.0, help="seconds for a library in a cell of curvature"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the page of the docs")
    form.add_argument("--json", action="store_true", help="print the numbers, in seconds")
    return parser


def group(name: str) -> str:
    """The name of a group."""
    if name not in CHOICES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(CHOICES)}, got {name!r}")
    return name


def report(
    arguments: argparse.Namespace, measured: list[Row], cells: list[Cell], growths: list[Growth]
) -> str:
    """What was measured, in the form asked for."""
    if arguments.json:
        rows = [{"measurement": row.what, "seconds": row.seconds} for row in measured]
        ratios = [asdict(cell) | {"ratio": cell.ratio} for cell in cells]
        grown = [asdict(each) | {"exponent": each.exponent} for each in growths]
        return json.dumps({"rows": rows, "curvature": ratios, "growth": grown}, indent=1)
    table = aligned([HEADER, *map(line, measured)], range(1, 1 + len(COLUMNS)))
    ratios = aligned([CURVATURE_HEADER, *curvature_lines(cells)], range(2, 5))
    grown = aligned([GROWTH_HEADER, *map(growth_line, growths)], range(1, len(GROWTH_HEADER)))
    if arguments.markdown:
        return PAGE.format(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            machine=machine(),
            versions=versions(),
            curvature=ratios,
            growth=grown,
            table=table,
            threads=curvature.THREADS,
            turns=curvature.TURNS,
            limit=arguments.limit,
        ).rstrip()
    tables = ((table, measured), (ratios, cells), (grown, growths))
    return "\n\n".join(text for text, found in tables if found)


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


def growth_line(each: Growth) -> tuple[str, ...]:
    """The cells of one line."""
    times = (f"{seconds * 1e3:.1f}" for seconds in each.seconds.values())
    return f"`{each.quantity}`", *times, f"{each.exponent:.2f}"


def curvature_lines(cells: list[Cell]) -> list[tuple[str, ...]]:
    """A line per cell, and the means of networks and of all."""
    lines = []
    for network in dict.fromkeys(cell.network for cell in cells):
        of_network = [cell for cell in cells if cell.network == network]
        lines += [*map(curvature_line, of_network), mean_line(network, of_network)]
    return [*lines, mean_line("all", cells)]


def curvature_line(cell: Cell) -> tuple[str, ...]:
    """The cells of one line."""
    times = (
        seconds if isinstance(seconds, str) else f"{seconds * 1e3:.1f}"
        for seconds in (cell.ours, cell.peer)
    )
    return cell.network, f"`{cell.quantity}`", *times, ratio_text(cell.ratio)


def mean_line(network: str, cells: list[Cell]) -> tuple[str, ...]:
    """The line of a geometric mean."""
    return network, "**mean**", "", "", f"**{ratio_text(curvature.mean_ratio(cells)) or 'none'}**"


def ratio_text(ratio: float | None) -> str:
    """A ratio to two digits; empty if there is none."""
    return "" if ratio is None else f"{ratio:.2f}"


def aligned(lines: list[tuple[str, ...]], numbers: range) -> str:
    """A table in Markdown whose columns line up, those of numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def text(cells: Iterable[str]) -> str:
        padded = (
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if i in numbers else "-") for i, width in enumerate(widths)]
    return "\n".join([text(lines[0]), text(rule), *map(text, lines[1:])])


def machine() -> str:
    """Cores, architecture and system; nothing that names the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()} {platform.system()}"


def versions() -> str:
    """Python, NumPy and the peers that are installed."""
    packages = ["numpy", *(package for name, package in PEERS.items() if installed(name))]
    if curvature.has_backpack():
        packages.append("backpack-for-pytorch")
    found = [f"{package} {metadata.version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *found])


if __name__ == "__main__":
    main()
