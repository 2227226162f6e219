"""Whose line it is: the user's frame under ours, and warnings that name it."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext
from types import CodeType, FrameType
from typing import Any

import numpy as np

#: files whose frames are not the user's
INTERNAL_FILES: set[str] = {__file__}
#: files that run a user's model: the lines that call it are none of the user's
DRIVER_FILES: set[str] = set()


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


def users_warnings() -> Any:
    """A context in which NumPy's floating-point warnings name the user's line.

    NumPy names the line that calls it, which for an operation on tensors is one of ours. What the
    user has set to "ignore", "raise" or a function of their own (`np.errstate`) stays so.
    """
    called: Any = {kind: "call" for kind, action in np.geterr().items() if action == "warn"}
    return np.errstate(call=_warn, **called) if called else nullcontext()


def _warn(kind: str, flag: int) -> None:
    """Warn as NumPy does, at the user's line: that which runs, or that which recorded a node."""
    frame: FrameType | None = sys._getframe(1)
    name = code = None
    while frame is not None and frame.f_code.co_filename in INTERNAL_FILES:
        held = frame.f_locals
        node: Any = held.get("node")
        if name is None:
            name = getattr(held.get("op") or held.get("self"), "name", None)
        if getattr(node, "code", None) is not None:
            name, code = f"the derivative of {node.op.name}", node.code
            where = code.co_filename, line_of(code, node.lasti)
            break
        frame = frame.f_back
    if code is None:
        if frame is None:
            frame = sys._getframe(1)
        where = frame.f_code.co_filename, frame.f_lineno
    message = f"{kind} encountered" + (f" in {name}" if isinstance(name, str) else "")
    registry = {} if frame is None else frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, RuntimeWarning, *where, registry=registry)
