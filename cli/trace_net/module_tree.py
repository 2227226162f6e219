"""What each module of a traced model costs, as a tree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracer.extend import ModuleCall, Node, Tape

#: the paths and classes of a module and of those around it, the outermost first
Key = tuple[tuple[str, str], ...]


@dataclass
class Row:
    """A module, or a `tracer.scope`, in all its calls: what it and all in it cost.

    `shape` is that of its last value that others use. A parameter is counted where it is first
    used, as `trainable` or as `frozen`. `bytes` are those of all values that are computed, `kept`
    those that the record keeps for a sweep, `multiply_adds` half the FLOPs of operations that count
    theirs.
    """

    path: str
    kind: str
    depth: int
    shape: tuple[int, ...] = ()
    trainable: int = 0
    frozen: int = 0
    multiply_adds: int = 0
    flops: int = 0
    bytes: int = 0
    kept: int = 0
    numbers: set[int] = field(default_factory=set)

    @property
    def calls(self) -> int:
        """How often it was called."""
        return max(1, len(self.numbers))


def module_rows(tape: Tape, model: str) -> list[Row]:
    """The model itself, and each module in it below the one that calls it, in order of calls."""
    rows: dict[Key, Row] = {(): Row("", model, 0)}
    counted: set[int] = set()
    for node in tape.recorded():
        if node.op.leaf:
            continue
        trainable, frozen = _parameters(node, counted)
        kept = sum(_kept(node, counted))
        key: Key = ()
        found = [rows[key]]
        for call in _calls(node):
            key = (*key, (call.called.scope, call.called.kind))
            if key not in rows:
                rows[key] = Row(call.called.scope, call.called.kind, len(key))
            rows[key].numbers.add(id(call))
            found.append(rows[key])
        for row in found:
            row.shape = node.shape  # of what is not used outside
            row.trainable += trainable
            row.frozen += frozen
            row.flops += node.flops
            row.multiply_adds += node.flops // 2 if node.op.flops else 0
            row.bytes += math.prod(node.shape) * node.dtype.itemsize
            row.kept += kept
    for key, shape in _leaving(tape):
        rows[key].shape = shape
    return [rows[key] for key in sorted(rows, key=_order(rows))]


def _leaving(tape: Tape) -> Iterator[tuple[Key, tuple[int, ...]]]:
    """The shapes of what leaves modules, in the order in which that was computed."""
    left: dict[int, tuple[Node, set[int]]] = {}
    for node in tape.recorded():
        inside = set(map(id, _calls(node)))
        for parent in node.parents:
            if parent is None or parent.op.leaf:
                continue
            beyond = {id(call) for call in _calls(parent)} - inside
            if beyond:
                left.setdefault(id(parent), (parent, set()))[1].update(beyond)
    for node in tape.recorded():
        if id(node) in left:
            key: Key = ()
            for call in _calls(node):
                key = (*key, (call.called.scope, call.called.kind))
                if id(call) in left[id(node)][1]:
                    yield key, node.shape


def _order(rows: dict[Key, Row]) -> Callable[[Key], list[int]]:
    """Depth first, each level in the order of first calls."""
    numbers = {key: number for number, key in enumerate(rows)}
    return lambda key: [numbers[key[: depth + 1]] for depth in range(len(key))]


def _calls(node: Node) -> list[ModuleCall]:
    """The calls that a node was recorded in, the outermost first."""
    chain, call = [], node.place.call
    while call is not None:
        chain.append(call)
        call = call.parent
    return chain[::-1]


def _parameters(node: Node, counted: set[int]) -> tuple[int, int]:
    """Elements of the parameters that `node` is the first to use: trainable, and frozen."""
    from tracer.extend import PARAMETER, origin_of

    sizes = [0, 0]
    for parent in node.parents:
        if parent is None or parent.op is not PARAMETER or id(origin_of(parent)) in counted:
            continue
        counted.add(id(origin_of(parent)))
        sizes[not parent.wants] += math.prod(parent.shape)
    return sizes[0], sizes[1]


def _kept(node: Node, counted: set[int]) -> Iterator[int]:
    """Bytes of the values, but for those of leaves, that `node` is the first to keep."""
    computed = [
        value
        for value, parent in zip(node.inputs, node.parents, strict=True)
        if parent is not None and parent.parents
    ]
    for value in (node.output, node.kept, *computed):
        if hasattr(value, "nbytes") and id(value) not in counted:
            counted.add(id(value))
            yield int(value.nbytes)
