"""What a call of `backward` asks for: checked and resolved, with nothing computed yet."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tracer.arrays.types import Generator
from tracer.curvature.bundle import Bundle
from tracer.curvature.objective import Objective
from tracer.curvature.progress import Progress, ProgressLike, telling
from tracer.curvature.quantity import Context, Quantity, Reduce
from tracer.curvature.rows import (
    Rows,
    ggn_averaged,
    ggn_exact,
    ggn_outputs,
    gradient,
    hessian,
    hessian_eigenvectors,
)
from tracer.curvature.sample_checks import chosen_samples
from tracer.curvature.selection import chosen
from tracer.curvature.undefined import Undefined
from tracer.errors import QuantityError, TracingError
from tracer.record import composite
from tracer.record.axes import SAMPLED
from tracer.record.batching import Batch
from tracer.record.describe import describe
from tracer.record.following import follow
from tracer.record.names import first_uses, parameter_names
from tracer.record.node import Node
from tracer.record.recorder import (
    Recorder,
    enclosing,
    opened_elsewhere,
    owner,
    refuse_elsewhere,
    using,
)
from tracer.record.replay import replay
from tracer.record.tensor import Tensor
from tracer.sweep.observed import Cotangents, Observed
from tracer.sweep.tangents import descendants

#: what is known of the samples where no quantity asks
UNFOLLOWED = Batch()
#: rows that start at operations
SIGNED = (hessian, hessian_eigenvectors)
#: kinds of rows that do not go through the one sweep; None of quantities without rows
SWEPT_SEPARATELY = frozenset((None, *SIGNED, ggn_averaged))


class Options(NamedTuple):
    """The keyword arguments of `Tape.backward`, as the caller gave them."""

    memory_budget: int | None
    rng: Generator | None
    samples: Sequence[int] | None
    reduce: Reduce
    outputs: Tensor | None
    undefined: str
    parameters: object
    progress: ProgressLike


@dataclass(eq=False)
class Request:
    """What is asked of which objective.

    `asked` are the quantities by name, `reduce` what becomes of values as soon as they exist,
    `undefined` takes what has to be left out. `follows_samples` says that some quantity needs to
    know which samples are where. `surrounding` is the tape that records the sweeps, or None.
    `kinds` maps each quantity to its kind of rows, `swept_together` are the kinds of the one sweep,
    and `asked_separately` the quantities that are made by other means. `withdrawn` are optional
    ones that are undefined here, and why.
    """

    objective: Objective
    asked: dict[str, Quantity]
    reduce: Reduce
    undefined: Undefined
    follows_samples: bool
    surrounding: Recorder | None
    kinds: dict[str, Rows | None]
    swept_together: list[Rows]
    asked_separately: list[Quantity]
    withdrawn: dict[str, str] = field(default_factory=dict)

    @property
    def watched(self) -> Observed | None:
        """What sees the gradient at each node."""
        return self.objective.watched

    @property
    def remarks(self) -> list[str]:
        """What the user is to be warned of."""
        return self.objective.remarks

    def withdraw(self, quantity: Quantity, why: str) -> None:
        """Leave a quantity out of the sweep."""
        del self.asked[quantity.name]
        self.withdrawn[quantity.name] = why
        self.kinds, self.swept_together, self.asked_separately = _kinds(self.asked)

    def of(self, *kinds: Rows | None) -> list[Quantity]:
        """The quantities of these kinds of rows."""
        return [quantity for quantity in self.asked.values() if self.kinds[quantity.name] in kinds]

    @property
    def sample_count(self) -> int:
        """The number of samples; one where none are known."""
        size = self.objective.batch.size
        return 1 if size is None else size

    def slots(self, bundle: Bundle) -> int:
        """How many rows of the sweep stand for one row: masked, one per sample and one more."""
        return self.sample_count + 1 if bundle.masked else 1

    @property
    def reduced_at_once(self) -> set[str]:
        """The quantities of which values are reduced as soon as a parameter has one."""
        return {name for name in self.reduce if self.asked[name].per == "parameter"}

    def context(self, leaf: Node) -> Context:
        """What a quantity may know of a parameter."""
        objective = self.objective
        return Context(objective.names[leaf], leaf.shape, leaf.dtype, objective.batch.size)

    def contexts(self, quantity: Quantity, counts: Mapping[Rows, slice]) -> list[Context]:
        """A quantity's, of all parameters, where kinds of rows have these `counts`."""
        kind, objective = self.kinds[quantity.name], self.objective
        span = None if kind is None else counts.get(kind)
        rows = None if span is None else span.stop - span.start
        restricted = quantity.of_chosen_samples and objective.samples is not None
        samples = len(objective.samples) if restricted else objective.batch.size
        return [
            Context(name, leaf.shape, leaf.dtype, samples, rows)
            for leaf, name in objective.names.items()
        ]


