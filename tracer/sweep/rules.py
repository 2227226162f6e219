"""Rules as a sweep calls them: the node as they see it, and what they return, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from tracer.arrays.types import Shape, Stack
from tracer.blame import raised
from tracer.errors import ShapeError, TracerError, TracingError
from tracer.guarded import of_others
from tracer.record.axes import Axis, ungrouped
from tracer.record.describe import describe
from tracer.record.node import Node
from tracer.record.recorder import Recorder, current_tape
from tracer.record.recording import FLOAT32, FLOAT64
from tracer.record.tensor import Tensor
from tracer.record.unsaved import unsaved
from tracer.sweep.placed import Placed
from tracer.sweep.real_parts import real_where_inputs_are
from tracer.sweep.scattered import Picked, Scattered

#: an entry of a vjp: no gradient, a stack, one that is zero but at an index or where something was
#: taken from, or what gives these
Entry: TypeAlias = Stack | Placed | Scattered | Callable[[], Any] | None
#: is called with each node that a sweep comes to, what has arrived there and the nodes that are
#: still to come; gives what goes on from there
Visitor: TypeAlias = Callable[[Node, Any, Iterable[Node]], Any]
#: a node as a rule sees it
View: TypeAlias = "Node | Recorded | Sampled | Captured | Picked"


class Recorded:
    """A node as its rules see it while the sweep itself is recorded: values are tensors."""

    __slots__ = ("inputs", "node", "output")

    kept = None  # an array, in which derivatives would be lost

    def __init__(self, node: Node):
        self.node = node
        self.output = None if node.output is None else Tensor(node.output, node)
        self.inputs = tuple(
            [
                x if p is None or x is None else Tensor(x, p)
                for x, p in zip(node.inputs, node.parents)  # noqa: B905
            ]
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def attribute(recorded: Iterable[Node], node: Node) -> None:
    """Let what a rule of `node` recorded name the line of the user's that the node is of."""
    for made in recorded:
        if made.code is not None:
            made.code, made.lasti = node.code, node.lasti


class Attribution:
    """Lets what rules record, one node after the other, name the line that the node is of."""

    __slots__ = ("_node", "_start", "_tape")

    def __init__(self) -> None:
        self._node: Node | None = None
        self._tape: Recorder | None = None
        self._start = 0

    def view(self, node: Node) -> Recorded:
        """The node as its rules see it; what they record, from now on, is on its line."""
        self.end()
        self._node, self._tape = node, current_tape()
        self._start = 0 if self._tape is None else len(self._tape.nodes)
        return Recorded(node)

    def end(self) -> None:
        """What is recorded from now on is of no rule."""
        if self._node is not None and self._tape is not None:
            attribute(self._tape.nodes[self._start :], self._node)
        self._node = None


