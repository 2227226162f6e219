"""The ranks of an MPI job as `training.fit` takes them: each sweeps some parts of a batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tracer import Tape, Tensor
from tracer.errors import TracerError
from tracer.extend import Array, Quantity, Results, backend, merges, on_this_thread, raw, unfinished
from tracer_scale.operators import matrix
from tracer_scale.parallel.buffers import Buffers
from tracer_scale.parallel.communicator import Communicator, World
from tracer_scale.parallel.cutting import cut
from tracer_scale.parallel.devices import exchanging, library_of
from tracer_scale.parallel.ending import ending
from tracer_scale.parallel.exchange import computed, of_all, united
from tracer_scale.parallel.inverses import stepping
from tracer_scale.parallel.products import Products
from tracer_scale.parallel.streams import sources_of, streams
from tracer_scale.quantities import merging
from tracer_scale.reductions import MEAN, SUM, reduction_of, refuse_class_weights, refuse_weights
from tracer_scale.states import in_place
from tracer_scale.together import agreed
from tracer_scale.versions import difference, versions
from tracer_scale.work import Failure, Job, Part, Product, ignores, multiplied, put, quiet
from tracer_training import Optimizer
from tracer_training.checkpoints.checkpoint import Stateful
from tracer_training.kinds import (
    Asked,
    Inputs,
    LossFunction,
    Model,
    Saved,
    StateDict,
    Targets,
    Value,
)
from tracer_training.loop.evaluation import samples_of
from tracer_training.loop.metrics import Metric, measured

__all__ = ["Ranks"]

Item = TypeVar("Item")
Made = TypeVar("Made")
#: inputs, target, quantities -> results of a sweep, the loss, the outputs
Record = Callable[[Inputs, Targets, Asked], tuple[Results, Tensor, Array]]


@dataclass
class Piece:
    """What this rank keeps of a part: its share of the loss, operators, and what metrics are of."""

    loss: Array
    operators: dict[str, Value]
    output: Array
    target: Targets
    samples: int


@dataclass
class Batch:
    """What came of a batch, on every rank."""

    results: Results
    loss: Array
    pieces: dict[int, Piece]
    comm: Communicator

    def measured(
        self, metrics: Mapping[str, Metric] | None
    ) -> Sequence[tuple[Mapping[str, float], int]]:
        """The metrics of the parts, in their order."""
        own = {
            part: (_floats(measured(metrics, piece.output, piece.target)), piece.samples)
            for part, piece in self.pieces.items()
        }
        every = of_all(self.comm.allgather(own))
        return [every[part] for part in sorted(every)]


class Ranks:
    """The ranks of a communicator of mpi4py, which train together.

    ```python
    training.fit(..., parallel=scale.Ranks(MPI.COMM_WORLD))
    ```

    Every rank calls `fit` alike, with the same data. A batch is cut into `parts`, as many as there
    are ranks unless it is said or a checkpoint says it; a rank records and sweeps some of them, and
    all take the same step. With the same number of parts the parameters have the same bits on any
    number of ranks, one included: each part is computed by one thread, draws from a stream of its
    own, and merges with the others in their order. Batch normalisation normalises each part by
    itself; running statistics are the means over the parts. Evaluation is divided by batches.

    A model may be on a device, as for `DataParallel`; what is drawn there has a stream for each
    part, too.

    Quantities merge by their laws; factors of `kfra` are means of those of the parts. Operators, as
    of `HessianFree`, have products of all parts, which all ranks ask for alike.
    """

    def __init__(self, comm: World, parts: int | None = None):
        if not hasattr(comm, "allgather") or not hasattr(comm, "alltoall"):
            raise TracerError(
                f"Ranks expects a communicator of mpi4py, as MPI.COMM_WORLD, got a "
                f"{type(comm).__name__}"
            )
        if parts is not None and (
            isinstance(parts, bool) or not isinstance(parts, int) or parts < 1
        ):
            raise TracerError(f"Ranks expects a number of parts from 1, or None, got {parts!r}")
        self.world, self.parts = comm, parts
        #: what arrays are exchanged by, and whose they are, which the model says
        self.comm: Communicator = comm
        self.library = backend.NUMPY
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.is_first = self.rank == 0
        #: the loss whose reduction was found out, and that
        self._loss: LossFunction | None = None
        self._reduction = ""

    # -- begin and end -------------------------------------------------------------------------

    def begin(
        self, model: Model, loss: LossFunction, begun: Sequence[Stateful], at: Sequence[int]
    ) -> None:
        """Take over the first rank's model, what else has `begun`, and random generators.

        Raises `TracerError` where another rank has another version, or does not stand `at` the same
        step.
        """
        self.comm, self.library = exchanging(model, self.world), library_of(model)
        self._loss, self._reduction = loss, ""
        ours = versions() | {"step": "epoch {}, batch {}, step {}".format(*at)}
        every = self.comm.allgather(ours)
        odd = [rank for rank, theirs in enumerate(every) if theirs != every[0]]
        if odd:
            raise TracerError(
                f"rank {odd[0]} has {difference(every[0], every[odd[0]])}: all ranks run in one "
                f"environment and read the same checkpoint"
            )
        self.parts = self.first(lambda: self.parts or self.size)
        for each in begun:
            each.load_state_dict(self.comm.bcast(each.state_dict(), root=0))
        sources = sources_of(model)
        states = self.comm.bcast([source.state() for source in sources], root=0)
        for source, state in zip(sources, states, strict=True):
            source.set(state)

    def together(self) -> AbstractContextManager[None]:
        """In it, what one rank alone raises ends all of them, with a word on stderr."""
        return ending(self.world)

    def first(self, decide: Callable[[], Made]) -> Made:
        """What the first rank makes, on all of them; so is what it raises."""
        return agreed(self.is_first, lambda value: self.comm.bcast(value, root=0), decide)

    # -- a batch -------------------------------------------------------------------------------

    def record(
        self, model: Model, record: Record, inputs: Inputs, target: Targets, quantities: Asked
    ) -> Batch:
        """What comes of a batch: each rank records and sweeps its parts.

        Raises `ShardError` on every rank where a part fails on one.
        """
        named = merging({_name(each): each for each in reversed(quantities)}.values())
        asked = tuple(unfinished(q) if merges(q) else q for q in named.values())
        samples, parts = samples_of(inputs, target), self.parts or self.size
        self._check_same((inputs, target))
        buffers = Buffers(model)
        pieces: dict[int, Piece] = {}

        def part_of(index: int) -> Part | Failure:
            start, stop = (samples * i // parts for i in (index, index + 1))
            if start == stop:
                return Part()
            begin(index)
            buffers.begin()
            try:
                some, of = cut(inputs, start, stop, samples), cut(target, start, stop, samples)
                results, loss, output = record(some, of, asked)
                part = self._part(results, named, stop - start, output, of)
                if part.reduction != SUM:
                    _refuse_ignored(loss)
            except Exception as error:
                return Failure.of(error)
            operators = {name: results[name] for name in part.matrices}
            pieces[index] = Piece(in_place(loss.data), operators, output, of, stop - start)
            buffers.keep(index, stop - start)
            return part

        with on_this_thread(), quiet(), streams(model, self.library) as begin:
            computed_parts = computed(self.comm, parts, part_of)
        buffers.unite(self.comm)
        with np.errstate(over="ignore", invalid="ignore"):  # gradients of half precision
            folding = united(self.comm, computed_parts, named, parts)
        parameters = list(getattr(model, "named_parameters", list)())
        results = folding.values(named, parameters, "warn")
        shares = folding.shares()
        products = Products(self.comm, _multiplying(pieces), shares)
        for name, about in folding.matrices.items():
            results[name] = matrix(name, about, products, self.library)
        losses = of_all(self.comm.allgather({i: piece.loss for i, piece in pieces.items()}))
        loss: Array = sum(shares[i] * losses[i].astype(np.float64) for i in sorted(losses))  # type: ignore[assignment]
        return Batch(results, in_place(loss), pieces, self.comm)

    def _part(
        self,
        results: Results,
        named: Mapping[str, Quantity],
        samples: int,
        output: Array,
        target: Targets,
    ) -> Part:
        part = Part(samples, float(samples), self._reduction_of(output, target))
        for name, quantity in named.items():
            put(part, quantity, results[name], in_place)
        return part

    def _reduction_of(self, output: Array, target: Targets) -> str:
        """Whether the loss is a mean or a sum, found out once, on the outputs of samples."""
        loss = self._loss
        arrays = all(backend.is_array(each) and each.ndim for each in (output, target))
        if self._reduction or loss is None or not arrays or len(output) != len(target):
            return self._reduction

        def value(batch: tuple[Array, ...]) -> float:
            with Tape():
                found = loss(*batch)
            return float(backend.to_host(raw(found)))

        try:
            refuse_weights(loss, False)
            self._reduction = reduction_of(value, (output, target), None, None)
            if self._reduction == MEAN:
                refuse_class_weights(value, (output, target))
        except TracerError as error:
            raise TracerError(
                f"parts of a batch merge by their numbers of samples, and the loss is not the mean "
                f"of the samples' losses ({str(error).partition(': ')[0]}): weigh samples inside "
                f"of np.mean, or train in one process"
            ) from error
        return self._reduction

    def _check_same(self, batch: Value) -> None:
        """Raise `TracerError` on every rank where one has another batch."""
        every = self.comm.allgather(_checksum(batch))
        odd = [rank for rank, other in enumerate(every) if other != every[0]]
        if odd:
            raise TracerError(
                f"rank {odd[0]} has another batch than the first one: all ranks read the same data "
                f"in the same order, so give datasets and loaders a seed (rng=0)"
            )

    # -- what else is divided ------------------------------------------------------------------

    def mapped(
        self, model: Model, function: Callable[[Item], Made], items: Iterable[Item]
    ) -> list[Made]:
        """`function` of all items, in their order, each called by one rank."""
        own: dict[int, Made] = {}
        with on_this_thread(), streams(model, self.library) as begin:
            for number, item in enumerate(items):
                if number % self.size == self.rank:
                    begin(number)
                    own[number] = function(item)
        every = of_all(self.comm.allgather(own))
        return [every[number] for number in sorted(every)]

    def stepping(self, optimizer: Optimizer) -> AbstractContextManager[None]:
        """In it an optimiser steps: by one thread, its curvature decomposed by all ranks."""
        return stepping(optimizer, self.comm)

    def state_dict(self) -> StateDict:
        """What a checkpoint keeps: into how many parts batches are cut."""
        return {"parts": self.parts or self.size}

    def load_state_dict(self, state: Saved) -> None:
        """Go on with as many parts. Raises `TracerError` for others, which round otherwise."""
        if self.parts not in (None, state["parts"]):
            raise TracerError(
                f"the checkpoint is of batches in {state['parts']} parts, and now there are "
                f"{self.parts}: leave parts out, or give {state['parts']}"
            )
        self.parts = state["parts"]


def _refuse_ignored(loss: Tensor) -> None:
    """Raise `TracerError` for a loss of classes that ignores some of a part's targets."""
    waiting, seen = [loss.node], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if ignores(node):
            raise TracerError(
                "parts of a batch merge by their numbers of samples, and the loss ignores some "
                "targets: leave those samples out, or train in one process"
            )
        if not node.op.loss:
            waiting += [parent for parent in node.parents if parent is not None]


def _multiplying(pieces: Mapping[int, Piece]) -> Callable[[Job, int], Product | Failure]:
    """A part's operator times vectors."""

    def multiply(job: Job, part: int) -> Product | Failure:
        if part not in pieces:
            return Product(None)
        try:
            with on_this_thread():
                return multiplied(pieces[part].operators[job.quantity], job, in_place)
        except Exception as error:
            return Failure.of(error)

    return multiply


def _name(quantity: str | Quantity) -> str:
    return quantity if isinstance(quantity, str) else quantity.name


def _floats(values: Saved) -> dict[str, float]:
    return {name: float(backend.to_host(raw(value))) for name, value in values.items()}


def _checksum(value: Value) -> int:
    """Of the first and the last sample of each array."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return zlib.crc32(repr([_checksum(each) for each in value]).encode())
    array = raw(value)
    if not backend.is_array(array):
        return zlib.crc32(repr(value).encode())
    ends = array[[0, -1]] if array.ndim and len(array) else array
    about = f"{array.shape} {array.dtype}".encode()
    return zlib.crc32(np.ascontiguousarray(backend.to_host(ends)).tobytes(), zlib.crc32(about))
