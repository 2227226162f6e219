"""`python -m tests.benchmarks optimisation`: run what is not recorded yet, draw it, print it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .methods import METHODS
from .picture import draw
from .plan import PLANS, quick
from .records import Records
from .study import outcomes, run
from .summary import tables


def main(words: Sequence[str]) -> None:
    """Run the study, draw it, and print its tables."""
    arguments = parser().parse_args(words)
    names = arguments.problem or list(PLANS)
    plans = [PLANS[name] for name in names]
    if arguments.quick:
        plans = list(map(quick, plans))
    if arguments.method:
        plans = [plan.of(arguments.method) for plan in plans]
    records = Records(arguments.folder)
    if not arguments.report:
        for plan in plans:
            print(f"{plan.problem}, {plan.epochs} epochs ...", file=sys.stderr)
            run(plan, records, arguments.jobs)
    found = [(plan, outcomes(plan, records)) for plan in plans]
    if arguments.plot:
        for name, (_, of_plan) in zip(names, found, strict=True):
            for picture in draw(name, of_plan, arguments.plot):
                print(f"drawn {picture}", file=sys.stderr)
    print(tables(found))


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks optimisation", description=__doc__
    )
    parser.add_argument("--problem", action="append", choices=PLANS, help="again for more")
    parser.add_argument("--method", action="append", choices=METHODS, help="again for more")
    parser.add_argument(
        "--quick", action="store_true", help="a few epochs at the paper's best settings, 3 seeds"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("optimisation"),
        help="where single trainings are recorded, as runs; what is there is not run again",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--report", action="store_true", help="run nothing: what is recorded")
    parser.add_argument(
        "--plot", type=Path, metavar="DIR", help="draw optimisation-*.svg into this folder"
    )
    return parser
