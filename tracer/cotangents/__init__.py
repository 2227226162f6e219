"""The algebra of parameter cotangents.

At a parameter, what a sweep brings is `U[v, n, *p]`: for each of V rows and N samples a cotangent
of the parameter. It is seldom wanted itself, and seldom cheap; the classes here represent it in
the form in which an operation makes it and offer the contractions that quantities need. All are
functions of arrays, defined by `per_sample()`, and none but that one makes `[V, N, *p]` unless it
is the cheapest form within a block of samples.
"""

from tracer.cotangents.base import ChunkOfRows, Cotangent, Dense, Mixed, collect
from tracer.cotangents.contractions import samples_first
from tracer.cotangents.coupled import Coupled, Unfollowed
from tracer.cotangents.deferred import Deferred
from tracer.cotangents.gather import Gather
from tracer.cotangents.grouped import grouped
from tracer.cotangents.outer import Outer
from tracer.cotangents.reindexed import Reindexed
from tracer.cotangents.summed import Summed, broadcast_uses, looked_up

__all__ = [
    "ChunkOfRows",
    "Cotangent",
    "Coupled",
    "Deferred",
    "Dense",
    "Gather",
    "Mixed",
    "Outer",
    "Reindexed",
    "Summed",
    "Unfollowed",
    "broadcast_uses",
    "collect",
    "grouped",
    "looked_up",
    "samples_first",
]
