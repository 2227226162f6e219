"""Composites: one operation in place of many, which a record has back where they are asked for.

A loop over time records several operations a step, each of which costs a microsecond and keeps
arrays of its own. A composite records the whole loop as one operation, whose rules work on plain
arrays. What looks at the record itself (a graph), differentiates twice (the Hessian) or goes from
operation to operation (`kfra`) sees the steps: `expanded` records them in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer.operation import INTERNAL_FILES, Operation
from tracer.sweep import forget
from tracer.tape import Node, Tape, current_tape, using
from tracer.tensor import Tensor

INTERNAL_FILES.add(__file__)


class Composite(Operation):
    """An operation that stands for several; `composed` records it and its parts.

    `forward` gives one array, the outputs being parts of it. In place of a stack, `vjp` and
    `parameter_cotangent` take what `pull` makes. Functions of a subclass, besides those:

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
    """Whether these inputs may go through a composite: NumPy arrays of one dtype, not watched.

    On a tape within another they may not, since what they record there is differentiated again.
    """
    tape = current_tape()
    if tape is not None and (tape.parent is not None or tape.watched is not None):
        return False
    arrays = [x.data if isinstance(x, Tensor) else x for x in inputs if x is not None]
    return all(type(x) is np.ndarray and x.dtype == arrays[0].dtype for x in arrays)


def composed(op: Composite, *inputs: Any, **params: Any) -> list[Any]:
    """The outputs of a composite. Tensors on a tape record it and, right behind it, its parts.

    Where it fails, its steps are run in its place: their error says which of them is the reason.
    """
    try:
        whole = op(*inputs, **params)
    except Exception:
        whole = None
    if whole is None:
        return list(op.steps(*inputs, **params))
    tape, indices = current_tape(), op.parts(**params)
    if isinstance(whole, Tensor) and whole.node is not None and tape is not None:
        tape.composites = True
        return [whole[index] for index in indices]
    values = whole.data if isinstance(whole, Tensor) else whole
    parts = [np.array(values[index]) for index in indices]  # copies, which let go of the rest
    return [Tensor(part, None) for part in parts] if isinstance(whole, Tensor) else parts


class _Expanded(Operation):
    """Where a composite was: `params["nodes"]` are what it stood for, its parts among them."""


_EXPANDED = _Expanded("expanded")


def condensed(nodes: list[Node]) -> list[Node]:
    """`nodes` with what composites stood for in the place of those that were expanded."""
    found: list[Node] = []
    parts = 0
    for node in nodes:
        if node.op is _EXPANDED:
            found += node.params["nodes"]
            parts = node.params["parts"]
        elif parts:
            parts -= 1
        else:
            found.append(node)
    return found


def expanded(nodes: list[Node]) -> list[Node]:
    """`nodes` with all composites as the operations that they stand for."""
    for i, node in enumerate(nodes):
        if node.op.composite:
            _expand(node, nodes[i + 1 : i + 1 + len(node.op.parts(**node.params))])  # type: ignore[attr-defined]
    return condensed(nodes)


def _expand(node: Node, parts: list[Node]) -> None:
    """Record the steps of a composite. Its parts become the nodes of its outputs.

    Where a sweep has dropped the inputs, zeros take their place: only the shape of the record
    counts then, and a later sweep replays it from the leaves.
    """
    saved = node.inputs or (None,) * len(node.parents)
    dropped = any(x is None and p is not None for x, p in zip(saved, node.parents, strict=True))
    inputs = [
        x if p is None else Tensor(np.zeros(p.shape, p.dtype) if x is None else x, p)
        for x, p in zip(saved, node.parents, strict=True)
    ]
    scratch = Tape()
    scratch.place = node.place
    with using(scratch):
        outputs = node.op.steps(*inputs, **node.params)  # type: ignore[attr-defined]
    own = {output.node: part for output, part in zip(outputs, parts, strict=True)}
    for step, part in own.items():
        for name in Node.__slots__:
            setattr(part, name, getattr(step, name))
    steps = [own.get(step, step) for step in scratch.nodes]
    for step in steps:
        step.code, step.lasti = node.code, node.lasti
        step.parents = tuple([own.get(p, p) for p in step.parents])  # type: ignore[arg-type]
        if dropped:
            forget(step)
    node.op, node.params = _EXPANDED, {"nodes": steps, "parts": len(parts)}
    node.parents, node.inputs, node.output = (), None, None
