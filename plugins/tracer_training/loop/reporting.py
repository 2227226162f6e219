"""Lines on stderr while a training goes on."""

from __future__ import annotations

import sys
import time

from tracer_training.kinds import Saved
from tracer_training.loop.history import line_of

#: seconds between two lines of one epoch
BETWEEN = 0.2


class Reporter:
    """A line for each epoch, and on a terminal one that is written over while it goes on."""

    def __init__(self, progress: bool):
        stream = sys.stderr if progress else None
        self.stream = stream
        self.is_terminal = stream is not None and stream.isatty()
        self.told = 0.0
        self.width = 0

    def due(self) -> bool:
        """Whether it is time to tell of a step, for which a device would be waited for."""
        return self.is_terminal and time.monotonic() - self.told >= BETWEEN

    def step(self, epoch: int, epochs: int, done: int, total: int | None, loss: float) -> None:
        """Write over the line of this epoch."""
        self.told = time.monotonic()
        of = "" if total is None else f"/{total}"
        self._write(f"epoch {epoch}/{epochs}  batch {done}{of}  loss {loss:.4g}", "")

    def epoch(self, record: Saved, epochs: int) -> None:
        """Write the line of an epoch that has ended."""
        if self.stream is not None:
            self._write(line_of(record, epochs), "\n")

    def note(self, text: str) -> None:
        if self.stream is not None:
            self._write(text, "\n")

    def _write(self, line: str, end: str) -> None:
        assert self.stream is not None
        start = "\r" if self.is_terminal else ""
        self.stream.write(start + (line.ljust(self.width) if self.is_terminal else line) + end)
        self.width = 0 if end else len(line)
        self.stream.flush()
