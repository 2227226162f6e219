"""Signed rows of the Hessian: what the curvature of operations adds to that of the losses.

The Hessian of the objective is a sum over operations K of `J_K^T R_K J_K`, where J_K takes
parameters to the inputs of K and `R_K = sum_k delta_k d^2 y_k / dx^2`, delta being the gradient at
the output of K (Dangel, Kunstner and Hennig 2020; Botev et al. 2017 for feedforward chains). R_K is
symmetric per sample, so it is a sum of rows with signs, which go through the sweep like any others.

That gives the diagonal of a parameter's block where the parameter is used linearly, and by nothing
that depends on it otherwise (`curvature.signed_parameters`). The others take products with the
Hessian.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import widened, working
from tracer.arrays.types import Array, Signs, Stack
from tracer.curvature.rows import Rows, hessian_eigenvectors
from tracer.curvature.seed_rows import of_rule, one_position_each
from tracer.record.axes import position_of
from tracer.record.batching import Batch
from tracer.record.leaf_kinds import PARAMETER
from tracer.record.node import Node
from tracer.record.recorder import rerecording, using
from tracer.record.tensor import Tensor, new_leaf
from tracer.sweep.bending import bends_in, wanted
from tracer.sweep.rules import Recorded, Sampled, cotangents_of, entry_value, fit
from tracer.sweep.sweep import Sweep


@dataclass
class SignedRows:
    """Rows `[R, *x.shape]` at nodes and their signs `[R, N]` (or `[R, 1]`: of all samples).

    Without signs, all are positive.
    """

    seeds: dict[Node, Stack]
    signs: Signs = None


# -- the rows of one operation -------------------------------------------------------------------


def residual(
    node: Node,
    delta: Stack,
    batch: Batch,
    kind: Rows,
    budget: int | None = None,
    room: int | None = None,
) -> Iterator[SignedRows] | None:
    """The signed rows of one operation, given the gradient `delta [1, *output]`; None if straight.

    They are made when they are asked for, in blocks of about a quarter of `budget` bytes where they
    are many. Eigenvectors of R are the fewest rows; where they do not fit into `room` bytes, and
    unless `kind` is `hessian_eigenvectors`, pairs of rows take their place.
    """
    slots = bends_in(node, batch)
    if not slots:
        return None
    rule = loss_rule(node)
    if rule is not None and wanted(node) == [0]:
        return _of_loss(node, delta, rule, batch, budget)
    counts = blocks(node, slots)
    if counts is not None:
        return _of_elements(node, delta, slots, counts, position_of(batch.axes[node]), budget)
    matrix = SampleCurvature(node, delta, slots, batch)
    square = matrix.samples * matrix.size**2 * matrix.like.dtype.itemsize
    if budget is None or kind == hessian_eigenvectors or room is None or 8 * square <= room:
        return _of_eigenvectors(matrix)
    return _of_pairs(matrix, budget)


def loss_rule(node: Node) -> str | None:
    """The name of the rule that makes a loss's rows."""
    rules = ("short_sqrt_hessian", "sqrt_hessian")
    return next((name for name in rules if getattr(node.op, name) is not None), None)


