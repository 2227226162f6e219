"""Loading of plugins: every distribution's entry points of the group `tracer`, once.

A plugin that fails is reported on stderr, with its distribution and the way to remove it, and the
rest still work. `TRACER_PLUGINS=strict` makes a failure fatal; `TRACER_DISABLE_PLUGINS=a,b`
blocks plugins by name.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from tracer import blame, hooks, registry
from tracer.arrays.allocator import keep_freed_memory
from tracer.blame import Plugin
from tracer.entries import Owner, transaction
from tracer.errors import PluginError, suggestion
from tracer.plugins import collecting, hookspecs, requirements
from tracer.plugins import core as core_plugin
from tracer.record import dispatch

GROUP = "tracer"
CORE = "tracer"
DISABLE = "TRACER_DISABLE_PLUGINS"


class _Manager(pluggy.PluginManager):
    """A manager that knows which hooks any plugin has: most are heard by nobody, at each step."""

    heard: frozenset[str] = frozenset()

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """See `pluggy.PluginManager`."""
        try:
            return super().register(plugin, name)
        finally:
            self._listen()

    def unregister(self, plugin: object = None, name: str | None = None) -> object:
        """See `pluggy.PluginManager`."""
        try:
            return super().unregister(plugin, name)
        finally:
            self._listen()

    def _listen(self) -> None:
        callers = vars(self.hook).items()
        self.heard = frozenset(name for name, caller in callers if caller.get_hookimpls())


class Loader:
    """The plugin manager and the record of what it loaded.

    `remarks` are what is wrong and is no plugin's fault. `by_hand` is what `tracer.register` has
    registered of each module and hook, and for whom.
    """

    def __init__(self) -> None:
        self.manager = _Manager("tracer")
        self.manager.add_hookspecs(hookspecs)
        self.plugins = blame.PLUGINS
        self.plugins.clear()
        self.remarks: list[str] = []
        self.by_hand: dict[str, tuple[collecting.Things, Owner]] = {}
        self.version = requirements.installed_version()

    def load(self) -> None:
        """Load the core's own operations, then every entry point in the order of their names.

        From the first load on, the process keeps the memory that it frees: see
        `tracer.arrays.allocator`.
        """
        keep_freed_memory()
        core = Plugin(CORE, core_plugin.__name__, requirements.NAME, self.version)
        self._attempt(core, lambda: core_plugin)
        points = _entry_points()
        self._check_blocked([point.name for point in points])
        for point in points:
            self.load_point(point)

    def load_point(self, point: metadata.EntryPoint) -> None:
        """Load the plugin of an entry point, or note that it is blocked or fails."""
        dist = point.dist
        plugin = Plugin(
            point.name, point.value, dist.name if dist else "?", dist.version if dist else "?"
        )
        if point.name in _blocked():
            plugin.status = "blocked"
            self.plugins[point.name] = plugin
        elif point.name in self.plugins:
            first = self.plugins[point.name].distribution
            error = PluginError(
                f"the plugin name {point.name!r} is taken by distribution {first!r}"
            )
            self._fail(plugin, error, key=f"{point.name} ({plugin.distribution})")
        else:
            self._attempt(plugin, point.load, dist)

    def _check_blocked(self, names: list[str]) -> None:
        """Tell of names that are to be blocked and are no plugin's."""
        for name in sorted(_blocked() - set(names)):
            why = "no plugin is called so" if name != CORE else "which is the core itself"
            self.remark(
                name,
                f"{DISABLE} names {name!r}, {'and ' if name != CORE else ''}{why}."
                f"{suggestion(name, names)} Plugins: {', '.join(names)}",
            )

    def remark(self, name: str, text: str) -> None:
        """Tell of something wrong about a name; where failures are fatal, raise it."""
        self.remarks.append(text)
        if _strict():
            raise PluginError(f"trace-net: {text}", plugin=name)
        print(f"trace-net: {text}", file=sys.stderr)

    def _attempt(
        self,
        plugin: Plugin,
        load: Callable[[], ModuleType],
        distribution: metadata.Distribution | None = None,
    ) -> None:
        self.plugins[plugin.name] = plugin
        owner = Owner(plugin.name, plugin.module.partition(":")[0])
        try:
            if distribution is not None:
                requirements.require(distribution, self.version)
            with transaction(owner):
                module = load()
                self.manager.register(module, name=plugin.name)
                collecting.check_hooks(self.manager, module)
                things = collecting.hooked(self.manager, module, plugin.name)
                plugin.provides = collecting.add(things, owner)
            plugin.hooks = collecting.hooks_of(module)
        except (Exception, SystemExit) as error:
            if self.manager.has_plugin(plugin.name):
                self.manager.unregister(name=plugin.name)
            self._fail(plugin, error)

    def _fail(self, plugin: Plugin, error: BaseException, key: str | None = None) -> None:
        plugin.status, plugin.error = "failed", _why(plugin, error)
        self.plugins[key or plugin.name] = plugin
        message = (
            f"trace-net: {plugin.described()} failed: {plugin.error}. Remove it with `pip "
            f"uninstall {plugin.distribution}`, or block it with {DISABLE}={plugin.name}"
        )
        if _strict():
            raise PluginError(message, plugin=plugin.name) from error
        print(message, file=sys.stderr)

    def unload(self, name: str) -> None:
        """Take back all that a plugin registered. What it had replaced counts again."""
        plugin = self.plugins.pop(name)
        if self.manager.has_plugin(name):
            self.manager.unregister(name=name)
        owner = Owner(plugin.name, plugin.module.partition(":")[0])
        for target in registry.BY_HOOK.values():
            for registered, value in target.of_owner(owner).items():
                target.forget(registered, value, owner)
        dispatch.forget(owner)


