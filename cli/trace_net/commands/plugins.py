"""`trace-net plugins`: what is loaded, from where, what it registers, what failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trace_net import options, report, streams
from trace_net.errors import UsageError

if TYPE_CHECKING:
    from tracer.extend import Plugin

COLUMNS = ("plugin", "status", "distribution", "module", "provides")
THINGS = ("kind", "name", "place", "what it is", "replaces")
SETTINGS = ("setting", "value", "default", "from")
PLUGIN_FAILED = 4


def plugin_names(incomplete: str) -> list[str]:
    """Plugins that begin with what was typed."""
    from tracer import plugins as loader

    return [plugin.name for plugin in loader.loaded() if plugin.name.startswith(incomplete)]


def plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A plugin, of which everything is listed: each thing that it registers, with file "
            "and line, its hooks and its settings.",
            autocompletion=plugin_names,
        ),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """List plugins: what is loaded, from where, what failed.

    The exit code is 4 where one failed to load, or TRACER_DISABLE_PLUGINS names none.
    """
    from tracer import plugins as loader

    found = loader.loaded()
    if name is not None:
        plugin = chosen(name, found)
        show(plugin, json)
        wrong = plugin.status == "failed"
    else:
        remarks = loader.load().remarks
        show_all(found, remarks, json)
        wrong = bool(remarks) or any(plugin.status == "failed" for plugin in found)
    if wrong:
        raise typer.Exit(PLUGIN_FAILED)


def show_all(found: list[Plugin], remarks: list[str], json: bool) -> None:
    """A line for each plugin."""
    if json:
        listed = [asdict(plugin) for plugin in found]
        report.print_json("plugins", {"plugins": listed, "remarks": remarks})
        return
    rows = [
        (p.name, p.status, f"{p.distribution} {p.version}", p.module, _provides(p)) for p in found
    ]
    streams.console().print(report.table(COLUMNS, rows))


def chosen(name: str, found: list[Plugin]) -> Plugin:
    """The plugin of this name; `UsageError` with the nearest one if there is none."""
    from tracer.errors import suggestion

    for plugin in found:
        if plugin.name == name:
            return plugin
    names = [plugin.name for plugin in found]
    raise UsageError(
        f"no plugin is called {name!r}.{suggestion(name, names)}",
        hint=f"take one of {', '.join(names)}",
    )


def show(plugin: Plugin, json: bool) -> None:
    """All that there is to say of one plugin."""
    from tracer import plugins as loader

    things, hooks = loader.things(plugin.name), loader.hooks(plugin.name)
    settings = loader.settings_of(plugin.name)
    if json:
        payload: dict[str, object] = {
            "plugin": asdict(plugin),
            "things": [thing._asdict() for thing in things],
            "hooks": [hook._asdict() for hook in hooks],
            "settings": [setting._asdict() for setting in settings],
        }
        report.print_json("plugins", payload)
        return
    out = streams.console()
    out.print(
        f"{plugin.name}: {plugin.status}, {plugin.module} of {plugin.distribution} {plugin.version}"
    )
    if plugin.error:
        out.print(plugin.error, soft_wrap=True)
    rows = [
        (t.kind, t.name, t.place, t.doc, t.replaced_by or t.replaces) for t in (*things, *hooks)
    ]
    if rows:
        out.print(report.table(THINGS, rows))
    if settings:
        shown = [(s.key, repr(s.value), repr(s.default), s.source) for s in settings]
        out.print(report.table(SETTINGS, shown))


def _provides(plugin: Plugin) -> str:
    """The error, or names by kind, many of a kind counted, and what they replace."""
    if plugin.error:
        return plugin.error
    kinds = [
        f"{kind}: {', '.join(names)}" if len(names) <= 12 else f"{kind}: {len(names)} of them"
        for kind, names in plugin.provides.items()
    ]
    return "; ".join([*kinds, *(f"replaces {each}" for each in plugin.replaces)])
