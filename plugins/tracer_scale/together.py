"""What one process decides, and all that fold together have or raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tracer_scale.engines import Engine, Outcomes
from tracer_scale.errors import WorkerError
from tracer_scale.work import Job, Work

Made = TypeVar("Made")


def agreed(is_first: bool, tell: Callable[[Any], Any], decide: Callable[[], Made]) -> Made:
    """What the first process decides, in all of them; what it raises, all raise.

    `tell` hands its argument in the first process to all.
    """
    error: Exception | None = None
    value: Any = None
    if is_first:
        try:
            value = decide()
        except Exception as raised:
            error = raised
    value, failure = tell((value, error) if is_first else None)
    if error is not None:
        raise error
    if failure is not None:
        raise failure
    return value


def decided(engine: Engine, decide: Callable[[], Made]) -> Made:
    """What the driver decides, in every process; what it raises, every process raises."""
    return agreed(engine.is_driver, engine.told, decide)


def together(
    engine: Engine,
    merge: Callable[[Outcomes], Made],
    work: Work,
    job: Job,
    shards: Sequence[int],
) -> Made:
    """What the driver makes of the outcomes of these shards; the others compute meanwhile."""
    outcomes = engine.run(work, job, shards)
    if not engine.is_driver:
        with contextlib.suppress(WorkerError):  # which the driver raises, too, and tells
            for _ in outcomes:
                pass

    def merged() -> Made:
        with contextlib.closing(outcomes):
            return merge(outcomes)

    return decided(engine, merged)
