"""What a worker does: the states of one shard, or a matrix of one shard times vectors."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import (
    Array,
    Context,
    Node,
    Quantity,
    Tape,
    Unfinished,
    Value,
    backend,
    merges,
    on_this_thread,
    unfinished,
)
from tracer_scale.merging import States, Union
from tracer_scale.reductions import (
    MEAN,
    SUM,
    Denominator,
    reduction_of,
    refuse_class_weights,
    refuse_weights,
)
from tracer_scale.shards import Batch, Shards
from tracer_scale.states import Keep, Plain, on_host, plain, restored

#: a module, or a function of the inputs
Model: TypeAlias = Callable[..., Any]
#: the loss of outputs and targets
Loss: TypeAlias = Callable[[Any, Any], Tensor]
#: stands for a parameter's name where a value is of the objective as a whole
WHOLE = ""
#: what a matrix is multiplied by: columns `[P, K]`, or a stack `[V, *p]` for one parameter
Vectors: TypeAlias = "Mapping[str, Array] | Array"


@dataclass
class Part:
    """What comes of a shard: see `Union`. `absent` says why parameters have no value."""

    samples: int = 0
    mass: float = 0.0
    reduction: str = ""
    states: dict[str, dict[str, Plain]] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    #: what operators are over: quantity -> the parameters' names and shapes
    matrices: dict[str, Plain] = field(default_factory=dict)

    def union(self, quantities: Mapping[str, Quantity]) -> Union:
        states: States = {
            name: {p: restored(value, quantities[name]) for p, value in values.items()}
            for name, values in self.states.items()
        }
        return Union(self.samples, self.mass, self.reduction, states)


@dataclass
class Product:
    """A shard's matrix times vectors; None of a shard without samples."""

    value: Plain


@dataclass(frozen=True)
class Job:
    """What is done with every shard: its states, or the product of a matrix with vectors."""

    quantity: str = ""
    vectors: Any = None


@dataclass
class Failure:
    """An error in a worker, as text. One that would come again is not tried again."""

    kind: str
    message: str
    trace: str
    is_final: bool

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        text = "".join(traceback.format_exception(error))
        return cls(type(error).__name__, str(error), text, isinstance(error, TracerError))


@dataclass
class Work:
    """All that a worker has to know: it is sent once.

    `weight(*batch)` is the denominator of a batch's mean, for losses whose mean is weighed. `mean`
    says which reduction the loss has, where its values do not tell.
    """

    model: Model
    loss: Loss
    shards: Shards
    quantities: dict[str, Quantity]
    #: of the stream that sampled quantities of a shard draw from, besides its number
    seed: tuple[int, ...] = (0,)
    memory_budget: int | None = None
    weight: Denominator | None = None
    mean: bool | None = None
    #: the reduction that was found out before, of the same model and loss
    reduction: str = ""
    #: where the arrays of states and products are kept
    keep: Keep = on_host
    #: whether classes were found to weigh the same, which is looked for once
    _is_plain: bool = field(default=False, init=False, repr=False)

    def do(self, job: Job, index: int) -> Part | Product | Failure:
        """The outcome of a shard, computed by one thread."""
        try:
            with on_this_thread():
                return self.product(job, index) if job.quantity else self.part(index)
        except Exception as error:
            return Failure.of(error)

    def part(self, index: int) -> Part:
        """The states of a shard."""
        batch = self.shards[index]
        samples = len(batch[-1])
        if not samples:
            return Part()
        reduction = self.reduction or self._reduction(batch)
        mass = float(samples) if self.weight is None else float(self.weight(*batch))
        if not mass > 0:
            raise TracerError(
                f"the weight of shard {index} is {mass}, where the denominator of a mean is above "
                f"0: join it with another shard"
            )
        part = Part(samples, mass, reduction)
        swept = self._swept(batch, index, list(self.quantities.values()), reduction)
        for name, value in swept.items():
            put(part, self.quantities[name], value, self.keep)
        return part

    def _reduction(self, batch: Batch) -> str:
        found = reduction_of(self._value, batch, self.weight, self.mean)
        if found == MEAN and self.weight is None and self.mean is None and not self._is_plain:
            refuse_class_weights(self._value, batch)
            self._is_plain = True
        return found

    def product(self, job: Job, index: int) -> Product:
        """The product of a shard's matrix, or of its blocks, with vectors."""
        batch = self.shards[index]
        if not len(batch[-1]):
            return Product(None)
        quantity = self.quantities[job.quantity]
        matrix = self._swept(batch, index, [quantity], SUM)[job.quantity]
        return multiplied(matrix, job, self.keep)

    def _swept(
        self, batch: Batch, index: int, quantities: Sequence[Quantity], reduction: str
    ) -> Mapping[str, Any]:
        """The results of a shard; of a mean, what the record says of weights is looked at."""
        with Tape() as tape:
            output = self._output(batch)
            loss = self.loss(output, batch[-1])
        if self.weight is None and self.mean is None and reduction != SUM:
            refuse_weights(self.loss, any(map(_weighs, tape.recorded())))
        return tape.backward(
            loss,
            tuple(unfinished(q) if merges(q) else q for q in quantities),
            rng=np.random.default_rng([*self.seed, index]),
            memory_budget=self.memory_budget,
            outputs=_split(tape, output),
        )

    def _output(self, batch: Batch) -> Any:
        """Of the model, which marks its inputs, or of a function, whose inputs are marked here."""
        inputs = batch[:-1]
        if not getattr(self.model, "marks_inputs", False):
            return self.model(*(tracer.batch(each) for each in inputs))
        return self.model(*inputs)

    def _value(self, batch: Batch) -> float:
        """The loss of a few samples."""
        with Tape():
            loss = self.loss(self._output(batch), batch[-1])
        return float(backend.to_host(loss.data))


