"""Imported programs as modules: parameters and buffers under their own names, run as a whole."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

import tracer
from tracer.errors import ShapeError, TracerError
from tracer.extend import (
    Array,
    Called,
    ModuleCall,
    Place,
    Tensor,
    backend,
    current_cursor,
    raw,
    using,
)
from tracer_import.binding import batch_size, bound
from tracer_import.errors import ProgramError
from tracer_import.hyperparameters import hyperparameters
from tracer_import.operators.context import Context, current
from tracer_import.plan import Plan, Step, planned, value_of
from tracer_import.program import Argument, DtypeOf, Held, Program, Scope, Value
from tracer_import.supported import check_supported
from tracer_import.trees import nested
from tracer_layers import Module

NOTHING = np.empty(0)


class Part(Module):
    """A module of an imported model: its place in pictures, and its parameters."""

    _options_text = ""
    #: as "save" or "draw", which is in the state, and no attribute
    _takes_any_name = True

    def forward(self, *inputs: Any) -> Any:
        raise TracerError(
            f"this {type(self).__name__} is a part of an imported program, which runs as a whole: "
            f"call the model"
        )

    def extra_repr(self) -> str:
        return self._options_text

    def __reduce__(self) -> Any:
        return _new, (type(self).__name__, isinstance(self, Imported)), self.__getstate__()


class Imported(Part):
    """A model of another library as a module; `program` is what it computes.

    It is called as the model was, by position or by name. The arrays given have the shapes of the
    program's inputs, whose sizes may vary where the program allows it, and become of their dtypes.
    `train()` and `eval()` switch what the program has of both: dropout, and batch normalisation.
    """

    program: Program
    _plan_made: Plan | None
    _constants: _Constants

    @property
    def batch_axis(self) -> int:
        """The first axis of the first input whose size may vary; axis 0 if none may."""
        return batch_size(self.program)[0]

    @property
    def input_names(self) -> list[str]:
        """The names of what it is called with."""
        program = self.program
        names = [*program.argument_names, *(f"argument {i}" for i in range(len(program.arguments)))]
        return [*names[: len(program.arguments)], *program.keywords]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_plan_made": None}

    def _planned(self) -> Plan:
        """The steps that a call takes."""
        if self._plan_made is None:
            check_supported(self.program)
            object.__setattr__(self, "_plan_made", planned(self.program))
        assert self._plan_made is not None
        return self._plan_made

    def forward(self, *inputs: Any, **options: Any) -> Any:
        context = self._context_now()
        token = current.set(context)
        try:
            values = bound(self.program, inputs, options, context)
            values.update(self._held_values(context))
            self._run_steps(values, context)
        finally:
            current.reset(token)
        self._move_buffers(values)
        outputs = (value_of(output, values) for output in self.program.outputs)
        return nested(self.program.results, outputs)

    # -- what it holds ------------------------------------------------------------------------

    def _context_now(self) -> Context:
        written = _float_dtype(self.program)
        for held in self.program.held:
            if held.kind == "parameter" and held.array.dtype == written:
                array = raw(self._array_at(held.path))
                return Context(backend.of(array), array.dtype, written)
        return Context(backend.NUMPY, written, written)

    def _array_at(self, path: str) -> Any:
        where, _, name = path.rpartition(".")
        return self.get_submodule(where)._value(name)

    def _held_values(self, context: Context) -> Iterator[tuple[str, Any]]:
        for held in self.program.held:
            if held.kind == "constant":
                yield held.value, self._constants.of(held.value, context)
            elif held.value:
                yield held.value, self._array_at(held.path)

    def _move_buffers(self, values: Mapping[str, Any]) -> None:
        """Set the buffers that a call changes, all at once."""
        if self._planned().training and not self.training:
            return
        changes = []
        for path, name in self.program.mutations.items():
            where, _, attribute = path.rpartition(".")
            part, value = self.get_submodule(where), raw(values[name])
            old = part.get_buffer(attribute)
            if value is not old:
                changes.append((part, attribute, value.astype(old.dtype)))
        for part, attribute, value in changes:
            setattr(part, attribute, value)

    # -- running ------------------------------------------------------------------------------

    def _run_steps(self, values: dict[str, Any], context: Context) -> None:
        plan, cursor = self._planned(), current_cursor()
        flips = plan.training != self.training
        if cursor is None:
            for step in plan.steps:
                _take(step, values, context, flips, self.training)
            return
        places: dict[tuple[Scope, ...], Place] = {(): cursor.place}
        start, steps = 0, plan.steps
        while start < len(steps):
            scope, stop = steps[start].scope, start + 1
            while stop < len(steps) and steps[stop].scope == scope:
                stop += 1
            with using(cursor.tape, self._place_of_scope(scope, places)):
                for step in steps[start:stop]:
                    _take(step, values, context, flips, self.training)
            start = stop

    def _place_of_scope(
        self, scope: tuple[Scope, ...], places: dict[tuple[Scope, ...], Place]
    ) -> Place:
        """The place in a call of a module, of which there is one in each call of the model."""
        found = places.get(scope)
        if found is None:
            outer, root = self._place_of_scope(scope[:-1], places), places[()]
            path, kind, _ = scope[-1]
            part = self.get_submodule(path)
            full = f"{root.scope}.{path}" if root.scope else path
            names = path.split(".")
            along = [self.get_submodule(".".join(names[: i + 1])) for i in range(len(names))]
            call = ModuleCall(Called(full, kind, weakref.ref(part)), outer)
            kinds = (*root.scopes, *(type(each).__name__ for each in along))
            found = Place(full, kinds, outer.times, outer.loops, outer.present, call)
            places[scope] = found
        return found


class _Constants:
    """The arrays of a program that are in no state, where the model's arrays are."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self._arrays = dict(arrays)
        self._moved: dict[Any, Array] = {}

    def of(self, name: str, context: Context) -> Array:
        array = self._arrays[name]
        dtype = context.dtype_of(array.dtype)
        key = (name, context.library.name, dtype)
        if key not in self._moved:
            made = array.astype(dtype)
            made.setflags(write=False)
            self._moved[key] = context.library.from_host(made)
        return self._moved[key]


