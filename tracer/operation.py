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
import sys
import weakref
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from tracer import backend, registry
from tracer.axes import POOLED as POOLED
from tracer.axes import UNKNOWN as UNKNOWN
from tracer.axes import Axis as Axis
from tracer.axes import MergedAxis as MergedAxis
from tracer.errors import ShapeError, TracingError
from tracer.frames import INTERNAL_FILES, users_frame
from tracer.ownership import own
from tracer.sampled import SampledArray
from tracer.tape import (
    NOWHERE,
    Cursor,
    Failure,
    KeepingNode,
    Node,
    current_cursor,
    is_set,
    opened_elsewhere,
    owner,
    paused_tape,
    refuse_elsewhere,
)

if TYPE_CHECKING:
    from tracer.snapshots import Snapshots
    from tracer.tape import Tape

_frame = sys._getframe
_new = object.__new__


class Operation:
    """An operation with its rules. `@operation(name)` makes one instance of a subclass.

    Functions of a subclass are plain functions, without `self`:

    - `forward(*inputs, **params) -> array`.
    - `forward_keeping(*inputs, **params) -> (array, kept)`, in its place, where rules go on from
      what it works out on the way. They find that as `node.kept`, or None, and then work it out
      again: it is gone after a sweep, and is not there in sweeps that are themselves recorded.
    - `vjp(node, g) -> tuple`, one entry per input. `g` is a stack of cotangents
      `[V, *output.shape]`, an entry a stack `[V, *input.shape]`, or None (no gradient), or a
      function without arguments that gives it, which is called only if that input wants a
      gradient. Rules use negative axes. The engine undoes broadcasting.
    - `batch_axis(node, axes) -> axis` where samples lie in the output, given where they lie in
      each input (see `Axis`). Without it the engine falls back to one row per sample.
    - `parameter_cotangent(node, slot, g) -> Cotangent`, optional: what reaches an unbatched input,
      sample by sample, in its natural form (`tracer.cotangents`). `node.batch_axis` and
      `node.batch_axes` tell where the samples are.
    - `carry(node, slot, cotangent) -> Cotangent | None`, optional, for operations on unbatched
      tensors: the same with a structured cotangent of the output.
    - `jvp(node, tangents) -> array`, optional: a stack `[V, *output.shape]` from stacks of inputs
      (None: a constant). Without it the engine transposes `vjp`.
    - `blocks(node) -> counts`, optional, for what is elementwise between equal blocks of the last
      axis: how many each input holds. The Hessian's diagonal then takes few rows.
    - `flops(node) -> int`, optional: floating-point operations of the forward call.

    `saves` names what the rules read of a node: `"inputs"`, `"output"`, both or nothing.
    `numpy` lists the NumPy functions that record this operation when called on tensors.
    """

    name: str
    leaf = False
    #: a leaf whose array counts as it was first used, until `tensor.data` gives it away
    guarded = False
    #: a leaf of what was computed in a thread that did not record
    foreign = False
    #: stands for several operations; see `tracer.composite`
    composite = False
    elementwise = False
    loss = False
    saves: tuple[str, ...] = ("inputs", "output")
    numpy: tuple[Any, ...] = ()
    #: ufunc -> a quicker way to record this operation
    fast: dict[Any, Any] = {}
    #: linear in all its inputs together
    linear = False
    #: slots in which it is linear while the other inputs are constant
    linear_in: tuple[int, ...] = ()
    #: second derivatives are zero wherever they exist, as for pieces of linear functions
    piecewise_linear = False
    #: its value may lie in the memory of its first input, as a slice does (a bool, or of the node)
    views: Any = False
    #: no option is an array, so that none has to be copied when it is recorded
    plain_options = False
    #: puts each element of its input in exactly one place of its output (a bool, or of the node)
    reindexes: Any = False
    #: of the node: the slots whose elements `forward` puts into the output, whatever they are, the
    #: output having no others; None if it has
    moves: Callable[[Any], Any] | None = None
    #: its output is its input, broadcast
    spreads = False
    #: puts each element of an input in exactly one place of its output, beside other inputs
    places = False

    forward: Callable[..., Any]
    forward_keeping: Callable[..., tuple[Any, Any]]
    vjp: Callable[..., Sequence[Any]]
    batch_axis: Any = None
    parameter_cotangent: Callable[..., Any] | None = None
    carry: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    blocks: Callable[..., tuple[int, ...]] | None = None
    flops: Callable[..., int] | None = None

    def __init__(self, name: str, numpy: Any = ()):
        self.name = name
        self.numpy = numpy if isinstance(numpy, tuple) else (numpy,)
        self.saves_inputs = "inputs" in self.saves
        self.saves_output = "output" in self.saves
        self.keeps = hasattr(self, "forward_keeping")
        self.__doc__ = type(self).__doc__

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
            parents: tuple[Any, ...] = (node,)
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
        try:
            out = (self.forward_keeping if self.keeps else self.forward)(*arrays, **params)
        except Exception as error:
            raise explain(error, self, arrays, parents, params) from error
        if type(out) is not ndarray:
            if self.keeps:
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
        saved = arrays if wants and self.saves_inputs else leaves_only(arrays, parents)
        return record(cursor, self, parents, saved, params, out, wants, kept)

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __copy__(self) -> Operation:
        return self

    def __deepcopy__(self, memo: Any) -> Operation:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _by_name, (self.name,)


