"""Nodes of the record: one recorded operation, or a leaf."""

from __future__ import annotations

import math
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeAlias

from tracer.arrays.types import Array, DType, Shape
from tracer.record.frames import source_line
from tracer.record.place import NOWHERE, Place

if TYPE_CHECKING:
    from tracer.record.rules import Rules

#: the inputs of an operation, None for those that are constants
Parents: TypeAlias = "tuple[Node | None, ...]"
#: the options that an operation was called with, or what a leaf knows of itself
Params: TypeAlias = dict[str, Any]


class Node:
    """One recorded operation, or a leaf (`op.leaf` is true; it has no parents).

    `parents` holds a node or None (a constant) per input. `inputs` and `output` hold the raw
    arrays that the rules of `op` read. Instead of an array there is None where `op.saves` does not
    name them, and after a sweep has passed; constants and leaves stay among the inputs. `kept` is
    what `op.forward_keeping` gave for the rules, None where there is none or it was dropped.

    `params` are the options that the operation was called with, by keyword; what was left to its
    default is not among them, so that rules write `node.params.get("beta", 1.0)`. Options that are
    arrays are the record's own. NumPy's functions are recorded with what they mean: `np.sum(x)` has
    the axes, negative, as its `axis`. Of a leaf, `params` hold its `name`, and `axis`, where the
    samples are in an input. They are there to be read.

    All but recorded operations are made by `new_node`. There is no constructor: recording fills
    nodes in, which takes half the time.
    """

    __slots__ = (
        "code",
        "dtype",
        "inputs",
        "lasti",
        "op",
        "output",
        "params",
        "parents",
        "place",
        "shape",
        "wants",
    )

    op: Rules
    parents: tuple[Node | None, ...]
    inputs: tuple[Any, ...]
    params: Params
    output: Any
    kept: Any = None
    shape: Shape
    dtype: DType
    place: Place
    code: CodeType | None
    lasti: int
    wants: bool

    def input_shape(self, slot: int) -> Shape:
        """Shape of an input that wants a gradient, whether or not it was saved."""
        parent = self.parents[slot]
        if parent is not None:
            return parent.shape
        return getattr(self.inputs[slot], "shape", ())

    @property
    def source(self) -> str | None:
        """`file.py:12`, the user's line that recorded this node."""
        return None if self.code is None else source_line(self.code, self.lasti)

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward call; one an element where no rule says more."""
        count = self.op.flops
        return 0 if self.op.leaf else math.prod(self.shape) if count is None else int(count(self))

    @property
    def label(self) -> str:
        """The name of a leaf, or of the operation."""
        return self.params.get("name") or self.op.name if self.op.leaf else self.op.name

    def __repr__(self) -> str:
        where = f" in {self.place.scope}" if self.place.scope else ""
        return f"<{self.label} {self.dtype}{list(self.shape)}{where}>"


class KeepingNode(Node):
    """A node with something that its rules go on from."""

    __slots__ = ("kept",)


def new_node(
    op: Rules,
    like: Node | Array,
    params: Params,
    *,
    kind: type[Node] = Node,
    parents: Parents = (),
    inputs: tuple[Any, ...] = (),
    wants: bool = False,
    code: CodeType | None = None,
    lasti: int = 0,
) -> Any:
    """A node of no place in a model, of the shape and dtype of `like`: a leaf without `parents`."""
    node = kind()
    node.op, node.params, node.wants = op, params, wants
    node.parents, node.inputs, node.output = parents, inputs, None
    node.shape, node.dtype = like.shape, like.dtype
    node.place, node.code, node.lasti = NOWHERE, code, lasti
    return node
