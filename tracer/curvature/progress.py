"""How far a sweep is, for those who wait: from its third second on, and not too often."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeAlias

from tracer.errors import TracingError

#: `tell(done, total, text)`
Tell = Callable[[int, int, str], None]
#: what `progress=` takes: nothing, a line on stderr, or a function
ProgressLike: TypeAlias = Tell | bool | None

#: seconds before anything is told, and between two times
AFTER, BETWEEN = 2.0, 0.2
#: seconds between two lines where they cannot take each other's place
LINES = 10.0


class Progress:
    """Counts what is done of each stage of a call, and tells where it takes long.

    Without `tell` it does nothing. What is counted are rows times operations; how many of these
    pass nothing on is not known beforehand, so that a stage may end early.
    """

    def __init__(self, tell: Tell | None):
        self.tell = tell
        self.begun = 0.0 if tell is None else time.monotonic()
        self.told = 0.0
        self.text, self.done, self.total = "", 0, 1

    def stage(self, text: str, total: int) -> None:
        """Begin to count anew, up to `total`."""
        if self.tell is not None:
            self.text, self.done, self.total = text, 0, max(1, total)

    def advance(self, count: int) -> None:
        if self.tell is None:
            return
        self.done = min(self.done + count, self.total)
        now = time.monotonic()
        if now - self.begun >= AFTER and now - self.told >= BETWEEN:
            self.told = now
            self.tell(self.done, self.total, self.text)

    def finish(self) -> None:
        """Say that all is done, if anything was said."""
        if self.tell is not None and self.told:
            self.tell(self.total, self.total, self.text)


#: tells nobody, and so keeps nothing
SILENT = Progress(None)


def telling(progress: ProgressLike) -> Tell | None:
    """What `progress=` means: None, True for a line on stderr, or a function."""
    if progress is None or progress is False:
        return None
    if progress is True:
        return Line()
    if not callable(progress):
        raise TracingError(
            f"progress is None, True or a function of (done, total, text), got {progress!r}"
        )
    return progress


class Line:
    """A line on stderr: on a terminal it is written over, elsewhere there is one now and then."""

    def __init__(self) -> None:
        self.width = 0
        self.last = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        stream = sys.stderr
        if stream is None:  # as in programs without a console
            return
        line = f"{text}: {100 * done // total} %"
        if stream.isatty():
            end = "\n" if done == total else ""
            stream.write("\r" + line.ljust(self.width) + end)
            self.width = len(line)
            stream.flush()
        elif (now := time.monotonic()) - self.last >= LINES or done == total:
            self.last = now
            stream.write(line + "\n")
            stream.flush()
