"""Where what was computed beside the record comes from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tracer.arrays.types import Array
from tracer.record.frames import INTERNAL_FILES
from tracer.record.leaf_kinds import CONSTANT, INPUT
from tracer.record.node import Node, Params
from tracer.record.place import NOWHERE
from tracer.record.rules import Rules


def may_have_samples(node: Node | None) -> bool:
    """Whether a node is more than a parameter."""
    return node is not None and (not node.op.leaf or node.op is INPUT or node.op is CONSTANT)


def origin_of(
    op: Rules,
    parents: Sequence[Node | None],
    arrays: Sequence[Any],
    params: Params,
    out: Array,
) -> Node:
    """A leaf for what was computed without being recorded, which knows what of."""
    frame: Any = sys._getframe(1)
    while frame.f_code.co_filename in INTERNAL_FILES:
        frame = frame.f_back
    origin, leaf = Node(), Node()
    for node in (origin, leaf):
        node.output, node.wants, node.place = None, False, NOWHERE
        node.shape, node.dtype = out.shape, out.dtype
        node.code, node.lasti = frame.f_code, frame.f_lasti
    origin.op, origin.params, origin.parents = op, params, tuple(parents)
    origin.inputs = tuple([x if p is None else None for x, p in zip(arrays, parents, strict=True)])
    leaf.op, leaf.params = CONSTANT, {"name": None, "of": origin}
    leaf.parents, leaf.inputs = (), ()
    return leaf


INTERNAL_FILES.add(__file__)
