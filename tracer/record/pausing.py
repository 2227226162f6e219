"""Pauses: blocks in which nothing is recorded."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from tracer.errors import TracingError
from tracer.record.frames import INTERNAL_FILES, source_line
from tracer.record.recorder import GENERATES, Recorder, blocks_around, open_tape, using


class pause(using):
    """`with tracer.pause():` records nothing; results are constants to the tapes around it.

    What is computed there of a batch stays a batch: its samples are known where it is used.

    In a generator it is for what the generator computes itself: where it waits at a `yield` inside
    of the block, what its consumer computes of tensors raises `TracingError`.
    """

    __slots__ = ("frame", "paused")

    paused: Recorder | None
    frame: FrameType | None

    pauses = True

    def __init__(self) -> None:
        super().__init__(None)

    def __enter__(self) -> None:
        outer = _innermost_pause()
        self.paused = open_tape() or (None if outer is None else outer.paused)
        self.frame = _generator(sys._getframe(1))
        super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.frame = None
        super().__exit__(kind, error, trace)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, called inside of a pause: `@tracer.pause()`."""
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TracingError(
                f"@tracer.pause() is for functions, and {function.__name__} goes on after it "
                f"returns: write `with tracer.pause():` inside of it"
            )

        @functools.wraps(function)
        def paused(*args: Any, **keywords: Any) -> Any:
            with pause():
                return function(*args, **keywords)

        return paused


def _generator(frame: FrameType) -> FrameType | None:
    """The frame if it is that of a generator that hands values on, and is no `with` block."""
    if not frame.f_code.co_flags & GENERATES or frame.f_back is None:
        return None
    driver = frame.f_back.f_globals.get("__name__", "")
    return None if driver.partition(".")[0] in _DRIVERS else frame


#: modules that run the halves of a generator around what is to be inside of its blocks
_DRIVERS = frozenset(("contextlib", "_pytest", "pluggy", "pytest_asyncio"))


def paused_tape() -> Recorder | None:
    """The tape that is paused in this thread or task, or None.

    Raises `TracingError` where a generator paused it, and waits at a `yield` now.
    """
    innermost = _innermost_pause()
    if innermost is None or innermost.paused is None:
        return None
    if innermost.frame is not None and innermost.paused.is_open:
        _assert_running(innermost.frame)
    return innermost.paused


def _innermost_pause() -> pause | None:
    block = blocks_around.get()
    while block is not None:
        if block[0].__class__ is pause:
            return block[0]
        block = block[2]
    return None


def _assert_running(waiting: FrameType) -> None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not waiting:
        frame = frame.f_back
    if frame is None:
        raise TracingError(
            f"the generator {waiting.f_code.co_name} "
            f"({source_line(waiting.f_code, waiting.f_lasti)}) waits at a yield inside of "
            f"`with tracer.pause():`, which pauses its consumer: leave the block before the "
            f"yield, or put it around the loop over the generator"
        )


INTERNAL_FILES.add(__file__)
