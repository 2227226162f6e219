"""Steps of an optimiser on the ranks of MPI, in a loop of one's own."""

from __future__ import annotations

from tracer.errors import TracerError
from tracer.extend import Array, Quantity, Results, backend
from tracer_scale.operators import matrix
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.parallel.cutting import Cut
from tracer_scale.parallel.devices import exchanging, library_of
from tracer_scale.parallel.exchange import computed, united
from tracer_scale.parallel.inverses import stepping
from tracer_scale.parallel.products import Products
from tracer_scale.quantities import merging
from tracer_scale.reductions import Denominator
from tracer_scale.shards import Shards
from tracer_scale.states import in_place
from tracer_scale.work import Failure, Job, Loss, Model, Part, Product, Work, quiet
from tracer_training import Optimizer
from tracer_training.kinds import Value
from tracer_training.optimizers.loss import Loss as LossValue

__all__ = ["DataParallel"]


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
    of all ranks is that of the first one. Curvature is decomposed by all ranks, each some factors.
    Operators, as of `HessianFree`, have products that all ranks ask for alike, each of which
    records the batch again.

    Of a model on a device, as after `model.to("cuda")`, each rank takes a device of its machine, to
    which its model goes, and arrays go from device to device by NCCL (CuPy's `cupyx.distributed`).
    Where there are more ranks than devices, or no NCCL, they go through the host, which a warning
    says. Batches that are on a device already have to be on that rank's: move them afterwards.

    A rank that dies ends the job, as MPI has it. `training.save_checkpoint(path, model=model,
    optimizer=optimizer, trainer=trainer)` on one rank keeps what any number of ranks goes on from.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        comm: Communicator,
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
        self.model, self.optimizer = model, optimizer
        self.parts = comm.Get_size() if parts is None else parts
        if isinstance(self.parts, bool) or not isinstance(self.parts, int) or self.parts < 1:
            raise TracerError(f"DataParallel expects a number of parts from 1, got {parts!r}")
        self.comm, self.library = exchanging(model, comm), library_of(model)
        self.rng, self.weight = rng, weight
        self.steps = 0
        #: what the reduction of the loss was found out of: the loss, and the model's mode
        self._known: tuple[Loss | None, object, str] = (None, None, "")
        module: Value = model
        if hasattr(module, "state_dict"):
            module.load_state_dict(self.comm.bcast(module.state_dict(), root=0))
        if self.library is not backend.NUMPY:  # what it keeps is where the model was
            optimizer.load_state_dict(self.comm.bcast(optimizer.state_dict(), root=0))

    def step(self, loss: Loss, *batch: Array) -> float:
        """Step with a batch `(*inputs, targets)`, and give its loss.

        Raises `ShardError` on every rank where a part fails on one.
        """
        results = self.results(loss, *batch)
        value = float(results[LossValue.name])
        with stepping(self.optimizer, self.comm):
            self.optimizer.step(results, lambda: self.results(loss, *batch))
        self.steps += 1
        return value

    def results(self, loss: Loss, *batch: Array) -> Results:
        """What one sweep of the whole batch gives of what the optimiser needs, and the loss."""
        asked = [q for q in self.optimizer.quantities if not _is_loss(q)]
        quantities = merging([*asked, LossValue()])
        shards = Shards(Cut(batch, self.parts), self.parts)
        seed = (self.rng, self.steps)
        work = Work(self.model, loss, shards, quantities, seed, weight=self.weight, keep=in_place)
        known, mode, reduction = self._known
        if known is loss and mode == getattr(self.model, "training", None):
            work.reduction = reduction
        with quiet():
            found = computed(self.comm, self.parts, lambda index: _part(work, index))
        folding = united(self.comm, found, quantities, self.parts)
        self._known = loss, getattr(self.model, "training", None), folding.reduction
        parameters = getattr(self.model, "named_parameters", list)
        results = folding.values(quantities, list(parameters()), "warn")
        products = Products(
            self.comm, lambda job, part: _product(work, job, part), folding.shares()
        )
        for name, about in folding.matrices.items():
            results[name] = matrix(name, about, products, self.library)
        return results

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


def _is_loss(quantity: str | Quantity) -> bool:
    return getattr(quantity, "name", quantity) == LossValue.name


def _part(work: Work, index: int) -> Part | Failure:
    found = work.do(Job(), index)
    assert isinstance(found, Part | Failure)
    return found


def _product(work: Work, job: Job, index: int) -> Product | Failure:
    with quiet():
        found = work.do(job, index)
    assert isinstance(found, Product | Failure)
    return found
