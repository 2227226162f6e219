"""`t += u` and its kin: the tensor object moves on to the new value, so that all its names see it.

So do functions that plugins have in place, as `relu_(t)`: they call `moved_on`.

Nothing is written into. NumPy would also change what shares memory with `t`, such as a slice of it:
where a tensor of that kind is still in use, the operator is refused. On a tape, nodes tell what is
a view of what; beside one, the memory itself does.
"""

import gc
import sys
from typing import NamedTuple

import numpy as np

from tracer.errors import ShapeError, TracingError
from tracer.operations import arithmetic, products  # noqa: F401  # they define the operators
from tracer.record.leaf_kinds import CONSTANT, PARAMETER
from tracer.record.pausing import paused_tape
from tracer.record.recorder import open_tape, owner
from tracer.record.tensor import Tensor


class Said(NamedTuple):
    """How errors call what moves a tensor on, and what is to be written in its place."""

    change: str
    instead: str


def moved_on(tensor, out, change, instead):
    """`out`, to which a tensor has moved on; the errors of `t += u` name the `change` so.

    What is the same memory in another shape, as a tensor and what it was flattened to, moves on to
    that shape of `out`. Parameters and raw arrays stay what they are.
    """
    node = getattr(tensor, "node", None)
    if type(tensor) is not Tensor or out is tensor or (node is not None and node.op is PARAMETER):
        return out
    said = Said(change, instead)
    if node is not None:
        _refuse_paused(node, said)
    moves = [(tensor, out)]
    for other in _reshaped(tensor):
        moves.append((other, np.reshape(out, other.shape)))
    known = [other for other, _ in moves]
    if node is None or node.op is CONSTANT:
        _refuse_in_memory(tensor, said, known)
    if node is not None:
        _refuse_shared(tensor, said, known)
    for other, value in moves:
        other._value, other.node = value._value, value.node
    return tensor


def _reshaped(tensor):
    """The other tensors that are in use, and are this one's whole memory in another shape."""
    node, tape = tensor.node, open_tape()
    if node is None or tape is None:
        if type(tensor._value) is not np.ndarray or not _is_shared(tensor):
            return []
        found = [other for other in _tensors() if _overlap(other, tensor._value)]
    else:
        nodes = [other for other, used in _in_use(node, tape.nodes) if used > 0]
        found = (
            [other for other in gc.get_referrers(*nodes) if type(other) is Tensor] if nodes else []
        )
    place = _place(tensor._value)
    return [
        other
        for other in found
        if other is not tensor
        and place is not None
        and _place(other._value) == place
        and (other.node is None or other.node.op is not PARAMETER)
    ]


def _place(array):
    """Address and size of an array that is one piece of memory in order; else None."""
    interface = getattr(array, "__array_interface__", None)
    interface = interface or getattr(array, "__cuda_array_interface__", None)
    whole = interface is not None and array.flags.c_contiguous and array.size
    return (interface["data"][0], array.nbytes) if whole else None


def in_place(function, sign):
    """The method `__iadd__` from the function of two operands that stands for `+`."""
    said = Said(f"t {sign}= u", f"t = t {sign} u")

    def method(self, other):
        node = self.node
        if node is not None:
            _refuse_parameter(self, sign)
            _refuse_paused(node, said)
        number = not self._value.ndim and (node is None or node.parents)
        if number and sys.getrefcount(self) > _ONE_NAME:
            what = "" if node is None else f", {node!r},"
            raise TracingError(
                f"t {sign}= u on a number{what} leaves its other names at the old "
                f"value in NumPy, and moves those of an array: write t = t {sign} u"
            )
        if node is None or node.op is CONSTANT:
            _refuse_in_memory(self, said)
        if node is not None:
            _refuse_shared(self, said)
        out = function(self, other)
        if out.shape != self.shape:
            raise ShapeError(
                f"t {sign}= u keeps the shape {list(self.shape)} of t, and t {sign} u has "
                f"{list(out.shape)}: write t = t {sign} u"
            )
        if out.dtype != self.dtype:
            if out.dtype.kind in "fc" and not np.can_cast(out.dtype, self.dtype, "same_kind"):
                raise TracingError(
                    f"t {sign}= u keeps the dtype {self.dtype} of t, and t {sign} u has "
                    f"{out.dtype}: write t = t {sign} u"
                )
            out = out.astype(self.dtype)
        self._value, self.node = out._value, out.node
        return self

    return method


def _refuse_parameter(tensor, sign):
    node = tensor.node
    if node.op is PARAMETER:
        raise TracingError(
            f"p {sign}= u is not for a parameter ({_name_of(node)}): write w = p {sign} u for a "
            f"new value, or p.data {sign}= u, outside of the record, to change the parameter"
        )


def _name_of(node):
    """The name of a parameter, by itself or in a model of the open tape; else its shape."""
    name, tape = node.params.get("name"), open_tape()
    while name is None and tape is not None:
        names = (pair for root in tape.roots for pair in root.named_parameters())
        name = next((full for full, parameter in names if parameter.node is node), None)
        tape = tape.parent
    return name or f"of shape {list(node.shape)}"