def _take(
    step: Step, values: dict[str, Any], context: Context, flips: bool, training: bool
) -> None:
    """Run one step."""
    arguments = [_filled(argument, values, context) for argument in step.arguments]
    keywords = {key: _filled(value, values, context) for key, value in step.keywords.items()}
    if flips and step.moves and step.slot is not None:
        _flip(arguments, keywords, step.slot, training)
    try:
        result = step.call(step.function, arguments, keywords)
    except OF_OPERATORS as error:
        raise ProgramError(_failed(step, error)) from error
    results = result if step.several else (result,)
    for name, value, dtype in zip(step.outputs, results, step.dtypes, strict=False):
        if name is not None:
            values[name] = _as_declared(value, dtype, context)
    for name in step.freed:
        values.pop(name, None)


#: what operators raise of arguments that they cannot take
OF_OPERATORS = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    AssertionError,
)


def _failed(step: Step, error: Exception) -> str:
    where = f" ({step.node.source})" if step.node.source else ""
    why = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    return (
        f"{step.node.target}{where} of the program failed: {why}: the inputs may be of other sizes "
        f"than it was exported for"
    )


def _filled(argument: Argument, values: Mapping[str, Any], context: Context) -> Any:
    """An argument with values in place of their names."""
    kind = type(argument)
    if kind is Value:
        return values[argument.name]
    if kind is tuple:
        return tuple([_filled(each, values, context) for each in argument])
    if kind is DtypeOf:
        return context.dtype_of(argument.dtype)
    return argument


def _flip(arguments: list[Any], keywords: dict[str, Any], slot: int | str, training: bool) -> None:
    """Give an operator the model's mode; a probability is 0 in evaluation, and else unknown."""
    given: Any = arguments if isinstance(slot, int) else keywords
    if isinstance(given[slot], bool):
        given[slot] = training
    elif not training:
        given[slot] = 0.0


