"""Chains: bottlenecks, which all of a sweep passes through, and the segments between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tracer.arrays.types import Stack
from tracer.record.axes import SAMPLED
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.real_parts import is_complex
from tracer.sweep.sweep import Sweep


def bottlenecks(nodes: Sequence[Node], seeds: Mapping[Node, Any], batch: Batch) -> list[Node]:
    """The tensors of samples that a sweep of `seeds` passes alone, in its order.

    Between two of those, as in a residual block, there are several ways; where one of them has
    come to its end there are no further bottlenecks. One row is swept to see.
    """

    def of_samples(some: Iterable[Node | None]) -> bool:
        return any(
            n is not None and n.wants and isinstance(batch.axes.get(n), SAMPLED) for n in some
        )

    found: list[Node] = []
    ended: list[Node] = []

    def visit(node: Node, g: Stack, others: Iterable[Node]) -> Any:
        alone = not of_samples(others)
        if not alone and not of_samples(node.parents):
            ended.append(node)
        plain = isinstance(batch.axis(node), int)  # where each entry is one sample
        if plain and not is_complex(node) and alone and not ended:
            found.append(node)
        return g

    row = {node: stack[:1] for node, stack in seeds.items()}
    Sweep(list(nodes), row, batch=batch, complete=lambda *_: None, visit=visit).run()
    return found


def segments(nodes: Sequence[Node], found: Sequence[Node], batch: Batch) -> list[list[Node]]:
    """The operations above the first bottleneck, between each two, and below the last, in order.

    With each segment come the operations on parameters alone that lead to it.
    """
    index: dict[Node, int] = {node: i for i, node in enumerate(nodes)}

    def segment(start: int, stop: int) -> list[Node]:
        inside = {n for n in nodes[start:stop] if isinstance(batch.axes.get(n), SAMPLED)}
        waiting = list(inside)
        while waiting:
            for parent in waiting.pop().parents:
                if parent is None or parent in inside or parent not in index:
                    continue
                if not isinstance(batch.axes.get(parent), SAMPLED):
                    inside.add(parent)
                    waiting.append(parent)
        return sorted(inside, key=index.__getitem__)

    stops = [len(nodes), *(index[bottleneck] + 1 for bottleneck in found), 0]
    return [segment(start, stop) for stop, start in pairwise(stops)]


def shared_parameters(found: Sequence[Sequence[Node]]) -> set[Node]:
    """The parameters that several segments use."""
    seen: set[Node] = set()
    twice: set[Node] = set()
    for segment in found:
        leaves = {p for node in segment for p in node.parents if p is not None and p.op.leaf}
        twice |= leaves & seen
        seen |= leaves
    return {leaf for leaf in twice if leaf.wants}
