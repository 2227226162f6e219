"""Training on the ranks of MPI: each computes parts of a batch, and all take the same step."""

from tracer_scale.parallel.data_parallel import DataParallel
from tracer_scale.parallel.ranks import Ranks

__all__ = ["DataParallel", "Ranks"]