def _of_loss(
    node: Node, delta: Stack, rule: str, batch: Batch, budget: int | None
) -> Iterator[SignedRows]:
    """A registered loss: convex, so that the sign is that of its weight."""
    weight, prediction = delta[0], node.parents[0]
    assert prediction is not None
    axes = batch.axes_of(node)
    view = Sampled(node, batch.axis(node), axes)
    each = math.prod(prediction.shape) * working(prediction.dtype).itemsize
    weights_by_sign = [(1, weight)]
    if bool((weight < 0).any()):
        weights_by_sign = [(s, np.where(np.sign(weight) == s, s * weight, 0)) for s in (1, -1)]
    for sign, signed_weight in weights_by_sign:
        rows = of_rule(node.op, rule, view, signed_weight)
        rows = one_position_each(rows, prediction.shape, axes[0])
        step = len(rows) if budget is None else max(1, budget // max(1, 4 * each))
        for start in range(0, len(rows), step or 1):
            some = rows[start : start + step]
            signs = (
                sign * np.ones_like(some, shape=(len(some), 1))
                if len(weights_by_sign) > 1
                else None
            )
            yield SignedRows({prediction: some}, signs)


class Curvature:
    """Products with R of one operation: its `vjp` at `delta`, recorded, and swept once more."""

    def __init__(self, node: Node, delta: Stack, slots: list[int]):
        self.node, self.slots = node, slots
        inputs = list(node.inputs)
        self.leaves: list[Tensor] = []
        with using(None), rerecording() as tape:
            made: list[Any] = list(inputs)
            for slot in slots:
                value = inputs[slot]
                leaf = Tensor(value, new_leaf(PARAMETER, value, {"name": None}, wants=True))
                made[slot] = leaf
                self.leaves.append(leaf)
            op: Any = node.op
            out = op(*made, **node.params)
            entries = cotangents_of(Recorded(out.node), out.node, delta)
            self.entries = []
            for slot, leaf in zip(slots, self.leaves, strict=True):
                entry = entry_value(entries[slot])
                self.entries.append(fit(entry, leaf.shape) if isinstance(entry, Tensor) else None)
        self.nodes = tape.nodes

    def product(self, vectors: Sequence[Stack | None]) -> list[Stack | None]:
        """`R v` for stacks `[V, *input]`, one per slot; None where it is zero."""
        seeds: dict[Node, Stack] = {}
        for entry, vector in zip(self.entries, vectors, strict=True):
            if entry is not None and entry.node is not None and vector is not None:
                seed = vector[:, None]
                seeds[entry.node] = seeds[entry.node] + seed if entry.node in seeds else seed
        if not seeds:
            return [None] * len(self.slots)
        with using(None):
            arrived = Sweep(self.nodes, seeds).run()
        return [arrived.get(leaf.node) for leaf in self.leaves]


def blocks(node: Node, slots: list[int]) -> list[int] | None:
    """The blocks of each of these inputs between which the operation is elementwise, if it is."""
    if node.op.blocks is not None:
        counts = node.op.blocks(node)
        return [counts[slot] for slot in slots]
    full = all(node.input_shape(slot) == node.shape for slot in slots)
    return [1] * len(slots) if node.op.elementwise and full else None


def _of_elements(
    node: Node, delta: Stack, slots: list[int], counts: list[int], axis: int, budget: int | None
) -> Iterator[SignedRows]:
    """An elementwise operation of k inputs (or blocks of inputs): R is k x k for each element."""
    curvature, k = Curvature(node, delta, slots), sum(counts)
    columns = []
    for i, count in enumerate(counts):
        leaf = curvature.leaves[i]._value
        for j in range(count):
            unit = np.zeros_like(leaf, shape=(1, *leaf.shape), dtype=working(leaf.dtype))
            _cut(unit, count)[j][...] = 1
            products = curvature.product([unit if a == i else None for a in range(len(counts))])
            column: list[Array] = []
            for product, number in zip(products, counts, strict=True):
                if product is None:
                    column += [np.zeros_like(_cut(unit, count)[j][0])] * number
                else:
                    column += [part[0] for part in _cut(product, number)]
            columns.append(column)
    matrix = np.stack([np.stack(column, -1) for column in columns], -1)
    shape, moved, like = matrix.shape[:-2], np.moveaxis(matrix, axis, 0), matrix
    count, size = moved.shape[0], math.prod(moved.shape[1:-2])
    if k == 1:
        values, vectors = moved.reshape(count, size, 1), np.ones_like(like, shape=(1, 1, 1, 1))
    else:
        values, vectors = np.linalg.eigh(widened(moved.reshape(count, size, k, k)))
        rounding = k * np.finfo(values.dtype).eps * abs(values).max(-1, keepdims=True)
        values = np.where(abs(values) > rounding, values, 0)
    # The one wait for a device: rows of zero need not be swept.
    bent = np.flatnonzero(backend.to_host((values != 0).any((0, 1)))).tolist()
    if not bent:
        return
    signs = np.sign(values)
    weights = vectors * np.sqrt(abs(values))[..., None, :]  # [N, D, inputs, rows]
    first = [count, *(n for a, n in enumerate(shape) if a != axis)]
    step = size
    if budget is not None:
        step = max(1, budget // (4 * k * k * count * size * like.dtype.itemsize))
    for start in range(0, size, step):
        some = slice(start, start + step)
        elements = backend.namespace(like).arange(size)
        alone = (elements[some, None] == elements)[:, None]
        parts = []
        for i in range(k):
            rows = np.concatenate([np.where(alone, weights[..., i, j], 0) for j in bent])
            parts.append(np.moveaxis(rows.reshape(len(rows), *first), 1, 1 + axis))
        seeds: dict[Node, Stack] = {}
        for slot, number in zip(slots, counts, strict=True):
            mine, parts = parts[:number], parts[number:]
            _add(seeds, node.parents[slot], mine[0] if number == 1 else np.concatenate(mine, -1))
        yield SignedRows(seeds, np.concatenate([signs[:, some, j].T for j in bent]))


def _cut(stack: Stack, count: int) -> list[Array]:
    """Views of the equal blocks that the last axis holds."""
    if count == 1:
        return [stack]
    width = stack.shape[-1] // count
    return [stack[..., j * width : (j + 1) * width] for j in range(count)]


def _add(seeds: dict[Node, Stack], node: Node | None, rows: Stack) -> None:
    assert node is not None
    seeds[node] = seeds[node] + rows if node in seeds else rows


class SampleCurvature:
    """R of one operation on samples, `[N, D, D]`, D being the elements of all inputs of a sample.

    Vectors of those elements come in stacks `[V, N, D]`.
    """

    def __init__(self, node: Node, delta: Stack, slots: list[int], batch: Batch):
        assert batch.size is not None
        self.curvature, self.samples = Curvature(node, delta, slots), batch.size
        self.parents = [node.parents[slot] for slot in slots]
        self.axes = [position_of(batch.axis(parent)) for parent in self.parents]
        self.shapes = [
            tuple(n for a, n in enumerate(leaf.shape) if a != axis)
            for leaf, axis in zip(self.curvature.leaves, self.axes, strict=True)
        ]
        stops = np.cumsum([math.prod(shape) for shape in self.shapes]).tolist()
        self.spans = [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]
        self.size = stops[-1]
        self.like = widened(self.curvature.leaves[0]._value)

    def basis(self, some: slice) -> Stack:
        """The unit vectors of these elements, in every sample."""
        elements = backend.namespace(self.like).arange(self.size)
        units = (elements[some, None] == elements).astype(self.like.dtype)[:, None]
        return np.broadcast_to(units, (len(units), self.samples, self.size))

    def columns(self, some: slice) -> Stack:
        """R times those unit vectors."""
        basis = self.basis(some)
        first, stop, _ = some.indices(self.size)
        vectors = [
            part if span.start < stop and first < span.stop else None
            for span, part in zip(self.spans, self._parts(basis), strict=True)
        ]
        columns = np.zeros_like(self.like, shape=basis.shape)
        products = self.curvature.product(vectors)
        for span, axis, product in zip(self.spans, self.axes, products, strict=True):
            if product is not None:
                moved = np.moveaxis(product, 1 + axis, 1)
                columns[..., span] = moved.reshape(*basis.shape[:2], span.stop - span.start)
        return columns

    def seeds(self, rows: Stack) -> dict[Node, Stack]:
        """Vectors as stacks at the inputs."""
        seeds: dict[Node, Stack] = {}
        for parent, part in zip(self.parents, self._parts(rows), strict=True):
            _add(seeds, parent, part)
        return seeds

    def _parts(self, vectors: Stack) -> list[Stack]:
        return [
            np.moveaxis(vectors[..., span].reshape(*vectors.shape[:2], *shape), 1, 1 + axis)
            for span, axis, shape in zip(self.spans, self.axes, self.shapes, strict=True)
        ]


def _of_eigenvectors(matrix: SampleCurvature) -> Iterator[SignedRows]:
    """D rows, the eigenvectors of each sample's matrix."""
    columns = np.moveaxis(matrix.columns(slice(None)), 0, 1)
    if bool((columns != 0).any()):
        symmetric = widened(0.5 * (columns + np.swapaxes(columns, -1, -2)))
        values, vectors = np.linalg.eigh(symmetric)
        rows = vectors * np.sqrt(abs(values))[:, None, :]  # [N, D, R]
        yield SignedRows(matrix.seeds(np.moveaxis(rows, -1, 0)), np.sign(values).T)


def _of_pairs(matrix: SampleCurvature, budget: int) -> Iterator[SignedRows]:
    """2 D rows that need no D x D matrix, in blocks of about a quarter of `budget` bytes.

    With r_i the columns of R, `R = sum_i (e_i r_i^T + r_i e_i^T) / 2`, and for any a each term is
    `p p^T - m m^T` with `p, m = (a e_i +- r_i / a) / 2`.
    """
    each = matrix.samples * matrix.size * matrix.like.dtype.itemsize
    step = max(1, budget // (16 * each))  # a product and the rows made of it take four times theirs
    for start in range(0, matrix.size, step):
        some = slice(start, start + step)
        columns = matrix.columns(some)
        if bool((columns != 0).any()):
            rows = _pairs(matrix.basis(some), columns)
            del columns
            signs = np.ones_like(rows, shape=(len(rows), 1))
            signs[len(rows) // 2 :] = -1
            yield SignedRows(matrix.seeds(rows), signs)


def _pairs(units: Stack, columns: Stack) -> Stack:
    """The rows with positive signs, then those with negative ones.

    Of p and m, squares nearly cancel if either vector is far longer: `a` makes them alike.
    """
    a = np.sqrt(abs(columns).max(-1, keepdims=True))
    units, columns = units * (0.5 * a), columns * (0.5 / np.where(a > 0, a, 1))
    return np.concatenate([units + columns, units - columns])
