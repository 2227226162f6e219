"""Calls of modules: of the outermost one, of those in it, and of other models inside of it."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from tracer import registry
from tracer.errors import ShapeError
from tracer.extend import (
    NOWHERE,
    Called,
    Cursor,
    ModuleCall,
    Params,
    Part,
    Place,
    TensorLike,
    Work,
    backend,
    begin_work,
    current_work,
    end_work,
    raw,
    using,
    without_torch,
)
from tracer_layers.module import batch_marks, naming
from tracer_layers.module.arguments import blame_arguments
from tracer_layers.module.calls import Call, active
from tracer_layers.module.state import HELD


class Callee(naming.Named, batch_marks.Model, Protocol):
    """What is called here: a module, by where it was called last."""

    _place: tuple[object, ...]

    def _named(
        self, kinds: tuple[str, ...], prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, TensorLike]]: ...


def call_as_root(
    module: Callee, cursor: Cursor | None, inputs: tuple[Any, ...], options: Params
) -> Any:
    if "torch" in sys.modules:
        inputs, options = without_torch(inputs), without_torch(options)
    work_before = current_work()
    if cursor is None:
        registry.load_plugins()  # a tape has loaded them
        begin_work(work_before or Work())  # a tape has begun one
    place = NOWHERE if cursor is None else cursor.place
    call = Call(module, naming_of(module, cursor), place)
    chosen = None
    try:
        active.set(call)
        inputs, options, chosen = batch_marks.marked(module, inputs, options)
        if cursor is None or not call.naming.located[module._serial_number].path:
            return module.forward(*inputs, **options)
        with using(cursor.tape, enter(module, place, call)):
            return module.forward(*inputs, **options)
    except AttributeError as error:
        blame_arguments(type(module).__name__, error, (*inputs, *options.values()))
        raise
    except TypeError as error:
        held = (value for _, value in module._named(HELD, "", True, True))
        mixture = backend.mixture(map(raw, (*inputs, *options.values(), *held)))
        if mixture is None:
            raise
        raise ShapeError(f"{type(module).__name__} {mixture}") from error
    finally:
        active.set(None)
        end_work(work_before)
        if chosen is not None:
            chosen.done()


def call_elsewhere(module: Callee, cursor: Cursor, inputs: tuple[Any, ...], options: Params) -> Any:
    """A call inside of one of another model."""
    around = active.get()
    assert around is not None
    call = Call(around.model, naming_of(module, cursor), cursor.place)
    token = active.set(call)
    try:
        with using(cursor.tape, enter(module, cursor.place, call)):
            return module.forward(*inputs, **options)
    finally:
        active.reset(token)


def naming_of(module: Callee, cursor: Cursor | None) -> naming.Naming:
    """Where the modules of the model are that this one is part of.

    Tells the tape, and those that it is nested in, to name parameters as that model does.
    """
    top = naming.top_of(module)
    tape = None if cursor is None else cursor.tape
    while tape is not None:
        for root in tape.roots:
            if root is module or (type(root) is Part and root.module is module):
                break
        else:
            tape.roots.append(module if top is module else Part(top, module))
        tape = tape.parent
    return naming.of(top, module)


def enter(module: Callee, outer: Place, call: Call) -> Place | None:
    """The place inside this module when it is called at `outer`; None in another model's call.

    Path and classes are kept for the next call. The place is each call's own.
    """
    above = call.place
    within, upper, scope, scopes, inside, called = module._place
    if (
        scope is not outer.scope
        or scopes is not outer.scopes
        or within is not call.naming
        or upper is not above.scope
    ):
        found = _found_in(module, call.naming, above, outer)
        if found is None:
            return None
        inside, called = found
    call_inside = ModuleCall(called, outer)
    here = called.scope, inside, outer.times, outer.loops, outer.present, call_inside
    return tuple.__new__(Place, here)  # as Place(*here) does, in half the time


def _found_in(
    module: Callee, within: naming.Naming, above: Place, outer: Place
) -> tuple[tuple[str, ...], Called] | None:
    """Classes and path inside when it is called at `outer` in a model that is at `above`."""
    number = module._serial_number
    entry = within.entries.get((above.scope, outer.scope, number))
    if entry is None:
        entry = within.enter(above.scope, outer.scope, number)
        if entry is None:
            return None
    if entry.container is not None:
        naming.warn_of(entry.container, module)
    inside = (*(above if entry.beside else outer).scopes, *entry.kinds)
    called = Called(entry.scope, type(module).__name__, weakref.ref(module))
    key = (within, above.scope, outer.scope, outer.scopes)
    vars(module)["_place"] = (*key, inside, called)
    return inside, called