def record(
    cursor: Cursor,
    op: Operation,
    parents: tuple[Any, ...],
    saved: tuple[Any, ...],
    params: dict[str, Any],
    out: Any,
    wants: bool,
    kept: Any = None,
) -> Tensor:
    """Put one operation on the tape, with the user's line, and what its rules read.

    `saved` is what a node has of its inputs: all, or `leaves_only`, as where no input `wants` a
    gradient and the rules are not called.

    The node and the tensor are filled here rather than by their constructors, which saves 0.4 of
    the 1.5 microseconds that recording takes.
    """
    frame: Any = _frame(2)
    code = frame.f_code
    tape = cursor.tape
    if code is not tape.users_code:
        while code.co_filename in INTERNAL_FILES:
            frame = frame.f_back  # never None: no internal file is a program
            code = frame.f_code
        tape.users_code = code
    if kept is None or not wants:
        node = Node()
    else:
        node = KeepingNode()
        node.kept = kept
    node.op = op
    node.parents = parents
    node.inputs = saved
    node.params = params
    node.output = out if wants and op.saves_output else None
    node.shape = out.shape
    node.dtype = dtype = out.dtype
    node.wants = wants and (dtype is FLOAT64 or dtype is FLOAT32 or is_real(op, dtype))
    node.place = cursor.place
    node.code = code
    node.lasti = frame.f_lasti
    tape.nodes.append(node)
    if tape.watched is not None:
        watch(tape, node, out)
    tensor = _new(Tensor)
    tensor._value = out
    tensor.node = node
    return tensor


def beside_the_record(
    op: Operation,
    parents: tuple[Any, ...],
    arrays: tuple[Any, ...],
    params: dict[str, Any],
    out: Any,
) -> Tensor:
    """A result that is not recorded; where a tape is paused, its samples stay known."""
    viewed = None
    if type(out) is ndarray and out.ndim and (out.base is not None or out is arrays[0]):
        for array, parent in zip(arrays, parents, strict=True):
            if parent is not None and np.may_share_memory(out, array):
                out = backend.read_only(out)  # a view of what a record or a parameter holds
                viewed = parent
                break
    tape = paused_tape()
    if tape is None and not is_set() and (others := opened_elsewhere()):
        refuse_elsewhere(parents)
        if any(node is not None and (node.wants or node.op is ELSEWHERE) for node in parents):
            return Tensor(out, _made_elsewhere(out, others))
    if tape is None or not out.ndim or not any(map(may_have_samples, parents)):
        tensor = Tensor(out, None)
    else:
        tensor = Tensor(out, origin_of(op, parents, arrays, params, out))
        owner(tape).unrecorded.append(weakref.ref(tensor))
    if tape is not None and viewed is not None:
        owner(tape).unrecorded_views.append((viewed, weakref.ref(tensor)))
    return tensor


