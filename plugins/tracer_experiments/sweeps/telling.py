"""What a sweep says on stderr while it goes on."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

from tracer_experiments import printing

#: seconds between two lines on how the trainings stand
BETWEEN = 2.0


class Teller:
    """Notes, and on a terminal a last line on how it stands, which is written over."""

    def __init__(self) -> None:
        self.stream = sys.stderr
        self.is_terminal = self.stream.isatty()
        self.begun = self._told = time.monotonic()
        self._width = 0

    def note(self, message: str) -> None:
        """A line that stays."""
        self.clear()
        printing.note(message)

    def stands(self, what: Callable[[], str]) -> None:
        """Write over the last line of a terminal, now and then; elsewhere nothing is said.

        `what` comes behind the time since the first training.
        """
        now = time.monotonic()
        if not self.is_terminal or now - self._told < BETWEEN:
            return
        self._told = now
        text = printing.printable(f"{printing.duration(now - self.begun)}, {what()}")
        room = shutil.get_terminal_size().columns - 1
        text = text if len(text) <= room else f"{text[: room - 1]}…"
        self.clear()
        self._write(text)
        self._width = len(text)

    def clear(self) -> None:
        """Take the last line away, if there is one."""
        if self._width:
            self._write(f"\r{' ' * self._width}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
