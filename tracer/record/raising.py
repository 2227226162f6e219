"""Where a model raised while it was recorded, for the picture of what came before."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from types import CodeType, FrameType
from typing import NamedTuple

from tracer.record.frames import DRIVER_FILES, is_users, source_line
from tracer.record.node import Node
from tracer.record.place import NOWHERE, Place
from tracer.record.rules import Rules


class Failure(NamedTuple):
    """What raised while a watched tape recorded: an operation, or the user's code outside of any.

    `parents` are the inputs of the operation; of other code, the last tensor that it made or had.
    """

    op: Rules
    parents: tuple[Node | None, ...]
    place: Place
    code: CodeType
    lasti: int
    error: str
    label: str

    @property
    def source(self) -> str | None:
        """`file.py:12`, the user's line that raised."""
        return source_line(self.code, self.lasti)


#: what begins the paths of Python's own library, and of installed ones below it
LIBRARIES = (os.path.join(os.path.dirname(os.__file__), ""), "<")
#: stands for the operation where none raised
RAISE = Rules("raise")


def note_place(error: BaseException, place: Place) -> None:
    """Let an error know the innermost block that it leaves, which is where it was raised."""
    if not hasattr(error, "_tracer_place"):
        with suppress(AttributeError, TypeError):
            error._tracer_place = place  # type: ignore[attr-defined]


def failure_of(error: BaseException, recorded: Sequence[Node]) -> Failure | None:
    """An error of the user's code that no operation raised; None where no line of theirs is known.

    `recorded` is what was recorded before.
    """
    frames = _users_frames(error)
    if not frames and error.__cause__ is not None:  # wrapped by what runs the model
        return failure_of(error.__cause__, recorded)
    if not frames or not isinstance(error, Exception):
        return None
    frame, lasti = frames[-1]
    kind, place = type(error).__name__, getattr(error, "_tracer_place", NOWHERE)
    text = f"{kind}: {error}" if str(error) else kind
    parents = _at_hand(frame, recorded)
    return Failure(RAISE, parents, place, frame.f_code, lasti, text, f"raise {kind}")


def _users_frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames of the user's that an error went through, the outermost first.

    Those of libraries count where there are no others, as of a model that is installed.
    """
    frames, trace = [], error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if is_users(trace.tb_frame) and file not in DRIVER_FILES:
            frames.append((trace.tb_frame, trace.tb_lasti))
        trace = trace.tb_next
    own = [each for each in frames if not each[0].f_code.co_filename.startswith(LIBRARIES)]
    return own or [each for each in frames if "site-packages" in each[0].f_code.co_filename]


def _at_hand(frame: FrameType, recorded: Sequence[Node]) -> tuple[Node, ...]:
    """The last recorded of what the frame computed itself, or holds in its variables."""
    tensors = [value for value in frame.f_locals.values() if type(value).__name__ == "Tensor"]
    nodes = {node for each in tensors if isinstance(node := getattr(each, "node", None), Node)}
    own = (node for node in reversed(recorded) if node in nodes or node.code is frame.f_code)
    last = next(own, None)
    return () if last is None else (last,)