def _why(plugin: Plugin, error: BaseException) -> str:
    """What went wrong on one line, with file and line unless that is said already."""
    kind = type(error).__name__
    if isinstance(error, PluginError):
        return " ".join(f"{kind}: {error}".split())
    at = blame.place_of_error(plugin.name, error) or f"entry point {plugin.module}"
    return " ".join(f"{kind}: {error} ({at})".split())


def _strict() -> bool:
    return os.environ.get("TRACER_PLUGINS") == "strict"


def _blocked() -> set[str]:
    """The names of plugins that are not to be loaded."""
    return {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}


def _entry_points() -> list[metadata.EntryPoint]:
    """Entry points, each once, the bundled ones first."""
    points = {(p.name, p.value): p for p in metadata.entry_points(group=GROUP)}
    bundled = requirements.NAME
    return sorted(
        points.values(), key=lambda p: (p.dist is None or p.dist.name != bundled, p.name, p.value)
    )


def call_hook(name: str, **arguments: Any) -> None:
    """See `tracer.hooks.call`."""
    loader = _loader or load()
    if loader is None or name not in loader.manager.heard:  # or while loading, in this thread
        return
    caller = getattr(loader.manager.hook, name)
    try:
        caller(**arguments)
    except (Exception, SystemExit) as error:
        impls = {getattr(impl.function, "__code__", None): impl for impl in caller.get_hookimpls()}
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for frame in reversed(frames):  # what it was raised in, and not a wrapper around that
            impl = impls.get(frame.f_code)
            if impl is not None and impl.plugin_name not in loader.by_hand:
                at = blame.place(impl.function)
                raise blame.raised(impl.plugin_name, f"the hook {name}", error, at) from error
            if impl is not None:
                break  # of the program itself
        raise


def hears(name: str) -> bool:
    """See `tracer.hooks.heard`."""
    return _loader is not None and name in _loader.manager.heard


_loader: Loader | None = None
_loading = False
_lock = threading.RLock()


def load() -> Loader:
    """The loader, with all plugins loaded. The first call loads; later ones are a lookup."""
    global _loader, _loading
    if _loader is not None:
        return _loader
    with _lock:
        if _loader is None and not _loading:
            _loading = True
            loader = Loader()
            try:
                loader.load()
            finally:
                _loading = False
            _loader = loader
        return _loader  # type: ignore[return-value]  # None only while loading, in this thread


def loaded() -> list[Plugin]:
    """Every plugin that was found, loaded or not, in loading order."""
    found = list(load().plugins.values())
    for plugin in found:
        plugin.replaces = replacements(plugin.name)
    return found


def replacements(plugin: str) -> list[str]:
    """What a plugin stands in place of, as in `numpy.sin of tracer`."""
    taken = [
        f"the {target.kind} {name} of {target.replaced(name)[-1].plugin}"
        for target in registry.BY_HOOK.values()
        for name in target
        if target.entry(name).plugin == plugin and target.replaced(name)
    ]
    return taken + [f"{name} of {other}" for name, other in dispatch.replacements(plugin)]


hooks.provide(load, call_hook, hears)
