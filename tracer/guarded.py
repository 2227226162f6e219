"""What plugins provide, called so that a failure names the plugin. Cold points only."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tracer import registry
from tracer.blame import OURS, PLUGINS, USER, failure, guard, of_module, place, raised
from tracer.errors import BatchError, GraphError, PluginError, QuantityError
from tracer.extensions import DrawOptions, Overlay, RendererUnavailable

if TYPE_CHECKING:
    import networkx as nx

#: how a quantity says that it is not defined here
REFUSALS = (QuantityError, BatchError)
#: how a picture says that it cannot be
UNDRAWN = (RendererUnavailable, GraphError, QuantityError)


def plugin_of(thing: Any) -> str:
    """The plugin that an object or a class is of; `USER` where it is the program's own."""
    kind = thing if isinstance(thing, type) else type(thing)
    name = getattr(thing, "name", None)
    for target in registry.BY_HOOK.values():
        for entry in target.held(name):
            if entry.value is thing or entry.value is kind:
                return entry.plugin if entry.plugin != USER else _of_class(kind)
    return _of_class(kind)


def of_others(thing: Any) -> str | None:
    """The plugin that a thing is of, where it is neither the program's nor one of ours."""
    plugin = plugin_of(thing)
    known = PLUGINS.get(plugin)
    ours = known is not None and known.distribution == OURS
    return None if plugin == USER or ours else plugin


def _of_class(kind: type) -> str:
    return of_module(kind.__module__) or USER


def render(format: str, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
    """The picture in a registered format.

    Raises `RendererUnavailable` and `GraphError` as the renderer does, and `PluginError` for
    whatever else it raises, or where it returns anything but bytes.
    """
    entry = registry.renderers.entry(format)
    what, at = f"the renderer {format!r}", place(type(entry.value).render)
    with guard(entry.plugin, what, UNDRAWN, at):
        picture = entry.value.render(graph, options)
    if not isinstance(picture, bytes):
        way = ": encode it, as in text.encode()" if isinstance(picture, str) else ""
        raise failure(
            entry.plugin, f"{what} returned {_a(picture)}, where bytes are expected{way}", at
        )
    return picture


def overlay_values(
    overlay: Overlay, graph: nx.MultiDiGraph, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Node id -> number from an overlay. Raises as `render` does."""
    plugin, what = plugin_of(overlay), f"the overlay {overlay.name!r}"
    at = place(type(overlay).values)
    with guard(plugin, what, UNDRAWN, at):
        values = overlay.values(graph, results)
    if not isinstance(values, Mapping):
        raise failure(
            plugin, f"{what} returned {_a(values)}, where node ids with numbers are expected", at
        )
    found = {}
    for node, value in values.items():
        if node not in graph:
            raise failure(plugin, f"{what} has a value of {node!r}, which is no node's id", at)
        try:
            found[node] = float(value)
        except (TypeError, ValueError):
            raise failure(
                plugin, f"{what} has {value!r:.60} of node {node!r}, where a number is expected", at
            ) from None
    return found


def require_quantities(overlay: Overlay) -> None:
    """Raise `PluginError` where an overlay reads a quantity that is not registered."""
    for name in overlay.quantities:
        if name not in registry.quantities:
            try:
                registry.quantities[name]
            except LookupError as error:
                message = f"the overlay {overlay.name!r} reads what is not there: {error}"
                at = place(type(overlay))
                raise failure(plugin_of(overlay), message, at) from error


def constructed(kind: type) -> Any:
    """An instance of a registered class, made without arguments."""
    try:
        return kind()
    except (Exception, SystemExit) as error:
        plugin = plugin_of(kind)
        if plugin == USER or isinstance(error, (PluginError, *REFUSALS)):
            raise
        what = f"the constructor of {getattr(kind, 'name', kind.__name__)!r}"
        raise raised(plugin, what, error, place(kind)) from error


def blaming(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The method of a class of others': what it raises names the plugin that the class is of.

    What refuses a quantity passes, as does what is raised in the program's own classes.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **keywords: Any) -> Any:
        try:
            return method(self, *args, **keywords)
        except (Exception, SystemExit) as error:
            if isinstance(error, (PluginError, *REFUSALS)):
                raise
            plugin = plugin_of(self)
            if plugin == USER:
                raise
            raise raised(plugin, f"{name} of {self.name!r}", error, place(method)) from error

    return call


def _a(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.40}"