def _refuse_paused(node, said):
    """Raise `TracingError` where a tensor that wants a gradient would lose its history."""
    if node.wants and paused_tape() is not None:
        raise TracingError(
            f"{said.change} inside of tracer.pause() would make {node!r} a constant for all its "
            f"names: write {said.instead}, or leave the pause for it"
        )


def _refuse_in_memory(tensor, said, known=()):
    """Raise `TracingError` if another tensor lies in this one's memory, whatever made it.

    Those that are `known` may.
    """
    if type(tensor._value) is np.ndarray and _is_shared(tensor):
        value = tensor._value
        for other in _tensors():
            if other is not tensor and _among(other, known) is None and _overlap(other, value):
                raise TracingError(
                    f"{said.change} would in NumPy also change a tensor that shares memory with t, "
                    f"of shape {list(other.shape)}, that is in use: write {said.instead}"
                )


def _is_shared(tensor):
    """Whether the memory of a tensor's array has holders besides that array."""
    return _holders(tensor) > _ALONE[tensor._value.base is None]


def _tensors():
    """All tensors: views are held by tensors alone, which the collector knows."""
    return [each for each in gc.get_objects() if type(each) is Tensor]


def _among(tensor, known):
    """The tensor itself, if it is one of those known; tensors do not compare as objects do."""
    return next((each for each in known if each is tensor), None)


def _overlap(tensor, value):
    other = getattr(tensor, "_value", None)  # another thread may be about to make it
    return type(other) is np.ndarray and np.may_share_memory(other, value, 1000)


def _holders(tensor):
    """The references to the array whose memory a tensor's value lies in."""
    array = tensor._value
    while True:
        base = array.base
        base = base.obj if type(base) is memoryview else base
        if type(base) is not np.ndarray:
            del base
            return sys.getrefcount(array)
        array = base


#: what `_holders` counts where a tensor has its array alone: whether the array is whole
_ALONE = {True: _holders(Tensor(np.zeros(1))), False: _holders(Tensor(np.zeros(2)[:1]))}


def _refuse_shared(tensor, said, known=()):
    """Raise `TracingError` if a tensor is in use that has a part of this one's memory.

    Those that are `known` may.
    """
    tape = open_tape()
    if tape is None:
        _refuse_in_memory(tensor, said, known)
        return
    found = _in_use(tensor.node, tape.nodes)
    sharing = {id(tensor.node), *(id(other) for other, _ in found)}
    views = (id(node) in sharing and view() for node, view in owner(tape).unrecorded_views)
    if any(isinstance(view, Tensor) and view is not tensor for view in views):
        raise TracingError(
            f"{said.change} would in NumPy also change a tensor that shares memory with t, which "
            f"was made by detach() or under tracer.pause() and is in use: write {said.instead}"
        )
    for other, used in found:
        if used > sum(each.node is other for each in known):
            raise TracingError(
                f"{said.change} would in NumPy also change a tensor that shares memory with t, "
                f"{other!r} ({other.source or 'an input'}), and that is in use: write "
                f"{said.instead}"
            )


def _in_use(node, nodes):
    """The nodes whose values share memory with this one's, and how many use each beside the record.

    Those that use it are tensors.
    """
    others, by_record = _sharing(node, nodes)
    counts = _references(others)
    return [
        (other, count - known - _UNUSED)
        for other, count, known in zip(others, counts, by_record, strict=True)
    ]


def _sharing(node, nodes):
    """The nodes whose values share memory with this one's, and how often the record refers to each.

    Tensors are not told of views of them; that one is still there shows in the references.
    """
    root = node
    while _is_view(root) and root.parents[0] is not None:
        root = root.parents[0]
    start = next((i for i in range(len(nodes) - 1, -1, -1) if nodes[i] is root), -1)
    members, uses = {id(root): root}, {id(root): int(start >= 0)}
    for i in range(start + 1, len(nodes)):
        later = nodes[i]
        for parent in later.parents:
            if id(parent) in uses:
                uses[id(parent)] += 1
        if _is_view(later) and id(later.parents[0]) in uses:
            members[id(later)], uses[id(later)] = later, 1
    members.pop(id(node))
    return list(members.values()), [uses[key] for key in members]


def _is_view(node):
    views = node.op.views
    return views(node) if callable(views) else views


def _references(objects):
    return [sys.getrefcount(objects[i]) for i in range(len(objects))]


#: what `_references` counts for an object that only the list holds
_UNUSED = _references([object()])[0]


class _Counted:
    """Counts the references that a method in place sees for what has one name."""

    def __iadd__(self, other):
        self.count = sys.getrefcount(self)
        return self


def _one_name():
    counted = _Counted()
    counted += 1
    return counted.count


_ONE_NAME = _one_name()

for _sign, _name in {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "truediv",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "@": "matmul",
}.items():
    setattr(Tensor, f"__i{_name}__", in_place(getattr(Tensor, f"__{_name}__"), _sign))
