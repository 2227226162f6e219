"""Raw data that nobody marked: which operations have them, and which sum over their entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tracer.arrays import backend
from tracer.record.axes import POOLED, SAMPLED, UNKNOWN, SampleAxis
from tracer.record.axis_rules import through
from tracer.record.batching import Batch
from tracer.record.leaf_kinds import CONSTANT, VARIABLE
from tracer.record.node import Node
from tracer.sweep.tangents import descendants


def summed_over(nodes: Sequence[Node], count: int) -> set[Node]:
    """The nodes that sum over an axis of `count` entries that a constant brought, or have it.

    So does a loss of raw data `[N, I]`, as in `np.mean((data @ w)**2)`: it is taken for one of
    samples, and refused rather than left out. Not so where parameters have that axis, too, as in
    `w - w0`, or are summed over with it, as in `w @ precision @ w`.
    """
    return _followed(nodes, count)[0] if count > 1 else set()


def unmarked_term(nodes: Sequence[Node], batch: Batch) -> Node | None:
    """A term of the last of `nodes` that has raw data for samples, beside those of a batch.

    That is a registered loss of as many rows as there are samples, which depends on data with an
    axis of as many entries, or plain code that sums over such an axis. None if there is none.
    """
    return next((node for node, _ in _terms_of_data(nodes, batch, batch.sizes)), None)


def unmarked_terms_of_other_lengths(nodes: Sequence[Node], batch: Batch) -> list[tuple[Node, int]]:
    """The same of data with another number of entries than there are samples, and this number.

    Whether these are samples, or belong to a penalty as the rows of `A` in `np.sum((A @ w)**2)`
    do, is not known.
    """
    return _terms_of_data(nodes, batch, None)


def _terms_of_data(
    nodes: Sequence[Node], batch: Batch, sizes: Iterable[int] | None
) -> list[tuple[Node, int]]:
    """Terms that have axes of raw data of these sizes for samples; of all but `batch.sizes`."""
    alone = [node for node in nodes if not _is_sampled(node, batch)]
    terms = _reached_alone(nodes, batch) & set(alone)
    if sizes is None and terms:
        sizes = _lengths_of_data(alone) - {1, *batch.sizes}
    found = []
    for size in sizes or () if terms else ():
        summed, brought = _followed(alone, size)
        of_data = descendants(alone, set(brought))
        for node in alone:
            prediction = node.parents[0] if node.op.loss else None
            rows = prediction is not None and prediction.wants and prediction.shape[:1] == (size,)
            if node in terms and (node in summed or (rows and prediction in of_data)):
                found.append((node, size))
    return found


def made_of_arrays(nodes: Sequence[Node]) -> set[Node]:
    """What comes of constants that are no numbers, or of indices that are arrays."""
    using = {
        node
        for node in nodes
        if any(_is_data(p) and node.input_shape(slot) for slot, p in enumerate(node.parents))
        or _holds_array(tuple(node.params.values()))
    }
    return descendants(nodes, using)


def _holds_array(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_array, value))
    return backend.is_array(value)


def _lengths_of_data(nodes: Iterable[Node]) -> set[int]:
    """How long the axes of arrays are that these operations are of."""
    return {
        size
        for node in nodes
        for slot, parent in enumerate(node.parents)
        if _is_data(parent)
        for size in node.input_shape(slot)
    }


def term_of_arrays(nodes: Sequence[Node], batch: Batch, arrays: Sequence[Any]) -> Node | None:
    """A term of the last of `nodes` that is of no sample, and of one of these constants."""
    held = {id(array) for array in arrays}
    alone = [node for node in nodes if not _is_sampled(node, batch)]
    using = {
        node
        for node in alone
        for parent, array in zip(node.parents, node.inputs, strict=True)
        if parent is None and id(array) in held
    }
    of_them = using | descendants(alone, using)
    return next((node for node in alone if node in of_them & _reached_alone(nodes, batch)), None)


def _reached_alone(nodes: Sequence[Node], batch: Batch) -> set[Node]:
    """What wants a gradient and leads to the last of `nodes` past all that is of single samples."""
    reached = {nodes[-1]} if nodes else set()
    for node in reversed(nodes):
        if node in reached and batch.axis(node) in (None, POOLED):
            reached.update(p for p in node.parents if p is not None and p.wants)
    return reached


def _is_sampled(node: Node, batch: Batch) -> bool:
    """Whether a node has marked samples, or an input of it."""
    return batch.axis(node) is not None or any(axis is not None for axis in batch.axes_of(node))


def _followed(nodes: Sequence[Node], count: int) -> tuple[set[Node], dict[Node | None, SampleAxis]]:
    """What sums over an axis of `count` entries of constants, and where that is in what has it."""
    brought: dict[Node | None, SampleAxis] = {}
    found: set[Node] = set()
    for node in nodes:
        parents = node.parents
        if node.op.batch_axis is None or node.op.loss:
            continue
        axes = [brought.get(parent) for parent in parents]
        given_slots = [i for i, p in enumerate(parents) if _is_data(p)]
        others = [i for i, axis in enumerate(axes) if axis is None and i not in given_slots]
        if any(axis is not None for axis in axes):
            axis = through(node, axes)
            if axis is UNKNOWN or (axis is POOLED and not others):
                summed: list[Any] = [node]
                while summed:
                    last = summed.pop()
                    found.add(last)
                    summed += [p for p in last.parents if p in brought and p not in found]
            given = {axis} if isinstance(axis, SAMPLED) else set()
        else:
            given = _axes_given(node, given_slots, count)
        if given:
            given -= _axes_given(node, others, count)
        if given:
            brought[node] = given.pop()
    return found, brought


def _is_data(node: Node | None) -> bool:
    """Whether an input is an array by itself, as what a transform inside took derivatives by is."""
    return node is None or node.op is CONSTANT or (node.op is VARIABLE and not node.wants)


def _axes_given(node: Node, slots: Iterable[int], size: int) -> set[SampleAxis]:
    """The axes of the output that axes of this size of some inputs become."""
    found: set[SampleAxis] = set()
    for slot in slots:
        for own, length in enumerate(node.input_shape(slot)):
            if length == size:
                axes = [own if i == slot else None for i in range(len(node.parents))]
                axis = through(node, axes)
                if isinstance(axis, SAMPLED) and node.shape[axis] == size:  # not what it spreads to
                    found.add(axis)
    return found