def _made_elsewhere(out: Any, tapes: Sequence[Tape]) -> Node:
    """A leaf for what a thread without a tape made of parameters, while others had these open.

    Those refuse it, since it would be a constant there (`Snapshots.of_leaf`).
    """
    leaf = Node()
    records = [weakref.ref(owner(tape)) for tape in tapes]
    leaf.op, leaf.params, leaf.parents, leaf.inputs = ELSEWHERE, {"records": records}, (), ()
    leaf.output, leaf.wants, leaf.place, leaf.code, leaf.lasti = None, False, NOWHERE, None, 0
    leaf.shape, leaf.dtype = out.shape, out.dtype
    return leaf


def may_have_samples(node: Node | None) -> bool:
    """Whether a node is more than a parameter."""
    return node is not None and (not node.op.leaf or node.op is INPUT or node.op is CONSTANT)


def origin_of(
    op: Operation,
    parents: Sequence[Any],
    arrays: Sequence[Any],
    params: dict[str, Any],
    out: Any,
) -> Node:
    """A leaf for what was computed without being recorded, which knows what of."""
    frame: Any = _frame(1)
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


def tensor_of(value: Any) -> Any:
    """A tensor of an array that knows its samples; anything else as it is."""
    return Tensor(value.plain, value.leaf) if type(value) is SampledArray else value


FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def is_real(op: Operation, dtype: Any) -> bool:
    """Whether a value of this dtype may have a derivative: integers and booleans have none.

    Raises `TracingError` for complex numbers and durations, whose rules are not there, and objects.
    """
    if dtype.kind == "c":
        raise TracingError(
            f"{op.name} gives complex numbers ({dtype}), and derivatives through them are not "
            f"defined here: compute with real and imaginary parts as two real arrays, or on "
            f"tensor.data where no derivative is wanted"
        )
    if dtype.kind == "O":
        raise TracingError(backend.OF_OBJECTS)
    if dtype.kind == "m":
        raise TracingError(
            f"{op.name} gives durations ({dtype}), and derivatives through them are not defined "
            f"here: make numbers of the durations first, as in t * (steps / np.timedelta64(1, 's'))"
        )
    return dtype.kind == "f"


#: what the names of modules begin with whose rules write into nothing that they are given
OWN = ("tracer.", "tracer_")

#: types of options that are no arrays, and of constants
PLAIN = frozenset((int, float, bool, str, tuple, type(None), np.dtype))


def unshare(arrays: list[Any], parents: list[Any], own: Snapshots) -> None:
    """Put what the record keeps in place of arrays that others may write into."""
    for i, parent in enumerate(parents):
        if parent is None:
            array = arrays[i]
            if array.__class__ is ndarray:
                last, content, shape, dtype, kept = own.last
                if (
                    array is last
                    and array.tobytes() == content
                    and array.shape == shape
                    and array.dtype is dtype
                ):
                    arrays[i] = kept
                else:
                    arrays[i] = own.of_constant(array)
            elif array.__class__ not in PLAIN:
                if array.__class__ is SampledArray:
                    parents[i], array = array.leaf, array.plain
                arrays[i] = own.of_constant(array)
        elif not parent.parents:
            arrays[i] = own.of_leaf(parent, arrays[i])