def put(part: Part, quantity: Quantity, value: Value, keep: Keep = on_host) -> None:
    """Put the value of a sweep into a part: states that merge, or what an operator is over."""
    name = quantity.name
    if not merges(quantity):
        part.matrices[name] = _matrix(quantity, value)
        return
    if not isinstance(value, Mapping):  # of the objective as a whole, as the loss
        part.states[name] = {WHOLE: plain(_of_objective(value, keep), quantity, keep)}
        return
    part.states[name] = {p: plain(_kept(p, v), quantity, keep) for p, v in value.items()}
    part.absent[name] = dict(getattr(value, "absent", {}))


def multiplied(value: Value, job: Job, keep: Keep = on_host) -> Product:
    """An operator, or functions of the parameters, times vectors."""
    if isinstance(job.vectors, Mapping):
        return Product({p: keep(value[p](stack)) for p, stack in job.vectors.items()})
    return Product(keep(value.matmat(job.vectors)))


def _of_objective(value: Any, keep: Keep) -> Unfinished:
    if isinstance(value, Unfinished):
        return value
    array = keep(value)
    return Unfinished(array, Context(WHOLE, array.shape, array.dtype, None))


def _kept(name: str, value: Any) -> Unfinished:
    if isinstance(value, Unfinished):
        return value
    raise TracerError(f"the value at {name} is a {type(value).__name__}, which does not merge")


def _matrix(quantity: Quantity, value: Any) -> Plain:
    """What an operator, or functions of the parameters, are over."""
    if hasattr(value, "matmat"):
        spans = {name: [span.start, span.stop] for name, span in value.parameters.items()}
        return {"spans": spans, "dtype": str(value.dtype)}
    if isinstance(value, Mapping) and all(hasattr(block, "shape") for block in value.values()):
        return {"shapes": {name: list(block.shape) for name, block in value.items()}}
    raise TracerError(
        f"values of {quantity.name!r} of several shards do not merge: give it a merge(first, "
        f"second, shards), or leave it out"
    )


def _weighs(node: Node) -> bool:
    """Whether this is a loss of classes that weighs or ignores some, after logits and targets."""
    return ("ignored" in node.params and len(node.inputs) > 2) or ignores(node)


def ignores(node: Node) -> bool:
    """Whether this is a loss of classes that ignores some of its targets.

    Where these are on a device, the loss cannot say by itself that all of them count.
    """
    if "ignored" not in node.params:
        return False
    ignored, target = node.params["ignored"], node.inputs[1]
    if ignored is None or target.ndim == len(node.input_shape(0)):
        return False
    return bool((target == ignored).any())


def _split(tape: Tape, output: Any) -> Tensor | None:
    """Where the Gauss-Newton matrix splits the model from a loss that is not registered."""
    registered = any(node.op.loss for node in tape.recorded())
    return None if registered or not isinstance(output, Tensor) else output


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """In it, a sweep does not warn of what is undefined: the fold does, once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
