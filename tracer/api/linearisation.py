"""A function recorded at some arguments, and cotangents and tangents through its record."""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import numpy as np

from tracer import hooks
from tracer.api.arguments import Argument
from tracer.api.closures import held, outside
from tracer.api.tape import Tape
from tracer.arrays import backend
from tracer.arrays.ownership import unaliased
from tracer.arrays.trees import flatten
from tracer.arrays.types import Array, Convertible, DType, Shape, Stack, Tree
from tracer.errors import ShapeError, TracingError
from tracer.record import complex_numbers
from tracer.record.describe import describe
from tracer.record.frames import INTERNAL_FILES, users_frame, users_warnings
from tracer.record.leaf_kinds import VARIABLE
from tracer.record.node import Node
from tracer.record.recorder import (
    Recorder,
    enclosing,
    is_set,
    open_tape,
    owner,
    refuse_elsewhere,
    using,
)
from tracer.record.replay import replay
from tracer.record.tensor import Tensor, TensorLike, new_leaf
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import descendants, push, settle

INTERNAL_FILES.add(__file__)

#: held by the thread that changes a record, to read it, and by those that read such a one
_alone = threading.RLock()
_AS_IT_IS: AbstractContextManager[None] = nullcontext()


class Output(NamedTuple):
    """One output of the function; `node` is None where it does not depend on the variables."""

    node: Node | None
    shape: Shape
    dtype: DType


