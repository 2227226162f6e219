"""`tracer.register`: what hooks take, from scripts and notebooks, one at a time or a module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, ModuleType
from typing import Protocol, TypeAlias, TypeGuard, TypeVar

from tracer import registry
from tracer.arrays.backend import Backend
from tracer.curvature.quantity import Quantity
from tracer.curvature.rows import Rows
from tracer.entries import Owner, changing, owner_of, transaction
from tracer.errors import PluginError
from tracer.extensions import Command, Overlay, Renderer
from tracer.imports import ImportedOperator, Importer
from tracer.plugins import collecting
from tracer.plugins.loading import Loader, load
from tracer.record.operation import Operation
from tracer.trainings import Sampler, Tracker
from tracer.watching import Instrument, Sink


class Hook(Protocol):
    """A function, which is marked with `@tracer.hookimpl`; no class is one."""

    __name__: str
    __code__: CodeType

    @property
    def __call__(self) -> Callable[..., object]: ...


#: what a registry takes, or a module of such things or of hooks. (`@tracer.operation` makes an
#: instance of a class, which a type checker takes for the class still.)
Registrable: TypeAlias = (
    "Operation | type[Operation] | type[Quantity] | Rows | Backend | Renderer | Overlay | Command"
    " | type[Instrument] | type[Sink] | Tracker | type[Sampler] | ImportedOperator | Importer"
    " | Hook | ModuleType"
)
Thing = TypeVar("Thing", bound=Registrable)


def register(thing: Thing) -> Thing:
    """Register what a plugin's hooks take, from a script or notebook, and return it.

    `thing` is an operation, a subclass of `Quantity`, `Instrument`, `Sink` or `Sampler`, an
    instance of `Rows`, `Backend`, `Renderer`, `Overlay`, `Command`, `Tracker`,
    `ImportedOperator` or `Importer`, a function marked with `@tracer.hookimpl`, or a module: of one
    with hooks what these return, of another what it defines, in each case all of it or nothing. It
    is a decorator, too.

    A name that the same module registered before, as where a cell of a notebook runs again, is
    registered anew. One that another module or a plugin has, and a NumPy function that another has,
    is a `PluginError` unless what is registered says that it `replaces` it. So is anything else
    that a registry does not take. `tracer.unregister` takes it back.
    """
    loader = load()
    caller = sys._getframe(1).f_globals.get("__name__", "")
    with changing:
        if isinstance(thing, ModuleType):
            _register_module(loader, thing)
        elif _is_hook(thing):
            _register_hook(loader, thing, caller)
        else:
            _registry_of(thing).add(thing, module=caller)
    return thing


def unregister(thing: Registrable) -> None:
    """Take back what `register` registered. What it had replaced counts again.

    What another module or a plugin has registered, too, stays theirs.
    Raises `PluginError` for what is not registered.
    """
    loader = load()
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if isinstance(thing, ModuleType) or _is_hook(thing):
        key = thing.__name__ if isinstance(thing, ModuleType) else _key(thing, caller)
        with changing:
            if key not in loader.by_hand:
                raise PluginError(f"{thing!r} is not registered: tracer.register registers it")
            with transaction():
                _forget(loader, key)
        return
    target, name = _registry_of(thing), getattr(thing, "name", "")
    mine = Owner(module=caller)
    owners = [o for entry in target.held(name) if entry.value is thing for o in entry.owners]
    if not target.forget(name, thing, mine if mine in owners else None):
        raise PluginError(f"the {target.kind} {name!r} is not registered by this object")


def _is_hook(thing: object) -> TypeGuard[Hook]:
    """Whether a function is marked with `@tracer.hookimpl`."""
    return hasattr(thing, collecting.MARK) and not isinstance(thing, type)


def _registry_of(thing: object) -> registry.Registry:
    """Where something is registered; `PluginError` with all that can be for anything else."""
    targets = registry.BY_HOOK.values()
    found = [target for target in targets if target.takes(thing) or target.nearly_takes(thing)]
    if found:
        return found[0]
    hint = ""
    if (name := getattr(thing, "__name__", None)) in collecting.HOOKS:
        hint = f": put @tracer.hookimpl above {name} for it to be a hook"
    raise PluginError(
        f"tracer.register takes an operation (@tracer.operation), a subclass of tracer.Quantity, "
        f"extend.Instrument, Sink or Sampler, an instance of tracer.Rows, Backend, Renderer, "
        f"Overlay, Command, extend.Tracker, ImportedOperator or Importer, a function marked "
        f"with @tracer.hookimpl, or a module of these, got {thing!r}{hint}"
    )


def _register_module(loader: Loader, module: ModuleType) -> None:
    """Register what the hooks of a module return, or else what it defines."""
    owner = Owner(owner_of("").plugin, module.__name__)
    with transaction(owner):
        _forget(loader, module.__name__)
        _add_hooks(loader, module.__name__, module)
        if collecting.hooks_of(module):
            things = collecting.hooked(loader.manager, module, owner.plugin)
        else:
            things = collecting.defined_in(module)
            if not things:
                raise PluginError(
                    f"the module {module.__name__!r} has no hooks, and defines nothing that a "
                    f"registry takes"
                )
        _add(loader, module.__name__, things, owner)


def _register_hook(loader: Loader, hook: Hook, caller: str) -> None:
    """Register one function that is marked as a hook, and what it returns."""
    key, owner = _key(hook, caller), owner_of(caller)
    with transaction(owner):
        _forget(loader, key)
        holder = ModuleType(caller)  # of this hook alone
        setattr(holder, hook.__name__, hook)
        _add_hooks(loader, key, holder)
        _add(loader, key, collecting.hooked(loader.manager, holder, owner.plugin), owner)


def _key(hook: Hook, caller: str) -> str:
    """What a hook of a program is called among the plugins."""
    return f"{caller}.{hook.__name__}"


def _add_hooks(loader: Loader, key: str, module: object) -> None:
    manager = loader.manager

    def undo() -> None:
        if manager.has_plugin(key):
            manager.unregister(name=key)

    with transaction() as done:
        done.undo.append(undo)
        manager.register(module, name=key)
        collecting.check_hooks(manager, module)


def _add(loader: Loader, key: str, things: collecting.Things, owner: Owner) -> None:
    collecting.add(things, owner)
    loader.by_hand[key] = things, owner


def _forget(loader: Loader, key: str) -> None:
    """Take back what was registered under a key, if anything was."""
    manager = loader.manager
    if key not in loader.by_hand:
        return
    module, (things, owner) = manager.get_plugin(key), loader.by_hand[key]

    def restore() -> None:
        loader.by_hand[key] = things, owner
        manager.register(module, name=key)

    with transaction() as done:
        done.undo.append(restore)
        manager.unregister(name=key)
        del loader.by_hand[key]
        for target, value in things:
            target.forget(value.name, value, owner)