def requested(
    tape: Recorder, loss: Tensor, asked: dict[str, Quantity], nodes: list[Node], options: Options
) -> Request:
    """The request that a call makes of these quantities. Raises for what is no option."""
    surrounding = surrounding_of(tape)
    _check_options(options, asked)
    follows_samples = any(q.needs_samples for q in asked.values())
    nodes, batch = _with_samples(tape, loss, nodes, asked, follows_samples, options.outputs)
    uses = first_uses(nodes)
    every = names = parameter_names(tape, uses, loss.node)
    only = None
    if options.parameters is not None:
        names = chosen(options.parameters, every)
        only = descendants(nodes, set(names))
    undefined = Undefined(options.undefined, names, every, nodes)
    objective = Objective(
        owner(tape),
        nodes,
        loss.node,
        loss._value,
        names,
        batch,
        uses,
        outputs=_split_at(loss, options.outputs, asked, batch),
        recorded=surrounding is not None,
        rng=options.rng,
        budget=_budget(options),
        progress=Progress(telling(options.progress)),
        watched=observed(tape, loss, only) if "grad" in asked else None,
        only=only,
        of_outputs=_of_outputs(asked),
    )
    if options.samples is not None:
        objective.samples = chosen_samples(options.samples, batch.size)
    kinds = _kinds(asked)
    return Request(
        objective, asked, options.reduce, undefined, follows_samples, surrounding, *kinds
    )


def surrounding_of(tape: Recorder) -> Recorder | None:
    """The open tape that a tape shares its record with, which records its sweeps, too."""
    outer = None if tape.parent is None else enclosing(tape)
    return outer if outer is not None and outer.nodes is tape.nodes else None


def _of_losses(asked: Mapping[str, Quantity]) -> list[str]:
    """The names of the quantities that are of a loss, with one element, and not of outputs."""
    return [name for name, q in asked.items() if q.rows is None or not q.rows.of_outputs]


def _of_outputs(asked: Mapping[str, Quantity]) -> bool:
    """Whether outputs alone tell where the objective splits into model and loss."""
    kinds = [quantity.rows for quantity in asked.values()]
    others = [kind for kind in kinds if kind is None or not (kind.of_outputs or kind == gradient)]
    return any(kind is not None and kind.of_outputs for kind in kinds) and not others


def _split_at(
    loss: Tensor, outputs: Tensor | None, asked: Mapping[str, Quantity], batch: Batch
) -> Node | None:
    """The tensor that splits model from loss: `outputs`, or all there is where that is no loss."""
    if outputs is not None:
        return outputs.node
    if _of_losses(asked) or loss.node is None:
        return None
    is_outputs = loss.size != 1 or (loss.ndim and isinstance(batch.axis(loss.node), SAMPLED))
    return loss.node if is_outputs else None


def observed(tape: Recorder, loss: Tensor, only: set[Node] | None = None) -> Observed | None:
    """What sees the gradient at each node; None where the tape is to keep nothing of it."""
    if tape.watched is None and not tape.keeps_cotangents:
        return None
    # of all that is recorded, since what the loss does not depend on has zeros
    kept = Cotangents(tape.nodes, loss._value, only) if tape.keeps_cotangents else None
    return Observed(tape, kept)


def _kinds(
    asked: Mapping[str, Quantity],
) -> tuple[dict[str, Rows | None], list[Rows], list[Quantity]]:
    """quantity -> its kind of rows, the kinds that are swept together, and what is made otherwise.

    The longer kinds stand for all where some quantity needs them.
    """
    kinds = {name: quantity.rows for name, quantity in asked.items()}
    if ggn_outputs in kinds.values():
        longer: dict[Rows | None, Rows] = {ggn_exact: ggn_outputs}
        kinds = {name: longer.get(kind, kind) for name, kind in kinds.items()}
    together: list[Rows] = []
    separately: list[Quantity] = []
    for name, kind in kinds.items():
        if kind is None or kind in SWEPT_SEPARATELY:
            separately.append(asked[name])
        elif kind not in together:
            together.append(kind)
    return kinds, together, separately


def _budget(options: Options) -> int | None:
    budget = options.memory_budget
    return None if budget is None else math.ceil(min(budget, sys.maxsize))


