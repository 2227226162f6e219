"""Functions of tensors without derivatives: they act on the plain arrays, whose samples stay known.

Comparisons, `np.argmax` and their kin give plain arrays (`tracer.arrays.sampled`). Nothing is
recorded, but each knows the function and the tensors that it was made by: where it becomes a
constant of a recorded operation, its samples are found by rules like those of operations.
"""

import inspect
import weakref

import numpy as np

from tracer.arrays.sampled import SampledArray, plain
from tracer.errors import TracerError, TracingError
from tracer.operations.arguments import negative_axes, raw
from tracer.operations.operators import binary_method
from tracer.operations.reductions import Reduction
from tracer.record import dispatch
from tracer.record.axes import SAMPLED, UNKNOWN, count_of, labelled, samples_of
from tracer.record.dispatch import FUNCTIONS, implements, refuse_out
from tracer.record.operation import Elementwise, Operation
from tracer.record.origins import may_have_samples, origin_of
from tracer.record.pausing import pause, paused_tape
from tracer.record.recorder import current_cursor, open_tape, owner
from tracer.record.recording import tensor_of
from tracer.record.snapshots import Trusted
from tracer.record.tensor import Tensor


class _Sorted(Operation):
    """Works along `axis`, and leaves the others as they are."""

    @staticmethod
    def batch_axis(node, axes):
        (axis,) = (a for a in axes if isinstance(a, int))
        return UNKNOWN if axis == node.params["axis"] else axis


class _Chosen(Operation):
    """The indices of some elements, one axis's of them in each array; `index` holds them all."""

    grouped_axes = True

    @staticmethod
    def batch_axis(node, axes):
        (axis,) = (a for a in axes if isinstance(a, SAMPLED))
        size = node.input_shape(0)[axis]
        chosen = samples_of(axis, size)[node.params["index"][axis]]
        return labelled(0, chosen, count_of(axis, size))


class _Unfollowed(Operation):
    """Made of arrays with samples in a way that is not known."""


#: elementwise, and with the axes of the first (second) array
ELEMENTWISE, OF_FIRST, OF_SECOND = (Elementwise(name) for name in ("flat", "flat", "flat"))
REDUCED, SORTED, CHOSEN = Reduction("flat reduction"), _Sorted("argsort"), _Chosen("nonzero")
UNFOLLOWED = _Unfollowed("flat")


# -- what knows its samples ---------------------------------------------------------------------


def marked(out, op, values, params):
    """A result with its samples, if a tape may want to know them: `op` says where they are."""
    tape = _following()
    if tape is None or not getattr(out, "ndim", 0):
        return out
    leaves = [_leaf_of(value) for value in values]
    for leaf in leaves:
        if leaf is not None and may_have_samples(leaf):
            break
    else:
        return out
    tape.values_read = True
    if type(out) is not np.ndarray:  # of a device
        return out
    arrays = [None if leaf is not None else raw(x) for x, leaf in zip(values, leaves, strict=True)]
    made = out.view(SampledArray)
    made._plain, made._made_by = out, (op, leaves, arrays, params)
    tape.unrecorded.append(weakref.ref(made))
    return made


def _leaf(array):
    """The leaf that stands for an array, made when it is asked for; None for a constant."""
    made_by, made_of = array._made_by, array._made_of
    if made_by is not None:
        op, leaves, arrays, params = made_by
        _set_leaf(array, origin_of(op, leaves, arrays, params, array.plain))
    elif made_of is not None:
        _set_leaf(array, unfollowed(array.plain, [made_of]))
    return array._leaf


def _set_leaf(array, leaf):
    array._leaf, array._made_by, array._made_of = leaf, None, None


def unfollowed(out, values):
    """The leaf for what NumPy made of arrays that know their samples, in a way that is not known.

    None where nobody wants to know.
    """
    leaves = [_leaf_of(value) for value in values]
    if _following() is None or not out.ndim or not any(map(may_have_samples, leaves)):
        return None
    return origin_of(UNFOLLOWED, leaves, [raw(value) for value in values], {}, out)


