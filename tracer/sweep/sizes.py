"""Bytes of the stacks that reach a node."""

from __future__ import annotations

import math

from tracer.arrays.dtypes import working
from tracer.record.node import Node


def node_bytes(node: Node) -> int:
    return math.prod(node.shape) * working(node.dtype).itemsize


def entry_bytes(node: Node, slot: int) -> int:
    """Bytes of what a rule may make for an unbatched input before that is summed over samples."""
    shape, rank = node.input_shape(slot), len(node.input_shape(slot))
    return math.prod((*node.shape[: len(node.shape) - rank], *shape)) * working(node.dtype).itemsize
