"""Functions that are recorded as one operation, whatever happens inside, with a rule of their own.

Their arguments and values may be nested. The leaves of floats are the inputs of the operation, and
so are tensors around the function that it takes. Several values lie in one array, one behind the
other, which is taken apart again. A rule works on one row, in arrays of the shapes that the
function gave; the operation does so for the rows of a stack.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tracer.api.closures import plainly
from tracer.arrays import backend
from tracer.arrays.trees import Structure, flatten
from tracer.arrays.types import Array, Shape, Stack, Tree
from tracer.errors import TracingError
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.operation import Operation
from tracer.record.tensor import Tensor, TensorLike

INTERNAL_FILES.add(__file__)

#: arrays, or tensors where a rule is itself recorded; None for no gradient
Leaves: TypeAlias = "Sequence[TensorLike]"
Cotangents: TypeAlias = "Sequence[TensorLike | None]"


class Call:
    """One call of a function: its arguments, what it gave, and its rule.

    `compute(*leaves)` gives arrays, of the leaves of `args` that are of floats. A rule is a
    function of a `Site` and of the cotangents of the values.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[..., Tree],
        args: Sequence[Tree],
        rule: Callable[[Site, Leaves], Cotangents],
        around: Sequence[Tensor] = (),
        push: Callable[[Site, Cotangents], Leaves] | None = None,
    ):
        self.name, self.compute, self.rule, self.push = name, compute, rule, push
        self.leaves: list[Tree] = []
        #: those of the arguments
        self._structures: list[Structure] = []
        for arg in args:
            leaves, structure = flatten(arg)
            self.leaves += leaves
            self._structures.append(structure)
        self.variable = [i for i, leaf in enumerate(self.leaves) if is_of_floats(leaf)]
        self.around = list(around)
        self._nodes: list[Node] = [tensor.node for tensor in around]
        self.structure: Structure
        self.shapes: list[Shape] = []
        self.dtypes: list[np.dtype] = []
        self._last: tuple[Leaves, Array] | None = None
        self._constants = list(self.leaves)
        for i in self.variable:
            self._constants[i] = None

    def __repr__(self) -> str:
        return f"<call of {self.name}>"

    def run(self) -> Tree:
        """Compute, and record where an argument or what is around is a tensor on a tape."""
        inputs = [self.leaves[i] for i in self.variable]
        self.leaves = self._constants  # which hold no tensors
        whole = _operation(self.name, self.push is not None)(*inputs, *self.around, call=self)
        self.around = []
        return self.structure.build(self.taken_apart(whole))

    def args(self, leaves: Leaves) -> list[Tree]:
        """The arguments, with these for the leaves that are of floats."""
        every = list(self._constants)
        for i, leaf in zip(self.variable, leaves, strict=True):
            every[i] = leaf
        args, begin = list[Tree](), 0
        for structure in self._structures:
            end = begin + structure.count
            args.append(structure.build(every[begin:end]))
            begin = end
        return args

    def whole(self, inputs: Sequence[Array]) -> Array:
        """The values in one array. A replay, whose inputs are those of before, computes nothing."""
        if self._last is not None and _same(self._last[0], inputs):
            return self._last[1]
        count = len(self.variable)
        around = None
        if self._last is not None:  # what is around may have changed
            around = dict(zip(self._nodes, inputs[count:], strict=True))
        value = plainly(lambda: self.compute(*self.args(inputs[:count])), around)
        leaves, self.structure = flatten(value)
        arrays = [_array(self.name, leaf) for leaf in leaves]
        self.shapes = [array.shape for array in arrays]
        self.dtypes = [array.dtype for array in arrays]
        whole = arrays[0] if len(arrays) == 1 else np.concatenate([a.reshape(-1) for a in arrays])
        self._last = list(inputs), whole
        return whole

    def taken_apart(self, whole: TensorLike) -> list[TensorLike]:
        """The values, or what is of their shapes, from where they lie in one array."""
        if len(self.shapes) == 1:
            return [whole]
        parts, begin = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            end = begin + math.prod(shape)
            part = whole[begin:end].reshape(shape)
            parts.append(part if part.dtype == dtype else part.astype(dtype))
            begin = end
        return parts

    def put_together(self, parts: Leaves) -> TensorLike:
        """The other way."""
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([part.reshape(-1) for part in parts])


