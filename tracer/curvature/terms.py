"""The terms of an objective, and the square roots of their Hessians that rows start from."""

from __future__ import annotations

import copy
import math
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import widened, working
from tracer.arrays.random import Restarted, generator
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.seed_rows import SeedRows, at_places, of_rule, of_stack
from tracer.errors import QuantityError
from tracer.record.axes import GroupedAxis, OfOne, apart, together
from tracer.record.batching import Batch
from tracer.record.leaf_kinds import PARAMETER
from tracer.record.node import Node
from tracer.record.recorder import Recorder, rerecording, using
from tracer.record.tensor import Tensor, new_leaf
from tracer.sweep.bending import bends_together
from tracer.sweep.rules import Recorded, Sampled, cotangents_of, entry_value
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import descendants


class Whole(Protocol):
    """What a term is a part of; see `tracer.curvature.objective.Objective`."""

    nodes: list[Node]
    loss: Node
    batch: Batch
    outputs: Node | None
    recorded: bool
    watched: dict[Any, Any] | None

    @property
    def draws(self) -> Restarted: ...


class Term:
    """A term of the objective: the node that it was cut at, and its weight in the objective.

    At a registered loss, `weight` has the loss's shape, and rows start at its prediction. At any
    other tensor, as the model's `outputs`, rows start there, from the Hessian of the record above.
    `wanted_by` names the quantity that asks, for messages.
    """

    def __init__(self, objective: Whole, node: Node, arrived: Any, wanted_by: str):
        self.objective = objective
        self.node = node
        self.arrived = arrived
        self.wanted_by = wanted_by
        self.at_loss = node.op.loss and node is not objective.outputs

    @property
    def prediction(self) -> Node:
        """The tensor that rows start at."""
        target = self.node.parents[0] if self.at_loss else self.node
        assert target is not None
        return target

    @property
    def sample_axis(self) -> int:
        """Where the samples are in the prediction; its first axis where that is not known."""
        axis = self.objective.batch.axis(self.prediction)
        return axis if isinstance(axis, int) else 0

    @property
    def has_axis(self) -> bool:
        """Whether the prediction has an axis of samples (its first, where nothing is marked)."""
        batch, prediction = self.objective.batch, self.prediction
        if not batch.marked or prediction in batch.assumed:
            return True
        return isinstance(batch.axis(prediction), int)

    @property
    def of_samples(self) -> bool:
        """Whether it is known which samples the prediction is of."""
        return self.has_axis or isinstance(self.objective.batch.axis(self.prediction), OfOne)

    def refuse_other_inputs(self) -> None:
        """Raise if more than the prediction of a registered loss depends on parameters."""
        for slot, parent in enumerate(self.node.parents if self.at_loss else ()):
            if slot and parent is not None and parent.wants:
                raise QuantityError(
                    f"{self.wanted_by} is undefined for this objective: the Gauss-Newton matrix of "
                    f"{self.node.op.name} ({self.node.source or 'unknown line'}) is defined by its "
                    f"prediction alone, but its input {slot} depends on parameters, too: detach it "
                    f"with tensor.detach()"
                )

    @property
    def weight(self) -> Any:
        """What the losses weigh in the objective, of their shape. Raises if some is negative.

        Where asking would wait for a device, rows of what is negative are NaN.
        """
        weight = self.arrived[0]
        values = weight._value if isinstance(weight, Tensor) else weight
        if not backend.of(values).asynchronous and bool((values < 0).any()):
            raise QuantityError(
                f"{self.wanted_by} is undefined for this objective: the loss {self.node.op.name} "
                f"has a negative weight in it, whose Gauss-Newton matrix has no square root: use "
                f"quantities of the Hessian"
            )
        return weight

    @property
    def _view(self) -> Any:
        """The node as its rules see it, with the axes of samples."""
        batch, node = self.objective.batch, self.node
        view = Recorded(node) if self.objective.recorded else node
        return Sampled(view, batch.axis(node), batch.axes_of(node))

    def _rule(self, name: str) -> Any:
        return getattr(self.node.op, name) if self.at_loss else None

    # -- where rows start ---------------------------------------------------------------------

    def asked_by(self, quantity: str) -> Term:
        """The same term, for a quantity that asks beside the one that it was cut for."""
        if quantity == self.wanted_by:
            return self
        same = copy.copy(self)
        same.wanted_by = quantity
        return same

    def seeds(self, kind: Rows) -> dict[Node, SeedRows]:
        """Rows of one kind at the nodes below the cut."""
        if kind == gradient:
            return {node: of_stack(stack) for node, stack in self._gradient().items()}
        if not self.prediction.wants:
            return {}
        if kind.of_gauss_newton and self.leaf_hessian is not None:
            return {}
        started = kind.start(self, self.objective.draws.of(kind, kind.samples))
        rows = started if isinstance(started, SeedRows) else of_stack(started)
        return {self.prediction: rows if self.has_axis else self._apart(rows)}

    def _gradient(self) -> dict[Node, Any]:
        if not self.at_loss:
            return {self.node: self.arrived}
        recorded, watched = self.objective.recorded, self.objective.watched
        seeds = {self.node: self.arrived}
        return Sweep([self.node], seeds, recorded=recorded, watched=watched).run()

    def _apart(self, rows: SeedRows) -> SeedRows:
        """Rows of a term of no sample, one for each of what the loss takes for samples.

        A rule's rows each stand for all entries of the first axis, which are independent in the
        loss, but not below it.
        """
        shape = self.prediction.shape
        if self._rule("sqrt_hessian") is None or not shape or not shape[0]:
            return rows
        entries = backend.namespace(self.arrived).arange(shape[0])

        def mask(some: slice) -> Any:
            alone = entries[some, None] == entries
            return alone.reshape(len(alone), shape[0], *(1,) * len(shape[1:]))

        return at_places(rows, shape[0], mask)

    @cached_property
    def leaf_hessian(self) -> Any:
        """`[*p]`, the Hessian of a penalty on a parameter itself, if that is known as a diagonal.

        Of P elements there would be P rows of P. It stands for sampled rows, too, which are the
        same in expectation.
        """
        rule = self._rule("diagonal_hessian")
        if rule is None or self.of_samples or not self.prediction.op.leaf:
            return None
        weight = self.weight
        hessian = rule(self._view, weight)
        if backend.of(hessian).asynchronous:
            hessian = np.where(weight < 0, np.nan, hessian)
        return hessian

    # -- square roots -------------------------------------------------------------------------

    def root(self, *rules: str) -> SeedRows:
        """`[C, *prediction]`: exact, by the first of these rules that there is, or the record."""
        rows = of_stack(sqrt_hessian_of_record(self)) if not any(map(self._rule, rules)) else None
        for name in rules:
            if rows is None and self._rule(name) is not None:
                rows = of_rule(self.node.op, name, self._view, self.weight)
        assert rows is not None
        if not self.at_loss:
            return rows
        return one_position_each(rows, self.prediction.shape, self.sample_axis)

    def root_of_entries(self) -> SeedRows | None:
        """The same, each row of one entry of a sample; None where there is a `leaf_hessian`."""
        if self.leaf_hessian is not None:
            return None
        return self.root("short_sqrt_hessian", "sqrt_hessian")

    def sqrt_hessian_sampled(self, samples: int, rng: Any) -> Any:
        """`[M, *prediction]`: in expectation, from targets sampled from the likelihood."""
        rule = self._rule("sqrt_hessian_sampled")
        if rule is None:
            raise QuantityError(
                f"{self.wanted_by} samples targets from the model's likelihood, and "
                f"{self.node.op.name if self.at_loss else 'a loss in plain code'} has none: use "
                f"the exact quantity"
            )
        return rule(self._view, self.weight, samples, rng or generator(self.arrived))

    def sqrt_empirical(self) -> Any:
        """`[1, *prediction]`: the gradient of each sample's loss times the root of its weight."""
        if not self.at_loss:
            raise QuantityError(
                f"{self.wanted_by} needs registered losses, whose weights are known: use a loss "
                f"such as mse_loss"
            )
        root = np.sqrt(self.weight)[None]
        return entry_value(cotangents_of(self._view, self.node, root)[0])


