"""What a command says: data to stdout; messages, progress and errors to stderr.

Names in a model may hold anything, so all text is printed without markup and with control
characters escaped.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeGuard

if TYPE_CHECKING:
    from rich.console import Console

#: Tables written to a pipe are not broken at 80 columns.
PIPE_WIDTH = 1000


class Step:
    """Called with a description when a step begins; `within` tells how far a long one is.

    `within(done, total, text)` is what `tape.backward` takes as `progress`.
    """

    def __init__(
        self,
        begin: Callable[[str], None] = lambda description: None,
        within: Callable[[int, int, str], None] | None = None,
    ):
        self._begin = begin
        self._within = within

    def __call__(self, description: str) -> None:
        self._begin(description)

    def within(self, done: int, total: int, text: str) -> None:
        if self._within is None:
            from tracer.extend import Line

            self._within = Line()
        self._within(done, total, one_line(text))


def printable(text: str) -> str:
    """`text` with control characters escaped, so that no name moves the cursor."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def one_line(text: str) -> str:
    """`text` on one printable line: runs of white space become one space."""
    return printable(" ".join(text.split()))


def console(file: TextIO | None = None, width: int = PIPE_WIDTH) -> Console:
    """A rich console that takes text literally; NO_COLOR is honoured by rich itself.

    Its `width` is that of a terminal where there is one.
    """
    from rich.console import Console

    stream = file or sys.stdout
    known = None if stream.isatty() else width
    return Console(file=stream, width=known, markup=False, emoji=False, highlight=False)


def note(message: str) -> None:
    """A line on stderr about a choice that was made."""
    print(f"trace-net: {one_line(message)}", file=sys.stderr)


def report_error(message: str, hint: str = "", details: str = "") -> None:
    """An error on stderr: one line, its details if it has any, and a line that starts `hint:`."""
    err = console(sys.stderr)
    err.print("error: ", style="bold red", end="")
    err.print(one_line(message), soft_wrap=True)
    for line in details.splitlines():
        err.print(printable(line), soft_wrap=True)
    if hint:
        err.print("hint: ", style="bold cyan", end="")
        err.print(one_line(hint), soft_wrap=True)


def close_stdout() -> None:
    """Let what is left in stdout's buffer go nowhere, so that the interpreter's end is quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_no_room(error: BaseException) -> TypeGuard[OSError]:
    """Whether something cannot be written because there is no room for it."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def close_what_is_full() -> None:
    """Give up what is left in stdout's buffer where it cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        close_stdout()


def write_data(data: bytes) -> None:
    """Bytes to stdout."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def progress(steps: int) -> Iterator[Step]:
    """A progress bar on stderr over a known number of steps, if stderr is a terminal.

    Yields what is to be called with a description when a step begins. Elsewhere only steps that
    take long are told of, in lines on stderr.
    """
    if not sys.stderr.isatty():
        yield Step()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("starting", total=steps)
        begun = 0

        def step(description: str) -> None:
            nonlocal begun
            bar.update(task, completed=begun, description=one_line(description), refresh=True)
            begun += 1

        def within(done: int, total: int, text: str) -> None:
            description = f"{one_line(text)}, {100 * done // total} %"
            bar.update(task, completed=begun - 1 + done / total, description=description)

        yield Step(step, within)