class Site:
    """Where a rule is called: the values, arrays or tensors, of a call's inputs and outputs."""

    def __init__(self, node: Node, call: Call):
        count = len(call.variable)
        self.call, self.inputs = call, list(node.inputs[:count])
        self.args = call.args(self.inputs)
        self.outputs = call.taken_apart(node.output)
        #: whether each of the inputs is no constant
        self.wanted = [parent is not None for parent in node.parents[:count]]
        pairs = zip(node.parents[count:], node.inputs[count:], strict=True)
        self.around = {parent: value for parent, value in pairs if parent is not None}

    @property
    def value(self) -> Tree:
        return self.call.structure.build(self.outputs)


class _Opaque(Operation):
    """A function whose operations are not recorded."""

    plain_options = True  # the call, which keeps its constants itself

    @staticmethod
    def forward(*inputs: Array, call: Call) -> Array:
        return call.whole(inputs)

    @staticmethod
    def vjp(node: Node, g: Stack) -> Sequence[Callable[[], Stack]]:
        """The rule of the call, for each row."""
        call = node.params["call"]
        site, made = Site(node, call), list[Cotangents]()

        def entry(slot: int) -> Stack:
            if not made:
                made.extend([call.rule(site, call.taken_apart(row)) for row in g])
            shape = np.shape(node.inputs[slot])
            rows = [_of(row[slot], shape, g) for row in made]
            if len(rows) == 1 and hasattr(rows[0], "shape"):
                return rows[0][None]
            return np.stack(rows) if rows else np.zeros_like(g, shape=(0, *shape))

        return tuple([_later(entry, slot) for slot in range(len(node.inputs))])


class _Pushed(_Opaque):
    """The same with a rule for tangents."""

    @staticmethod
    def jvp(node: Node, tangents: Sequence[Stack | None]) -> Stack:
        call = node.params["call"]
        site = Site(node, call)
        count = len(next(t for t in tangents if t is not None))
        rows = [[None if t is None else t[i] for t in tangents] for i in range(count)]
        return np.stack([call.put_together(call.push(site, row)) for row in rows])


@functools.cache
def _operation(name: str, pushed: bool) -> Operation:
    return _Pushed(name) if pushed else _Opaque(name)


def _later(entry: Callable[[int], Stack], slot: int) -> Callable[[], Stack]:
    return lambda: entry(slot)


def _of(row: TensorLike | None, shape: Shape, like: Stack) -> TensorLike:
    return np.zeros_like(like, shape=shape) if row is None else row


def _same(before: Leaves, now: Leaves) -> bool:
    return all(
        one is other or np.array_equal(one, other) for one, other in zip(before, now, strict=True)
    )


def is_of_floats(leaf: object) -> bool:
    """Whether a leaf of the arguments has derivatives."""
    if type(leaf) is np.ndarray or type(leaf) is Tensor:
        return leaf.dtype.kind == "f"
    if isinstance(leaf, float | np.floating):
        return True
    dtype = getattr(leaf, "dtype", None) if backend.is_array(plain(leaf)) else None
    return dtype is not None and dtype.kind == "f"


def plain(leaf: Tree) -> Tree:
    """The array of a tensor; anything else as it is."""
    return leaf._value if isinstance(leaf, Tensor) else leaf


def _array(name: str, leaf: object) -> Array:
    """A value as an array of floats. Raises `TracingError`."""
    value = plain(leaf)
    if type(value) is np.ndarray and value.dtype.kind == "f":
        return value
    if isinstance(value, int | float | np.generic) and not isinstance(value, bool):
        value = np.asarray(value, float if isinstance(value, int) else None)
    if not backend.is_array(value) or value.dtype.kind != "f":  # type: ignore[attr-defined]
        raise TracingError(f"{name} gives arrays of floats, got {describe(value)}")
    return value  # type: ignore[return-value]
