"""The ranks of an MPI job, by mpi4py: the first one merges, the others compute.

All ranks call `fold` alike, so that each has what is folded, and nothing but numbers of shards and
what comes of them is exchanged. A rank that dies ends the job, as MPI has it; a fold with a
checkpoint goes on from there, on any number of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from tracer_scale.engines.engine import AHEAD, Ordered, Outcome, Outcomes, Told
from tracer_scale.errors import WorkerError
from tracer_scale.fingerprints import fingerprint
from tracer_scale.versions import difference, versions
from tracer_scale.work import Failure, Job, Work, quiet

#: what this rank is told to do, while it is at it
_current: list[tuple[Work, Job]] = []


class Ranks:
    """Computes shards on the ranks of a communicator, from the second one on."""

    def __init__(self, comm: Any, retries: int = 3):
        self.comm, self.retries = comm, retries
        self.is_driver = comm.Get_rank() == 0
        self._checked: Work | None = None

    def run(self, work: Work, job: Job, shards: Sequence[int]) -> Outcomes:
        from mpi4py.futures import MPICommExecutor

        if work is not self._checked:
            self._check(work)
            self._checked = work
        _current[:] = [(work, job)]
        with MPICommExecutor(self.comm, root=0) as executor:
            if executor is not None:
                yield from self._driven(executor, shards)
        _current.clear()

    def _driven(self, executor: Any, shards: Sequence[int]) -> Outcomes:
        ordered = Ordered(shards, AHEAD * (self.comm.Get_size() - 1), self.retries)
        begun: dict[Future[Any], int] = {}
        try:
            while not ordered.is_over:
                while (shard := ordered.next()) is not None:
                    begun[executor.submit(_do, shard)] = shard
                for future in wait(begun, return_when=FIRST_COMPLETED).done:
                    ordered.put(begun.pop(future), future.result())
                yield from ordered.ready()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _check(self, work: Work) -> None:
        """Raise `WorkerError` on every rank where one of them folds something else."""
        quantities = sorted(work.quantities)
        ours = versions() | {"another model": fingerprint([work.model, work.seed, quantities])}
        every = self.comm.allgather(ours)
        odd = [rank for rank, theirs in enumerate(every) if theirs != every[0]]
        if odd:
            what = difference(every[0], every[odd[0]])
            raise WorkerError(
                f"rank {odd[0]} has {what}: all ranks call fold with the same model, quantities "
                f"and rng, in one environment"
            )

    def told(self, value: Told | None) -> Told:
        return self.comm.bcast(value, root=0)

    def close(self) -> None:
        """The ranks end with their job."""

    abandon = close


def _do(shard: int) -> Outcome | Failure:
    work, job = _current[0]
    with quiet():
        return work.do(job, shard)
