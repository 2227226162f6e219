"""Tensors: an array and the node that recorded it, behaving like the array in NumPy code."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tracer import hooks
from tracer.arrays import backend
from tracer.arrays.types import Array, Convertible, DType, Shape
from tracer.errors import HintError, ShapeError, TracingError
from tracer.record import dispatch, hints, leaving
from tracer.record.describe import check_flags
from tracer.record.frames import INTERNAL_FILES
from tracer.record.freezing import frozen, thawed
from tracer.record.leaf_kinds import CONSTANT, DETACHED, INPUT, PARAMETER, VARIABLE
from tracer.record.node import Node, Params, new_node
from tracer.record.numpy_methods import method_of
from tracer.record.origins import may_have_samples, origin_of
from tracer.record.pausing import paused_tape
from tracer.record.recorder import current_cursor, open_tape, owner
from tracer.record.rules import Rules
from tracer.record.settling import settle
from tracer.record.statistics import watch

_WRITE = (
    "a tensor is never written into, since the values that derivatives need would be lost: "
    "write {instead}"
)


_ufuncs, _functions = dispatch.UFUNCS, dispatch.FUNCTIONS


INTEGERS = (int, np.integer)

#: a tensor, or an array that counts as a constant: what operations and layers take
TensorLike: TypeAlias = "Array | Tensor"


class Tensor:
    """An array that operations on it are recorded for.

    Operators, indexing and NumPy functions give tensors; comparisons give raw arrays of booleans.
    Outside a `with tracer.Tape()` block nothing is recorded.
    """

    __slots__ = ("__weakref__", "_value", "node")

    # Bound by the modules of tracer.operations, beside the operations that they record.
    __getitem__: Any
    __neg__: Any
    __pos__: Any
    __abs__: Any
    __pow__: Any
    __rpow__: Any
    __matmul__: Any
    __rmatmul__: Any
    astype: Any
    flatten: Any

    if TYPE_CHECKING:  # the same, where one loop binds many of them

        def __add__(self, other: Any, /) -> Tensor: ...
        def __radd__(self, other: Any, /) -> Tensor: ...
        def __sub__(self, other: Any, /) -> Tensor: ...
        def __rsub__(self, other: Any, /) -> Tensor: ...
        def __mul__(self, other: Any, /) -> Tensor: ...
        def __rmul__(self, other: Any, /) -> Tensor: ...
        def __truediv__(self, other: Any, /) -> Tensor: ...
        def __rtruediv__(self, other: Any, /) -> Tensor: ...
        def __mod__(self, other: Any, /) -> Tensor: ...
        def __rmod__(self, other: Any, /) -> Tensor: ...
        def __floordiv__(self, other: Any, /) -> Tensor: ...
        def __rfloordiv__(self, other: Any, /) -> Tensor: ...
        def __lt__(self, other: Any, /) -> Array: ...
        def __le__(self, other: Any, /) -> Array: ...
        def __gt__(self, other: Any, /) -> Array: ...
        def __ge__(self, other: Any, /) -> Array: ...
        def __and__(self, other: Any, /) -> Array: ...
        def __or__(self, other: Any, /) -> Array: ...
        def __xor__(self, other: Any, /) -> Array: ...
        def __rand__(self, other: Any, /) -> Array: ...
        def __ror__(self, other: Any, /) -> Array: ...
        def clip(self, *args: Any, **options: Any) -> Tensor: ...
        def cumsum(self, *args: Any, **options: Any) -> Tensor: ...
        def cumprod(self, *args: Any, **options: Any) -> Tensor: ...
        def diagonal(self, *args: Any, **options: Any) -> Tensor: ...
        def dot(self, *args: Any, **options: Any) -> Tensor: ...
        def max(self, *args: Any, **options: Any) -> Tensor: ...
        def mean(self, *args: Any, **options: Any) -> Tensor: ...
        def min(self, *args: Any, **options: Any) -> Tensor: ...
        def prod(self, *args: Any, **options: Any) -> Tensor: ...
        def ravel(self, *args: Any, **options: Any) -> Tensor: ...
        def repeat(self, *args: Any, **options: Any) -> Tensor: ...
        def round(self, *args: Any, **options: Any) -> Tensor: ...
        def squeeze(self, *args: Any, **options: Any) -> Tensor: ...
        def std(self, *args: Any, **options: Any) -> Tensor: ...
        def sum(self, *args: Any, **options: Any) -> Tensor: ...
        def swapaxes(self, *args: Any, **options: Any) -> Tensor: ...
        def take(self, *args: Any, **options: Any) -> Tensor: ...
        def trace(self, *args: Any, **options: Any) -> Tensor: ...
        def var(self, *args: Any, **options: Any) -> Tensor: ...
        def all(self, *args: Any, **options: Any) -> Array: ...
        def any(self, *args: Any, **options: Any) -> Array: ...
        def argmax(self, *args: Any, **options: Any) -> Array: ...
        def argmin(self, *args: Any, **options: Any) -> Array: ...
        def argsort(self, *args: Any, **options: Any) -> Array: ...

    def __init__(self, data: Array, node: Node | None = None):
        if data.__class__ is Tensor:
            raise TracingError(
                "tracer.Tensor expects an array, got a tensor: use the tensor itself, or its "
                "values as a constant, tensor.detach()"
            )
        self._value = data
        self.node: Any = node

    # -- its values -------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The raw NumPy or CuPy array.

        Of a parameter it is the array itself, which may be written into (`p.data -= step`) or
        replaced by a copy of one of the same shape, converted to the parameter's dtype. What was
        computed on a tape is given as a read-only view.
        """
        data, node = self._value, self.node
        if node is None or node.op is CONSTANT:
            return data
        if node.op.leaf:
            cursor = current_cursor()
            if cursor is not None:
                cursor.tape.snapshots.let_go(data)
            return data
        if type(data) is not np.ndarray:
            return data
        if not data.ndim:
            return data.copy()
        if (cursor := current_cursor()) is not None:
            owner(cursor.tape).values_read = True
        return backend.read_only(data)

    @data.setter
    def data(self, value: Convertible) -> None:
        node = self.node
        if value is self._value:  # an operator in place, as in `p.data -= step`
            return
        if node is not None and not node.op.leaf:
            raise TracingError(
                f"the values of {node!r} were computed on a tape, and others in their place would "
                f"have no history: use them as a new array, or tensor.detach()"
            )
        value = (
            value._kept_by("p.data = t") if isinstance(value, Tensor) else backend.as_array(value)
        )
        if value.shape != self.shape:
            raise ShapeError(
                f"tensor.data = array keeps the shape {list(self.shape)}, got {list(value.shape)}"
                f"{_called(node)}: make a new one with tracer.parameter(array)"
            )
        if value.dtype != self.dtype and value.dtype.kind not in "fiub":
            raise TracingError(
                f"tensor.data = array keeps the dtype {self.dtype}, got {value.dtype}"
                f"{_called(node)}: give real numbers"
            )
        self._value = value.astype(self.dtype, order="K")  # a copy

    # -- what it is -------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        return self._value.shape

    @shape.setter
    def shape(self, shape: object) -> None:
        raise HintError(f"tensor.shape is not set: tensor.reshape({shape!r}) gives a new one")

    @property
    def ndim(self) -> int:
        return self._value.ndim

    @property
    def size(self) -> int:
        return self._value.size

    @property
    def dtype(self) -> DType:
        return self._value.dtype

    @property
    def nbytes(self) -> int:
        return self._value.nbytes

    @property
    def name(self) -> str | None:
        """The name of a parameter or batch, else None."""
        return self.node.params.get("name") if self.node is not None and self.node.op.leaf else None

    @property
    def is_parameter(self) -> bool:
        """Whether `tracer.parameter` made it, frozen or not."""
        return self.node is not None and self.node.op is PARAMETER

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient flows to it: a parameter, or what depends on one, that is not frozen.

        Assigning to it is `requires_grad_`.
        """
        return self.node is not None and self.node.wants

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Freeze a parameter (`False`), or let it want a gradient again. Returns the tensor.

        A frozen parameter is a constant to all that is computed with it from then on, and stays a
        parameter elsewhere. What was computed before is as it was.

        Raises `TracingError` for a tensor that is no parameter.
        """
        check_flags("requires_grad_", requires_grad=requires_grad)
        node = self.node
        if node is None or node.op is not PARAMETER:
            what = "a constant" if node is None else repr(node)
            raise TracingError(
                f"requires_grad_ is of parameters, and this is {what}: make a parameter with "
                f"tracer.parameter(array), a constant with tensor.detach(), and differentiate by "
                f"an input or a computed value with tracer.grad or tracer.vjp"
            )
        if node.wants != requires_grad:
            self.node = thawed(node) if requires_grad else frozen(node)
        return self

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise ShapeError("a tensor without axes cannot be iterated over")
        return (self[i] for i in range(len(self._value)))

    def __repr__(self) -> str:
        constant = self.node is None or self.node.op is CONSTANT
        origin = "" if constant else f", {self.node.label}"
        return f"Tensor({self._value!r}{origin})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __hash__(self) -> int:
        """By identity; of a computed number by its value, as `==` compares.

        Raises `TracingError` while that number is on an open tape and wants a gradient.
        """
        node = self.node
        if self._value.size != 1 or (node is not None and node.op in (PARAMETER, INPUT)):
            return object.__hash__(self)
        if self._is_on_record():
            raise TracingError(
                f"a number of the record, {node!r}, is no key of a dictionary and no member of a "
                f"set, whose choice by its value has no derivative: take t.item() as the key"
            )
        return object.__hash__(self) if self._value.ndim else hash(self._value.item())

    # -- values out of the trace ------------------------------------------------------------

    def item(self, *index: Any) -> Any:
        """The one element, or that at an index, as a Python number, outside the trace."""
        return self._value.item(*index)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers, outside the trace."""
        return self._value.tolist()

    def _is_on_record(self) -> bool:
        """Whether an open tape needs to know what becomes of this value."""
        node = self.node
        if node is None or not node.wants:
            return False
        tape = open_tape()
        return tape is not None and (node.op.leaf or node in tape.nodes)

    def _leaves_the_record(self, how: str) -> None:
        """Raise `TracingError` if an open tape needs to know what becomes of this value."""
        if self._is_on_record():
            shown, way = leaving.ways(how)
            raise TracingError(
                f"{shown} would take the value of a tensor{_called(self.node)} out of the record, "
                f"and with it the derivative: {way}; where no derivative is wanted, t.item() or "
                f"t.detach()"
            )

    def _kept_by(self, by: str) -> Array:
        """The array, for what keeps values alone, as a parameter does.

        Raises `TracingError` if an open tape needs to know what becomes of them.
        """
        if self._is_on_record():
            raise TracingError(
                f"{by} would take the values of a tensor{_called(self.node)} out of the record, "
                f"and with them the derivative: compute with the tensor itself in the parameter's "
                f"place; where no derivative is wanted, give tensor.data"
            )
        return self._value

    def __float__(self) -> float:
        self._leaves_the_record("float()")
        return float(self.item())

    def __int__(self) -> int:
        self._leaves_the_record("int()")
        return int(self.item())

    def __complex__(self) -> complex:
        self._leaves_the_record("complex()")
        return complex(self.item())

    def as_integer_ratio(self) -> tuple[int, int]:
        """Raises `TracingError`: what asks for it makes fractions, as `statistics.mean` does."""
        raise TracingError(
            "fractions are not made of tensors, as by Fraction(t) or statistics.mean: write "
            "np.mean(t) and its kin, or t.item() for the number"
        )

    def __trunc__(self) -> int:
        self._leaves_the_record("math.trunc()")
        return int(self.item())

    def __round__(self, digits: int | None = None) -> Any:
        self._leaves_the_record("round()")
        return round(self.item(), digits)

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def __contains__(self, value: object) -> bool:
        return value in self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __index__(self) -> int:
        return self._value.__index__()

    def detach(self) -> Tensor:
        """The same values as a constant: no gradient flows through.

        Of a batch they stay one. Those of what was computed on a tape cannot be written into.
        """
        detached = self._detached()
        node, tape = self.node, open_tape()
        if tape is not None and node is not None and not node.op.leaf and self.ndim:
            owner(tape).unrecorded_views.append((node, weakref.ref(detached)))
        return detached

    def _detached(self) -> Tensor:
        node = self.node
        value = self._value
        if node is not None and not node.op.leaf:
            value = backend.read_only(value) if self.ndim else value.copy()
        elif node is not None and node.op is PARAMETER and (cursor := current_cursor()) is not None:
            cursor.tape.snapshots.let_go(value)
        if node is None or not self.ndim or not may_have_samples(node):
            return Tensor(value, None)
        if node.op is CONSTANT or node.op is INPUT:
            return Tensor(value, node)
        return note(Tensor(value, origin_of(DETACHED, (node,), (None,), {}, value)))

    # -- copies and pickles -----------------------------------------------------------------

    def __copy__(self) -> Tensor:
        """A recorded tensor or a constant, with the same history; of a leaf, a new leaf."""
        if self._has_history() or (self.node is not None and self.node.op is CONSTANT):
            return Tensor(self._value, self.node)
        return _again(*self._without_history())

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A new leaf with a copy of the array.

        Raises `TracingError` for a tensor that is recorded or that a transform such as
        `tracer.grad` differentiates by: its copy would be cut off from its history.
        """
        data, *rest = self._without_history()
        if self.node is not None and self.node.op is CONSTANT:
            return Tensor(copy.deepcopy(data, memo), self.node)
        return _again(copy.deepcopy(data, memo), *rest)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, self._without_history()

    def _has_history(self) -> bool:
        node = self.node
        return node is not None and (not node.op.leaf or node.op is VARIABLE)

    def _without_history(self) -> tuple[Any, ...]:
        """Array, kind of leaf, its parameters, and whether it wants a gradient."""
        node = self.node
        if self._has_history():
            raise TracingError(
                f"{node!r} is part of a trace, from which its deep copy or pickle would be cut off "
                f"without a word: write tensor.copy() for a copy that is recorded, or copy its "
                f"value, tensor.data"
            )
        if node is None or node.op is CONSTANT or node.op.foreign:
            return self._value, None, {}, False
        params = {key: node.params[key] for key in ("name", "axis") if key in node.params}
        return self._value, node.op.name, params, node.wants

    # -- NumPy's protocols ------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            handler = _ufuncs.get(ufunc)
            if handler is not None:
                return handler(*inputs)
        hooks.load()  # which a constant, made first of all, has not done
        return dispatch.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(
        self,
        function: dispatch.Function,
        types: Sequence[type],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        handler = _functions.get(function)
        if handler is None:
            hooks.load()
            handler = _functions.get(function)
        if handler is None:
            raise dispatch.no_rule(function)
        try:
            return handler(*args, **kwargs) if kwargs else handler(*args)
        except (ValueError, IndexError, TypeError) as error:
            if (named := dispatch.named(error, function, args)) is not None:
                raise named from error
            raise

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """A copy of integers and booleans, as for an index of an array; refused for floats."""
        value, node = self._value, self.node
        flat = type(value) is np.ndarray and value.dtype.kind in "iub"
        if flat and (node is None or not node.wants):
            cursor = current_cursor()
            if cursor is not None and may_have_samples(node):
                owner(cursor.tape).values_read = True
            return np.array(value, dtype=dtype)
        if leaving.multiplies(self):
            return np.array(None)
        if self._is_on_record():
            shown, way = leaving.ways("np.asarray()")
            raise TracingError(
                f"{shown} would make a plain NumPy array of a tensor{_called(self.node)}, and take "
                f"it out of the record: {way}; where no derivative is wanted, tensor.data"
            )
        raise TracingError(
            f"{leaving.ways('np.asarray()')[0]}: a tensor does not become a plain NumPy array by "
            f"itself: tensor.data is its array, and float(loss) or loss.item() the number of one "
            f"element, as in np.array([loss.item() for loss in losses])"
        )

    def __setitem__(self, index: object, value: object) -> None:
        raise TracingError(
            "item assignment: "
            + _WRITE.format(instead="np.where(mask, new, x) or x = tracer.at(x)[index].set(value)")
        )

    # -- methods of ndarray that make sense --------------------------------------------------

    @property
    def real(self) -> Tensor:
        """The real part; the tensor itself if it is of real numbers."""
        return dispatch.FUNCTIONS[np.real](self)

    @property
    def imag(self) -> Tensor:
        """The imaginary part; zeros if it is of real numbers."""
        return dispatch.FUNCTIONS[np.imag](self)

    def conj(self) -> Tensor:
        """The conjugate, elementwise."""
        return dispatch.UFUNCS[np.conjugate](self)

    def conjugate(self) -> Tensor:
        """The conjugate, elementwise."""
        return dispatch.UFUNCS[np.conjugate](self)

    @property
    def T(self) -> Tensor:
        return dispatch.FUNCTIONS[np.transpose](self)

    @property
    def mT(self) -> Tensor:
        return dispatch.FUNCTIONS[np.swapaxes](self, -1, -2)

    def reshape(self, *shape: Any, **kwargs: Any) -> Tensor:
        if len(shape) == 1 and not isinstance(shape[0], INTEGERS):
            shape = tuple(shape[0])
        return dispatch.FUNCTIONS[np.reshape](self, shape, **kwargs)

    def transpose(self, *axes: Any) -> Tensor:
        if len(axes) == 1 and not isinstance(axes[0], INTEGERS):
            axes = axes[0]
        return dispatch.FUNCTIONS[np.transpose](self, axes or None)

    def copy(self, order: str = "C") -> Tensor:
        return dispatch.FUNCTIONS[np.copy](self)


for _name in (
    "all any argmax argmin argsort clip cumsum cumprod diagonal dot max mean min prod "
    "ravel repeat round squeeze std sum swapaxes take trace var"
).split():
    setattr(Tensor, _name, method_of(getattr(np, _name)))


hints.give(Tensor, "a tensor", hints.TENSOR)


def _called(node: Node | None) -> str:
    """` (weight)`, the name of a leaf, for messages."""
    name = node.params.get("name") if node is not None and node.op.leaf else None
    return f" ({name})" if name else ""


def _again(data: Array, kind: str | None, params: Params, wants: bool) -> Tensor:
    """A constant, or a new leaf, from what `Tensor._without_history` gives."""
    if kind is None:
        return Tensor(data)
    if kind == PARAMETER.name:
        return new_parameter(data, params["name"]).requires_grad_(wants)
    return Tensor(data, new_leaf(INPUT, data, dict(params), wants=False))


#: numbers parameters in the order in which they are made, by which those of one name are told apart
_numbers = itertools.count()


def new_parameter(data: Array, name: str | None) -> Tensor:
    params = {"name": name, "number": next(_numbers)}
    return Tensor(data, new_leaf(PARAMETER, data, params, wants=True))


def new_leaf(op: Rules, data: Array, params: Params, wants: bool) -> Node:
    cursor = current_cursor()
    if cursor is None:
        hooks.load()  # as a tape did, so that NumPy's functions find their operations
    node = new_node(op, data, params, wants=wants)
    if cursor is not None and cursor.tape.watched is not None:
        watch(cursor.tape, node, data)
    return node


def note(holder: Any) -> Any:
    """Tell the tape that records or is paused of what was computed beside it, which is returned.

    Where there is none, it knows its samples by itself from now on.
    """
    tape = open_tape() or paused_tape()
    if tape is None:
        settle([holder])
    else:
        owner(tape).unrecorded.append(weakref.ref(holder))
    return holder


INTERNAL_FILES.add(__file__)
