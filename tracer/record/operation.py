"""Operations: a forward function, its rules beside it, and how a call is recorded.

```python
@operation("tanh", numpy=np.tanh)
class Tanh(Elementwise):
    saves = ("output",)

    def forward(x):
        return np.tanh(x)

    def vjp(node, g):
        y = node.output
        return (g * (1 - y * y),)

y = Tanh(x)
```
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
from numpy import ndarray

from tracer import registry
from tracer.arrays import backend
from tracer.arrays.ownership import unaliased
from tracer.arrays.sampled import SampledArray
from tracer.arrays.types import Array, Stack
from tracer.blame import place, raised
from tracer.entries import Replaced
from tracer.errors import ShapeError, TracerError, TracingError
from tracer.guarded import of_others
from tracer.record.axes import aligned
from tracer.record.describe import describe
from tracer.record.dispatch import Function
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node, Parents
from tracer.record.recorder import current_cursor
from tracer.record.recording import PLAIN, beside_the_record, explain, record, tensor_of, unshare
from tracer.record.replay import DROPPED, leaves_only
from tracer.record.rules import Rules
from tracer.record.tensor import Tensor
from tracer.record.unsaved import unsaved


class Operation(Rules):
    # Rules that are called: what is computed of tensors is recorded.
    __doc__ = Rules.__doc__

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Compute, and record on the current tape if an input is on one.

        Raw arrays give a raw array, tensors a tensor.
        """
        cursor = current_cursor()
        wants = traced = tensors = False
        if len(inputs) == 1:
            x = inputs[0]
            if type(x) is not Tensor:
                if type(x) is SampledArray:
                    return self(tensor_of(x), **params)
                return self.forward(x, **params)
            array, node = x._value, x.node
            traced = node is not None
            wants = traced and node.wants
            if traced and not node.parents and cursor is not None:
                array = cursor.tape.snapshots.of_leaf(node, array)
            arrays: tuple[Any, ...] = (array,)
            parents: Parents = (node,)
        else:
            raw, nodes = list(inputs), [None] * len(inputs)
            for i, x in enumerate(inputs):
                if type(x) is Tensor:
                    tensors = True
                    raw[i] = x._value
                    nodes[i] = node = x.node
                    if node is not None:
                        traced = True
                        wants = wants or node.wants
            if not tensors:
                if SampledArray in map(type, inputs):
                    return self(*map(tensor_of, inputs), **params)
                return self.forward(*inputs, **params)
            if traced and cursor is not None:
                unshare(raw, nodes, cursor.tape.snapshots)
            elif SampledArray in map(type, raw):
                return self(*map(tensor_of, inputs), **params)
            arrays, parents = tuple(raw), tuple(nodes)
        if params and traced and cursor is not None and not self.plain_options:
            for key, value in params.items():
                if value.__class__ not in PLAIN:
                    params[key] = cursor.tape.snapshots.of_constant(value)
        kept = None
        keeps = self.keeps and wants and cursor is not None
        try:
            out = (self.forward_keeping if keeps else self.forward)(*arrays, **params)
        except Exception as error:
            raise explain(error, self, arrays, parents, params) from error
        if type(out) is not ndarray:
            if keeps:
                out, kept = out
            if type(out) is Tensor:
                raise TracingError(
                    f"the forward of {self.name} returned a tensor, whose derivative its rules do "
                    f"not know of: it computes with the arrays that it is given; give tensors as "
                    f"positional arguments, not as options, in lists or through closures"
                )
            out = backend.as_array(out)
        if cursor is None or not traced:
            return beside_the_record(self, parents, arrays, params, out)
        if wants and self.saves_inputs:
            saved = arrays
        elif len(arrays) == 1:
            saved = DROPPED if node.parents else arrays
        else:
            saved = leaves_only(arrays, parents)
        return record(cursor, self, parents, saved, params, out, wants, kept)


registry.operations.holds(Operation)


class Elementwise(Operation):
    """An operation that acts on each element alone, with broadcasting between its inputs."""

    elementwise = True
    batch_axis = staticmethod(aligned)


def operation(name: str, *, numpy: Any = (), replaces: Replaced = ()) -> Callable[[type], Any]:
    """Class decorator: turns the functions of a subclass of `Operation` into an operation.

    The result is called like a function. It takes the place of `numpy`'s function(s) on tensors
    once it is registered: through the hook `register_operations`, or with `tracer.register(op)`.
    `replaces` names what of others it stands in place of, each the name of an operation or a NumPy
    function, as in `replaces=np.sin`; without it, a name or a function that another has is an
    error.
    """

    if not isinstance(name, str) or not name:
        named = getattr(name, "__name__", "Mine")
        raise TracingError(
            f"@operation takes the operation's name, got {name!r}: write "
            f'@operation("{named.lower()}") above class {named}'
        )

    def make(cls: type) -> Any:
        if not issubclass(cls, Operation):
            raise TracingError(
                f"@operation({name!r}) expects a subclass of tracer.Operation or "
                f"tracer.Elementwise, got {cls.__name__}"
            )
        for key, value in list(vars(cls).items()):
            if callable(value) and not key.startswith("__") and not isinstance(value, type):
                setattr(cls, key, staticmethod(value))
        _check_saves(name, cls)
        keeping = vars(cls).get("forward_keeping")
        if keeping is not None and "forward" not in vars(cls):
            cls.forward = staticmethod(_first_of(keeping))
        if "forward" not in vars(cls):
            raise TracingError(f"operation {name!r} has no `forward`: define forward(*inputs)")
        if cls.__module__.startswith(registry.BUNDLED):
            return cls(name, numpy, replaces)
        for rule, checked in CHECKED.items():
            if rule in vars(cls):
                setattr(cls, rule, staticmethod(checked(getattr(cls, rule))))
        op = cls(name, numpy, replaces)
        for rule in OTHER_RULES & vars(cls).keys():
            setattr(cls, rule, staticmethod(_blaming(getattr(cls, rule), rule, op)))
        return op

    return make


