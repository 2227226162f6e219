"""Measures everything and prints tables; `--write` makes docs/reference/benchmarks.md of them."""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tracer.api import devices

from . import (
    curvature,
    environment,
    floors,
    gpu,
    graphs,
    growth,
    imported,
    instruments,
    jacobian,
    optimizers,
    programs,
    recording,
    scaling,
    sweep,
    tables,
    training,
    transformer,
)
from .networks import NETWORKS
from .optimisation import command as study
from .page import write
from .plots import PLOTS, NothingToDrawError, draw
from .results import Results, read
from .scale import command as scale

#: groups of rows, of one thing measured beside peers and goals
GROUPS = {
    "recording": recording,
    "sweep": sweep,
    "jacobian": jacobian,
    "graphs": graphs,
    "transformer": transformer,
    "training": training,
    "optimizers": optimizers,
    "instruments": instruments,
    "imported": imported,
    "programs": programs,
}
CHOICES = (*GROUPS, "growth", "scaling", "curvature")


def main(words: Sequence[str] | None = None) -> None:
    """Measure, telling stderr what is measured, or read what was; print and draw it."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["optimisation"]:
        study.main(words[1:])
        return
    if words[:1] == ["scale"]:
        scale.main(words[1:])
        return
    command = parser()
    arguments = command.parse_args(words)
    if arguments.device:
        print(on_gpu())
        return
    if arguments.plot and (problem := not_drawn(arguments.group)):
        command.error(problem)
    if arguments.write and (arguments.group or arguments.network or arguments.quantity):
        command.error("--write is of one run of everything: leave out what chooses parts of it")
    results = chosen(arguments.before or measured(arguments), arguments)
    if arguments.write:
        write(results)
    elif arguments.json:
        print(results.text())
    else:
        print(tables.everything(results))
    if arguments.plot:
        (drawn,) = set(arguments.group) & set(PLOTS)
        try:
            draw(results, drawn, arguments.plot)
        except NothingToDrawError as problem:
            command.error(str(problem))


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
    parser.add_argument(
        "--device", choices=["cuda"], help="measure networks on this device, and nothing else"
    )
    parser.add_argument(
        "--from",
        dest="before",
        type=saved,
        metavar="FILE",
        help="measure nothing: take the numbers that --json printed",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help=f"draw one group of {', '.join(PLOTS)}, as SVG, PNG or PDF by the file's name",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--write",
        action="store_true",
        help="write the page of the docs, its pictures, and the run beside earlier ones",
    )
    form.add_argument("--json", action="store_true", help="print the numbers, in seconds and bytes")
    return parser


def group(name: str) -> str:
    """The name of a group."""
    if name not in CHOICES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(CHOICES)}, got {name!r}")
    return name


def saved(name: str) -> Results:
    """The results in a file."""
    try:
        return read(Path(name))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(
            f"expected a file with what --json printed, got {name!r}: {error!r}"
        ) from error


def not_drawn(groups: Sequence[str]) -> str | None:
    """Why these groups give no picture; None if they do."""
    if len(set(groups) & set(PLOTS)) != 1:
        return f"--plot draws one group: name either of {', '.join(PLOTS)}"
    if importlib.util.find_spec("matplotlib") is None:
        return "--plot draws with matplotlib, which is not installed: pip install '.[plot]'"
    return None


def measured(arguments: argparse.Namespace) -> Results:
    """All that was asked for, measured here and now."""
    where = environment.here()
    if warned := environment.warning(where):
        print(f"warning: {warned}", file=sys.stderr)
    results = Results(where, arguments.limit)
    groups = arguments.group or CHOICES
    for name in (name for name in GROUPS if name in groups):
        print(f"measuring {name} ...", file=sys.stderr)
        results.rows[name] = list(GROUPS[name].rows())
    for name, lines in (("growth", growth.lines), ("scaling", scaling.lines)):
        if name in groups:
            print(f"measuring {name} ...", file=sys.stderr)
            setattr(results, name, list(lines()))
    if "curvature" in groups:
        results.rates = floors.rates()
        networks = arguments.network or NETWORKS
        quantities = arguments.quantity or curvature.QUANTITIES
        for cell in curvature.cells(networks, quantities, arguments.limit, results.rates):
            print(f"measured {' '.join(tables.times_line(cell))}", file=sys.stderr)
            results.cells.append(cell)
    return results


def chosen(results: Results, arguments: argparse.Namespace) -> Results:
    """The part of results that was asked for."""
    groups = arguments.group or CHOICES
    networks = arguments.network or NETWORKS
    quantities = arguments.quantity or curvature.QUANTITIES
    return replace(
        results,
        rows={name: rows for name, rows in results.rows.items() if name in groups},
        growth=results.growth if "growth" in groups else [],
        scaling=results.scaling if "scaling" in groups else [],
        cells=[
            cell
            for cell in results.cells
            if "curvature" in groups and cell.network in networks and cell.quantity in quantities
        ],
    )


def on_gpu() -> str:
    """The table of networks on a GPU, with the chip's name and its rate of matrix products."""
    devices.backend_for("cuda")
    measured = []
    for cell in gpu.cells():
        print(f"measured {' '.join(gpu.line(cell, math.inf))}", file=sys.stderr)
        measured.append(cell)
    rate = gpu.alone(gpu.product_rate)
    table = tables.aligned([gpu.HEADER, *gpu.lines(measured, rate)], range(3, 7))
    return (
        f"{gpu.alone(gpu.chip)}, {rate / 1e12:.1f} TFLOP/s in products of float32 matrices. "
        f"Medians of {gpu.RUNS} steps after {gpu.WARM_UP}, by events on the device, with "
        f"{environment.here().versions}.\n\n{table}"
    )


if __name__ == "__main__":
    main()
