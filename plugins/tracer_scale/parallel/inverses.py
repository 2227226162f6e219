"""Damped factors of a step, decomposed by the ranks, as in kfac-jax: each takes some, all have all.

A factor's cost is its size cubed; the largest go first, each to the rank with the least so far.
What a rank makes depends on the factor alone, so that the bits are those of one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from tracer.extend import on_this_thread
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.parallel.exchange import balanced, of_all
from tracer_training import Optimizer
from tracer_training.curvature.damped import Asked, Solver, damped


@contextmanager
def stepping(optimizer: Optimizer, comm: Communicator) -> Iterator[None]:
    """In it, an optimiser steps by one thread, and curvature is decomposed by all ranks."""
    if not hasattr(optimizer, "decompose"):
        with on_this_thread():
            yield
        return
    import scipy.linalg  # noqa: F401  # whose threads are held back where it is loaded

    before = optimizer.decompose
    if comm.Get_size() > 1:
        optimizer.decompose = partial(decomposed, comm)
    try:
        with on_this_thread():
            yield
    finally:
        optimizer.decompose = before


def decomposed(comm: Communicator, asked: Sequence[Asked]) -> list[Solver]:
    """The solvers of all that is asked; diagonals, which cost nothing, are each rank's own.

    Raises on every rank what one of them raises, the first of them in the order of what is asked.
    """
    costly = [index for index, each in enumerate(asked) if each.cost]
    owners = balanced([asked[index].cost for index in costly], comm.Get_size())
    mine = [i for i, owner in zip(costly, owners, strict=True) if owner == comm.Get_rank()]
    every = of_all(comm.allgather({index: _tried(asked[index]) for index in mine}))
    solvers = []
    for index, each in enumerate(asked):
        solver = every.get(index) or damped(*each)
        if isinstance(solver, Exception):
            raise solver
        solvers.append(solver)
    return solvers


def _tried(asked: Asked) -> Solver | Exception:
    try:
        return damped(*asked)
    except Exception as error:
        return error
