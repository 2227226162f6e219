"""How a call is recorded: a node with what its rules read, and the tensor that has it."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.arrays.types import Array, DType
from tracer.errors import ShapeError, TracingError
from tracer.record import complex_numbers
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES, users_frame
from tracer.record.leaf_kinds import ELSEWHERE
from tracer.record.node import KeepingNode, Node, Params, Parents, new_node
from tracer.record.origins import may_have_samples, origin_of
from tracer.record.pausing import paused_tape
from tracer.record.place import NOWHERE
from tracer.record.raising import Failure
from tracer.record.recorder import (
    Cursor,
    current_cursor,
    is_set,
    opened_elsewhere,
    owner,
    refuse_elsewhere,
)
from tracer.record.rules import Rules
from tracer.record.statistics import watch
from tracer.record.tensor import Tensor

if TYPE_CHECKING:
    from tracer.record.recorder import Recorder
    from tracer.record.snapshots import Snapshots


_frame = sys._getframe


_new = object.__new__


def record(
    cursor: Cursor,
    op: Rules,
    parents: Parents,
    saved: tuple[Any, ...],
    params: Params,
    out: Array,
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
    node.wants = wants and (dtype is FLOAT64 or dtype is FLOAT32 or has_slopes(op, dtype))
    if complex_numbers.seen and wants:
        complex_numbers.check(op, parents)
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
    op: Rules,
    parents: Parents,
    arrays: tuple[Any, ...],
    params: Params,
    out: Array,
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


def _made_elsewhere(out: Array, tapes: Sequence[Recorder]) -> Node:
    """A leaf for what a thread without a tape made of parameters, while others had these open.

    Those refuse it, since it would be a constant there (`Snapshots.of_leaf`).
    """
    return new_node(ELSEWHERE, out, {"records": [weakref.ref(owner(tape)) for tape in tapes]})


def tensor_of(value: Any) -> Any:
    """A tensor of an array that knows its samples; anything else as it is."""
    return Tensor(value.plain, value.leaf) if type(value) is SampledArray else value


FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def has_slopes(op: Rules, dtype: DType) -> bool:
    """Whether a value of this dtype may have a derivative: integers and booleans have none.

    Raises `TracingError` for complex numbers that the operation has no rules for, for durations and
    objects.
    """
    if dtype.kind == "c":
        complex_numbers.note(op, dtype)
        return True
    if dtype.kind == "O":
        raise TracingError(backend.OF_OBJECTS)
    if dtype.kind == "m":
        raise TracingError(
            f"{op.name} gives durations ({dtype}), and derivatives through them are not defined "
            f"here: make numbers of the durations first, as in t * (steps / np.timedelta64(1, 's'))"
        )
    return dtype.kind == "f"


#: types of options that are no arrays, and of constants
PLAIN = frozenset((int, float, complex, bool, str, tuple, type(None), np.dtype))


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


def explain(
    error: Exception,
    op: Rules,
    arrays: Sequence[Any],
    parents: Sequence[Node | None],
    params: Params,
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
        at = place, frame.f_code, frame.f_lasti
        tape.failure = Failure(op, tuple(parents), *at, message, op.name)
    if isinstance(error, ShapeError) or type(error) in (ValueError, IndexError, TypeError):
        return ShapeError(message)
    error.add_note(message)
    raise error


INTERNAL_FILES.add(__file__)