class Linearisation:
    """A function recorded at `args` and `keywords`, those at `argnums` being variables.

    Every leaf of these arguments is a variable of its own, also a tensor that wants no gradient
    elsewhere (a batch, a frozen parameter). `function(*args, **keywords)` gives the output or, with
    `has_aux`, a pair of it and anything.

    Nodes `around` the function, which it takes without their being arguments, are variables behind
    these, and have the values given. Then others that want a gradient raise `TracingError`.
    """

    def __init__(
        self,
        function: Callable[..., Tree],
        args: Sequence[Tree],
        argnums: Sequence[Argument],
        keywords: Mapping[str, Any] | None = None,
        has_aux: bool = False,
        around: Mapping[Node, TensorLike] | None = None,
    ):
        self.variables: list[Tensor] = []
        #: what the variables are called, as `"argument 0"`
        self.names: list[str] = []
        positional, named = list(args), dict(keywords or {})
        with Tape() as tape:
            for key in argnums:
                holder: Any = named if isinstance(key, str) else positional
                holder[key] = self._variables_in(holder[key], f"argument {key}")
            with held(tape, around) if around else _AS_IT_IS:
                result = function(*positional, **named)
        self.tape = tape
        own = [variable.node for variable in self.variables]
        self._first = {node for node in own if not node.op.leaf}
        self.nodes = self._after(tape.condensed())
        if around is not None:
            self._take_around(around)
        self._depending: set[Node] | None = None
        self._aux: Any = None
        if has_aux:
            result, self._aux = _pair(result)
        if result is None:
            raise TracingError(
                "the function returned None, which has no derivative: return its value"
            )
        #: the leaves of the output, until `value` hands them out
        self._leaves, self.structure = flatten(result)
        self.outputs = [
            self._output(leaf, path)
            for leaf, path in zip(self._leaves, self.structure.paths, strict=True)
        ]
        #: the output where it is one number, for hooks
        self._loss = self._leaves[0] if _is_number(self._leaves) else None
        if tape.parent is not None:
            settle(tape.nodes[tape.start : tape.stop], own)

    def _variables_in(self, argument: Tree, name: str) -> Tree:
        """The argument with tensors for its leaves. The function has these for itself.

        It may move one on (`x += 1`): the variables are what they were at first.
        """
        leaves, structure = flatten(argument)
        variables = [
            _variable(_promoted(leaf, name) if structure.is_leaf else leaf, name + path)
            for leaf, path in zip(leaves, structure.paths, strict=True)
        ]  # fmt: skip
        self.variables += variables
        self.names += [name + path for path in structure.paths]
        return structure.build([Tensor(v._value, v.node) for v in variables])

    def _take_around(self, around: Mapping[Node, TensorLike]) -> None:
        """Make what is around the function variables of it. Refuses what is not among these."""
        own = {variable.node for variable in self.variables}
        for node in outside(self._after(self.tape.nodes[self.tape.start : self.tape.stop])):
            if node not in around and node not in own:
                raise TracingError(
                    f"the function takes {node!r}, which it did not take where it was recorded: "
                    f"give it as an argument"
                )
        for node, value in around.items():
            array = value._value if isinstance(value, Tensor) else value
            self.variables.append(Tensor(array, node))
            self.names.append(node.label)

    def _output(self, leaf: Any, path: str) -> Output:
        """What is known of a leaf of the output. Refuses what is no array of numbers."""
        value = leaf._value if isinstance(leaf, Tensor) else leaf
        if not _is_numeric(value):
            raise TracingError(
                f"the function's output{path} is {_described(value)}: return arrays, or dicts, "
                f"lists and tuples of them, and other things beside them with has_aux=True"
            )
        dtype = _dtype(value)
        if isinstance(leaf, Tensor) and leaf.node is not None and leaf.node.op.foreign:
            self.tape.snapshots.refuse_foreign(leaf.node)
        node = leaf.node if isinstance(leaf, Tensor) and dtype.kind in "fc" else None
        return Output(node if node in self.depending else None, np.shape(value), dtype)

    def _after(self, nodes: Sequence[Node]) -> list[Node]:
        """What was recorded but the variables themselves."""
        return [node for node in nodes if node not in self._first]

    @property
    def depending(self) -> set[Node]:
        """The nodes that depend on the variables, these among them."""
        if self._depending is None:
            self._depending = descendants(self.nodes, {v.node for v in self.variables})
        return self._depending

    @property
    def like(self) -> Array:
        """An array of the library of the variables, to make others beside."""
        return self.variables[0]._value if self.variables else np.zeros(())

    # -- what the caller gets -------------------------------------------------------------------

    def value(self) -> Tree:
        """The output, to be asked for once: arrays of the caller's own, or tensors inside a tape.

        Numbers stay numbers.
        """
        leaves, self._leaves = self._leaves, []
        return self.structure.build(_handed_out(leaves, recorder(self.tape)[0] is not None))

    def aux(self) -> Tree:
        """The same of what came with the output; what is no array stays as it is."""
        leaves, structure = flatten(self._aux)
        self._aux = None
        return structure.build(_handed_out(leaves, recorder(self.tape)[0] is not None))

    # -- derivatives ----------------------------------------------------------------------------

    def pull(
        self, cotangents: Sequence[Stack | None], lead: tuple[int, ...] = (), what: str = "vjp"
    ) -> list[Array]:
        """`[*lead, *variable.shape]` for each variable, from a stack or None for each output.

        Stacks are `[V, *output.shape]`, V the product of `lead`. If some are tensors of a tape that
        is open now, or such a tape is around the function, this is recorded there. Hooks are told
        `what` it is.
        """
        hooks.call("begin_sweep", tape=self.tape, loss=self._loss)
        tape, around = recorder(self.tape)
        pairs = [
            (output.node, stack) for output, stack in zip(self.outputs, cotangents, strict=True)
            if output.node is not None and stack is not None
        ]  # fmt: skip
        if not around and tape is not None and not any(_is_recorded(s) for _, s in pairs):
            tape = None
        with using(tape), users_warnings():
            seeds: dict[Node, Stack] = {}
            for node, stack in pairs:
                if tape is None and isinstance(stack, Tensor):
                    stack = stack._value
                seeds[node] = seeds[node] + stack if node in seeds else stack
            arrived = self._swept(seeds, tape is not None, around) if seeds else {}
            held: list[Any] = [arrived.pop(variable.node, None) for variable in self.variables]
            for i, variable in enumerate(self.variables):
                shape = (*lead, *variable.shape)
                if held[i] is None:
                    held[i] = np.zeros_like(variable._value, shape=shape)
                else:
                    held[i] = _of_dtype(held[i].reshape(shape), variable.dtype)
        out = _derivatives(held, tape is not None)
        if hooks.heard("end_sweep"):
            results = {what: dict(zip(self.names, out, strict=True))}
            hooks.call("end_sweep", tape=self.tape, results=results)
        return out

    def _swept(self, seeds: dict[Node, Any], recorded: bool, around: bool) -> dict[Node, Any]:
        """What arrives at the variables from `seeds`. Only here is the record read again.

        On a tape that is not `around` the function, the values that it computed are constants.
        """
        if recorded and not around:
            self._expand()
        record = owner(self.tape)
        dropped = record.swept
        partly = record.recomputed is not None
        record.snapshots.check(self.nodes, replayed=dropped or partly)
        with _alone if dropped or partly or self.tape.composites else _AS_IT_IS:
            if dropped:
                replay(self.nodes, only=self.depending)
            return Sweep(
                self.nodes,
                seeds,
                recorded=recorded and around,
                only=self.depending,
                recomputed=record.recomputed,
            ).run()

    def push(self, tangents: Sequence[Stack | Tensor]) -> list[Array]:
        """`[*output.shape]` for each output, from a stack `[1, *variable.shape]` for each variable.

        As often and wherever it is called, and recorded there as `pull` is.
        """
        hooks.call("begin_sweep", tape=self.tape, loss=self._loss)
        tape, around = recorder(self.tape)
        if not around and tape is not None and not any(map(_is_recorded, tangents)):
            tape = None
        stacks: dict[Node | None, Stack] = {}
        for variable, tangent in zip(self.variables, tangents, strict=True):
            if tape is None and isinstance(tangent, Tensor):
                tangent = tangent._value
            stacks[variable.node] = cast("Stack", tangent)
        with using(tape), users_warnings():
            self._moved(stacks, around)
            held: list[Any] = [stacks.get(output.node) for output in self.outputs]
            stacks.clear()
            for i, output in enumerate(self.outputs):
                if held[i] is None:
                    held[i] = np.zeros_like(self.like, shape=output.shape, dtype=output.dtype)
                else:
                    held[i] = _of_dtype(held[i].reshape(output.shape), output.dtype)
        out = _derivatives(held, tape is not None)
        if hooks.heard("end_sweep"):
            names = [f"output{path}" for path in self.structure.paths]
            results = {"jvp": dict(zip(names, out, strict=True))}
            hooks.call("end_sweep", tape=self.tape, results=results)
        return out

    def _moved(self, stacks: dict[Node | None, Stack], recorded: bool) -> None:
        """Add the outputs' tangents to those of the variables. The record is read again here."""
        self._expand()
        record = owner(self.tape)
        changed = record.swept or record.recomputed is not None
        record.snapshots.check(self.nodes, replayed=changed)
        with _alone if changed else _AS_IT_IS:
            if changed:
                replay(self.nodes, only=self.depending)
            wanted = {output.node for output in self.outputs if output.node is not None}
            push(self.nodes, stacks, recorded, wanted)

    def _expand(self) -> None:
        """Take the operations that composites stand for, whose rules take tensors, from here on."""
        if self.tape.composites:
            with _alone:
                self.nodes, self._depending = self._after(self.tape.recorded()), None

    def cotangents(self, given: Tree) -> list[Stack]:
        """Cotangents of the output's structure as stacks for `pull`."""
        leaves = self.structure.match(given, "cotangent", "output")
        like = self.like
        return [
            stack_of(leaf, output.shape, output.dtype, like, "cotangent", "output", path)
            for leaf, output, path in zip(leaves, self.outputs, self.structure.paths, strict=True)
        ]  # fmt: skip


