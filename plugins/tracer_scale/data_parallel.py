"""Training on the ranks of MPI: each computes parts of a batch, and all take the same step.

The states of a quantity at a parameter go to the rank that owns them, which merges those of all
parts in their order, as a fold does; what it has then goes to all. A rank receives about as many
bytes as with a sum around a ring: the states of its own parameters from the others, and the merged
ones of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tracer.errors import TracerError
from tracer.extend import Array, Results, merges, on_this_thread
from tracer_scale.errors import ShardError
from tracer_scale.folded import Folding
from tracer_scale.merging import Merged, Union
from tracer_scale.quantities import resolved
from tracer_scale.reductions import Denominator
from tracer_scale.shards import Batch, Shards
from tracer_scale.states import Plain, plain, restored
from tracer_scale.work import Failure, Job, Loss, Model, Part, Work, quiet
from tracer_training import Optimizer
from tracer_training.optimizers.loss import Loss as LossValue

__all__ = ["DataParallel"]

#: a quantity's name and a parameter's
Key: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True)
class _Cut:
    """Parts of a batch that are as long as each other, up to one sample."""

    batch: Batch
    parts: int

    def __call__(self, index: int) -> Batch:
        samples = len(self.batch[-1])
        start, stop = (samples * i // self.parts for i in (index, index + 1))
        return tuple(array[start:stop] for array in self.batch)


class DataParallel:
    """Steps of an optimiser with batches of which every rank of `comm` computes some parts.

    ```python
    trainer = scale.DataParallel(model, optimizer, MPI.COMM_WORLD)
    for x, y in loader:  # the same batches on every rank
        loss = trainer.step(nn.cross_entropy, x, y)
    ```

    A batch is cut into `parts`, as many as there are ranks unless it is said. With the same number
    of parts the parameters have the same bits on any number of ranks, one included. Quantities
    that the optimiser needs merge by their laws, as in `fold`, and draw from a stream of (`rng`,
    number of the step, number of the part); `weight` is that of `fold`. At the beginning the model
    of all ranks is that of the first one.

    A rank that dies ends the job, as MPI has it. `training.save_checkpoint(path, model=model,
    optimizer=optimizer, trainer=trainer)` on one rank keeps what any number of ranks goes on from.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        comm: Any,
        *,
        parts: int | None = None,
        rng: int = 0,
        weight: Denominator | None = None,
    ):
        if not hasattr(comm, "allgather") or not hasattr(comm, "alltoall"):
            raise TracerError(
                f"DataParallel expects a communicator of mpi4py, as MPI.COMM_WORLD, got a "
                f"{type(comm).__name__}"
            )
        self.model, self.optimizer, self.comm = model, optimizer, comm
        self.parts = comm.Get_size() if parts is None else parts
        if isinstance(self.parts, bool) or not isinstance(self.parts, int) or self.parts < 1:
            raise TracerError(f"DataParallel expects a number of parts from 1, got {parts!r}")
        self.rng, self.weight = rng, weight
        self.steps = 0
        #: what the reduction of the loss was found out of: the loss, and the model's mode
        self._known: tuple[Loss | None, object, str] = (None, None, "")
        module: Any = model
        if hasattr(module, "state_dict"):
            module.load_state_dict(comm.bcast(module.state_dict(), root=0))

    def step(self, loss: Loss, *batch: Array) -> float:
        """Step with a batch `(*inputs, targets)`, and give its loss.

        Raises `ShardError` on every rank where a part fails on one.
        """
        results = self.results(loss, *batch)
        value = float(results[LossValue.name])
        with on_this_thread():
            self.optimizer.step(results, lambda: self.results(loss, *batch))
        self.steps += 1
        return value

    def results(self, loss: Loss, *batch: Array) -> Results:
        """What one sweep of the whole batch gives of what the optimiser needs, and the loss."""
        asked = [q for q in self.optimizer.quantities if not _is_loss(q)]
        quantities = resolved([*asked, LossValue()])
        whole = next((name for name, q in quantities.items() if not merges(q)), None)
        if whole is not None:
            raise TracerError(
                f"{type(self.optimizer).__name__} needs {whole!r}, whose products are not divided "
                f"among ranks: use KFAC, or another optimiser whose quantities merge"
            )
        shards = Shards(_Cut(batch, self.parts), self.parts)
        seed = (self.rng, self.steps)
        work = Work(self.model, loss, shards, quantities, seed, weight=self.weight)
        known, mode, reduction = self._known
        if known is loss and mode == getattr(self.model, "training", None):
            work.reduction = reduction
        folding = self._merged(work, self._computed(work))
        self._known = loss, getattr(self.model, "training", None), folding.reduction
        parameters = getattr(self.model, "named_parameters", list)
        return folding.values(quantities, list(parameters()), "warn")

    def state_dict(self) -> dict[str, int]:
        """What decides of the next step, besides model and optimiser."""
        return {"steps": self.steps, "parts": self.parts, "rng": self.rng}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there. Raises `TracerError` for other parts, which round otherwise."""
        if state["parts"] != self.parts:
            raise TracerError(
                f"the checkpoint is of batches in {state['parts']} parts: give "
                f"DataParallel(..., parts={state['parts']})"
            )
        self.steps, self.rng = state["steps"], state["rng"]

    def _computed(self, work: Work) -> dict[int, Part]:
        """This rank's parts. Raises `ShardError` if a part failed on any rank."""
        mine = range(self.comm.Get_rank(), self.parts, self.comm.Get_size())
        with quiet():
            found = {index: work.do(Job(), index) for index in mine}
        failed = {i: part for i, part in found.items() if isinstance(part, Failure)}
        for failures in self.comm.allgather(failed):
            for index, failure in failures.items():
                raise ShardError(
                    f"part {index} of the batch failed: {failure.kind}: {failure.message}", index
                )
        return {i: part for i, part in found.items() if isinstance(part, Part)}

    def _merged(self, work: Work, parts: dict[int, Part]) -> Folding:
        """The union of all parts, on every rank."""
        about = _of_all(self.comm.allgather({i: _About.of(part) for i, part in parts.items()}))
        owners = _owners(about.values(), self.comm.Get_size())
        sent = [
            {i: _owned(part.states, owners, rank) for i, part in parts.items()}
            for rank in range(self.comm.Get_size())
        ]
        received = _of_all(self.comm.alltoall(sent))
        merged = Merged(work.quantities)
        for index in range(self.parts):
            merged.add(about[index].union(received[index], work))
        union = merged.union()
        if not union.samples:
            raise TracerError("the batch has no samples")
        own = {
            name: {p: plain(kept, work.quantities[name]) for p, kept in values.items()}
            for name, values in union.states.items()
        }
        states: dict[str, dict[str, Plain]] = {name: {} for name in work.quantities}
        for some in self.comm.allgather(own):
            for name, values in some.items():
                states[name].update(values)
        ordered = {name: dict(sorted(values.items())) for name, values in states.items()}
        absent: dict[str, dict[str, str]] = {}
        for each in about.values():
            for name, reasons in each.absent.items():
                absent.setdefault(name, {}).update(reasons)
        return Folding(union.samples, union.reduction, ordered, absent, {}, [])