def _following():
    """The tape that may want to know the samples of what is computed now, or None."""
    cursor = current_cursor()
    tape = paused_tape() if cursor is None else cursor.tape
    if tape is None or type(tape.snapshots) is Trusted:  # a record that is made of another one
        return None
    if not tape._open:
        tape = open_tape()
    return tape if tape is None or tape.parent is None else owner(tape)


def _leaf_of(value):
    if type(value) is SampledArray:
        return value.leaf
    return value.node if isinstance(value, Tensor) else None


def _is_marked(value):
    return type(value) is SampledArray or isinstance(value, Tensor)


# -- functions that are flat --------------------------------------------------------------------


def _elementwise(out, function, args, kwargs):
    return marked(out, ELEMENTWISE, args, {})


def _of_one(slot):
    """The axes are those of one argument."""

    def follow(out, function, args, kwargs):
        if slot >= len(args) or getattr(out, "shape", None) != np.shape(raw(args[slot])):
            return out
        return marked(out, ELEMENTWISE, [args[slot]], {})

    return follow


def _reduced(out, function, args, kwargs):
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    x = next(iter(bound.values()))
    rank, keepdims = np.ndim(raw(x)), bound.get("keepdims", False)
    params = {"axis": negative_axes(bound.get("axis"), rank), "keepdims": keepdims is True}
    return marked(out, REDUCED, [x], params)


def _sorted(out, function, args, kwargs):
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    axis, rank = bound.get("axis", -1), np.ndim(raw(args[0]))
    return marked(out, SORTED, [args[0]], {"axis": 0 if axis is None else axis % max(rank, 1)})


def _chosen(out, function, args, kwargs):
    index = tuple(out.T) if isinstance(out, np.ndarray) else out
    if isinstance(out, tuple):
        return tuple(marked(part, CHOSEN, args[:1], {"index": index}) for part in out)
    return marked(out, CHOSEN, args[:1], {"index": index})


def _chosen_flat(out, function, args, kwargs):
    with pause():
        flattened = np.ravel(tensor_of(args[0]))
    return marked(out, CHOSEN, [flattened], {"index": (out,)})


def _alone(out, function, args, kwargs):
    return out


#: functions of tensors whose values are flat in every argument, or have no derivative to speak of,
#: and where the samples are in their results
FLAT = {
    **dict.fromkeys((
        # ufuncs
        *(np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal),
        *(np.logical_and, np.logical_or, np.logical_not, np.logical_xor),
        *(np.isfinite, np.isinf, np.isnan, np.signbit),
        # functions
        *(np.isclose, np.isneginf, np.isposinf, np.isreal, np.iscomplex),
    ), _elementwise),
    **dict.fromkeys((np.zeros_like, np.ones_like, np.empty_like, np.digitize), _of_one(0)),
    np.searchsorted: _of_one(1),
    **dict.fromkeys((
        np.all, np.any, np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.count_nonzero,
    ), _reduced),
    **dict.fromkeys((np.argsort, np.argpartition), _sorted),
    **dict.fromkeys((np.argwhere, np.nonzero), _chosen),
    np.flatnonzero: _chosen_flat,
    **dict.fromkeys((
        np.allclose, np.array_equal, np.array_equiv, np.isrealobj, np.iscomplexobj,
        np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.min_scalar_type,
        np.array_repr, np.array_str,
    ), _alone),
}  # fmt: skip


