"""Whose line it is: the user's frame under ours, and warnings that name it."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, Protocol

import numpy as np

#: files whose frames are not the user's
INTERNAL_FILES: set[str] = {__file__}
#: files that run a user's model: the lines that call it are none of the user's
DRIVER_FILES: set[str] = set()
#: packages whose frames may stand between ours and the user's
CARRIERS = frozenset(("tracer", "tracer_layers", "tracer_quantities", "numpy", "scipy"))


def users_frame(depth: int = 1) -> FrameType:
    """The innermost frame outside our files, `depth` above the caller's at the least."""
    frame = sys._getframe(depth + 1)
    while frame.f_code.co_filename in INTERNAL_FILES and frame.f_back is not None:
        frame = frame.f_back
    return frame


def line_of(code: CodeType, lasti: int) -> int:
    """The number of the line of an instruction."""
    lines = (line for start, stop, line in code.co_lines() if start <= lasti < stop and line)
    return next(lines, code.co_firstlineno)


def source_line(code: CodeType, lasti: int) -> str | None:
    """`file.py:12`, the line of an instruction; None in the files that run a user's model."""
    if code.co_filename in DRIVER_FILES:
        return None
    return f"{os.path.basename(code.co_filename)}:{line_of(code, lasti)}"


# -- NumPy's floating-point warnings ------------------------------------------------------------


class users_warnings:
    """A block in which NumPy's floating-point warnings name the user's line.

    NumPy names the line that calls it, which for an operation on tensors is one of ours. What the
    user has set to "ignore", "raise" or a function of their own (`np.errstate`) stays so.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _ERROR_STATE.set(_calling(_ERROR_STATE.get()))

    def __exit__(self, *error: object) -> None:
        try:
            _ERROR_STATE.reset(self._token)
        except ValueError:  # left in another context than entered, as by a generator
            return


#: where NumPy 2 keeps how it handles errors; a newer one may keep it elsewhere, and names our lines
_ERROR_STATE: ContextVar[Any] = getattr(
    sys.modules.get("numpy._core.umath"),
    "_extobj_contextvar",
    ContextVar("no_error_state", default=None),
)


@functools.lru_cache(maxsize=8)
def _calling(state: Any) -> Any:
    """The state of NumPy's error handling in which `_warn` is called where the given one warns.

    To set one that is made already takes a sixth of the time of `np.errstate`.
    """
    actions = np.geterr()
    if not {"call", "log"}.isdisjoint(actions.values()):
        return state
    called: Any = {kind: "call" for kind, action in actions.items() if action == "warn"}
    with np.errstate(call=_warn, **called):
        return _ERROR_STATE.get()


def is_users(frame: FrameType) -> bool:
    """Whether a frame is neither ours nor of what we call, or are called by.

    For errors and warnings alone: to record takes less than all our files for internal.
    """
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return frame.f_code.co_filename not in INTERNAL_FILES and package not in CARRIERS


def _warn(kind: str, flag: int) -> None:
    """Warn as NumPy does, at the user's line: that which runs, or that which recorded a node."""
    frame: FrameType | None = sys._getframe(1)
    name = code = None
    while frame is not None and not is_users(frame):
        held = frame.f_locals
        node: Any = held.get("node")
        if name is None:
            name = getattr(held.get("op") or held.get("self"), "name", None)
        if getattr(node, "code", None) is not None:
            again = frame.f_code.co_name == "replay"
            name, code = node.op.name if again else f"the derivative of {node.op.name}", node.code
            where = code.co_filename, line_of(code, node.lasti)
            break
        frame = held.get("called_from") or frame.f_back  # see `parallel`
    if code is None:
        if frame is None:
            frame = sys._getframe(1)
        where = frame.f_code.co_filename, frame.f_lineno
    message = f"{kind} encountered" + (f" in {name}" if isinstance(name, str) else "")
    registry = {} if frame is None else frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, RuntimeWarning, *where, registry=registry)


class OfLine(Protocol):
    """What knows the instruction that it was recorded by."""

    code: CodeType | None
    lasti: int


def warn_at(node: OfLine, message: str) -> None:
    """Warn at the line of the user's that recorded a node, as its rules do."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame):
        frame = frame.f_locals.get("called_from") or frame.f_back
    where = ("<unknown>", 1) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    if node.code is not None:
        where = node.code.co_filename, line_of(node.code, node.lasti)
    registry = {} if frame is None else frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, RuntimeWarning, *where, registry=registry)
