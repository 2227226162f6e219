"""How times are taken, and what a row of the table holds."""

from __future__ import annotations

import gc
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: peers by column: the package that must be installed
PEERS = {"autograd": "autograd", "MyGrad": "mygrad", "PyTorch": "torch"}


@dataclass
class Row:
    """One measurement: seconds by column (`NumPy`, `trace-net` and peers), and the goal.

    `unit` divides the seconds: 1e-6 for microseconds. `goal` is the most that trace-net may take,
    in seconds; `goal_text` says how it was set.
    """

    what: str
    unit: float
    seconds: dict[str, float | None] = field(default_factory=dict)
    goal: float | None = None
    goal_text: str = ""


def best(prepare: Callable[[], Callable[[], Any]], repeats: int, count: int = 1) -> float:
    """The shortest time of several runs, in seconds, divided by `count`.

    `prepare` makes a fresh function each time; only its call is timed, and what it returns is
    freed afterwards. The minimum is what the machine can do when nothing disturbs it.
    """
    times = []
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            run = prepare()
            start = time.perf_counter()
            kept = run()
            times.append(time.perf_counter() - start)
            del kept, run
    finally:
        if enabled:
            gc.enable()
    return min(times) / count


def installed(peer: str) -> bool:
    """Whether a peer can be measured here."""
    return importlib.util.find_spec(PEERS[peer]) is not None


def peers(measure: dict[str, Callable[[], float]]) -> dict[str, float | None]:
    """Seconds of each peer that is installed; None for one that is not."""
    return {name: run() if installed(name) else None for name, run in measure.items()}
