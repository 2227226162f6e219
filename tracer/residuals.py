"""Signed rows of the Hessian: what the curvature of operations adds to that of the losses.

The Hessian of the objective is a sum over operations K of `J_K^T R_K J_K`, where J_K takes
parameters to the inputs of K and `R_K = sum_k delta_k d^2 y_k / dx^2`, delta being the gradient at
the output of K (Dangel, Kunstner and Hennig 2020; Botev et al. 2017 for feedforward chains). R_K is
symmetric per sample, so it is a sum of rows with signs, which go through the sweep like any others.

That gives the diagonal of a parameter's block where the parameter is used linearly, and by nothing
that depends on it otherwise (`exact_leaves`). The others take Hessian-vector products.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer import backend
from tracer.batching import Batch
from tracer.operation import PARAMETER
from tracer.sweep import Recorded, Sweep, cotangents_of, entry_value, fit
from tracer.tape import Node, Tape, using
from tracer.tensor import Tensor, _leaf


@dataclass
class SignedRows:
    """Rows `[R, *x.shape]` at nodes and their signs `[R, N]` (or `[R, 1]`: of all samples)."""

    seeds: dict[Node, Any]
    signs: Any


def wanted(node: Node) -> list[int]:
    """The slots whose inputs want a gradient."""
    return [i for i, parent in enumerate(node.parents) if parent is not None and parent.wants]


def is_linear(node: Node, slots: Iterable[int]) -> bool:
    """Whether an operation is linear in these inputs together."""
    slots = list(slots)
    return node.op.linear or (len(slots) == 1 and slots[0] in node.op.linear_in)


def is_straight(node: Node, slots: Iterable[int]) -> bool:
    """Whether the second derivatives by these inputs vanish wherever they exist."""
    return node.op.piecewise_linear or is_linear(node, slots)


# -- which parameters rows are exact for --------------------------------------------------------


def exact_leaves(nodes: list[Node], leaves: Iterable[Node], batch: Batch) -> set[Node]:
    """The parameters whose own block the signed rows give exactly, of a record up to its loss."""
    if batch.size is None or batch.lost or batch.coupled:
        return set()
    leading = _leading_to(nodes)
    return {leaf for leaf in leaves if _is_exact(leading, leaf, batch)}


def _leading_to(nodes: list[Node]) -> list[Node]:
    """The nodes that the last one depends on, and itself."""
    needed: set[Any] = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.parents)
    return [node for node in nodes if node in needed]


def _is_exact(nodes: list[Node], leaf: Node, batch: Batch) -> bool:
    dependent = {leaf}
    for node in nodes:
        slots = [i for i, parent in enumerate(node.parents) if parent in dependent]
        if not slots:
            continue
        dependent.add(node)
        unbatched = [i for i in slots if not isinstance(batch.axis(node.parents[i]), int)]
        if not unbatched:
            continue
        if isinstance(batch.axes.get(node), int):
            if not is_straight(node, slots):
                return False
        elif batch.axes.get(node) is None and not is_straight(node, slots):
            return False
        elif not is_straight(node, wanted(node)):
            return False  # a pooled value is bent again: the objective is no sum over samples
    return True


# -- the rows of one operation -------------------------------------------------------------------


def residual(
    node: Node, delta: Any, batch: Batch, budget: int | None = None
) -> Iterator[SignedRows] | None:
    """The signed rows of one operation, given the gradient `delta [1, *output]`; None if linear.

    They are made when they are asked for, in blocks of about a quarter of `budget` bytes where they
    are many: one row for each element of an elementwise operation.
    """
    slots = [i for i in wanted(node) if isinstance(batch.axis(node.parents[i]), int)]
    if not slots or is_straight(node, slots):
        return None
    rule = getattr(node.op, "sqrt_hessian", None)
    if rule is not None and slots == [0]:
        return iter([_of_loss(node, delta, rule)])
    full = all(node.input_shape(i) == node.shape for i in slots)
    if node.op.elementwise and full:
        return _of_elements(node, delta, slots, batch.axes[node], budget)
    return _of_samples(node, delta, slots, batch)


def _of_loss(node: Node, delta: Any, rule: Any) -> SignedRows:
    """A registered loss: convex, so that the sign is that of its weight."""
    weight = delta[0]
    prediction = node.parents[0]
    assert prediction is not None
    signs = np.sign(weight)
    if bool((signs >= 0).all()):
        rows = rule(node, weight)
        return SignedRows({prediction: rows}, np.ones_like(rows, shape=(len(rows), 1)))
    positive = rule(node, np.where(signs > 0, weight, 0))
    negative = rule(node, np.where(signs < 0, -weight, 0))
    rows = np.concatenate([positive, negative])
    ones = np.ones_like(rows, shape=(len(positive), 1))
    return SignedRows({prediction: rows}, np.concatenate([ones, -ones]))


class Curvature:
    """Products with R of one operation: its `vjp` at `delta`, recorded, and swept once more."""

    def __init__(self, node: Node, delta: Any, slots: list[int]):
        self.node, self.slots = node, slots
        inputs = list(node.inputs or ())
        self.leaves: list[Tensor] = []
        with using(None), Tape() as tape:
            made: list[Any] = list(inputs)
            for slot in slots:
                value = inputs[slot]
                leaf = Tensor(value, _leaf(PARAMETER, value, {"name": None}, wants=True))
                made[slot] = leaf
                self.leaves.append(leaf)
            out = node.op(*made, **node.params)
            entries = cotangents_of(Recorded(out.node), out.node, delta)
            self.entries = []
            for slot, leaf in zip(slots, self.leaves, strict=True):
                entry = entry_value(entries[slot])
                self.entries.append(fit(entry, leaf.shape) if isinstance(entry, Tensor) else None)
        self.nodes = tape.nodes

    def product(self, vectors: list[Any]) -> list[Any]:
        """`R v` for stacks `[V, *input]`, one per slot; None where it is zero."""
        seeds: dict[Node, Any] = {}
        for entry, vector in zip(self.entries, vectors, strict=True):
            if entry is not None and entry.node is not None and vector is not None:
                seed = vector[:, None]
                seeds[entry.node] = seeds[entry.node] + seed if entry.node in seeds else seed
        if not seeds:
            return [None] * len(self.slots)
        with using(None):
            arrived = Sweep(self.nodes, seeds).run()
        return [arrived.get(leaf.node) for leaf in self.leaves]


def _of_elements(
    node: Node, delta: Any, slots: list[int], axis: int, budget: int | None
) -> Iterator[SignedRows]:
    """An elementwise operation of k inputs: R is k x k for each element."""
    curvature, k = Curvature(node, delta, slots), len(slots)
    like = curvature.leaves[0].data
    columns = []
    for i in range(k):
        one = np.ones_like(like, shape=(1, *node.shape))
        products = curvature.product([one if j == i else None for j in range(k)])
        columns.append([np.zeros_like(one) if p is None else p for p in products])
    matrix = np.stack([np.stack([entry[0] for entry in column], -1) for column in columns], -1)
    if not bool((matrix != 0).any()):
        return
    moved = np.moveaxis(matrix, axis, 0)
    count, size = moved.shape[0], math.prod(moved.shape[1:-2])
    if k == 1:
        values, vectors = moved.reshape(count, size, 1), np.ones_like(like, shape=(1, 1, 1, 1))
    else:
        values, vectors = np.linalg.eigh(moved.reshape(count, size, k, k))
    signs = np.sign(values)
    weights = vectors * np.sqrt(abs(values))[..., None, :]  # [N, D, inputs, rows]
    shape = [count, *(n for a, n in enumerate(node.shape) if a != axis)]
    step = size
    if budget is not None:
        step = max(1, budget // (4 * k * k * count * size * like.dtype.itemsize))
    for start in range(0, size, step):
        some = slice(start, start + step)
        alone = np.arange(size)[some, None] == np.arange(size)
        alone = backend.of(like).from_host(alone)[:, None]
        seeds: dict[Node, Any] = {}
        for i, slot in enumerate(slots):
            rows = np.concatenate([np.where(alone, weights[..., i, j], 0) for j in range(k)])
            rows = np.moveaxis(rows.reshape(len(rows), *shape), 1, 1 + axis)
            _add(seeds, node.parents[slot], rows)
        yield SignedRows(seeds, np.concatenate([signs[:, some, j].T for j in range(k)]))


def _add(seeds: dict[Node, Any], node: Node | None, rows: Any) -> None:
    assert node is not None
    seeds[node] = seeds[node] + rows if node in seeds else rows


def _of_samples(node: Node, delta: Any, slots: list[int], batch: Batch) -> Iterator[SignedRows]:
    """Any operation on samples: R is D x D for each sample, D being all its inputs' elements."""
    curvature, count = Curvature(node, delta, slots), batch.size
    assert count is not None
    parents = [node.parents[slot] for slot in slots]
    axes = [batch.axis(parent) for parent in parents]
    shapes = [tuple(n for a, n in enumerate(p.shape) if a != ax)  # type: ignore[union-attr]
              for p, ax in zip(parents, axes, strict=True)]  # fmt: skip
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(sizes)
    like = curvature.leaves[0].data
    matrix = np.zeros_like(like, shape=(count, total, total))
    start = 0
    for i, size in enumerate(sizes):
        eye = backend.of(like).from_host(np.eye(size, dtype=like.dtype))
        basis = np.broadcast_to(eye[:, None], (size, count, size)).reshape(size, count, *shapes[i])
        basis = np.moveaxis(basis, 1, 1 + axes[i])
        products = curvature.product([basis if j == i else None for j in range(len(sizes))])
        stop = 0
        for j, product in enumerate(products):
            first, stop = stop, stop + sizes[j]
            if product is not None:
                rows = np.moveaxis(product, 1 + axes[j], 0).reshape(count, size, sizes[j])
                matrix[:, start : start + size, first:stop] = rows
        start += size
    if not bool((matrix != 0).any()):
        return
    values, vectors = np.linalg.eigh(0.5 * (matrix + np.swapaxes(matrix, -1, -2)))
    rows = vectors * np.sqrt(abs(values))[:, None, :]  # [N, D, R]
    seeds: dict[Node, Any] = {}
    start = 0
    for parent, axis, shape, size in zip(parents, axes, shapes, sizes, strict=True):
        part = np.moveaxis(rows[:, start : start + size], -1, 0).reshape(total, count, *shape)
        _add(seeds, parent, np.moveaxis(part, 1, 1 + axis))
        start += size
    yield SignedRows(seeds, np.sign(values).T)
