"""Which engine is meant."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.errors import TracerError
from tracer_scale.engines.dask_client import Dask, client_at
from tracer_scale.engines.engine import Engine
from tracer_scale.engines.here import Here
from tracer_scale.engines.mpi import Ranks
from tracer_scale.engines.processes import Processes

DASK = "dask://"
KNOWN = (
    '"processes", "here", "dask://HOST:PORT", a dask.distributed.Client or a communicator of mpi4py'
)


def engine_of(engine: Any, workers: int | None = None, retries: int = 3) -> Engine:
    """The engine by what `fold` takes for it. Raises `TracerError` for anything else."""
    whole = not isinstance(workers, bool) and isinstance(workers, int | np.integer)
    if workers is not None and (not whole or workers < 1):
        raise TracerError(f"fold expects a number of workers from 1, or None, got {workers!r}")
    if engine == "processes":
        return Processes(workers, retries)
    if workers is not None and engine != "here":
        raise TracerError('workers= is for engine="processes": other engines bring their own')
    if engine == "here":
        return Here(retries)
    if isinstance(engine, str) and engine.startswith(DASK):
        return Dask(client_at(engine.removeprefix(DASK)), retries, owns=True)
    if hasattr(engine, "scheduler_info") and hasattr(engine, "submit"):
        return Dask(engine, retries)
    if hasattr(engine, "Get_rank") and hasattr(engine, "bcast"):
        return Here(retries) if engine.Get_size() == 1 else Ranks(engine, retries)
    raise TracerError(f"fold expects engine as one of {KNOWN}, got {engine!r}")