def recorder(tape: Recorder) -> tuple[Recorder | None, bool]:
    """The open tape that what is derived from a tape's record is recorded on; if it is around it.

    In a thread that no tape was opened in, that is a tape around that another thread has open.
    """
    if not is_set():
        outer = enclosing(tape)
        return outer, outer is not None
    current = open_tape()
    return current, current is not None and owner(current) is owner(tape)


def stack_of(
    value: Convertible,
    shape: Shape,
    dtype: DType,
    like: Array,
    what: str,
    of: str,
    path: str,
) -> Stack:
    """A cotangent or tangent as a stack `[1, *shape]` of `dtype`, a copy of the caller's array.

    `what` it is, `of` what and at which `path` are for messages.
    """
    at = f" at {path}" if path else ""
    raw = value._value if isinstance(value, Tensor) else value
    backend.refuse_subclass(raw)
    if not _is_numeric(raw) or _dtype(raw).kind not in "fciub":
        raise TracingError(f"a {what} is an array of numbers, got {_described(raw)}{at}")
    if _dtype(raw).kind == "c" and dtype.kind != "c":
        raise TracingError(
            f"a {what} is an array of real numbers where its {of} is one, got {_described(raw)}"
            f"{at}: give its real part, np.real(v)"
        )
    if np.shape(raw) != shape:
        raise ShapeError(
            f"a {what} has the shape of its {of}, {list(shape)}, got {list(np.shape(raw))}{at}"
        )
    if isinstance(value, Tensor):
        return _of_dtype(value, dtype)[None]
    if isinstance(value, np.generic) or not backend.is_array(value):
        return np.full_like(like, value, shape=(1,), dtype=dtype)
    return value[None].astype(dtype)


