"""Steps in processes of their own that take turns: their shortest times, and their memory."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from .measure import Prepare

TURNS, THREADS = 5, 2
#: seconds of a turn, and of the rest before it: threads of linear algebra go on spinning for 0.1 s
#: after a product, and would slow down whoever is next
TURN, REST = 0.3, 0.25

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Peak resident size of a whole process in bytes: before its first step, and at its end.

    Before the first step, the library is imported and the model and its data are made.
    """

    before: int
    peak: int

    @property
    def growth(self) -> int:
        """What the steps have added to the peak."""
        return self.peak - self.before


@dataclass(frozen=True)
class Taken:
    """What steps took: the shortest time in seconds, or why there is none; and their memory.

    There is no memory where the process ended or the system does not tell.
    """

    seconds: float | str
    memory: Memory | None = None


def in_turn(steps: Mapping[str, Prepare], limit: float) -> dict[str, Taken]:
    """What the steps of each took, after a turn to warm up, within `limit` seconds.

    They take turns, so that what disturbs the machine disturbs all of them, with a rest between.
    """
    runners = {name: Runner(step, limit) for name, step in steps.items()}
    try:
        for turn in range(1 + TURNS):
            for runner in runners.values():
                time.sleep(REST)
                runner.run(counts=turn > 0)
    finally:
        for runner in runners.values():
            runner.stop()
    return {name: Taken(runner.result, runner.memory) for name, runner in runners.items()}


class Runner:
    """A step in a process of its own, run each time that it is asked, within `limit` seconds.

    What is measured neither inherits the memory and the threads of what ran before nor outlives
    its limit. `result` is the shortest time so far, or says why there is none; `memory` is that of
    the turns so far.
    """

    def __init__(self, prepare: Prepare, limit: float):
        context = multiprocessing.get_context("spawn")
        self.limit = self.left = limit
        self.result: float | str = f"over {limit:g} s"
        self.memory: Memory | None = None
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(prepare, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, counts: bool) -> None:
        """One turn, which `counts` or warms up; nothing once the limit is reached."""
        start = time.monotonic()
        try:
            self._pipe.send(None)
            if self.left > 0 and self._pipe.poll(self.left):
                seconds, self.memory = self._pipe.recv()
                if counts:
                    before = self.result
                    self.result = seconds if isinstance(before, str) else min(before, seconds)
                self.left -= time.monotonic() - start
            else:
                self.left = 0.0
        except (EOFError, OSError):
            self.left, self.result, self.memory = 0.0, "failed", None

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()


def _serve(prepare: Prepare, pipe: Connection) -> None:
    """Whenever asked, run a step for at least `TURN` seconds; answer with shortest time and memory.

    A single short run would pay for the caches and threads that the other process left cold.
    """
    step = prepare()
    before = peak_resident()
    while True:
        pipe.recv()
        begun, best = time.perf_counter(), math.inf
        while best == math.inf or time.perf_counter() - begun < TURN:
            start = time.perf_counter()
            kept = step()
            best = min(best, time.perf_counter() - start)
            del kept
        peak = peak_resident()
        pipe.send((best, None if before is None or peak is None else Memory(before, peak)))


def peak_resident() -> int | None:
    """The largest resident size that this process has had, in bytes; None where Linux is not.

    `getrusage` would say so on more systems, but its number outlives `exec`: that of a fresh
    process starts at the peak of the process that started it.
    """
    if not STATUS.exists():
        return None
    lines = STATUS.read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return 1024 * int(found)
