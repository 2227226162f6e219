"""Runs the user's code: its prints go to stderr, its errors are shown in its own frames."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from trace_net.errors import ModelError, PluginFailure

#: Import packages of this distribution: their frames are ours, not the user's.
OWN_PACKAGES = (
    "tracer",
    "tracer_experiments",
    "tracer_layers",
    "tracer_quantities",
    "tracer_render",
    "tracer_training",
    "tracer_import",
    "tracer_native",
    "tracer_scale",
    "trace_net",
)


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Whatever the block raises becomes a `ModelError` that says `what` failed.

    `SystemExit` is an error too; `KeyboardInterrupt` passes, as does the failure of a plugin, which
    is not the user's.
    """
    from tracer.errors import PluginError

    try:
        with redirect_stdout(sys.stderr):
            yield
    except SystemExit as stop:
        raise ModelError(
            f"{what} called sys.exit({'' if stop.code is None else repr(stop.code)})",
            hint='put what ends the program under `if __name__ == "__main__":`',
            details=user_frames(stop),
        ) from stop
    except Exception as failure:
        if isinstance(failure, PluginError) and failure.plugin:
            raise
        raise ModelError(
            f"{what} failed: {type(failure).__name__}: {_message(failure)}",
            hint="run it again with --debug to see every frame",
            details=user_frames(failure),
        ) from failure


def of_program(what: str, failure: BaseException, place: str = "") -> PluginFailure | None:
    """The failure of `what` a script or notebook has registered, with the innermost line of it.

    None where no line of it is in the traceback, and no `place` is given.
    """
    report = traceback.TracebackException.from_exception(failure)
    lines = [f"{frame.filename}:{frame.lineno}" for frame in _of_user(report.stack)]
    if not lines and not place:
        return None
    return PluginFailure(
        f"{what}, which this program registers, failed: {type(failure).__name__}: {failure} "
        f"({lines[-1] if lines else place})",
        hint="run it again with --debug to see every frame",
    )


def user_frames(failure: BaseException) -> str:
    """The traceback's frames that lie in the user's files, formatted, outermost first."""
    report = traceback.TracebackException.from_exception(failure)
    lines = traceback.StackSummary.from_list(_of_user(report.stack)).format()
    if isinstance(failure, SyntaxError) and failure.filename:
        report.filename = shown(failure.filename)
        lines += list(report.format_exception_only())[:-1]
    return "".join(lines)


def _of_user(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    """Frames of the user's files, and of cells of notebooks."""
    foreign = _foreign_folders()
    return [
        traceback.FrameSummary(shown(f.filename), f.lineno, f.name, line=f.line)
        for f in stack
        if not f.filename.startswith("<") and not f.filename.startswith(foreign)
    ]


def shown(path: str | Path) -> str:
    """`path` relative to the current folder where it lies below it."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _message(failure: Exception) -> str:
    return failure.msg if isinstance(failure, SyntaxError) else str(failure)


def _foreign_folders() -> tuple[str, ...]:
    """Folders of the standard library, of installed packages and of trace-net itself."""
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    for package in OWN_PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            folders.append(os.path.dirname(spec.origin))
    return tuple(os.path.join(folder, "") for folder in folders)
