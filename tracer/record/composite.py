"""Composites: one operation in place of many, which a record has back where they are asked for.

A loop over time records several operations a step, each of which costs a microsecond and keeps
arrays of its own. A composite records the whole loop as one operation, whose rules work on plain
arrays. What looks at the record itself (a graph), differentiates twice (the Hessian) or goes from
operation to operation (`kfra`) sees the steps: `expanded` records them in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays.types import Array
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.operation import Operation
from tracer.record.recorder import Recorder, current_tape, rerecording, using
from tracer.record.replay import forget
from tracer.record.tensor import Tensor

INTERNAL_FILES.add(__file__)


class Composite(Operation):
    """An operation that stands for several; `composed` records it and its parts.

    `forward` gives one array, the outputs being parts of it. In place of a stack, `vjp` and
    `parameter_cotangent` take what `pull` makes. Where `batch_axis` says UNKNOWN, sweeps that
    follow samples take the steps. Functions of a subclass, besides those:

    - `parts(**params) -> indices`: where the outputs lie in the array, as tuples for `getitem`.
    - `steps(*inputs, **params) -> outputs`: the same by the operations that it stands for.
    - `pull(node, cotangents) -> g`: from the cotangents of the parts, a stack `[V, *part]` or None
      for each of them.
    """

    composite = True

    parts: Callable[..., Sequence[Any]]
    steps: Callable[..., Sequence[Tensor]]
    pull: Callable[..., Any]


def composes(*inputs: Any) -> bool:
    """Whether these inputs may go through a composite: NumPy arrays (or None) of one dtype.

    On a watched tape they may not, since that keeps statistics of each step, nor on one that keeps
    the cotangents of each tensor, nor on a tape within another, whose sweeps are recorded: the
    rules of a composite work on plain arrays alone.
    """
    tape = current_tape()
    if tape is not None and (tape.parent is not None or tape.watched is not None):
        return False
    if tape is not None and tape.keeps_cotangents:
        return False
    arrays = [x._value if isinstance(x, Tensor) else x for x in inputs if x is not None]
    return all(type(x) is np.ndarray and x.dtype == arrays[0].dtype for x in arrays)


def composed(op: Composite, *inputs: Any, **params: Any) -> list[Any]:
    """The outputs of a composite. Tensors on a tape record it and, behind it, its parts.

    Outputs are copies: who keeps one does not keep the whole, and may write into it. In memory,
    their axes are in the order of the first input's, so that samples that came first are there.
    """
    try:
        whole = op(*inputs, **params)
    except Exception:
        op.steps(*inputs, **params)  # whose error says which of them is the reason
        raise
    parts = [whole[index] for index in op.parts(**params)]
    if not isinstance(whole, Tensor):
        return [_copied(part, inputs[0]) for part in parts]
    for part in parts:
        part._value = _copied(part._value, inputs[0])
    if whole.node is not None and (tape := current_tape()) is not None:
        tape.composites[whole.node] = [part.node for part in parts]
    return parts


def _copied(part: Array, first: Array | Tensor) -> Array:
    like = first._value if isinstance(first, Tensor) else first
    copied = np.empty_like(like, dtype=part.dtype, shape=part.shape)
    copied[...] = part
    return copied


class _Expanded(Operation):
    """Where a composite was: `params["nodes"]` are what it stood for, `params["parts"]` among them.

    The parts are still where they were recorded, too.
    """


_EXPANDED = _Expanded("expanded")


def recorded(tape: Recorder) -> list[Node]:
    """The nodes of a tape's own block, in the order of recording."""
    nodes = tape.nodes[tape.start : tape.stop]
    if not tape.composites:
        return nodes
    finish(tape.composites)
    return expanded(nodes, tape.composites)


def condensed(tape: Recorder) -> list[Node]:
    """The same, with composites in place of the operations that they stand for."""
    nodes = tape.nodes[tape.start : tape.stop]
    if not tape.composites:
        return nodes
    finish(tape.composites)
    return in_place(nodes)


def in_place(nodes: list[Node]) -> list[Node]:
    """`nodes` with what composites stood for in the place of those that were expanded."""
    found: list[Node] = []
    moved: set[Node] = set()
    for node in nodes:
        if node.op is _EXPANDED:
            found += node.params["nodes"]
            moved.update(node.params["parts"])
        elif node not in moved:
            found.append(node)
    return found


def expanded(nodes: list[Node], composites: Composites) -> list[Node]:
    """`nodes` with `composites`, each with the nodes of its parts, as what they stand for."""
    for node in nodes:
        if node.op.composite:
            composites[UNFINISHED] = _expansion(node, composites[node])
            finish(composites)
    return in_place(nodes)


#: the key in a tape's composites of an expansion that is being put in place
UNFINISHED = None

#: the parts of each composite of a tape, and an expansion that is being put in place
Composites: TypeAlias = dict[Node | None, Any]

#: the slots of nodes, and what they are to hold
Expansion = list[tuple[Node, dict[str, Any]]]


def finish(composites: Composites) -> None:
    """Put an expansion in place that was begun, and interrupted if others see it.

    A record that is half expanded would be wrong. Done again, it is the same.
    """
    for node, slots in composites.get(UNFINISHED, ()):
        for name, value in slots.items():
            setattr(node, name, value)
    composites.pop(UNFINISHED, None)


def _expansion(node: Node, parts: list[Node]) -> Expansion:
    """Record the steps of a composite. The nodes of its parts become those of the steps' outputs.

    So tensors that a program holds, and what was recorded of them, stay in the record.
    Where a sweep has dropped the inputs, zeros take their place: only the shape of the record
    counts then, and a later sweep replays it from the leaves.
    """
    pairs = list(zip(node.inputs, node.parents, strict=True))
    dropped = any(x is None and p is not None for x, p in pairs)
    inputs = [
        x if p is None else Tensor(np.zeros(p.shape, p.dtype) if x is None else x, p)
        for x, p in pairs
    ]
    scratch = rerecording()
    with using(scratch, node.place):
        outputs = node.op.steps(*inputs, **node.params)  # type: ignore[attr-defined]
    becomes: dict[Node | None, Node] = {
        output.node: part for output, part in zip(outputs, parts, strict=True)
    }
    for step in scratch.nodes:
        step.code, step.lasti = node.code, node.lasti
        step.parents = tuple([becomes.get(parent, parent) for parent in step.parents])
        if dropped:
            forget(step)
    expansion = [
        (part, {name: getattr(step, name) for name in Node.__slots__})
        for step, part in becomes.items()
    ]
    steps = [becomes.get(step, step) for step in scratch.nodes]
    gone = {"parents": (), "inputs": (), "output": None}
    return [
        *expansion,
        (node, {"op": _EXPANDED, "params": {"nodes": steps, "parts": parts}, **gone}),
    ]
