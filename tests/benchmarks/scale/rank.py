"""A program that mpirun starts: times steps of a training on ranks, and counts what they send."""

from __future__ import annotations

import json
import math
import pickle
import sys
import time
from typing import Any

from mpi4py import MPI

import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training

from .networks import Images, network

WARM_UP, STEPS = 2, 8


class Counting:
    """A communicator that counts the messages and the pickled bytes that this rank sends."""

    def __init__(self, comm: Any):
        self.comm, self.messages, self.bytes = comm, 0, 0

    def Get_rank(self) -> int:
        return self.comm.Get_rank()

    def Get_size(self) -> int:
        return self.comm.Get_size()

    def bcast(self, value: Any, root: int = 0) -> Any:
        return self.comm.bcast(value, root=root)

    def allgather(self, value: Any) -> Any:
        others = self.Get_size() - 1
        self._count(others * len(pickle.dumps(value)))
        return self.comm.allgather(value)

    def alltoall(self, values: Any) -> Any:
        own = self.Get_rank()
        self._count(sum(len(pickle.dumps(v)) for rank, v in enumerate(values) if rank != own))
        return self.comm.alltoall(values)

    def _count(self, sent: int) -> None:
        self.messages += 1
        self.bytes += sent


def main(name: str, samples: str, parts: str, counts: str) -> None:
    """Print as JSON the seconds of the fastest step, and the messages and bytes of all steps."""
    comm: Any = Counting(MPI.COMM_WORLD) if counts == "counts" else MPI.COMM_WORLD
    model = network()
    options = {"adapt_damping": False, "curvature": "kflr"} if name == "KFAC" else {}
    optimizer = getattr(training, name)(model.parameters(), lr=1e-3, **options)
    trainer = scale.DataParallel(model, optimizer, comm, parts=int(parts))
    x, y = Images(int(samples))(0)
    best, sent = math.inf, []
    for step in range(WARM_UP + STEPS):
        if counts == "counts":
            comm.messages = comm.bytes = 0
        MPI.COMM_WORLD.Barrier()
        begun = time.perf_counter()
        trainer.step(nn.cross_entropy, x, y)
        MPI.COMM_WORLD.Barrier()
        if step >= WARM_UP:
            best = min(best, time.perf_counter() - begun)
            sent.append((comm.messages, comm.bytes) if counts == "counts" else (0, 0))
    if MPI.COMM_WORLD.Get_rank() == 0:
        print(json.dumps({"seconds": best, "sent": sent}))


if __name__ == "__main__":
    main(*sys.argv[1:])
