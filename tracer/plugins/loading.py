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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from types import ModuleType
from typing import Any

import pluggy

from tracer import hooks, registry
from tracer.arrays.allocator import keep_freed_memory
from tracer.errors import PluginError, suggestion
from tracer.plugins import core as core_plugin
from tracer.plugins import hookspecs

GROUP = "tracer"
CORE = "tracer"


@dataclass
class Plugin:
    """What is known of a plugin: where it comes from, and why it failed if it did.

    `status` is `"loaded"`, `"failed"` or `"blocked"`.
    """

    name: str
    module: str
    distribution: str
    version: str
    status: str = "loaded"
    error: str = ""
    provides: dict[str, list[str]] = field(default_factory=dict)


class Loader:
    """The plugin manager and the record of what it loaded."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager("tracer")
        self.manager.add_hookspecs(hookspecs)
        self.plugins: dict[str, Plugin] = {}

    def load(self) -> None:
        """Load the core's own operations, then every entry point in the order of their names.

        From the first load on, the process keeps the memory that it frees: see
        `tracer.arrays.allocator`.
        """
        keep_freed_memory()
        version = _version()
        self._attempt(
            Plugin(CORE, core_plugin.__name__, "trace-net", version),
            lambda: core_plugin,
        )
        names = os.environ.get("TRACER_DISABLE_PLUGINS", "").split(",")
        blocked = {name.strip() for name in names}
        for point in _entry_points():
            dist = point.dist
            plugin = Plugin(
                point.name, point.value, dist.name if dist else "?", dist.version if dist else "?"
            )
            if point.name in blocked:
                plugin.status = "blocked"
                self.plugins[point.name] = plugin
            elif point.name in self.plugins:
                first = self.plugins[point.name].distribution
                self._fail(
                    plugin,
                    PluginError(
                        f"the plugin name {point.name!r} is taken by distribution {first!r}"
                    ),
                    key=f"{point.name} ({plugin.distribution})",
                )
            else:
                self._attempt(plugin, point.load)

    def _attempt(self, plugin: Plugin, load: Callable[[], ModuleType]) -> None:
        self.plugins[plugin.name] = plugin
        try:
            module = load()
            self.manager.register(module, name=plugin.name)
            self._refuse_unknown_hooks(module)
            self._collect(plugin, module)
        except (Exception, SystemExit) as error:
            if self.manager.has_plugin(plugin.name):
                self.manager.unregister(name=plugin.name)
            self._fail(plugin, error)

    def _fail(self, plugin: Plugin, error: BaseException, key: str | None = None) -> None:
        plugin.status = "failed"
        plugin.error = f"{type(error).__name__}: {error}"
        self.plugins[key or plugin.name] = plugin
        message = (
            f"trace-net: plugin {plugin.name!r} of distribution {plugin.distribution!r} failed: "
            f"{plugin.error}. Remove it with `pip uninstall {plugin.distribution}`, or block it "
            f"with TRACER_DISABLE_PLUGINS={plugin.name}"
        )
        if os.environ.get("TRACER_PLUGINS") == "strict":
            raise PluginError(message) from error
        print(message, file=sys.stderr)

    def _refuse_unknown_hooks(self, module: ModuleType) -> None:
        known = [name for name in vars(self.manager.hook) if not name.startswith("_")]
        specified = [n for n in known if getattr(self.manager.hook, n).has_spec()]
        for caller in self.manager.get_hookcallers(module) or []:
            if not caller.has_spec():
                optional = all(
                    impl.optionalhook for impl in caller.get_hookimpls() if impl.plugin is module
                )
                if not optional:
                    raise PluginError(
                        f"it implements the hook {caller.name!r}, which does not exist."
                        f"{suggestion(caller.name, specified)}"
                    )

    def _collect(self, plugin: Plugin, module: ModuleType) -> None:
        """Call the plugin's registering hooks; add all that they return, or nothing."""
        others = [other for other in self.manager.get_plugins() if other is not module]
        found: list[tuple[registry.Registry, Any]] = []
        for hook, target in registry.BY_HOOK.items():
            caller = self.manager.subset_hook_caller(hook, remove_plugins=others)
            values = [value for result in caller() for value in _iterate(result, hook)]
            names = [target.check(value, plugin.name) for value in values]
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise PluginError(f"it registers the {target.kind} {twice.pop()!r} twice")
            found += [(target, value) for value in values]
        for target, value in found:
            target.add(value, plugin.name)
            plugin.provides.setdefault(target.kind, []).append(value.name)


def _iterate(result: Any, hook: str) -> Iterable[Any]:
    if isinstance(result, str) or not isinstance(result, Iterable):
        raise PluginError(f"its hook {hook} returned {result!r}, where a list was expected")
    return list(result)


def _entry_points() -> list[metadata.EntryPoint]:
    """Entry points, each once, the bundled ones first."""
    points = {(p.name, p.value): p for p in metadata.entry_points(group=GROUP)}
    bundled = "trace-net"
    return sorted(
        points.values(), key=lambda p: (p.dist is None or p.dist.name != bundled, p.name, p.value)
    )


def _version() -> str:
    try:
        return metadata.version("trace-net")
    except metadata.PackageNotFoundError:
        return "not installed"


def call_hook(name: str, **arguments: Any) -> None:
    """See `tracer.hooks.call`."""
    loader = _loader or load()
    if loader is None:  # while loading, in this thread
        return
    caller = getattr(loader.manager.hook, name)
    if not caller.get_hookimpls():
        return
    try:
        caller(**arguments)
    except Exception as error:
        frames = traceback.walk_tb(error.__traceback__)
        codes = {frame.f_code for frame, _ in frames}
        for impl in caller.get_hookimpls():
            if getattr(impl.function, "__code__", None) in codes:
                known = loader.plugins.get(impl.plugin_name)
                of = f" of distribution {known.distribution!r}" if known is not None else ""
                raise PluginError(
                    f"the hook {caller.name} of plugin {impl.plugin_name!r}{of} raised "
                    f"{type(error).__name__}: {error}"
                ) from error
        raise


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
    return list(load().plugins.values())


hooks.provide(load, call_hook)
