"""Which parameters signed rows of the Hessian are exact for, and cheaper than products."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from itertools import accumulate
from typing import NamedTuple

from tracer.arrays.dtypes import working
from tracer.curvature.residuals import blocks, loss_rule
from tracer.record.axes import SAMPLED, GroupedAxis
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.bending import bends_across, bends_in, is_straight, leading_to, wanted
from tracer.sweep.real_parts import of_complex

# -- which parameters rows are exact for --------------------------------------------------------


def exact_leaves(nodes: list[Node], leaves: Iterable[Node], batch: Batch) -> set[Node]:
    """The parameters whose own block the signed rows give exactly, of a record up to its loss."""
    if batch.size is None or batch.lost or batch.coupled or batch.singly:
        return set()
    leading = leading_to(nodes)
    for node in leading:
        slots = wanted(node)
        axes = [batch.axes.get(node), *(batch.axis(node.parents[slot]) for slot in slots)]
        grouped = any(isinstance(axis, GroupedAxis) for axis in axes)
        if grouped and not node.op.loss and not is_straight(node, slots):
            return set()  # its entries are no samples
    return {leaf for leaf in leaves if _is_exact(leading, leaf, batch)}


def _is_exact(nodes: list[Node], leaf: Node, batch: Batch) -> bool:
    dependent = {leaf}
    for node in nodes:
        slots = [i for i, parent in enumerate(node.parents) if parent in dependent]
        if not slots:
            continue
        dependent.add(node)
        if bends_across(node, batch):
            return False  # its rows would be of several samples each
        if of_complex(node) and not is_straight(node, wanted(node)):
            return False  # it is curved in real and imaginary parts together
        unbatched = [i for i in slots if not isinstance(batch.axis(node.parents[i]), SAMPLED)]
        if not unbatched:
            continue
        if isinstance(batch.axes.get(node), SAMPLED):
            if not is_straight(node, slots):
                return False
        elif batch.axes.get(node) is None and not is_straight(node, slots):
            return False
        elif not is_straight(node, wanted(node)):
            return False  # a pooled value is bent again: the objective is no sum over samples
    return True


# -- which parameters they are cheaper for ------------------------------------------------------


def cheaper_by_rows(
    nodes: list[Node], leaves: Collection[Node], batch: Batch, products: int
) -> set[Node]:
    """Of these parameters, those whose rows cost less than `products` Hessian products an element.

    A row goes through what was recorded before it starts, a product through everything three times.
    In a chain of T steps rows so grow with T^2 and products with T; but a parameter of P elements
    takes P of them. The parameters met first need the most rows, so that some number of the first
    ones goes to products.
    """
    first: dict[Node, int] = {}
    before = [0]
    for i, node in enumerate(nodes):
        for parent in node.parents:
            if parent is not None and parent in leaves:
                first.setdefault(parent, i)
        before.append(before[-1] + (math.prod(node.shape) if node.wants else 0))
    rows = [_row_count(node, batch) * size for node, size in zip(nodes, before, strict=False)]
    after = [0, *accumulate(reversed(rows))][::-1]  # the cost of all rows from node i on
    ordered = sorted(first, key=first.__getitem__)
    moved = [0, *accumulate(3 * products * math.prod(leaf.shape) * before[-1] for leaf in ordered)]
    costs = [
        by_products + (after[first[ordered[k]]] if k < len(ordered) else 0)
        for k, by_products in enumerate(moved)
    ]
    return set(ordered[costs.index(min(costs)) :])


def _row_count(node: Node, batch: Batch) -> int:
    """About how many rows start at a node."""
    slots = bends_in(node, batch)
    if not slots:
        return 0
    sizes = [math.prod(node.input_shape(slot)) // (batch.size or 1) for slot in slots]
    counts = blocks(node, slots)
    return sum(sizes) if counts is None else sum(counts) * (sizes[0] // counts[0])


class RowsThere(NamedTuple):
    """Of one operation that bends: about how many rows, and the bytes that they are made of.

    `made` is for all rows at once, `matrices` for those whose eigenvectors they are, 0 if none.
    """

    node: Node
    rows: int
    made: int
    matrices: int


def rows_there(nodes: Iterable[Node], batch: Batch) -> list[RowsThere]:
    """What signed rows take, operation by operation, in the order of recording."""
    found = []
    for node in nodes:
        count = _row_count(node, batch)
        if not count:
            continue
        slots = bends_in(node, batch)
        each = sum(math.prod(node.input_shape(i)) for i in slots) * working(node.dtype).itemsize
        plain = wanted(node) == [0] and loss_rule(node) is not None
        matrices = 0
        if not plain and blocks(node, slots) is None:
            matrices = 8 * count * each
        found.append(RowsThere(node, count, 4 * count * each, matrices))
    return found
