"""Where operations bend: which of them are linear, and which bend several samples together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tracer.record.axes import POOLED, SAMPLED
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.real_parts import is_complex


def wanted(node: Node) -> list[int]:
    """The slots whose inputs want a gradient."""
    return [i for i, parent in enumerate(node.parents) if parent is not None and parent.wants]


def is_linear(node: Node, slots: Iterable[int]) -> bool:
    """Whether an operation is linear in these inputs together."""
    slots = list(slots)
    return node.op.linear or (len(slots) == 1 and slots[0] in node.op.linear_in)


def is_straight(node: Node, slots: Iterable[int]) -> bool:
    """Whether the second derivatives by these inputs vanish wherever they exist."""
    slots = list(slots)
    pieces = node.op.piecewise_linear and not any(is_complex(node.parents[i]) for i in slots)
    return pieces or is_linear(node, slots)


def bends_across(node: Node, batch: Batch) -> bool:
    """Whether an operation bends along the samples' axis, as `log_softmax(z, axis=0)` does.

    Its second derivatives are then between samples, too. A product that contracts the axis is a
    sum over samples.
    """
    slots = wanted(node)
    if batch.axes.get(node) is not POOLED or is_straight(node, slots):
        return False
    along = {slot for slot in slots if isinstance(batch.axis(node.parents[slot]), SAMPLED)}
    contracts = set(slots) == along <= set(node.op.linear_in)
    return bool(along) and not contracts


def bends_together(nodes: Sequence[Node], batch: Batch) -> Node | None:
    """The first of these operations that makes their last one no sum over samples, if any.

    It bends along the samples' axis, or what depends on several of them already.
    """
    for node in leading_to(nodes):
        slots = wanted(node)
        pooled = any(batch.axis(node.parents[slot]) is POOLED for slot in slots)
        if bends_across(node, batch) or (pooled and not is_straight(node, slots)):
            return node
    return None


def leading_to(nodes: Sequence[Node]) -> list[Node]:
    """The nodes that the last one depends on, and itself."""
    needed: set[Node | None] = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.parents)
    return [node for node in nodes if node in needed]


def bends_in(node: Node, batch: Batch) -> list[int]:
    """The slots of the samples' inputs that an operation bends in: none where it is straight."""
    slots = [i for i in wanted(node) if isinstance(batch.axis(node.parents[i]), SAMPLED)]
    return [] if is_straight(node, slots) else slots