def one_position_each(rows: SeedRows, shape: tuple[int, ...], axis: int) -> SeedRows:
    """Rows `[R, *y]` as rows of one entry of each sample, where an axis has several.

    Rules take entries for samples, which are apart in the loss but not below it.
    """
    if not isinstance(axis, GroupedAxis) or axis.uses(shape[axis]) == 1:
        return rows
    positions, places = axis.positions(shape[axis]), axis.uses(shape[axis])

    def mask(some: slice) -> Any:
        alone = positions == np.arange(places)[some, None]
        line = (size if i == axis else 1 for i, size in enumerate(shape))
        return alone.reshape(len(alone), *line)

    return at_places(rows, places, mask)


def sqrt_hessian_of_record(term: Term) -> Any:
    """`[C, *prediction.shape]` from the eigendecomposition of each sample's C x C Hessian.

    The part of the record between the prediction and the objective is recorded once more with the
    prediction as a leaf, and differentiated twice. Raises `QuantityError` if it is not convex;
    where asking would wait for a device, gives NaN.
    """
    objective, prediction = term.objective, term.prediction
    _refuse_bent(term)
    value = _value_of(objective.nodes, prediction)
    with using(None), rerecording() as tape:
        leaf = Tensor(value, new_leaf(PARAMETER, value, {"name": "outputs"}, wants=True))
        top = _losses_again(term, leaf) if term.at_loss else _record_again(term, leaf)
        seed = np.ones_like(value, shape=(1, *top.shape), dtype=working(value.dtype))
        arrived = Sweep(list(tape.nodes), {top.node: Tensor(seed)}, recorded=True).run()
        return _roots(tape, arrived[leaf.node][0], leaf, term)