def _as_declared(value: Any, dtype: np.dtype | None, context: Context) -> Any:
    """A result in the dtype that the program says: PyTorch promotes numbers and ints otherwise."""
    if dtype is None or not hasattr(value, "dtype"):
        return value
    wanted = context.dtype_of(dtype)
    return value if value.dtype == wanted else value.astype(wanted)


# -- making ------------------------------------------------------------------------------------


def imported(program: Program) -> Imported:
    """A module that runs the program. Raises `ProgramError` with all operators that are missing."""
    check_supported(program)
    root: Any = _class(program.modules.get("", "Program"), Imported)()
    constants = {held.value: held.array for held in program.held if held.kind == "constant"}
    stripped = tuple(replace(held, array=NOTHING.astype(held.array.dtype)) for held in program.held)
    object.__setattr__(root, "program", replace(program, held=stripped))
    object.__setattr__(root, "_plan_made", None)
    object.__setattr__(root, "_constants", _Constants(constants))
    _add_parts(root, program)
    leaves: dict[int, Tensor] = {}
    for held in program.held:
        if held.kind != "constant":
            _hold(root, held, leaves)
    for path, text in hyperparameters(program).items():
        object.__setattr__(root.get_submodule(path), "_options_text", text)
    root.train(root._planned().training)
    return root


def _add_parts(root: Module, program: Program) -> None:
    """A module for each path, the ones that hold others first."""
    paths = [path for path in program.modules if path]
    paths += [held.path.rpartition(".")[0] for held in program.held if held.kind != "constant"]
    for path in dict.fromkeys(paths):
        part, names = root, path.split(".") if path else []
        for i, name in enumerate(names):
            if name not in part._registered:
                here = ".".join(names[: i + 1])
                kind = program.modules.get(here) or _container(here, paths)
                part.add_module(name, _class(kind, Part)())
            part = part.get_submodule(name)


def _container(path: str, paths: list[str]) -> str:
    """The class of a module that is never called: a list if its modules have numbers."""
    below = [p[len(path) + 1 :].partition(".")[0] for p in paths if p.startswith(f"{path}.")]
    if not below:
        return "Module"
    return "ModuleList" if all(name.isdecimal() for name in below) else "ModuleDict"


def _hold(root: Module, held: Held, leaves: dict[int, Tensor]) -> None:
    where, _, name = held.path.rpartition(".")
    part = root.get_submodule(where)
    if held.kind != "parameter":
        part.register_buffer(name, held.array, persistent=held.kind == "buffer")
        return
    leaf = leaves.get(id(held.array))
    if leaf is None:
        if held.array.dtype.kind != "f":
            raise ShapeError(
                f"the parameter {held.path!r} is of dtype {held.array.dtype}, and parameters are "
                f"of a float dtype: make it a buffer before the export"
            )
        leaf = leaves[id(held.array)] = tracer.parameter(held.array.copy(order="K"))
        if not held.trained:
            leaf.requires_grad_(False)
    part.register_parameter(name, leaf)


@cache
def _class(kind: str, base: type[Part]) -> type[Part]:
    """The class that a module is shown as."""
    kind = kind if kind.isidentifier() else "Module"
    return type(kind, (base,), {"__module__": __name__, "__doc__": base.__doc__})


def _new(kind: str, whole: bool) -> Part:
    """An empty module, for copies and pickles."""
    made = _class(kind, Imported if whole else Part)
    return made.__new__(made)


def _float_dtype(program: Program) -> np.dtype:
    """The float dtype that most parameters have; that of the inputs where there are none."""
    dtypes = Counter(held.array.dtype for held in program.held if held.kind == "parameter")
    if not dtypes:
        metas = [given.meta for given in program.inputs if given.meta is not None]
        dtypes = Counter(meta.dtype for meta in metas if meta.dtype.kind == "f")
    return max(dtypes, key=lambda dtype: dtypes[dtype], default=np.dtype(np.float32))
