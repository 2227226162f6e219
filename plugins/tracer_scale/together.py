"""What one process decides, and all that fold together have or raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tracer_scale.engines import Engine, Outcomes
from tracer_scale.errors import WorkerError
from tracer_scale.work import Job, Work

Made = TypeVar("Made")


def decided(engine: Engine, decide: Callable[[], Made]) -> Made:
    """What the driver decides, in every process; what it raises, every process raises."""
    error: BaseException | None = None
    value: Any = None
    if engine.is_driver:
        try:
            value = decide()
        except Exception as raised:
            error = raised
    value, failure = engine.told((value, error) if engine.is_driver else None)
    if error is not None:
        raise error
    if failure is not None:
        raise failure
    return value


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