def _losses_again(term: Term, leaf: Tensor) -> Tensor:
    """The weighted sum of a registered loss, recorded with `leaf` for its prediction."""
    node, prediction = term.node, term.prediction
    inputs = [
        leaf if p is prediction else _value_of(term.objective.nodes, p) if x is None and p else x
        for p, x in zip(node.parents, node.inputs, strict=True)
    ]
    weight = term.weight
    weight = weight._value if isinstance(weight, Tensor) else weight
    op: Any = node.op
    return np.sum(op(*inputs, **node.params) * weight)


def _record_again(term: Term, leaf: Tensor) -> Tensor:
    """What leads from the term's tensor to the objective, recorded with `leaf` for the tensor."""
    objective = term.objective
    tensors: dict[Any, Any] = {term.node: leaf}
    for node in objective.nodes:
        if node is term.node or not any(p in tensors for p in node.parents if p is not None):
            continue
        if term.has_axis and node in objective.batch.coupled:
            raise _mixing(node)
        inputs = [
            tensors[p] if p in tensors else _value_of(objective.nodes, p) if x is None and p else x
            for p, x in zip(node.parents, node.inputs, strict=True)
        ]
        op: Any = node.op
        tensors[node] = op(*inputs, **node.params)
    if objective.loss not in tensors:
        raise QuantityError("the loss does not depend on `outputs`")
    return tensors[objective.loss]


def _roots(tape: Recorder, gradient: Any, leaf: Tensor, term: Term) -> Any:
    split, join = _layout(term, leaf.shape)
    moved = split(np.broadcast_to(np.zeros_like(leaf._value, shape=()), (1, *leaf.shape))).shape[1:]
    count, size = moved[0], math.prod(moved[1:])
    dtype = working(leaf.dtype)
    zero = np.zeros_like(leaf._value, shape=(size, *leaf.shape), dtype=dtype)
    if gradient.node is None or not gradient.node.wants:
        return zero
    coupled = _couples(tape, gradient, leaf, (split, join), moved)
    if coupled is not None and not backend.of(coupled).asynchronous and bool(coupled):
        raise _mixing(_coupling(term))
    eye = backend.namespace(leaf._value).eye(size, dtype=dtype)
    basis = np.broadcast_to(eye[:, None], (size, count, size)).reshape(size, *moved)
    with using(None):
        arrived = Sweep(list(tape.nodes), {gradient.node: join(basis)}).run()
    columns = arrived.get(leaf.node)
    if columns is None:
        return zero
    columns = np.moveaxis(split(columns), 1, 0)
    hessian = columns.reshape(count, size, size)
    values, vectors = np.linalg.eigh(widened(0.5 * (hessian + np.swapaxes(hessian, -1, -2))))
    bend = values < -1e3 * np.finfo(leaf.dtype).eps * np.maximum(abs(values).max(), 1e-30)
    if not backend.of(values).asynchronous and bool(bend.any()):
        raise QuantityError(
            f"{term.wanted_by} is undefined here: the loss is not convex in the model's output "
            f"(its Hessian has the eigenvalue {float(values.min()):.3g})"
        )
    undefined = bend if coupled is None else bend | coupled
    lengths = np.sqrt(np.where(undefined, np.nan, np.maximum(values, 0)))
    roots = vectors * lengths[:, None, :]  # [N, C, rows]
    return join(np.moveaxis(roots, -1, 0).reshape(size, *moved))


