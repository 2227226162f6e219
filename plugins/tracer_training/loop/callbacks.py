"""Who is told of a training: callbacks, which are objects, and plugins, by their hooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from tracer.errors import TracerError
from tracer.extend import hooks

__all__ = ["Callback"]

#: what a callback may be told
EVENTS = ("begin_run", "begin_epoch", "end_step", "end_epoch", "end_run")


class Callback(Protocol):
    """What `fit` tells of itself: an object with any of these methods, each of which gets the run.

    A callback that has `state_dict` and `load_state_dict` is kept in checkpoints. `run.stop()`
    ends the training.
    """

    def begin_run(self, run: Any) -> None: ...

    def begin_epoch(self, run: Any) -> None: ...

    def end_step(self, run: Any) -> None: ...

    def end_epoch(self, run: Any) -> None: ...

    def end_run(self, run: Any) -> None: ...


class Audience:
    """The callbacks of a training and the plugins that implement its hooks."""

    def __init__(self, callbacks: Iterable[object]):
        if not isinstance(callbacks, Iterable):
            raise TracerError(f"callbacks are in a list, got a {type(callbacks).__name__}")
        self.callbacks: Sequence[Any] = list(callbacks)
        for callback in self.callbacks:
            if isinstance(callback, type):
                raise TracerError(
                    f"a callback of fit is an object, and {callback.__name__} is a class: give "
                    f"{callback.__name__}()"
                )
            if not any(callable(getattr(callback, event, None)) for event in EVENTS):
                raise TracerError(
                    f"a callback of fit has one of the methods {', '.join(EVENTS)}, each of which "
                    f"is given the run, got {callback!r}"
                )
        #: the methods that are there, by what they are told
        self.methods = {
            event: [
                method
                for callback in self.callbacks
                if (method := getattr(callback, event, None)) is not None
            ]
            for event in EVENTS
        }

    def tell(self, event: str, run: object) -> None:
        """Tell all of them, callbacks first, in their order."""
        for method in self.methods[event]:
            method(run)
        if hooks.heard(event):
            hooks.call(event, run=run)

    def state_dict(self) -> list[Any]:
        return [c.state_dict() if hasattr(c, "state_dict") else None for c in self.callbacks]

    def load_state_dict(self, states: Sequence[Any]) -> None:
        if len(states) != len(self.callbacks):
            raise TracerError(
                f"the checkpoint is of a run with {len(states)} callbacks, and this has "
                f"{len(self.callbacks)}: give the same ones in the same order"
            )
        for callback, state in zip(self.callbacks, states, strict=True):
            if state is not None:
                callback.load_state_dict(state)