def _check_saves(name: str, cls: type[Operation]) -> None:
    """Raise `TracingError` for `saves` that names anything but inputs and output."""
    named = (cls.saves,) if isinstance(cls.saves, str) else tuple(cls.saves)
    if unknown := [each for each in named if each not in ("inputs", "output")]:
        raise TracingError(
            f"operation {name!r} saves {unknown[0]!r}, which no node has: what its rules read is "
            f"named in saves = ('inputs', 'output'), in one of both, or in ()"
        )


def _of_its_own(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose value is copied where it lies in an array that others hold, too.

    A buffer that is filled again at the next call is one. An input's memory is the record's.
    """

    @functools.wraps(forward)
    def call(*inputs: Any, **params: Any) -> Any:
        held = [forward(*inputs, **params)]
        if type(held[0]) is not ndarray:
            return held[0]
        if any(type(x) is ndarray and np.may_share_memory(held[0], x) for x in inputs):
            return held[0]
        return unaliased(held)

    return call


def _read_only(array: Any) -> Any:
    if type(array) is ndarray:
        array = array.view()
        array.flags.writeable = False
    return array


class _ToRead:
    """A node as the rules of others see it: its arrays cannot be written into."""

    __slots__ = ("inputs", "node", "output")

    def __init__(self, node: Node):
        self.node = node
        self.inputs = tuple(map(_read_only, node.inputs))
        self.output = _read_only(node.output)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def __repr__(self) -> str:
        return repr(self.node)


def _given_to_read(vjp: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    """The rule, given arrays that cannot be written into: others may be in that memory.

    What it returns is to have the shapes of the inputs, broadcast or not: less is a mistake.
    """

    @functools.wraps(vjp)
    def rule(node: Node, g: Stack) -> Sequence[Any]:
        entries = vjp(_ToRead(node), _read_only(g))
        if not isinstance(entries, tuple | list) or len(entries) != len(node.parents):
            return entries  # which the sweep refuses
        return tuple([_whole(entry, node, slot) for slot, entry in enumerate(entries)])

    return rule


def _whole(entry: Any, node: Node, slot: int) -> Any:
    """An entry of a vjp, refused if it would have to be broadcast to the shape of its input."""
    if isinstance(entry, FunctionType):
        return lambda: _whole(entry(), node, slot)
    parent, shape = node.parents[slot], getattr(entry, "shape", None)
    if parent is None or not shape:
        return entry  # to be put in place, if it is none that the sweep refuses
    wanted = parent.shape
    sizes = shape[max(1, len(shape) - len(wanted)) :]
    if len(sizes) < len(wanted) or any(
        size != n != 1 for size, n in zip(sizes, wanted, strict=True)
    ):
        raise ShapeError(
            f"the vjp of {node.op.name} returned {describe(entry)} for input {slot} of shape "
            f"{list(wanted)}: an entry is a stack [V, *input.shape], as of g * np.ones(input.shape)"
        )
    return entry


def _of_the_output(jvp: Callable[..., Stack]) -> Callable[..., Stack]:
    """The rule, whose value is to be a stack of the output's shape."""

    @functools.wraps(jvp)
    def rule(node: Node, tangents: Sequence[Stack | None]) -> Stack:
        moved = jvp(node, tangents)
        if moved is NotImplemented:
            return moved
        rows = next(len(tangent) for tangent in tangents if tangent is not None)
        if getattr(moved, "shape", None) != (rows, *node.shape):
            raise ShapeError(
                f"the jvp of {node.op.name} returned {describe(moved)}: return a stack "
                f"[V, *output.shape], here {[rows, *node.shape]}"
            )
        return moved

    return rule


#: rules besides `forward`, whose errors tell of its arguments, and `vjp`, which sweeps explain
OTHER_RULES = {
    *("jvp", "batch_axis", "parameter_cotangent", "carry", "through", "blocks", "flops"),
    "row_counts",
    *("sqrt_hessian", "short_sqrt_hessian", "sqrt_hessian_sampled", "diagonal_hessian"),
}


def _blaming(function: Function, rule: str, op: Operation) -> Function:
    """The rule, whose errors name the plugin that the operation is of, if it is one's."""
    if not callable(function):
        return function

    @functools.wraps(function)
    def call(*args: object, **keywords: object) -> object:
        try:
            return function(*args, **keywords)
        except Exception as error:
            if isinstance(error, TracerError):
                raise
            what, plugin = f"{rule} of the operation {op.name!r}", of_others(op)
            node = getattr(args[0], "node", args[0]) if args else None
            told = None
            if isinstance(node, Node):
                told = unsaved(error, what if plugin is None else "the rule", function, node)
            if plugin is not None:
                raise raised(plugin, what, told or error, place(function)) from error
            if told is not None:
                raise told from error
            raise

    return call


#: what the rules of operations outside of this project are held to
CHECKED: dict[str, Callable[..., Callable[..., Any]]] = {
    "forward": _of_its_own,
    "vjp": _given_to_read,
    "jvp": _of_the_output,
}


def _first_of(function: Callable[..., tuple[Array, Any]]) -> Callable[..., Array]:
    return lambda *inputs, **params: function(*inputs, **params)[0]


INTERNAL_FILES.add(__file__)
