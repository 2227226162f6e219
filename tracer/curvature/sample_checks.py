"""Where quantities of single samples are undefined, and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from itertools import chain as chained
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.arrays import backend
from tracer.curvature.quantity import Quantity
from tracer.curvature.rows import Hessian, ggn_averaged
from tracer.errors import BatchError
from tracer.record.axes import POOLED, UNKNOWN, OfOne, samples_of
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.record.tensor import Tensor
from tracer.sweep.bending import bends_together
from tracer.sweep.unmarked import term_of_arrays, unmarked_term

if TYPE_CHECKING:
    from tracer.curvature.objective import Objective
    from tracer.curvature.terms import Term


def refuse_undefined(asked: Collection[Quantity], objective: Objective) -> None:
    """Raise `BatchError` for quantities of samples that are several batches, unknown or coupled."""
    batch = objective.batch
    if batch.several:
        _refuse_lists(asked, batch)
    name = next((q.name for q in asked if q.per_sample or q.lists_samples), None)
    if name is not None:
        _refuse_unmarked_data(name, objective)
    name = next((q.name for q in asked if q.per_sample or q.of_uses), None)
    if name is not None and objective.record.unmarked_inputs:
        _refuse_other_lengths(name, objective)
    name = next((q.name for q in asked if q.per_sample), None)
    if name is not None:
        _refuse_contracted(name, objective)
        if objective.record.values_read:
            _refuse_returned(name, objective)
        coupled = couplings(objective)
        if coupled:
            raise coupling(name, batch, coupled[0])
        _refuse_bent(asked, objective)
    name = _of_samples(asked, batch)
    if name is not None and _unseen(batch):
        raise BatchError(
            f"{name} is not known here: the samples could not be followed through "
            f"{_placed(batch.lost[0])}, and no gradient flows there that would tell which is "
            f"which: mark a later tensor that has an axis of the same samples with "
            f"tracer.batch(x, axis)"
        )


def _refuse_bent(asked: Collection[Quantity], objective: Objective) -> None:
    """Raise for a share of the Hessian of an objective that is no sum over samples."""
    batch, only = objective.batch, objective.only
    name = next((q.name for q in asked if q.per_sample and isinstance(q.rows, Hessian)), None)
    if name is None:
        return
    nodes = [n for n in objective.nodes if only is None or n in only]
    node = bends_together(nodes, batch) if nodes else None
    if node is not None:
        raise BatchError(
            f"{name} is undefined here: the objective is no sum over samples, since "
            f"{_placed(node)} is not linear in what it is of several samples, so that no "
            f"sample has a Hessian of its own: use diag_h, or a loss that is a sum or mean "
            f"over samples"
        )


def _of_samples(asked: Iterable[Quantity], batch: Batch) -> str | None:
    """The first quantity that says of which sample its values are; None if there is none.

    Where samples are coupled, an axis of samples is of those that the loss judges.
    """
    for q in asked:
        if q.per_sample or (q.of_chosen_samples and not batch.coupled):
            return q.name
    return None


def _unseen(batch: Batch) -> bool:
    """Whether nothing tells of some samples that a loss takes its predictions to be of.

    They come of operations that samples could not be followed through, and that no rows go
    through, to come back to single samples.
    """
    waiting: list[Node | None] = [prediction for prediction in batch.assumed if prediction.wants]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or batch.axes.get(node) is not UNKNOWN:
            continue
        seen.add(node)
        inputs = list(zip(node.parents, batch.axes_of(node), strict=True))
        swept = [axis for parent, axis in inputs if parent is not None and parent.wants]
        unknown = sum(axis is UNKNOWN for _, axis in inputs)
        if unknown > sum(axis is UNKNOWN for axis in swept):
            return True
        if not unknown and not any(isinstance(axis, int | OfOne) for axis in swept):
            return True
        waiting += node.parents
    return False


def couplings(objective: Objective) -> list[Node]:
    """The operations that couple the samples of what a sweep of some parameters goes through.

    Above a statistic of the batch samples are apart; above entries of different samples that have
    met, nothing is of one.
    """
    batch, only = objective.batch, objective.only
    if only is None:
        return batch.coupled
    return [node for node in batch.coupled if node in only or node in batch.mixing]


def _refuse_lists(asked: Collection[Quantity], batch: Batch) -> None:
    first, *others = batch.sizes
    sizes = f"a batch of {first} samples and {' and '.join(f'one of {n}' for n in others)}"
    for q in asked:
        if q.per_sample if q.lists_samples is None else q.lists_samples:
            raise BatchError(
                f"{q.name} lists samples, and this trace has {sizes}: sweep each batch's loss by "
                f"itself, join the batches into one before the model, or mark with tracer.batch "
                f"only axes of the same samples"
            )
        if q.rows == ggn_averaged:
            raise BatchError(
                f"{q.name} averages over the samples of one batch, and this trace has {sizes}: use "
                f"kflr"
            )


def refuse_other_samples(
    asked: Iterable[Quantity], terms: Iterable[Term], objective: Objective
) -> None:
    """Raise `BatchError` where what a loss judges has other samples than the input.

    Such predictions depend on samples, and their own axis of samples is not one of these: sums of
    rows over all that is judged are defined, an axis of samples and the samples' uses are not.
    """
    batch = objective.batch
    asked = list(asked)
    name = next((q.name for q in asked if q.of_chosen_samples or q.of_uses), None)
    silent = next((q.name for q in asked if q.is_silent), None) if name is None else None
    name = name or silent
    others = [term for term in terms if not term.of_samples]
    for term in others if name is not None else ():
        axis = batch.axis(term.prediction)
        if axis is None:
            continue  # a term of parameters alone
        if axis is POOLED:
            why = f"{_placed(batch.pooled.get(term.prediction, term.prediction))} pools those"
        else:
            lost = next(chained(batch.lost, batch.mixing), term.prediction)
            why = f"those could not be followed through {_placed(lost)}"
        output = f"the samples of the model's output, made by {_placed(term.prediction)}, are not"
        if silent is not None:
            raise BatchError(
                f"{silent} does not say whether it reads single samples, and {output} those of its "
                f"input, since {why}: write `lists_samples = False` in the class of {silent} if it "
                f"sums over samples, and True if it does not"
            )
        raise BatchError(
            f"{name} is undefined here: {output} those of its input, since {why}: use quantities "
            f"of the whole batch, as diag_ggn_exact and ggn, or mark the output with "
            f"tracer.batch(x, axis) if it has an axis of the same samples"
        )


def _refuse_unmarked_data(name: str, objective: Objective) -> None:
    """Raise where a term has as samples data that nobody marked, which would drop out."""
    only = objective.only
    node = unmarked_term([n for n in objective.nodes if only is None or n in only], objective.batch)
    if node is not None:
        raise BatchError(
            f"{name} would lack the term made by {_placed(node)}, which is of data that nobody "
            f"marked, as many as the batch has samples: mark them before they are used, as in "
            f"x = tracer.batch(x)"
        )


def _refuse_other_lengths(name: str, objective: Objective) -> None:
    """Raise where a term is of an array that a model was given beside its batch alone."""
    batch, record = objective.batch, objective.record
    arrays = [record.snapshots.kept_of(array) for array in record.unmarked_inputs]
    node = term_of_arrays(objective.nodes, batch, [a for a in arrays if a is not None])
    if node is not None:
        raise BatchError(
            f"{name} would lack the term made by {_placed(node)}, which is of an array that the "
            f"model was given beside its batch and that is not as long ({batch.size} samples): "
            f"mark it before, as in model(x, tracer.batch(y)), or keep it as an attribute of the "
            f"model if it has no samples"
        )


def _refuse_contracted(name: str, objective: Objective) -> None:
    """Raise where samples are summed over in a product with what has none and wants a gradient."""
    batch, only = objective.batch, objective.only
    for node in objective.nodes:
        if batch.axes.get(node) is not POOLED or not node.wants:
            continue
        axes = batch.axes_of(node)
        if not any(isinstance(axis, int) for axis in axes):
            continue
        for parent, axis in zip(node.parents, axes, strict=True):
            if axis is None and parent is not None and parent.wants:
                if only is not None and parent not in only:
                    continue
                raise BatchError(
                    f"{name} is not known here: {_placed(node)} sums over the samples in a product "
                    f"with what is of none of them ({list(parent.shape)}), so that their shares of "
                    f"its gradient are not apart: write the sum by itself, as in "
                    f"np.sum(np.einsum('ni,i->n', h, v)) for np.einsum('ni,i->', h, v)"
                )


def _refuse_returned(name: str, objective: Objective) -> None:
    """Raise where a loss may judge samples that have left the record on the way.

    Its prediction is of no batch, and yet of as many rows, in a trace in which values were read:
    whether these became constants there (`np.asarray`, an index into a plain array), is not known.
    """
    batch = objective.batch
    for node in objective.nodes:
        prediction = node.parents[0] if node.op.loss else None
        if prediction is None or not prediction.wants or batch.axes.get(node) is not None:
            continue
        if prediction.shape[:1] == (batch.size,) and batch.axis(prediction) is None:
            raise BatchError(
                f"{name} is not known here: {_placed(node)} judges {batch.size} predictions that "
                f"come from no marked batch, in a trace out of which values were read as plain "
                f"arrays: write tracer.batch(x) where such an array with samples is used again, or "
                f"a loss of parameters alone, in plain NumPy, as l2 penalties are"
            )


def coupling(name: str, batch: Batch, node: Node) -> BatchError:
    """The error for a quantity of samples that are coupled, which says where."""
    if node in batch.mixing:
        return mixing(name, node)
    for parent in node.parents:
        made = batch.pooled.get(parent) if parent is not None else None
        if made is not None and len(made.parents) > 1:
            return BatchError(
                f"{name} is undefined here: {_placed(made)} contracts the axis of the samples, as "
                f"the product with a graph's adjacency does, so that each of its results depends "
                f"on several samples and none has a gradient of its own: use quantities of the "
                f"whole batch, or mark an axis of graphs in place of nodes"
            )
    return BatchError(
        f"{name} is undefined here: {_placed(node)} mixes samples through a statistic of the whole "
        f"batch, so no sample has a gradient of its own below it: use fixed statistics "
        f"(model.eval()), weigh each loss before their mean, or use quantities of the whole batch"
    )


def mixing(name: str, node: Node) -> BatchError:
    """The error for a quantity of samples whose entries meet in an operation."""
    return BatchError(
        f"{name} is undefined here: {_placed(node)} mixes different samples, so that none has a "
        f"gradient of its own below it, and what lies above it is not of single ones: use "
        f"quantities of the whole batch"
    )


def _astray(name: str, node: Node) -> BatchError:
    """The error where rows of single samples came to others, by an operation without a rule."""
    return BatchError(
        f"{name} is undefined here: {_placed(node)} mixes different samples or reorders them, and "
        f"these could not be followed through it: use quantities of the whole batch, or mark with "
        f"tracer.batch(x, axis) a later tensor that has an axis of the same samples in their order"
    )


def _placed(node: Node) -> str:
    """An operation with its layer and line, for messages."""
    where = f" in layer {node.place.scope!r}" if node.place.scope else ""
    return f"{node.op.name}{where} ({node.source or 'unknown line'})"


def rows_apart(g: Any, axis: Any, slots: int) -> bool:
    """Whether of masked rows `[V * slots, *shape]` each is zero at others than its own sample.

    The last one of `slots` is of no sample.
    """
    value = g._value if isinstance(g, Tensor) else g
    if isinstance(axis, OfOne):
        own, moved = np.array([axis.sample]), value[:, None]
    else:
        own, moved = samples_of(axis, value.shape[1 + axis]), np.moveaxis(value, 1 + axis, 1)
    count = len(value) // slots
    rows = abs(moved.reshape(count, slots, len(own), math.prod(moved.shape[2:])))
    others = np.arange(slots - 1)[:, None] != own
    others = backend.of(value).from_host(others[None, :, :, None])
    largest = rows.max(initial=0)
    stray = np.where(others, rows[:, :-1], 0).max(initial=0)
    return bool(stray <= 1e3 * np.finfo(value.dtype).eps * largest)


def rows_of_samples(
    asked: Collection[Quantity], objective: Objective, slots: int
) -> Callable[[Node, Any, Any], Any] | None:
    """A visitor of a sweep that sees that masked rows come to their own samples alone.

    Where samples were followed into operations that they could not be followed through, each row is
    to come back from there to the sample that it is of. None if no quantity is of single samples.
    """
    batch = objective.batch
    name = _of_samples(asked, batch)
    if name is None or not batch.marked:
        return None
    into = last_known(objective)
    for node in objective.nodes:
        if not isinstance(batch.axes.get(node), int):
            for parent in node.parents:
                if parent is not None and parent.wants and isinstance(batch.axis(parent), int):
                    into.setdefault(parent, node)

    def visit(node: Node, g: Any, others: Any) -> Any:
        if node in into and not rows_apart(g, batch.axes[node], slots):
            raise _astray(name, into[node])
        return g

    return visit


def last_known(objective: Objective) -> dict[Node, Node]:
    """Tensors of known samples -> an operation on them that these could not be followed through."""
    batch: Batch = objective.batch
    found: dict[Node, Node] = {}
    for node in objective.nodes:
        for parent in node.parents if batch.axes.get(node) is UNKNOWN else ():
            if parent is None or not parent.wants or parent.op.leaf:
                continue
            if isinstance(batch.axis(parent), int | OfOne):
                found.setdefault(parent, node)
    return found


def used_unfollowed(leaf: Node, objective: Objective) -> str | None:
    """Where a parameter is used on what has no axis of samples, in words; None if nowhere."""
    batch, carried = objective.batch, {leaf}
    above = set(objective.split("a Kronecker factor").above)
    for node in objective.nodes:
        if node in above or not any(parent in carried for parent in node.parents):
            continue
        axis = batch.axes.get(node)
        if axis is None:
            carried.add(node)
        elif axis is POOLED and not node.op.loss:
            return f"on what {_placed(batch.pooled.get(node, node))} makes of several samples"
        elif axis is UNKNOWN:
            lost = next(chained(batch.mixing, batch.lost), node)
            return f"after {_placed(lost)}, from where on no axis of samples is known"
    return None