def leaves_only(arrays: tuple[Any, ...], parents: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a replay of the forward computation needs of the inputs: constants and leaves."""
    if len(parents) == 1:
        return DROPPED if parents[0].parents else arrays
    if len(parents) == 2:
        (a, b), (p, q) = arrays, parents
        if p is not None and p.parents:
            a = None
        if q is not None and q.parents:
            b = None
        return a, b
    left = list(arrays)
    for i, parent in enumerate(parents):
        if parent is not None and parent.parents:
            left[i] = None
    return tuple(left)


#: what is left of one input that an operation computed
DROPPED = (None,)


class Elementwise(Operation):
    """An operation that acts on each element alone, with broadcasting between its inputs."""

    elementwise = True

    @staticmethod
    def batch_axis(node: Any, axes: Any) -> Axis:
        """The axis in the broadcast shape; unknown if two inputs disagree."""
        rank = len(node.shape)
        found = None
        for slot, axis in enumerate(axes):
            if not isinstance(axis, int):
                continue
            shifted = axis + rank - len(node.input_shape(slot))
            if found is not None and found != shifted:
                return UNKNOWN
            found = shifted
        return found


def operation(name: str, *, numpy: Any = ()) -> Callable[[type], Any]:
    """Class decorator: turns the functions of a subclass of `Operation` into an operation.

    The result is called like a function. It takes the place of `numpy`'s function(s) on tensors
    once it is registered: through the hook `register_operations`, or with `tracer.register(op)`.
    """

    def make(cls: type) -> Any:
        if not issubclass(cls, Operation):
            raise TracingError(
                f"@operation({name!r}) expects a subclass of tracer.Operation or "
                f"tracer.Elementwise, got {cls.__name__}"
            )
        for key, value in list(vars(cls).items()):
            if callable(value) and not key.startswith("__") and not isinstance(value, type):
                setattr(cls, key, staticmethod(value))
        if (keeping := vars(cls).get("forward_keeping")) is not None:
            cls.forward = staticmethod(_first_of(keeping))
        if "forward" not in vars(cls):
            raise TracingError(f"operation {name!r} has no `forward`: define forward(*inputs)")
        if not cls.__module__.startswith(OWN):
            for rule, checked in CHECKED.items():
                if rule in vars(cls):
                    setattr(cls, rule, staticmethod(checked(getattr(cls, rule))))
        return cls(name, numpy)

    return make


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
        return own(held)

    return call


def _read_only(array: Any) -> Any:
    if type(array) is ndarray:
        array = array.view()
        array.flags.writeable = False
    return array


class _ToRead:
    """A node as the rules of others see it: its arrays cannot be written into."""

    __slots__ = ("inputs", "node", "output")

    def __init__(self, node: Any):
        self.node = node
        self.inputs = tuple(map(_read_only, node.inputs))
        self.output = _read_only(node.output)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def __repr__(self) -> str:
        return repr(self.node)


def _given_to_read(vjp: Callable[..., Any]) -> Callable[..., Any]:
    """The rule, given arrays that cannot be written into: others may be in that memory.

    What it returns is to have the shapes of the inputs, broadcast or not: less is a mistake.
    """

    @functools.wraps(vjp)
    def rule(node: Any, g: Any) -> Any:
        entries = vjp(_ToRead(node), _read_only(g))
        if not isinstance(entries, tuple | list) or len(entries) != len(node.parents):
            return entries  # which the sweep refuses
        return tuple([_whole(entry, node, slot) for slot, entry in enumerate(entries)])

    return rule


def _whole(entry: Any, node: Any, slot: int) -> Any:
    """An entry of a vjp, refused if it would have to be broadcast to the shape of its input."""
    if isinstance(entry, FunctionType):
        return lambda: _whole(entry(), node, slot)
    parent, shape = node.parents[slot], getattr(entry, "shape", None)
    if parent is None or shape is None:
        return entry
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


def _of_the_output(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """The rule, whose value is to be a stack of the output's shape."""

    @functools.wraps(jvp)
    def rule(node: Any, tangents: Any) -> Any:
        moved = jvp(node, tangents)
        rows = next(len(tangent) for tangent in tangents if tangent is not None)
        if getattr(moved, "shape", None) != (rows, *node.shape):
            raise ShapeError(
                f"the jvp of {node.op.name} returned {describe(moved)}: return a stack "
                f"[V, *output.shape], here {[rows, *node.shape]}"
            )
        return moved

    return rule


#: what the rules of operations outside of this project are held to
CHECKED: dict[str, Callable[..., Callable[..., Any]]] = {
    "forward": _of_its_own,
    "vjp": _given_to_read,
    "jvp": _of_the_output,
}


def _first_of(function: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
    return lambda *inputs, **params: function(*inputs, **params)[0]


class _Leaf(Operation):
    leaf = True
    saves = ()

    def __init__(self, name: str, guarded: bool = False, foreign: bool = False):
        super().__init__(name)
        self.guarded, self.foreign = guarded, foreign


def _by_name(name: str) -> Operation:
    leaves = {op.name: op for op in (PARAMETER, INPUT, VARIABLE)}
    return leaves.get(name) or registry.operations[name]


#: what leaf nodes carry in place of an operation
PARAMETER = _Leaf("parameter", guarded=True)
INPUT = _Leaf("input")
#: of what was computed without being recorded, whose samples are known; see `tracer.origins`
CONSTANT = _Leaf("constant")
#: of leaves that a function of functions makes for itself: none of the user's parameters
VARIABLE = _Leaf("variable", guarded=True)
#: of what threads without a tape made of parameters while another one had a tape open
ELSEWHERE = _Leaf("elsewhere", foreign=True)


def watch(tape: Any, node: Node, value: Any) -> None:
    """Keep statistics of a value for the graph."""
    tape.watched[id(node)] = statistics(value)


def statistics(value: Any) -> dict[str, Any]:
    """Norm, extremes and counts of non-finite elements of an array, as Python numbers."""
    data = value if isinstance(value, ndarray) else backend.to_host(value)
    if data.dtype.kind not in "fiub" or data.size == 0:
        return {}
    data = data.astype(np.float64)
    finite = np.isfinite(data)
    kept = data[finite]
    return {
        "norm": float(np.linalg.norm(data)) if finite.all() else float("nan"),
        "min": float(kept.min()) if kept.size else None,
        "max": float(kept.max()) if kept.size else None,
        "nan": int(np.isnan(data).sum()),
        "inf": int(np.isinf(data).sum()),
    }


def describe(value: Any) -> str:
    """`float32[3, 4]`, for messages."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return repr(value) if isinstance(value, int | float | complex | bool) else type(value).__name__


def explain(
    error: Exception,
    op: Operation,
    arrays: Sequence[Any],
    parents: Sequence[Any],
    params: dict[str, Any],
) -> Exception:
    """The error with the operation, the module, the shapes and the dtypes in its message.

    To be called while `error` is handled: one of a kind that tells more is raised again, with a
    note (and not returned, since it cannot be raised from itself).
    """
    cursor = current_cursor()
    tape = None if cursor is None else cursor.tape
    place = NOWHERE if cursor is None else cursor.place
    where = f" in layer {place.scope!r} ({place.scopes[-1]})" if place.scope else ""
    given = ", ".join(
        describe(a) + (f" ({p.params['name']})" if p is not None and p.params.get("name") else "")
        for a, p in zip(arrays, parents, strict=True)
    )
    options = "".join(f", {k}={v!r}" for k, v in params.items() if not hasattr(v, "shape"))
    if any(getattr(a, "dtype", None) == np.dtype(object) for a in arrays):
        return TracingError(f"{op.name}{where} got {given}: {backend.OF_OBJECTS}")
    reason = backend.mixture(arrays) or error
    message = f"{op.name}{where} got {given}{options}: {reason}"
    if tape is not None and tape.watched is not None and tape.failure is None:
        frame = users_frame()
        tape.failure = Failure(op, tuple(parents), place, frame.f_code, frame.f_lasti, message)
    if isinstance(error, ShapeError) or type(error) in (ValueError, IndexError, TypeError):
        return ShapeError(message)
    error.add_note(message)
    raise error


INTERNAL_FILES.add(__file__)

from tracer.tensor import Tensor  # noqa: E402  (tensors call operations, operations make tensors)