def _position_of_out(function):
    """Where an array to write into is given without its name; None where it cannot be."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:  # written in C, without a text of its arguments
        return None
    return names.index("out") if "out" in names and not isinstance(function, np.ufunc) else None


def _on_values(function, follow):
    """A NumPy function whose result is not differentiable: it acts on the plain arrays."""
    position = _position_of_out(function)

    def handler(*args, **kwargs):
        positional = args[position] if position and len(args) > position else None
        out = kwargs.get("out", positional)
        if isinstance(out, Tensor):
            refuse_out(function.__name__, out)
        result = function(*map(raw, args), **{k: raw(v) for k, v in kwargs.items()})
        if out is not None:
            return result
        return follow(result, function, args, kwargs)

    handler.__name__ = function.__name__
    return implements(function)(handler)


NOT_DIFFERENTIABLE = [_on_values(function, follow) for function, follow in FLAT.items()]


def _comparison(ufunc):
    def compare(x, y):
        try:
            out = ufunc(x._value, raw(y))
        except ValueError as error:
            raise dispatch.named(error, ufunc, (x, y)) or error from error
        return (
            out
            if current_cursor() is None and paused_tape() is None
            else marked(out, ELEMENTWISE, (x, y), {})
        )

    return compare


for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    _full = {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}
    _ufunc = getattr(np, _full.get(_name) or {"eq": "equal", "ne": "not_equal"}[_name])
    setattr(Tensor, f"__{_name}__", _comparison(_ufunc))


def _bitwise(ufunc):
    """A function of bits: flat, on integers and booleans alone."""

    @implements(ufunc)
    def function(*operands):
        for x in operands:
            if getattr(raw(x), "dtype", np.dtype(int)).kind not in "iub":
                raise TracingError(
                    f"np.{ufunc.__name__} is of integers and booleans, got {raw(x).dtype}: write "
                    f"np.logical_and and its kin, or t.astype(int)"
                )
        return marked(ufunc(*map(raw, operands)), ELEMENTWISE, operands, {})

    return function


def _refused_in_place(x, y):
    raise TracingError("t &= u and its kin would leave other names of t behind: write t = t & u")


for _name, _ufunc in {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}.items():
    _of_bits = _bitwise(_ufunc)
    NOT_DIFFERENTIABLE.append(_of_bits)
    setattr(Tensor, f"__{_name}__", _of_bits)
    setattr(Tensor, f"__r{_name}__", binary_method(_of_bits, reflected=True))
    setattr(Tensor, f"__i{_name}__", _refused_in_place)
NOT_DIFFERENTIABLE.append(_bitwise(np.invert))
setattr(Tensor, "__invert__", NOT_DIFFERENTIABLE[-1])  # noqa: B010  (which mypy takes for a type's)


# -- NumPy's functions on arrays that know their samples ------------------------------------------


def _array_ufunc(self, ufunc, method, *inputs, **kwargs):
    if any(isinstance(x, Tensor) for x in inputs):
        return NotImplemented  # the tensor's turn
    targets = kwargs.pop("out", ())
    if targets:
        kwargs["out"] = tuple(map(plain, targets))
    if "where" in kwargs:
        kwargs["where"] = plain(kwargs["where"])
    out = getattr(ufunc, method)(*map(plain, inputs), **kwargs)
    if method == "at":
        _written(inputs[0], inputs[1:])
        return None
    if not isinstance(out, np.ndarray):
        return tuple(map(plain, out)) if isinstance(out, tuple) else out
    op, params = UNFOLLOWED, {}
    if method == "__call__" and ufunc.signature is None:
        op = ELEMENTWISE
    elif method == "reduce":
        axes = negative_axes(kwargs.get("axis", 0), inputs[0].ndim)
        op, params = REDUCED, {"axis": axes, "keepdims": bool(kwargs.get("keepdims", False))}
    elif method == "accumulate":
        op, params = SORTED, {"axis": kwargs.get("axis", 0) % max(1, out.ndim)}
    elif ufunc is np.matmul:
        return _function(np.matmul, out, inputs, {})
    made = marked(out, op, inputs, params)
    if not targets:
        return made
    (target,) = targets
    if type(target) is SampledArray and type(made) is SampledArray:
        target.leaf = made.leaf
    return target


def _array_function(self, function, types, args, kwargs):
    if any(issubclass(kind, Tensor) for kind in types):
        return NotImplemented  # the tensor's turn
    out = function(*_stripped(args), **_stripped(kwargs))
    return _function(function, out, args, kwargs)


def _stripped(value):
    """Nested arguments with plain arrays."""
    if isinstance(value, list | tuple):
        return type(value)(map(_stripped, value))
    if isinstance(value, dict):
        return {key: _stripped(each) for key, each in value.items()}
    return plain(value)


def _function(function, out, args, kwargs):
    """The result of a function with its samples, as its rule for tensors finds them."""
    tape = _following()
    if tape is None or not isinstance(out, np.ndarray | tuple | list):
        return out
    found = _flattened((args, kwargs))
    handler = FUNCTIONS.get(function) or dispatch.UFUNCS.get(function)
    made = None
    if handler is not None:
        try:
            with pause():
                made = handler(*_as_tensors(args), **_as_tensors(kwargs))
        except (TracerError, TypeError, ValueError, IndexError):
            made = None  # what NumPy takes of plain arrays alone
    if isinstance(out, np.ndarray):
        return _with_leaf(out, made, found)
    parts = made if isinstance(made, tuple | list) and len(made) == len(out) else [None] * len(out)
    return type(out)([_with_leaf(x, y, found) for x, y in zip(out, parts, strict=True)])


def _as_tensors(value):
    if isinstance(value, list | tuple):
        return type(value)(map(_as_tensors, value))
    if isinstance(value, dict):
        return {key: _as_tensors(each) for key, each in value.items()}
    return tensor_of(value)


def _flattened(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [each for part in value for each in _flattened(part)]
    return [value] if _is_marked(value) else []


def _with_leaf(out, like, values):
    """A plain result with the samples of what stands for it, if that is of its shape."""
    if not isinstance(out, np.ndarray) or not out.ndim:
        return out
    if _is_marked(like) and like.shape == out.shape:
        leaf = _leaf_of(like)
        if leaf is None:
            return out
        made = out.view(SampledArray)
        made._plain, made.leaf = out, leaf
        _following().unrecorded.append(weakref.ref(made))
        return made
    return marked(out, UNFOLLOWED, values, {})


# -- its methods ----------------------------------------------------------------------------------


def _written(target, values):
    """Values were put into an array: its samples are known no more if they have some."""
    if type(target) is SampledArray and any(map(_is_marked, values)):
        target.leaf = unfollowed(target.plain, [target, *filter(_is_marked, values)])


def _getitem(self, index):
    out = self.plain[_stripped(index)]
    if not isinstance(out, np.ndarray):
        return out
    with pause():
        like = tensor_of(self)[index]
    return _with_leaf(out, like, [self])


def _setitem(self, index, value):
    self.plain[_stripped(index)] = _stripped(value)
    _written(self, [value])


def _astype(self, dtype, *args, **kwargs):
    return marked(self.plain.astype(dtype, *args, **kwargs), ELEMENTWISE, [self], {})


def _reshape(self, *shape, **kwargs):
    out = self.plain.reshape(*shape, **kwargs)
    return _function(np.reshape, out, (self, out.shape), kwargs)


def _transpose(self, *axes):
    out = self.plain.transpose(*axes)
    axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
    return _function(np.transpose, out, (self, axes), {})


def _method(name, function):
    def method(self, *args, **kwargs):
        out = getattr(self.plain, name)(*_stripped(args), **_stripped(kwargs))
        return _function(function, out, (self, *args), kwargs)

    method.__name__ = name
    return method


_MEMBERS = {
    "leaf": property(_leaf, _set_leaf),
    "T": property(lambda self: _transpose(self)),
    "mT": property(lambda self: _function(np.swapaxes, self.plain.mT, (self, -1, -2), {})),
    "__array_ufunc__": _array_ufunc,
    "__array_function__": _array_function,
    "__getitem__": _getitem,
    "__setitem__": _setitem,
    "__iter__": lambda self: (self[i] for i in range(len(self))),
    "astype": _astype,
    "reshape": _reshape,
    "transpose": _transpose,
    "flatten": _method("flatten", np.ravel),
}
for _name in (
    "argmax argmin argsort copy cumprod cumsum diagonal dot nonzero ravel repeat searchsorted sort "
    "squeeze swapaxes take trace compress"
).split():
    _MEMBERS[_name] = _method(_name, getattr(np, _name))
for _name, _member in _MEMBERS.items():
    setattr(SampledArray, _name, _member)

OPERATIONS: list = []
