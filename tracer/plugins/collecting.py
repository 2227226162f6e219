"""What a module registers: what its hooks return, or what it defines where it has no hooks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import pluggy

from tracer import registry
from tracer.blame import place, place_of_error
from tracer.entries import Owner
from tracer.errors import PluginError, suggestion
from tracer.plugins import hookspecs

#: the attribute by which pluggy finds what `hookimpl` marked
MARK = "tracer_impl"
#: the names of all hooks
HOOKS = [name for name, value in vars(hookspecs).items() if hasattr(value, "tracer_spec")]

#: a registry, and what goes there
Things = list[tuple[registry.Registry, Any]]


def hooks_of(module: object) -> list[str]:
    """The names of the functions of a module that are marked with `hookimpl`."""
    return [name for name in dir(module) if hasattr(getattr(module, name, None), MARK)]


def check_hooks(manager: pluggy.PluginManager, module: object) -> None:
    """Raise `PluginError` at a hook that does not exist, or that is not marked."""
    if isinstance(module, type):
        raise PluginError(
            f"it is the class {module.__name__}, whose hooks nobody can call: name a module of "
            f"functions ({place(module)})"
        )
    for caller in manager.get_hookcallers(module) or []:
        impls = [impl for impl in caller.get_hookimpls() if impl.plugin is module]
        if not caller.has_spec() and not all(impl.optionalhook for impl in impls):
            raise PluginError(
                f"it implements the hook {caller.name!r}, which does not exist."
                f"{suggestion(caller.name, HOOKS)} ({place(impls[0].function)})"
            )
    for name, function in _unmarked(module):
        if name in HOOKS:
            raise PluginError(
                f"its function {name} is named as a hook and not marked as one: put "
                f"@tracer.hookimpl above it ({place(function)})"
            )
        near = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.8)
        if near and not hooks_of(module):
            raise PluginError(
                f"it implements no hook. Did you mean {near[0]!r} by its function {name}? Name it "
                f"so, and put @tracer.hookimpl above it ({place(function)})"
            )


def _unmarked(module: object) -> Iterator[tuple[str, object]]:
    """The functions that a module defines and that are not marked."""
    name_of_module = getattr(module, "__name__", None)
    for name, value in list(getattr(module, "__dict__", {}).items()):
        if inspect.isfunction(value) and not hasattr(value, MARK) and value.__module__ in (
            name_of_module,
            None,
        ):  # fmt: skip
            yield name, value


def hooked(manager: pluggy.PluginManager, module: object, plugin: str) -> Things:
    """What the registering hooks of a module that the manager knows return."""
    others = [other for other in manager.get_plugins() if other is not module]
    found: Things = []
    for hook, target in registry.BY_HOOK.items():
        caller = manager.subset_hook_caller(hook, remove_plugins=others)
        try:
            values = [value for result in caller() for value in _listed(result, hook)]
        except PluginError:
            raise
        except (Exception, SystemExit) as error:
            at = place_of_error(plugin, error) or place(getattr(module, hook, None))
            raise PluginError(
                f"its hook {hook} raised {type(error).__name__}: {error} ({at})"
            ) from error
        found += [(target, value) for value in values]
    return found


def _listed(result: object, hook: str) -> list[object]:
    if isinstance(result, str | bytes | dict) or not isinstance(result, Iterable):
        raise PluginError(f"its hook {hook} returned {result!r}, where a list was expected")
    return list(result)


def defined_in(module: ModuleType) -> Things:
    """What a module without hooks defines and a registry takes, in the order of the module.

    Classes of which instances are registered, and that have a name, need an instance beside them.
    """
    found: Things = []
    for target in registry.BY_HOOK.values():
        seen: set[int] = set()
        things = [
            value for value in vars(module).values()
            if target.takes(value) and _is_of(value, module)
        ]  # fmt: skip
        for value in things:
            if id(value) not in seen and hasattr(value, "name"):
                seen.add(id(value))
                found.append((target, value))
    return found


def _is_of(value: object, module: ModuleType) -> bool:
    """Whether a module defines a class or an operation, or holds an instance of something."""
    if isinstance(value, type) or type(value).__module__ == module.__name__:
        return getattr(value, "__module__", None) == module.__name__
    function = getattr(value, "function", None)  # of a command
    return getattr(function, "__module__", None) == module.__name__


def add(things: Things, owner: Owner) -> dict[str, list[str]]:
    """Register things for an owner. Returns their names by kind."""
    names: dict[str, list[str]] = {}
    for target, value in things:
        target.add(value, owner.plugin, owner.module)
        names.setdefault(target.kind, []).append(value.name)
    return names
