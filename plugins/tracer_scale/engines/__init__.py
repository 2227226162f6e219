"""Where shards are computed: in this process, in others, on Dask's workers, on MPI's ranks."""

from tracer_scale.engines.choice import engine_of
from tracer_scale.engines.engine import Engine, Outcome, Outcomes

__all__ = ["Engine", "Outcome", "Outcomes", "engine_of"]
