"""`python -m tests.benchmarks scale [PART ...]`: prints tables for docs/explanation/scaling.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from . import folds, ranks

PARTS = ("workers", "bytes", "overhead", "memory", "ranks", "sent", "cost")


def main(words: Sequence[str]) -> None:
    """Measure the parts that are named, or all, and print them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks scale", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default all")
    chosen = parser.parse_args(words).part or PARTS
    for part in chosen:
        print(f"## {part}\n")
        PRINTED[part]()
        print(flush=True)


def _table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)


def _overhead() -> None:
    plain, folded = folds.overhead()
    print(f"plain loop {plain:.3f} s, fold {folded:.3f} s: {100 * (folded / plain - 1):+.1f} %")


def _memory() -> None:
    found = folds.memory()
    print("not told here" if found is None else f"driver's peak {found / 1e6:.0f} MB")


PRINTED = {
    "workers": lambda: _table(
        ("quantity", "samples", "one worker", "two", "two, twice the data", "speed-up", "weak"),
        folds.workers(),
    ),
    "bytes": lambda: _table(("quantity", "bytes of a shard"), folds.bytes_a_shard()),
    "overhead": _overhead,
    "memory": _memory,
    "ranks": lambda: _table(
        ("optimizer", "batch", "one rank", "two ranks", "two, twice the batch", "speed-up", "weak"),
        ranks.measured(),
    ),
    "sent": lambda: _table(
        ("optimizer", "ranks", "messages", "bytes, least", "bytes, most"), ranks.sent()
    ),
    "cost": lambda: _table(
        ("ranks", "computing", "latency", "bytes", "step", "speed-up"), ranks.model_of_cost()
    ),
}
