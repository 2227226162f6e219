"""Where numbers become wider than the model's by accident, as float64 among float32.

A NumPy scalar such as `np.sqrt(d)` is of float64, and so is all that is computed with it from there
on: half as fast, in twice the memory. A Python number leaves the dtype as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tracer.arrays.types import DType
from tracer.graph.argument_names import argument_name
from tracer.graph.expressions import operand
from tracer.record import composite
from tracer.record.leaf_kinds import PARAMETER
from tracer.record.node import Node
from tracer.record.recorder import Recorder


class Widening(NamedTuple):
    """An operation whose result is wider than what it was given to compute with.

    `before` and `after` are dtypes, `by` says which input is the wide one, and `advice` what to
    write.
    """

    node: Node
    before: str
    after: str
    by: str
    advice: str

    def __str__(self) -> str:
        """`float32 becomes float64 at model.py:31 (divide, by the NumPy scalar np.sqrt(d)): ...`"""
        source, scope = self.node.source, self.node.place.scope
        where = f" at {source}" if source else f" in {scope}" if scope else ""
        return (
            f"{self.before} becomes {self.after}{where} ({self.node.op.name}, by {self.by}): "
            f"{self.advice}"
        )


def precision_changes(tape: Recorder) -> list[Widening]:
    """Where the precision of what `tape` recorded changes by accident, in order.

    That is at an operation whose result is wider than all its inputs that want a gradient (or, if
    none does, than all tensors among them) because another input is: a constant, or data in float64
    in a model of float32. What follows is not listed, nor is what was asked for, as by `astype`.
    One expression is listed once.
    """
    seen = set()
    found = []
    for each in widenings(composite.recorded(tape)):
        key = (each.node.code, each.node.lasti, each.node.place.scope, each.by)
        if key not in seen:
            seen.add(key)
            found.append(each)
    return found


def widenings(nodes: Iterable[Node]) -> Iterator[Widening]:
    """The operations at which numbers become wider, without those that go on from them."""
    wide: set[Node] = set()
    for node in nodes:
        if node.dtype.kind != "f" or node.op.leaf:
            continue
        if any(p in wide and p.dtype.itemsize >= node.dtype.itemsize for p in node.parents if p):
            wide.add(node)
            continue
        found = _widening(node)
        if found is not None:
            wide.add(node)
            yield found


def _widening(node: Node) -> Widening | None:
    tensors = [p for p in node.parents if p is not None and p.dtype.kind == "f"]
    own = [p.dtype for p in tensors if p.wants] or [p.dtype for p in tensors]
    if not own:
        return None
    before = max(own, key=_size)
    if _size(node.dtype) <= _size(before):
        return None
    for slot, parent in enumerate(node.parents):
        given = parent.dtype if parent is not None else getattr(node.inputs[slot], "dtype", None)
        if given is None or given.kind != "f" or _size(given) <= _size(before):
            continue
        if parent is None or not parent.wants:
            by, advice = _told(node, slot, before)
            return Widening(node, str(before), str(node.dtype), by, advice)
    return None


def _size(dtype: DType) -> int:
    return int(dtype.itemsize)


def _told(node: Node, slot: int, before: DType) -> tuple[str, str]:
    """Which input is wide, and what keeps the dtype."""
    parent, value = node.parents[slot], node.inputs[slot]
    written = operand(node, slot)
    if parent is None and not value.ndim:
        by = f"the NumPy scalar {written}" if written else "a NumPy scalar"
        return by, f"float({written or '...'}) keeps {before}"
    name = written or argument_name(node, slot, value if parent is None else None)
    kind = "an array"
    if parent is not None:
        name = parent.params.get("name") or name if parent.op.leaf else name
        kind = "a frozen parameter" if parent.op is PARAMETER else "an input"
        if not parent.op.leaf:
            kind = f"the result of {parent.op.name}"
    dtype = parent.dtype if parent is not None else value.dtype
    by = f"{name}, {kind} of {dtype}" if name else f"{kind} of {dtype}"
    return by, f"{name or '...'}.astype(np.{before}) keeps {before}"
