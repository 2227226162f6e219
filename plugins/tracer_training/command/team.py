"""Who trains together, as plugins offer it."""

from __future__ import annotations

from tracer import registry
from tracer.errors import UsageError
from tracer_training.loop.parallel import Parallel


def team() -> Parallel:
    """This process's place in the first team that is registered; `UsageError` where none is."""
    found = next(iter(registry.teams.values()), None)
    if found is None:
        raise UsageError(
            "--parallel needs a plugin that lets processes train together, and there is none",
            "`trace-net plugins` says whether the bundled `scale` is blocked or failed",
        )
    return found.join()
