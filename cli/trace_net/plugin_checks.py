"""The checks of all that a plugin registers: what was compared with what, and what could not be."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trace_net import streams

if TYPE_CHECKING:
    from tracer.extend import Command, Plugin
    from tracer.registry import Registry
    from tracer.testing import Report

#: the distribution whose layers are checked by tests of its own
OURS = "trace-net"
#: what a layer's examples are
LAYER_FORM = "write a list of (layer, inputs), inputs a tuple of arrays, as [(Mine(3), (x,))]"
NO_LAYERS = "it has no examples(rng): a list of (layer, inputs)"

OK, UNDEFINED, WRONG, UNCHECKED = "ok", "no definition", "WRONG", "not checked"


@dataclass(frozen=True)
class Checked:
    """One thing that a plugin registers, and the outcome of its check.

    `result` is "ok" only if its values were compared with a definition. `compared` says by check
    what was compared with what, `missing` why others were not made; `error` is of one that failed.
    """

    kind: str
    name: str
    result: str
    compared: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def work(plugin: Plugin) -> list[tuple[str, str, Callable[[], Report]]]:
    """The kind and the name of each thing, and its check."""
    from tracer import registry, testing

    checks: dict[str, tuple[Any, Callable[[Any], Report]]] = {
        "operation": (registry.operations, testing.check_operation),
        "quantity": (registry.quantities, testing.check_quantity),
        "rows": (registry.rows, testing.check_rows),
        "backend": (registry.backends, testing.check_backend),
        "renderer": (registry.renderers, testing.check_renderer),
        "overlay": (registry.overlays, testing.check_overlay),
        "command": (registry.commands, check_command),
    }
    found: list[tuple[str, str, Callable[[], Report]]] = []
    for kind, (registered, check) in checks.items():
        for name in registered.provided_by(plugin.name):
            found.append((kind, name, lambda check=check, value=registered[name]: check(value)))
    known = [registered for registered, _ in checks.values()]
    for registered in registry.BY_HOOK.values():
        if registered not in known:
            for name in registered.provided_by(plugin.name):
                found.append((registered.kind, name, _examined(registered, name)))
    return [*found, *_layers(plugin)]


def _examined(registered: Registry, name: str) -> Callable[[], Report]:
    """The check of what is registered there; one that checks nothing where there is none."""

    def check() -> Report:
        from tracer.testing import Report

        if not registered.examined_by:
            missing = {"all": f"there is no check of what a {registered.kind} does"}
            return Report({}, missing, is_defined=False)
        module, _, function = registered.examined_by.partition(":")
        report: Report = getattr(importlib.import_module(module), function)(registered[name])
        return report

    return check


def outcome(kind: str, name: str, check: Callable[[], Report]) -> Checked:
    """What a check found."""
    if kind == "operation" and not hasattr(registered(name), "examples"):
        missing = {"rules": "it has no examples(rng): a list of (inputs, params)"}
        return Checked(kind, name, UNCHECKED, missing=missing)
    try:
        report = check()
    except Exception as error:  # the check's own assertion, or whatever a rule raised
        text = f"{type(error).__name__}: {streams.one_line(str(error))[:400]}"
        return Checked(kind, name, WRONG, error=text)
    result = OK if report.is_defined else UNDEFINED if report else UNCHECKED
    return Checked(kind, name, result, dict(report), dict(report.missing))


def registered(operation: str) -> object:
    """An operation by its name."""
    from tracer import registry

    return registry.operations[operation]


def _layers(plugin: Plugin) -> Iterator[tuple[str, str, Callable[[], Report]]]:
    """The classes of modules in the plugin's own module that are to be checked."""
    from tracer import testing

    module = importlib.import_module(plugin.module.partition(":")[0])
    for name, value in vars(module).items():
        if name.startswith("_") or not _is_layer(value, plugin):
            continue

        def check(layer: Any = value) -> Report:
            if not hasattr(layer, "examples"):
                return testing.Report({}, {"derivatives": NO_LAYERS}, is_defined=False)
            reports = [
                testing.check_layer(module, *inputs, **options)
                for module, inputs, options in _examples(layer)
            ]
            made = {name: text for report in reports for name, text in report.items()}
            missing = {name: why for report in reports for name, why in report.missing.items()}
            return testing.Report(made, missing, is_defined=True)

        yield "layer", name, check


def _is_layer(value: object, plugin: Plugin) -> bool:
    """Whether it is a layer with `examples(rng)`, or one of the plugin's own, without them."""
    if not isinstance(value, type) or not hasattr(value, "named_parameters"):
        return False
    package = plugin.module.partition(":")[0].partition(".")[0]
    own = value.__module__.partition(".")[0] == package and plugin.distribution != OURS
    return own or hasattr(value, "examples")


def _examples(layer: type) -> list[tuple[Any, ...]]:
    """The layers, inputs and options of `check_layer`; `AssertionError` for any other form."""
    given = layer.examples(np.random.default_rng(0))  # type: ignore[attr-defined]  # found there
    found = []
    for each in given if isinstance(given, list | tuple) else ():
        module, inputs, options = (*each, {}, {})[:3] if isinstance(each, tuple) else (None,) * 3
        if not (hasattr(module, "named_parameters") and isinstance(inputs, tuple | list)):
            raise AssertionError(f"examples(rng) gives {given!r:.80}: {LAYER_FORM}")
        found.append((module, tuple(inputs), options))
    if not found:
        raise AssertionError(f"examples(rng) gives {given!r:.80}: {LAYER_FORM}")
    return found


def unannotated_targets(function: object) -> Iterator[str]:
    """The names of functions of a command that take a `target` of which they say no more."""
    import typer

    if isinstance(function, typer.Typer):
        for each in (*function.registered_commands, function.registered_callback):
            if each is not None and each.callback is not None:
                yield from unannotated_targets(each.callback)
        for group in function.registered_groups:
            yield from unannotated_targets(group.typer_instance)
    elif callable(function):
        target = inspect.signature(function).parameters.get("target")
        if target is not None and target.annotation is inspect.Parameter.empty:
            yield getattr(function, "__name__", "the function")


def check_command(command: Command) -> Report:
    """Check that a command's options are understood, and that its help says something."""
    from trace_net import group
    from tracer.testing import Report

    title = f"command {command.name!r}"
    shown = io.StringIO()  # typer prints its help, where rich is there
    try:
        function = command.resolved()
        made = group.made(command.name, function, command.help)
        with contextlib.redirect_stdout(shown):
            shown.write(made.get_help(made.context_class(made, info_name=command.name)))
    except Exception as error:
        raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error
    missing = {"run": "what it does, nobody can say here"}
    if command.name not in shown.getvalue() or not (command.help or function.__doc__):
        missing["help"] = "it has no help, and its function no docstring"
    if unannotated := list(unannotated_targets(function)):
        missing["target"] = (
            f"{', '.join(unannotated)} has a parameter target without annotation, which is given a "
            f"string: write target: tracer.Target, or target: str"
        )
    compared = {"options": "its --help, made from the annotations of its function"}
    return Report(compared, missing, is_defined=False)
