"""How times are taken, and what a row of the table holds."""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: peers by column: the package that must be installed
PEERS = {"autograd": "autograd", "MyGrad": "mygrad", "PyTorch": "torch"}

#: makes a fresh function to be timed
Prepare = Callable[[], Callable[[], Any]]


@dataclass(frozen=True)
class Goal:
    """The most seconds that trace-net may take, and how that was set."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Row:
    """One measurement: seconds by column (`NumPy`, `trace-net` and peers), and its goals.

    `unit` divides the seconds: 1e-6 for microseconds. Text says why there are none.
    """

    what: str
    unit: float
    seconds: Mapping[str, float | str]
    goals: tuple[Goal, ...] = ()


def installed(peer: str) -> bool:
    """Whether a peer can be measured here."""
    return importlib.util.find_spec(PEERS[peer]) is not None


def at_most(factor: float, reference: float | str, text: str) -> tuple[Goal, ...]:
    """The goal of `factor` times another time, where there is that time."""
    return () if isinstance(reference, str) else (Goal(factor * reference, text),)


def race(
    runners: Mapping[str, Prepare],
    repeats: int,
    count: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float | str]:
    """The shortest time of each runner, in seconds, divided by `count`, or that it is missing.

    Runners take turns, so that what disturbs the machine disturbs all of them. Only the call of
    what a runner prepared is timed, the garbage collector being on as it is for users; what it
    returns is freed afterwards. The minimum is what the machine can do when nothing disturbs it.
    """
    present = {name: run for name, run in runners.items() if name not in PEERS or installed(name)}
    best: dict[str, float | str] = dict.fromkeys(runners, "not installed")
    for _ in range(repeats):
        for name, prepare in present.items():
            seconds = once(prepare(), clock) / count
            before = best[name]
            best[name] = seconds if isinstance(before, str) else min(before, seconds)
    return best


def once(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """The time of one call by a clock, in seconds."""
    gc.collect(0)
    start = clock()
    kept = run()
    stop = clock()
    del kept
    return stop - start
