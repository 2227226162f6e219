"""Where what was computed beside the record comes from."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tracer.arrays.types import Array
from tracer.record.frames import INTERNAL_FILES
from tracer.record.leaf_kinds import CONSTANT, INPUT
from tracer.record.node import Node, Params, new_node
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
    inputs = tuple([x if p is None else None for x, p in zip(arrays, parents, strict=True)])
    code, lasti = frame.f_code, frame.f_lasti
    origin = new_node(
        op, out, params, parents=tuple(parents), inputs=inputs, code=code, lasti=lasti
    )
    return new_node(CONSTANT, out, {"name": None, "of": origin}, code=code, lasti=lasti)


INTERNAL_FILES.add(__file__)
