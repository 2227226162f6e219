"""Processes that train, one setting after another, and end with the process that asks them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from .plan import Setting
from .records import Curves, Records
from .trainings import trained


class Workers:
    """`jobs` processes of one thread each, for `with`; they are killed at its end."""

    def __init__(self, jobs: int, folder: Path):
        self.jobs, self.folder = jobs, folder
        self._running: list[tuple[Any, Connection]] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        for process, _ in self._running:
            process.kill()
            process.join()
        self._running.clear()

    def train(self, settings: Sequence[Setting]) -> Iterator[tuple[Setting, Curves]]:
        """Each setting with its curves, as they become ready.

        Raises `RuntimeError` where a training fails, with what it said, or its process ends.
        """
        waiting, busy = list(settings), {}
        free = [self._pipe(number) for number in range(min(self.jobs, len(waiting)))]
        while waiting or busy:
            while waiting and free:
                pipe = free.pop()
                busy[pipe] = waiting.pop(0)
                pipe.send(busy[pipe])
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                setting = busy.pop(pipe)
                try:
                    answer = pipe.recv()
                except EOFError:
                    raise RuntimeError(f"the process ended in {setting.name}") from None
                if isinstance(answer, str):
                    raise RuntimeError(f"{setting.name} failed:\n{answer}")
                free.append(pipe)
                yield setting, answer

    def _pipe(self, number: int) -> Connection:
        """The pipe to a process, which is started at its first use."""
        while len(self._running) <= number:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            os.environ["BENCHMARK_THREADS"] = "1"  # what tests.benchmarks reads in the process
            process = context.Process(target=_serve, args=(theirs, self.folder), daemon=True)
            process.start()
            theirs.close()
            self._running.append((process, ours))
        return self._running[number][1]


def _serve(pipe: Connection, folder: Path) -> None:
    """Train what comes through the pipe, until its other end is closed."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    records = Records(folder)
    while True:
        try:
            setting = pipe.recv()
        except EOFError:
            return
        try:
            answer: Curves | str = trained(setting, records)
        except Exception:
            answer = traceback.format_exc()
        try:
            pipe.send(answer)
        except OSError:  # whoever asked is gone; the record is written
            return


def _end_with_the_parent() -> None:
    """End this process when the one that asks ends, so that no run has two writers after it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
