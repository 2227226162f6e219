"""Square roots of the Hessian of a loss that has no rule for them, from its record."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import widened, working
from tracer.arrays.types import Array, Shape, Stack
from tracer.curvature.cut import Cut
from tracer.curvature.sample_checks import mixing_loss, refuse_loss_bent_across_samples
from tracer.errors import QuantityError
from tracer.record.axes import GroupedAxis, entries_by_sample, entries_in_order
from tracer.record.leaf_kinds import PARAMETER
from tracer.record.node import Node
from tracer.record.recorder import Recorder, rerecording, using
from tracer.record.tensor import Tensor, new_leaf
from tracer.sweep.real_parts import is_complex
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import descendants

#: takes stacks of predictions to another order of axes
Layout: TypeAlias = Callable[[Stack], Stack]


def sqrt_hessian_of_record(cut: Cut) -> Stack:
    """`[C, *prediction.shape]` from the eigendecomposition of each sample's C x C Hessian.

    The part of the record between the prediction and the objective is recorded once more with the
    prediction as a leaf, and differentiated twice. Raises `QuantityError` if it is not convex;
    where asking would wait for a device, gives NaN.
    """
    record, prediction = cut.record, cut.prediction
    if is_complex(prediction):
        raise QuantityError(
            f"{cut.wanted_by} is of real outputs of a model, got complex ones ({prediction!r}): "
            f"give np.stack([np.real(z), np.imag(z)], -1) for them"
        )
    if not cut.at_loss and cut.has_axis:
        refuse_loss_bent_across_samples(_above(cut), record.batch)
    value = _value_of(record.nodes, prediction)
    with using(None), rerecording() as tape:
        leaf = Tensor(value, new_leaf(PARAMETER, value, {"name": "outputs"}, wants=True))
        top = _losses_again(cut, leaf) if cut.at_loss else _record_again(cut, leaf)
        seed = np.ones_like(value, shape=(1, *top.shape), dtype=working(value.dtype))
        arrived = Sweep(list(tape.nodes), {top.node: Tensor(seed)}, recorded=True).run()
        return _roots(tape, arrived[leaf.node][0], leaf, cut)


def _losses_again(cut: Cut, leaf: Tensor) -> Tensor:
    """The weighted sum of a registered loss, recorded with `leaf` for its prediction."""
    node, prediction = cut.node, cut.prediction
    inputs = [
        leaf if p is prediction else _value_of(cut.record.nodes, p) if x is None and p else x
        for p, x in zip(node.parents, node.inputs, strict=True)
    ]
    weight = cut.weight
    weight = weight._value if isinstance(weight, Tensor) else weight
    op: Any = node.op
    return np.sum(op(*inputs, **node.params) * weight)


def _record_again(cut: Cut, leaf: Tensor) -> Tensor:
    """What leads from the term's tensor to the objective, recorded with `leaf` for the tensor."""
    record = cut.record
    tensors: dict[Node, Tensor] = {cut.node: leaf}
    for node in record.nodes:
        if node is cut.node or not any(p in tensors for p in node.parents if p is not None):
            continue
        if cut.has_axis and node in record.batch.coupled:
            raise mixing_loss(node)
        inputs = [
            tensors[p] if p in tensors else _value_of(record.nodes, p) if x is None and p else x
            for p, x in zip(node.parents, node.inputs, strict=True)
        ]
        op: Any = node.op
        tensors[node] = op(*inputs, **node.params)
    if record.loss not in tensors:
        raise QuantityError("the loss does not depend on `outputs`")
    return tensors[record.loss]


def _roots(tape: Recorder, gradient: Tensor, leaf: Tensor, cut: Cut) -> Stack:
    split, join = _layout(cut, leaf.shape)
    moved = split(np.broadcast_to(np.zeros_like(leaf._value, shape=()), (1, *leaf.shape))).shape[1:]
    count, size = moved[0], math.prod(moved[1:])
    dtype = working(leaf.dtype)
    zero = np.zeros_like(leaf._value, shape=(size, *leaf.shape), dtype=dtype)
    if gradient.node is None or not gradient.node.wants:
        return zero
    coupled = _couples(tape, gradient, leaf, (split, join), moved)
    if coupled is not None and not backend.of(coupled).asynchronous and bool(coupled):
        raise mixing_loss(_coupling(cut))
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
            f"{cut.wanted_by} is undefined here: the loss is not convex in the model's output "
            f"(its Hessian has the eigenvalue {float(values.min()):.3g})"
        )
    undefined = bend if coupled is None else bend | coupled
    lengths = np.sqrt(np.where(undefined, np.nan, np.maximum(values, 0)))
    roots = vectors * lengths[:, None, :]  # [N, C, rows]
    return join(np.moveaxis(roots, -1, 0).reshape(size, *moved))


def _couples(
    tape: Recorder, gradient: Tensor, leaf: Tensor, layout: tuple[Layout, Layout], shape: Shape
) -> Array | None:
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


def _above(cut: Cut) -> list[Node]:
    """What leads from the term's tensor to the objective, in the order of recording."""
    nodes = cut.record.nodes
    above = descendants(nodes, {cut.node})
    return [node for node in nodes if node in above and node is not cut.node]


def _coupling(cut: Cut) -> Node | None:
    """The operation that couples samples, as far as that is known."""
    above, batch = set(_above(cut)), cut.record.batch
    lost = (node for node in (*batch.lost, *batch.coupled) if node in above)
    return cut.node if cut.at_loss else next(lost, None)


def _layout(cut: Cut, shape: Shape) -> tuple[Layout, Layout]:
    """Functions that put stacks `[V, *prediction]` sample by sample, `[V, N, ...]`, and back.

    Losses that are registered take the entries of an axis apart, of which a sample may have some.
    """
    axis = cut.axis
    if not cut.has_axis or not shape:
        return (lambda stack: stack[:, None]), (lambda stack: stack[:, 0])
    along = 1 + cut.sample_axis

    def first(stack: Stack) -> Stack:
        return np.moveaxis(stack, along, 1)

    def back(stack: Stack) -> Stack:
        return np.moveaxis(stack, 1, along)

    if cut.at_loss or not isinstance(axis, GroupedAxis):
        return first, back
    return (
        lambda stack: entries_by_sample(first(stack), axis, 1),
        lambda stack: back(entries_in_order(stack, axis, shape[axis], 1)),
    )


def _value_of(nodes: list[Node], node: Node) -> Array:
    """The array that a node computed, from what it or its consumers saved."""
    if node.output is not None:
        return node.output
    for consumer in nodes:
        for parent, value in zip(consumer.parents, consumer.inputs, strict=True):
            if parent is node and value is not None:
                return value
    values: dict[Node | None, Array] = {}
    for each in nodes:
        arrays = [values.get(p, x) for p, x in zip(each.parents, each.inputs, strict=True)]
        values[each] = each.op.forward(*arrays, **each.params)
        if each is node:
            break
    return values[node]