def _couples(
    tape: Recorder, gradient: Any, leaf: Tensor, layout: tuple[Any, Any], shape: Any
) -> Any:
    """Whether the Hessian has entries between samples; None of one sample. Waits for no device.

    Any two samples differ in a digit of their binary numbers. So for each digit, the Hessian times
    a random vector of the samples that have it is to vanish at the others.
    """
    split, join = layout
    count, digits = shape[0], (shape[0] - 1).bit_length()
    if not digits:
        return None
    has = np.arange(count) >> np.arange(digits)[:, None] & 1 == 1
    vectors = np.random.default_rng(0).standard_normal((digits, count, *shape[1:]))
    like = backend.of(leaf._value)
    has = has.reshape(digits, count, *(1,) * (len(shape) - 1))
    seeds = like.from_host(np.where(has, vectors, 0).astype(working(leaf.dtype)))
    with using(None):
        arrived = Sweep(list(tape.nodes), {gradient.node: join(seeds)}).run()
    if leaf.node not in arrived:
        return None
    products = abs(split(arrived[leaf.node]))
    stray = np.where(like.from_host(has), 0, products).max(initial=0)
    return stray > 1e2 * np.finfo(products.dtype).eps * products.max(initial=0)


def _refuse_bent(term: Term) -> None:
    """Raise `QuantityError` where the loss, by its operations, is no sum over samples."""
    recorded = _above(term)
    batch = term.objective.batch
    if not term.at_loss and term.has_axis and recorded and batch.size != 1:
        node = bends_together(recorded, batch)
        if node is not None:
            raise _mixing(node)


def _above(term: Term) -> list[Node]:
    """What leads from the term's tensor to the objective, in the order of recording."""
    nodes = term.objective.nodes
    above = descendants(nodes, {term.node})
    return [node for node in nodes if node in above and node is not term.node]


def _coupling(term: Term) -> Node | None:
    """The operation that couples samples, as far as that is known."""
    above, batch = set(_above(term)), term.objective.batch
    lost = (node for node in (*batch.lost, *batch.coupled) if node in above)
    return term.node if term.at_loss else next(lost, None)


def _mixing(node: Node | None) -> QuantityError:
    if node is None:
        mixes = "entries of its first axis, which are taken for samples, are coupled in it"
    else:
        mixes = f"{node.op.name} ({node.source or 'unknown line'}) mixes them"
    return QuantityError(
        f"the loss is no sum over samples of `outputs`: {mixes}, so its Hessian has no root per "
        f"sample: write the loss of each sample by itself, or take quantities of the Hessian"
    )


def _layout(term: Term, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Functions that put stacks `[V, *prediction]` sample by sample, `[V, N, ...]`, and back.

    Losses that are registered take the entries of an axis apart, of which a sample may have some.
    """
    axis = term.sample_axis
    if not term.has_axis or not shape:
        return (lambda stack: stack[:, None]), (lambda stack: stack[:, 0])

    def first(stack: Any) -> Any:
        return np.moveaxis(stack, 1 + axis, 1)

    def back(stack: Any) -> Any:
        return np.moveaxis(stack, 1, 1 + axis)

    if term.at_loss or not isinstance(axis, GroupedAxis):
        return first, back
    return (
        lambda stack: apart(first(stack), axis, 1),
        lambda stack: back(together(stack, axis, shape[axis], 1)),
    )


def _value_of(nodes: list[Node], node: Node) -> Any:
    """The array that a node computed, from what it or its consumers saved."""
    if node.output is not None:
        return node.output
    for consumer in nodes:
        for parent, value in zip(consumer.parents, consumer.inputs, strict=True):
            if parent is node and value is not None:
                return value
    values: dict[Any, Any] = {}
    for each in nodes:
        arrays = [values.get(p, x) for p, x in zip(each.parents, each.inputs, strict=True)]
        values[each] = each.op.forward(*arrays, **each.params)
        if each is node:
            break
    return values[node]
