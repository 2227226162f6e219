"""The square root of a loss's Hessian, from its record: for losses without a rule of their own."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer import backend
from tracer.errors import QuantityError
from tracer.operation import PARAMETER
from tracer.sweep import Sweep
from tracer.tape import Node, Tape, using
from tracer.tensor import Tensor, _leaf

if TYPE_CHECKING:
    from tracer.backward import Split


def sqrt_hessian_of_record(split: Split) -> Any:
    """`[C, *prediction.shape]` from the eigendecomposition of each sample's C x C Hessian.

    The part of the record between the prediction and the objective is recorded once more with the
    prediction as a leaf, and differentiated twice. Raises `QuantityError` if it is not convex.
    """
    run, prediction = split.run, split.prediction
    value = _value_of(run.nodes, prediction)
    with using(None), Tape() as tape:
        leaf = Tensor(value, _leaf(PARAMETER, value, {"name": "outputs"}, wants=True))
        if split.is_output:
            coupled = run.batch.coupled if run.batch is not None else ()
            objective = record_again(run.nodes, prediction, leaf, run.loss, coupled)
        else:
            node = split.node
            inputs = node.inputs or (None,) * len(node.parents)
            rest = [
                leaf if p is prediction else _value_of(run.nodes, p) if x is None and p else x
                for p, x in zip(node.parents, inputs, strict=True)
            ]
            losses = node.op(*rest, **node.params)
            weight = split.weight
            weight = weight.data if isinstance(weight, Tensor) else weight
            objective = np.sum(losses * weight)
        first = list(tape.nodes)
        start = np.ones_like(value, shape=(1, *objective.shape))
        seeds = {objective.node: Tensor(start)}
        gradient = Sweep(first, seeds, recorded=True).run()[leaf.node][0]
        return _roots(tape, gradient, leaf, split)


def _roots(tape: Tape, gradient: Any, leaf: Tensor, split: Split) -> Any:
    run, shape = split.run, leaf.shape
    found = run.batch.axis(split.prediction) if run.batch is not None else None
    axis = found if isinstance(found, int) else 0
    if split.of_samples:
        moved = [shape[axis], *(n for i, n in enumerate(shape) if i != axis)]
    else:
        moved = [1, *shape]

    def placed(rows: Any) -> Any:
        return np.moveaxis(rows, 1, 1 + axis) if split.of_samples else rows[:, 0]

    count, size = moved[0], math.prod(moved[1:])
    eye = backend.of(leaf).from_host(np.eye(size, dtype=leaf.dtype))
    basis = np.broadcast_to(eye[:, None], (size, count, size))
    stack = placed(basis.reshape(size, *moved))
    if gradient.node is None or not gradient.node.wants:
        return np.zeros_like(leaf.data, shape=(size, *shape))
    with using(None):
        arrived = Sweep(list(tape.nodes), {gradient.node: stack}).run()
    columns = arrived.get(leaf.node)
    if columns is None:
        return np.zeros_like(leaf.data, shape=(size, *shape))
    if split.of_samples:
        columns = np.moveaxis(columns, 1 + axis, 0)
    hessian = columns.reshape(count, size, size)
    values, vectors = np.linalg.eigh(0.5 * (hessian + np.swapaxes(hessian, -1, -2)))
    tolerance = 1e3 * np.finfo(leaf.dtype).eps * max(float(abs(values).max()), 1e-30)
    if bool((values < -tolerance).any()):
        raise QuantityError(
            f"{run._first_curvature()} is undefined here: the loss is not convex in the model's "
            f"output (its Hessian has the eigenvalue {float(values.min()):.3g})"
        )
    roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]  # [N, C, rows]
    return placed(np.moveaxis(roots, -1, 0).reshape(size, *moved))


def _value_of(nodes: list[Node], node: Node) -> Any:
    """The array that a node computed, from what it or its consumers saved."""
    if node.output is not None:
        return node.output
    for consumer in nodes:
        if consumer.inputs is not None:
            for parent, value in zip(consumer.parents, consumer.inputs, strict=True):
                if parent is node and value is not None:
                    return value
    values: dict[Node, Any] = {}
    for each in nodes:
        arrays = [
            values.get(p, x)  # type: ignore[arg-type]  # a constant's parent is None
            for p, x in zip(each.parents, each.inputs or (None,) * len(each.parents), strict=True)
        ]
        values[each] = each.op.forward(*arrays, **each.params)
        if each is node:
            break
    return values[node]


def record_again(
    nodes: list[Node], start: Node, leaf: Tensor, stop: Node, coupled: Collection[Node]
) -> Tensor:
    """Record what leads from `start` to `stop` on the current tape, with `leaf` for `start`.

    Raises `QuantityError` at one of the nodes `coupled`, where samples are not independent.
    """
    tensors: dict[Node, Any] = {start: leaf}
    for node in nodes:
        if node is start or not any(p in tensors for p in node.parents if p is not None):
            continue
        if node in coupled:
            raise QuantityError(
                f"the loss is no sum over samples of `outputs`: {node.op.name} "
                f"({node.source or 'unknown line'}) mixes them, so its Hessian has no root per "
                f"sample: write the loss of each sample by itself"
            )
        inputs = [
            tensors[p] if p in tensors else x if x is not None else _value_of(nodes, p)  # type: ignore[arg-type]
            for p, x in zip(node.parents, node.inputs or (None,) * len(node.parents), strict=True)
        ]
        tensors[node] = node.op(*inputs, **node.params)
        if node is stop:
            break
    if stop not in tensors:
        raise QuantityError("the loss does not depend on `outputs`")
    return tensors[stop]