def _promoted(argument: Convertible, name: str) -> Convertible:
    """An integer that stands alone as a float, with a warning; anything else as it is."""
    number = np.asarray(argument) if isinstance(argument, int | np.integer | np.ndarray) else None
    if number is None or number.ndim or number.dtype.kind not in "iu":
        return argument
    _warn(f"{name} is the integer {number}, and is taken as a float: write {float(number)}")
    return float(number)


def _variable(leaf: Convertible, name: str) -> Tensor:
    """A leaf of an argument as a new variable.

    It is recorded where it comes from a tape, so that tapes around see through.
    """
    raw = leaf._value if isinstance(leaf, Tensor) else leaf
    if not _is_numeric(raw) and not (hasattr(raw, "dtype") and hasattr(raw, "shape")):
        raise TracingError(f"{name} is {_described(raw)}: {_remedy(raw)}")
    data = backend.as_array(raw)
    if data.dtype.kind not in "fc":
        raise TracingError(
            f"{name} is of a float dtype (or a complex one), got {describe(data)}, which has no "
            f"derivative: convert it with array.astype(np.float64), or write numbers as 1.0"
        )
    if isinstance(leaf, Tensor) and leaf.node is not None:
        refuse_elsewhere([leaf.node])
        variable = +leaf
        variable.node.wants = True
    else:
        variable = Tensor(data, new_leaf(VARIABLE, data, {"name": name}, wants=True))
    if data.dtype.kind == "c":
        complex_numbers.note(VARIABLE, data.dtype)
    return variable


def _warn(message: str) -> None:
    """A warning at the line of the user's that runs."""
    frame = users_frame()
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(
        message, UserWarning, frame.f_code.co_filename, frame.f_lineno, registry=registry
    )


def _is_numeric(value: object) -> bool:
    return isinstance(value, NUMBERS) or backend.is_array(value)


#: NumPy's arrays, and Python's numbers
NUMBERS = (np.ndarray, int, float, complex)


def _dtype(value: Any) -> Any:
    return value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype


def _is_recorded(value: object) -> bool:
    """Whether it is a tensor with a history."""
    return isinstance(value, Tensor) and value.node is not None


def _of_dtype(value: Any, dtype: DType) -> Any:
    if value.dtype is dtype:
        return value
    if value.dtype.kind == "c" and dtype.kind != "c":
        raise TracingError(
            "the rules of an operation gave complex numbers as the derivative of real ones: let "
            "them return the real part"
        )
    return value if value.dtype == dtype else value.astype(dtype)


def _is_number(leaves: Sequence[object]) -> bool:
    """Whether these are one tensor of one element."""
    return len(leaves) == 1 and isinstance(leaves[0], Tensor) and leaves[0].size == 1


def _derivatives(held: list[Any], recorded: bool) -> list[Any]:
    """Derivatives as they are handed out: inside a tape all of them are tensors."""
    if recorded:
        return [value if isinstance(value, Tensor) else Tensor(value) for value in held]
    return _handed_out(held, False)


def _handed_out(held: list[Any], recorded: bool) -> list[Any]:
    """Inside a tape tensors of their own; outside of all, arrays that share memory with nothing.

    An operator in place then changes one of them, and nothing else, in both. The list is emptied,
    so that what nothing else refers to is not copied.
    """
    if recorded:
        return list(map(_own_name, held))
    out = []
    for i in range(len(held)):
        value, held[i] = held[i], None
        if isinstance(value, Tensor):
            value = value._value
        if isinstance(value, np.generic):
            value = np.array(value)
        one = [value]
        del value
        if type(one[0]) is np.ndarray:
            out.append(unaliased(one))
        else:
            out.append(one[0].copy() if backend.is_array(one[0]) else one[0])
    return out


def _own_name(value: Any) -> Any:
    """The same tensor by an object of its own; of an array a copy."""
    if isinstance(value, Tensor):
        return Tensor(value._value, value.node)
    return value.copy() if type(value) is np.ndarray else value


def _pair(result: object) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TracingError(
            f"with has_aux=True the function returns a pair (output, aux), got {_described(result)}"
        )
    return result


def _described(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if value is None or _is_numeric(value):
        return describe(value) if value is not None else "None"
    return f"a {type(value).__name__}"


def _remedy(value: object) -> str:
    """What to give in place of an argument that is neither an array nor a container."""
    if hasattr(value, "named_parameters"):
        return "give its parameters, dict(model.named_parameters())"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "give its fields as a dict, vars(value), or make it a typing.NamedTuple"
    if isinstance(value, Mapping):
        return "give dict(value)"
    return "give an array of floats, or a dict, list or tuple of them"