def _with_samples(
    tape: Recorder,
    loss: Tensor,
    nodes: list[Node],
    asked: Mapping[str, Quantity],
    follows_samples: bool,
    outputs: Tensor | None,
) -> tuple[list[Node], Batch]:
    """The record, step by step where that is needed, and where the samples are in it."""
    batch = follow(nodes) if follows_samples else UNFOLLOWED
    if tape.composites:
        separately = any(q.rows in SWEPT_SEPARATELY for q in asked.values())
        if separately or outputs is not None or batch.lost:
            composite.recorded(tape)  # from here on with the operations that composites stand for
            nodes = record_of(tape, loss, asked)
            batch = follow(nodes) if follows_samples else batch
    record = owner(tape)
    if batch.lost and (record.swept or record.recomputed is not None):
        with using(None):  # indices that say which samples are chosen may have been dropped
            replay(nodes, {}, nodes)
        batch = follow(nodes)
    return nodes, batch


def _check_options(options: Options, asked: Mapping[str, Quantity]) -> None:
    """Raise `QuantityError` for options that are not of their kind."""
    outputs, budget, rng = options.outputs, options.memory_budget, options.rng
    if outputs is not None and not (isinstance(outputs, Tensor) and outputs.node is not None):
        raise QuantityError(
            f"outputs is the tensor that was recorded as the model's output, got "
            f"{describe(outputs)}"
        )
    is_number = isinstance(budget, int | float | np.number) and not isinstance(budget, bool)
    if budget is not None and not (is_number and budget > 0):
        raise QuantityError(f"memory_budget is a number of bytes above 0, as 2**30, got {budget!r}")
    if isinstance(rng, str | int | float | np.number):
        raise QuantityError(
            f"rng is a random generator, as np.random.default_rng(0) makes, got {rng!r}"
        )
    if options.reduce:
        _check_reduce(options.reduce, asked)


def _check_reduce(reduce: Any, asked: Mapping[str, Quantity]) -> None:
    if not isinstance(reduce, Mapping):
        raise QuantityError(
            f"reduce maps names of quantities to functions of a parameter's name and value, as in "
            f"reduce={{'grad_batch': f}}, got {describe(reduce)}"
        )
    for name, function in reduce.items():
        if not callable(function):
            raise QuantityError(
                f"reduce[{name!r}] is a function of a parameter's name and value, got "
                f"{describe(function)}"
            )
    if not reduce.keys() <= asked.keys():
        unknown = sorted(reduce.keys() - asked.keys())
        raise QuantityError(
            f"reduce names {', '.join(map(repr, unknown))}, which is not asked for: "
            f"{', '.join(asked)}"
        )


def record_of(tape: Recorder, loss: Any, asked: Mapping[str, Quantity]) -> list[Node]:
    """The tape's record up to the loss. Refuses what cannot be swept from, saying why."""
    if not isinstance(loss, Tensor):
        raise TracingError(
            f"backward expects the loss as a tensor, got {describe(loss)}: compute it from "
            f"parameters inside the `with tracer.Tape()` block"
        )
    value = loss._value
    if value.size != 1 and (of_losses := _of_losses(asked)):
        others = ", ".join(name for name in asked if name not in of_losses)
        alone = f", or ask for {others} without {', '.join(of_losses)}" if others else ""
        raise TracingError(
            f"backward expects a loss with one element, got {describe(loss)}: sum or average it"
            f"{alone}"
        )
    if value.dtype.kind == "c":
        raise TracingError(
            f"backward expects a loss of real numbers, got {describe(loss)}: take np.real, np.imag "
            f"or abs of it"
        )
    if loss.node is None or not loss.node.wants:
        uses = first_uses(composite.recorded(tape))
        if uses:
            raise TracingError(
                "the loss was not recorded with the parameters on this tape: it was computed after "
                "the `with tracer.Tape()` block had ended, inside of tracer.pause(), or from raw, "
                "detached or frozen values alone: compute it inside the block, from what the model "
                "returns"
            )
        if loss.node is not None and (frozen := uses.frozen):
            raise TracingError(
                f"the loss depends on no parameter that wants a gradient: all {len(frozen)} that "
                f"were used are frozen; parameter.requires_grad_() before the trace lets one want "
                f"a gradient"
            )
        raise TracingError(
            "the loss depends on no parameter: make leaves with tracer.parameter(array), and "
            "compute the loss inside the `with tracer.Tape()` block"
        )
    nodes = composite.condensed(tape)
    if opened_elsewhere():
        inside = set(nodes)
        refuse_elsewhere(p for node in nodes for p in node.parents if p not in inside)
    while nodes and nodes[-1] is not loss.node:
        nodes.pop()
    if not nodes:
        raise TracingError("the loss was not recorded on this tape")
    return nodes
