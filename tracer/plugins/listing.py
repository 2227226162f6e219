"""All that a plugin registers: each thing, where it is, and what its documentation says first."""

from __future__ import annotations

import inspect
import itertools
from typing import NamedTuple

from tracer import registry
from tracer.blame import place
from tracer.entries import Entry
from tracer.extensions import Command
from tracer.plugins.loading import load
from tracer.record import dispatch
from tracer.record.operation import Operation


class Thing(NamedTuple):
    """A registered thing, or a hook. `replaces` and `replaced_by` are texts, mostly empty."""

    kind: str
    name: str
    place: str
    doc: str
    replaces: str = ""
    replaced_by: str = ""


def things(plugin: str) -> list[Thing]:
    """What a plugin registers, by kind and name; then the NumPy functions that it implements."""
    load()
    found = []
    for target in registry.BY_HOOK.values():
        for name in target:
            for entry, below, above in _held(target.held(name), plugin):
                found.append(_thing(target.kind, name, entry.value, below, above))
    for function in dispatch.TAKEN.now:
        for entry, below, above in _held(dispatch.TAKEN.stack(function), plugin):
            if not isinstance(entry.value, Operation) and plugin != "tracer":
                name = dispatch.shown(function)
                found.append(_thing("NumPy function", name, entry.value, below, above))
    return found


def hooks(plugin: str) -> list[Thing]:
    """The hooks that a plugin implements."""
    manager = load().manager
    module = manager.get_plugin(plugin)
    found = []
    for caller in manager.get_hookcallers(module) or [] if module is not None else []:
        for impl in caller.get_hookimpls():
            if impl.plugin is module:
                order = [o for o in ("tryfirst", "trylast", "wrapper") if getattr(impl, o, False)]
                doc = _first_line(impl.function) or ", ".join(order)
                found.append(Thing("hook", caller.name, place(impl.function), doc))
    return found


def _held(stack: tuple[Entry, ...], plugin: str) -> list[tuple[Entry, Entry | None, Entry | None]]:
    """A plugin's entries of a stack, each with the one below it and the one above it."""
    padded = (None, *stack, None)
    return [
        (entry, padded[i], padded[i + 2])
        for i, entry in enumerate(stack)
        if entry.is_of(plugin)
    ]  # fmt: skip


def _thing(kind: str, name: str, value: object, below: Entry | None, above: Entry | None) -> Thing:
    function = getattr(value, "function", None)  # of a command
    doc = getattr(value, "help", "") or _first_line(function or value)
    taken = [] if below is None else [f"{name} of {below.plugin}"]
    if isinstance(value, Operation):
        taken += _functions_taken(value)
    over = "" if above is None else f"replaced by that of {above.plugin}"
    at = value.place if isinstance(value, Command) else place(value)
    return Thing(kind, name, at, doc, ", ".join(taken), over)


def _functions_taken(op: Operation) -> list[str]:
    """The NumPy functions that an operation stands for in place of another, and of whose."""
    found = []
    for function in op.numpy:
        stack, handlers = dispatch.TAKEN.stack(function), (op, op.fast.get(function))
        for below, entry in itertools.pairwise(stack):
            if entry.value in handlers:
                found.append(f"{dispatch.shown(function)} of {below.plugin}")
    return found


def _first_line(value: object) -> str:
    thing = value if callable(value) and hasattr(value, "__code__") else None
    documented = thing or (value if isinstance(value, type) else type(value))
    own = getattr(documented, "__doc__", None) if thing else vars(documented).get("__doc__")
    return inspect.cleandoc(own).splitlines()[0] if own and own.strip() else ""