@dataclass
class _About:
    """What all ranks know of a part: all but its states, of which it has the sizes."""

    samples: int
    mass: float
    reduction: str
    absent: dict[str, dict[str, str]]
    bytes_of: dict[Key, int]

    @classmethod
    def of(cls, part: Part) -> _About:
        sizes = {
            (name, parameter): _bytes(value)
            for name, values in part.states.items()
            for parameter, value in values.items()
        }
        return cls(part.samples, part.mass, part.reduction, part.absent, sizes)

    def union(self, states: dict[str, dict[str, Plain]], work: Work) -> Union:
        quantities = work.quantities
        found = {
            name: {p: restored(value, quantities[name]) for p, value in values.items()}
            for name, values in states.items()
        }
        return Union(self.samples, self.mass, self.reduction, found)


def _owners(parts: Iterable[_About], ranks: int) -> dict[Key, int]:
    """Which rank merges which states: the largest first, each to the rank with the least so far."""
    sizes: dict[Key, int] = {}
    for part in parts:
        for key, size in part.bytes_of.items():
            sizes[key] = max(size, sizes.get(key, 0))
    load, owners = [0] * ranks, {}
    for key in sorted(sizes, key=lambda key: (-sizes[key], key)):
        owners[key] = rank = min(range(ranks), key=load.__getitem__)
        load[rank] += sizes[key]
    return owners


def _owned(
    states: dict[str, dict[str, Plain]], owners: dict[Key, int], rank: int
) -> dict[str, dict[str, Plain]]:
    """The states that a rank merges; of each quantity there are some, or none."""
    return {
        name: {p: value for p, value in values.items() if owners[name, p] == rank}
        for name, values in states.items()
    }


def _of_all(several: Iterable[dict[int, Any]]) -> dict[int, Any]:
    return {index: each for some in several for index, each in some.items()}


def _bytes(value: Plain) -> int:
    """Of the arrays in a state."""
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return getattr(value, "nbytes", 0)


def _is_loss(quantity: Any) -> bool:
    return getattr(quantity, "name", quantity) == LossValue.name
