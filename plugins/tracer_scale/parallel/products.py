"""Products with matrices of a batch: each rank multiplies with those of its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracer_scale.operators import added
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.parallel.exchange import computed, of_all
from tracer_scale.states import Plain
from tracer_scale.work import Failure, Job, Product


class Products:
    """The sum of products over the parts, in their order; all ranks ask for it alike.

    `multiply(job, part)` is a part's product; `shares` are the parts' weights in the objective.
    """

    def __init__(
        self,
        comm: Communicator,
        multiply: Callable[[Job, int], Product | Failure],
        shares: Sequence[float],
    ):
        self.comm, self.multiply, self.shares = comm, multiply, shares

    def product(self, job: Job) -> Plain:
        """Of all parts, on every rank. Raises `ShardError` where one failed."""
        own = computed(self.comm, len(self.shares), lambda part: self.multiply(job, part))
        every = of_all(self.comm.allgather(own))
        total: Plain = None
        for part, share in enumerate(self.shares):
            if share:
                total = added(total, every[part].value, share)
        return total

    def close(self) -> None:
        """There is nothing to end."""