class Sampled:
    """A node with the axes of its samples, by their positions, for `parameter_cotangent`."""

    __slots__ = ("batch_axes", "batch_axis", "node")

    def __init__(self, node: Node | Recorded, axis: Axis, axes: list[Axis]):
        self.node = node
        self.batch_axis, *self.batch_axes = ungrouped((axis, *axes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def fitted(entry: Stack | Scattered, node: Node, parent: Node, rows: int) -> Stack:
    """An entry of a vjp of `node` as a stack `[V, *parent.shape]`. Raises `ShapeError`."""
    try:
        entry = entry.dense() if isinstance(entry, Scattered) else entry
        if len(entry) != rows:
            raise ValueError(f"{len(entry)} rows for {rows} of the cotangent")
        return fit(entry, parent.shape)
    except Exception as error:
        given = describe(entry)
        raise ShapeError(
            f"the vjp of {node!r} ({node.source or 'unknown line'}) returned {given} for an input "
            f"of shape {list(parent.shape)}: entries are stacks [V, *input.shape]"
        ) from error


def fit(g: Any, shape: Shape) -> Any:
    """A stack of the broadcast shape as a stack of `shape`: summed where it was broadcast.

    Leading axes of length 1, as stacks of one row have in a sweep that is itself swept, are
    dropped: a sum over them would copy, and its derivative be broadcast.
    """
    lead = g.ndim - 1 - len(shape)
    if lead > 0:
        sizes = g.shape
        if math.prod(sizes[1 : lead + 1]) == 1:
            g = g.reshape(sizes[0], *sizes[lead + 1 :])
        else:
            g = g.sum(axis=tuple(range(1, lead + 1)))
    elif lead < 0:
        g = g.reshape(g.shape[0], *(1,) * -lead, *g.shape[1:])
    axes = tuple(i + 1 for i, n in enumerate(shape) if n == 1 and g.shape[i + 1] != 1)
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    if g.shape[1:] != shape:
        g = np.broadcast_to(g, (g.shape[0], *shape))
    return g


def cotangents_of(view: View, node: Node, g: Stack | Tensor) -> Sequence[Any]:
    """What the operation's `vjp` returns, checked for its length."""
    try:
        entries = node.op.vjp(view, g)
    except Exception as error:
        raise in_rule(error, node, g) from error
    if entries.__class__ is not tuple and not isinstance(entries, tuple | list):
        raise ShapeError(
            f"the vjp of {node.op.name} returned {describe(entries)}: return a tuple of one entry "
            f"per input, as in `return (g * 2,)`"
        )
    if len(entries) != len(node.parents):
        raise ShapeError(
            f"the vjp of {node.op.name} returned {len(entries)} entries for "
            f"{len(node.parents)} inputs: return one per input, None for no gradient"
        )
    dtype = node.dtype
    if dtype is not FLOAT64 and dtype is not FLOAT32 and dtype.kind == "c":
        return real_where_inputs_are(entries, node)
    return entries


def in_rule(error: Exception, node: Node, g: Stack | Tensor, rule: str = "vjp") -> Exception:
    """An error that a rule raised, with the operation that it is of; see `recording.explain`."""
    if rule == "vjp" and not hasattr(node.op, "vjp"):
        return TracingError(f"operation {node.op.name} has no vjp: define vjp(node, g)")
    where = f"the {rule} of {node!r} ({node.source or 'unknown line'})"
    called, stack = getattr(node.op, rule), "cotangent" if rule == "vjp" else "tangent"
    if (plugin := of_others(node.op)) is not None and not isinstance(error, TracerError):
        return raised(plugin, where, unsaved(error, "the rule", called, node) or error)
    if (told := unsaved(error, where, called, node)) is not None:
        return told
    given = f"of shape {list(g.shape)} ([V, *output])" if hasattr(g, "shape") else "of parts"
    if type(error) in (ValueError, IndexError, TypeError, AttributeError):
        return ShapeError(f"{where}, given a {stack} {given}: {error}")
    error.add_note(f"in {where}, given a {stack} {given}")
    raise error


def evaluated(entry: Callable[[], Any], node: Node, g: Stack) -> Any:
    """An entry that a vjp gave as a function."""
    try:
        return entry()
    except Exception as error:
        raise in_rule(error, node, g) from error


def entry_value(entry: Entry) -> Any:
    """An entry of a vjp as a stack: evaluated if it is a function, whole if it is placed."""
    if entry.__class__ is FunctionType:
        entry = entry()
    return entry.dense() if entry.__class__ in (Placed, Scattered) else entry  # type: ignore


def passed_through(node: Node, entry: Scattered) -> Scattered | None:
    """The cotangent of the input of a node that `takes_scattered`; None if it is made first."""
    if node.op.through is not None:
        passed = node.op.through(node, entry)
        assert passed is None or isinstance(passed, Scattered)
        return passed
    assert entry.picked is not None
    pulled = cotangents_of(Picked(node, entry.picked), node, entry.values)[0]
    values = entry_value(pulled)
    return None if values is None else Scattered(values, None, entry.placement)


class Captured:
    """A node with the values that it has now, for rules that run when a sweep has passed it."""

    __slots__ = ("inputs", "kept", "node", "output")

    def __init__(self, node: Node):
        self.node = node
        self.inputs, self.output, self.kept = node.inputs, node.output, node.kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)
