"""Where quantities of single samples are undefined, and what to write instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain as chained

import numpy as np

from tracer.curvature.objective_record import ObjectiveRecord
from tracer.curvature.quantity import Quantity
from tracer.curvature.rows import Hessian, ggn_averaged, gradient
from tracer.errors import BatchError, QuantityError
from tracer.record.axes import KNOWN, POOLED, UNKNOWN
from tracer.record.batching import Batch
from tracer.record.following import contracted
from tracer.record.node import Node
from tracer.sweep.bending import bends_in, bends_together, is_linear, leading_to, wanted
from tracer.sweep.tangents import descendants
from tracer.sweep.unmarked import (
    made_of_arrays,
    term_of_arrays,
    unmarked_term,
    unmarked_terms_of_other_lengths,
)


def refuse_undefined(asked: Collection[Quantity], record: ObjectiveRecord) -> None:
    """Raise `BatchError` for quantities of samples that are several batches, unknown or coupled."""
    batch = record.batch
    if batch.several:
        _refuse_lists(asked, batch)
    name = next((q.name for q in asked if q.per_sample or q.lists_samples), None)
    if name is not None:
        _refuse_unmarked_data(name, record)
    name = next((q.name for q in asked if q.per_sample or q.of_uses), None)
    if name is not None and record.tape.unmarked_inputs:
        _refuse_other_lengths(name, record)
    name = next((q.name for q in asked if q.per_sample), None)
    if name is not None:
        _refuse_contracted(name, record)
        if record.tape.values_read:
            _refuse_returned(name, record)
        coupled = couplings(record)
        if coupled:
            raise coupling(name, batch, coupled[0])
        _refuse_hessian_bent_across_samples(asked, record)
    name = name_of_samples(asked, batch)
    if name is not None and _unseen(batch):
        raise BatchError(
            f"{name} is not known here: the samples could not be followed through "
            f"{placed(batch.lost[0])}, and no gradient flows there that would tell which is "
            f"which: mark a later tensor that has an axis of the same samples with "
            f"tracer.batch(x, axis)"
        )


def _refuse_hessian_bent_across_samples(
    asked: Collection[Quantity], record: ObjectiveRecord
) -> None:
    """Raise for a share of the Hessian of an objective that is no sum over samples."""
    batch = record.batch
    name = next((q.name for q in asked if q.per_sample and isinstance(q.rows, Hessian)), None)
    if name is None:
        return
    nodes = record.swept_nodes
    node = bends_together(nodes, batch) if nodes else None
    if node is not None:
        raise BatchError(
            f"{name} is undefined here: the objective is no sum over samples, since "
            f"{placed(node)} is not linear in what it is of several samples, so that no "
            f"sample has a Hessian of its own: use diag_h, or a loss that is a sum or mean "
            f"over samples"
        )


def name_of_samples(asked: Iterable[Quantity], batch: Batch) -> str | None:
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
        if not unknown and not any(isinstance(axis, KNOWN) for axis in swept):
            return True
        waiting += node.parents
    return False


def couplings(record: ObjectiveRecord) -> list[Node]:
    """The operations that couple the samples of what a sweep of some parameters goes through.

    Above a statistic of the batch samples are apart; above entries of different samples that have
    met, nothing is of one.
    """
    batch, only = record.batch, record.only
    if only is None:
        return batch.coupled
    return [node for node in batch.coupled if node in only or node in batch.mixing]


def _refuse_lists(asked: Collection[Quantity], batch: Batch) -> None:
    first, *others = batch.sizes
    sizes = f"a batch of {first} samples and {' and '.join(f'one of {n}' for n in others)}"
    for q in asked:
        if q.per_sample if q.lists_samples is None else q.lists_samples:
            raise BatchError(
                f"{q.name} lists samples, and this trace has {sizes}: record each batch and its "
                f"loss on a tape of its own, join the batches into one before the model, or mark "
                f"with tracer.batch only axes of the same samples (of arrays that have none, as "
                f"positions, module.forward(array) marks none)"
            )
        if q.rows == ggn_averaged:
            raise BatchError(
                f"{q.name} averages over the samples of one batch, and this trace has {sizes}: use "
                f"kflr"
            )


def refuse_other_samples(
    asked: Iterable[Quantity], sampleless: Iterable[Node], batch: Batch
) -> None:
    """Raise `BatchError` where what a loss judges has other samples than the input.

    `sampleless` are the predictions of which it is not known what samples they are of. They depend
    on samples, and their own axis of samples is not one of these: sums of rows over all that is
    judged are defined, an axis of samples and the samples' uses are not.
    """
    asked = list(asked)
    name = next((q.name for q in asked if q.of_chosen_samples or q.of_uses), None)
    silent = next((q.name for q in asked if q.is_silent), None) if name is None else None
    name = name or silent
    for prediction in sampleless if name is not None else ():
        axis = batch.axis(prediction)
        if axis is None:
            continue  # a term of parameters alone
        if axis is POOLED:
            why = f"{placed(batch.pooled.get(prediction, prediction))} pools those"
        else:
            lost = next(chained(batch.lost, batch.mixing), prediction)
            why = f"those could not be followed through {placed(lost)}"
        output = f"the samples of the model's output, made by {placed(prediction)}, are not"
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


def _refuse_unmarked_data(name: str, record: ObjectiveRecord) -> None:
    """Raise where a term has as samples data that nobody marked, which would drop out."""
    node = unmarked_term(record.swept_nodes, record.batch)
    if node is not None:
        raise BatchError(
            f"{name} would lack the term made by {placed(node)}, which is of data that nobody "
            f"marked, as many as the batch has samples: mark them before they are used, as in "
            f"x = tracer.batch(x)"
        )


def taken_for_penalty(asked: Iterable[Quantity], record: ObjectiveRecord) -> str | None:
    """What to warn of where quantities of samples leave out a term of data of another length."""
    of_samples = [q for q in asked if q.per_sample or q.lists_samples]
    terms = unmarked_terms_of_other_lengths(record.swept_nodes, record.batch) if of_samples else []
    told = [  # plain terms are told of where Gauss-Newton quantities are split
        (q.name, *term)
        for term in terms
        for q in of_samples
        if term[0].op.loss or q.rows is None or not q.rows.of_gauss_newton
    ]
    if not told:
        return None
    name, node, size = told[0]
    return (
        f"{name} leaves out the term made by {placed(node)} as a penalty on parameters, which is "
        f"of data that nobody marked, {size} where the batch has {record.batch.size} samples: if "
        f"these are samples, mark them before they are used, as in x = tracer.batch(x), and take "
        f"each loss on a tape of its own"
    )


def _refuse_other_lengths(name: str, record: ObjectiveRecord) -> None:
    """Raise where a term is of an array that a model was given beside its batch alone."""
    batch, tape = record.batch, record.tape
    arrays = [tape.snapshots.kept_of(array) for array in tape.unmarked_inputs]
    node = term_of_arrays(record.nodes, batch, [a for a in arrays if a is not None])
    if node is not None:
        raise BatchError(
            f"{name} would lack the term made by {placed(node)}, which is of an array that the "
            f"model was given beside its batch and that is not as long ({batch.size} samples): "
            f"mark it before, as in model(x, tracer.batch(y)), or keep it as an attribute of the "
            f"model if it has no samples"
        )


def _refuse_contracted(name: str, record: ObjectiveRecord) -> None:
    """Raise where samples are summed over in a product with what has none and wants a gradient."""
    only = record.only
    for node, parent in contracted(record.nodes, record.batch):
        if only is None or parent in only:
            raise BatchError(
                f"{name} is not known here: {placed(node)} sums over the samples in a product "
                f"with what is of none of them ({list(parent.shape)}), so that their shares of "
                f"its gradient are not apart: write the sum by itself, as in "
                f"np.sum(np.einsum('ni,i->n', h, v)) for np.einsum('ni,i->', h, v)"
            )


def _refuse_returned(name: str, record: ObjectiveRecord) -> None:
    """Raise where a loss may judge samples that have left the record on the way.

    Its prediction is of no batch, and yet of as many rows, in a trace in which values were read:
    whether these became constants there (`np.asarray`, an index into a plain array), is not known.
    """
    batch, of_arrays = record.batch, None
    for node in record.nodes:
        prediction = node.parents[0] if node.op.loss else None
        if prediction is None or not prediction.wants or batch.axes.get(node) is not None:
            continue
        if of_arrays is None:
            of_arrays = made_of_arrays(record.nodes)
        if prediction not in of_arrays:
            continue  # of parameters alone
        if prediction.shape[:1] == (batch.size,) and batch.axis(prediction) is None:
            raise BatchError(
                f"{name} is not known here: {placed(node)} judges {batch.size} predictions that "
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
                f"{name} is undefined here: {placed(made)} contracts the axis of the samples, as "
                f"the product with a graph's adjacency does, so that each of its results depends "
                f"on several samples and none has a gradient of its own: use quantities of the "
                f"whole batch, or mark an axis of graphs in place of nodes"
            )
    return BatchError(
        f"{name} is undefined here: {placed(node)} mixes samples through a statistic of the whole "
        f"batch, so no sample has a gradient of its own below it: use fixed statistics "
        f"(model.eval()), weigh each loss before their mean, or use quantities of the whole batch"
    )


def mixing(name: str, node: Node) -> BatchError:
    """The error for a quantity of samples whose entries meet in an operation."""
    return BatchError(
        f"{name} is undefined here: {placed(node)} mixes different samples, so that none has a "
        f"gradient of its own below it, and what lies above it is not of single ones: use "
        f"quantities of the whole batch"
    )


def astray(name: str, node: Node) -> BatchError:
    """The error where rows of single samples came to others, by an operation without a rule."""
    return BatchError(
        f"{name} is undefined here: {placed(node)} mixes different samples or reorders them, and "
        f"these could not be followed through it: use quantities of the whole batch, or mark with "
        f"tracer.batch(x, axis) a later tensor that has an axis of the same samples in their order"
    )


def placed(node: Node) -> str:
    """An operation with its layer and line, for messages."""
    where = f" in layer {node.place.scope!r}" if node.place.scope else ""
    return f"{node.op.name}{where} ({node.source or 'unknown line'})"


# -- where nothing marks the samples -------------------------------------------------------------


def refuse_unmarked(asked: Iterable[Quantity]) -> None:
    """Raise `BatchError` for quantities of single samples where nothing is marked as a batch."""
    for q in asked:
        if q.per_sample or (q.rows == gradient and q.needs_samples):
            raise BatchError(
                f"{q.name} is of single samples, and nothing in this trace is marked as a "
                f"batch: mark the inputs, as in x = tracer.batch(x)"
            )


def refuse_unmarked_factors(asked: Iterable[Quantity], names: Mapping[Node, str]) -> None:
    """Raise `BatchError` for quantities that no weight has where nothing marks the samples."""
    weight = next((name for leaf, name in names.items() if len(leaf.shape) > 1), None)
    for q in asked:
        if q.factored and weight is not None:
            raise BatchError(
                f"{q.name} of the parameter {weight!r} is made of single samples, and nothing "
                f"in this trace is marked as a batch: mark the inputs, as in "
                f"x = tracer.batch(x)"
            )


def refuse_unmarked_averages(name: str, batch: Batch) -> None:
    """Raise `BatchError` for averages over samples that nothing marks."""
    if not batch.marked:
        raise BatchError(
            f"{name} is of single samples, and nothing in this trace is marked as a batch: "
            f"mark the inputs, as in x = tracer.batch(x)"
        )


def refuse_averages(name: str, masked: bool, all_of_samples: bool, record: ObjectiveRecord) -> None:
    """Raise `QuantityError` for averages over samples that are not independent, or of none."""
    if masked:
        coupled = "are coupled" if couplings(record) else "could not be followed"
        raise QuantityError(f"{name} is defined for independent samples, and these {coupled}")
    if not all_of_samples:
        raise QuantityError(f"{name} is of samples, and a loss here judges none: use kflr")


def unexpected_number(node: Node, batch: Batch) -> BatchError:
    """The error for a tensor that has not as many samples as others, where nothing is marked."""
    return BatchError(
        f"the samples of {node!r} are expected along its first axis, in number "
        f"{batch.size}: mark the inputs, as in x = tracer.batch(x)"
    )


# -- where samples cannot be followed ------------------------------------------------------------


def samples_not_followed() -> BatchError:
    """The error where no tensor on the way down from the loss is known to have samples."""
    return BatchError(
        "the samples could not be followed to the loss: mark the last tensor that has an "
        "axis of samples with tracer.batch(x, axis)"
    )


def samples_lost(name: str, batch: Batch) -> str:
    """Why a quantity of single samples takes a row for each of them."""
    through = f" through {placed(batch.lost[0])}" if batch.lost else ""
    return (
        f"{name} would take a row per sample: the samples could not be followed{through}: give the "
        f"operation a `batch_axis` rule, or mark its result with tracer.batch(x, axis)"
    )


def refuse_unknown_above(node: Node, batch: Batch, wanted_by: str) -> None:
    """Raise `BatchError` if what follows the last known samples is no sum over them."""
    alone = any(batch.axis(node.parents[slot]) is None for slot in wanted(node))
    if is_linear(node, wanted(node)) and not alone:
        return
    lost = batch.lost[0] if batch.lost else node
    raise BatchError(
        f"{wanted_by} is undefined here: the samples could not be followed through "
        f"{lost.op.name} ({lost.source or 'unknown line'}) to the objective, and "
        f"{node.op.name} ({node.source or 'unknown line'}) is no sum over them: mark with "
        f"tracer.batch(x, axis) a later tensor that has an axis of the same samples"
    )


# -- where a loss is no sum over samples ---------------------------------------------------------


def refuse_contraction(leaf: Node, record: ObjectiveRecord) -> None:
    """Raise `QuantityError` where a product sums over samples, whose share has no tensor."""
    batch, below = record.batch, descendants(record.nodes, {leaf})
    for node in leading_to(record.nodes):
        if node in below and batch.axes.get(node) is POOLED and bends_in(node, batch):
            raise QuantityError(
                f"{node.op.name} ({node.source or 'unknown line'}) multiplies and sums over "
                f"samples in one operation: write the product, and np.sum of it"
            )


def refuse_loss_bent_across_samples(above: Sequence[Node], batch: Batch) -> None:
    """Raise `QuantityError` where a loss in plain code, by its operations, is no sum over samples.

    `above` is what leads from the model's output to the objective.
    """
    if above and batch.size != 1:
        node = bends_together(above, batch)
        if node is not None:
            raise mixing_loss(node)


def mixing_loss(node: Node | None) -> QuantityError:
    """The error for a loss in plain code that couples samples, by `node` if that is known."""
    if node is None:
        mixes = "entries of its first axis, which are taken for samples, are coupled in it"
    else:
        mixes = f"{node.op.name} ({node.source or 'unknown line'}) mixes them"
    return QuantityError(
        f"the loss is no sum over samples of `outputs`: {mixes}, so its Hessian has no root per "
        f"sample: write the loss of each sample by itself, or take quantities of the Hessian"
    )


# -- what the caller says of samples ---------------------------------------------------------------


def chosen_samples(samples: Sequence[int], count: int | None) -> np.ndarray:
    """The indices of samples, checked."""
    try:
        chosen = np.asarray(samples)
    except ValueError:  # a ragged list
        chosen = np.zeros(())
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise BatchError(f"samples is a list of indices of samples, got {samples!r}")
    if count is not None and not -count <= chosen.min() <= chosen.max() < count:
        raise BatchError(f"samples names one outside the {count} of the batch: {samples!r}")
    return chosen.astype(np.intp)
