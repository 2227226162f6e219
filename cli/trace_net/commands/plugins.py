"""`trace-net plugins`: what is loaded, from where, what it registers, what failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from trace_net import options, report, streams

if TYPE_CHECKING:
    from tracer.extend import Plugin

COLUMNS = ("plugin", "status", "distribution", "module", "provides")
PLUGIN_FAILED = 4


def plugins(json: options.JsonOption = False) -> None:
    """List plugins: what is loaded, from where, what failed.

    The exit code is 4 where one failed to load.
    """
    from tracer import plugins as loader

    found = loader.loaded()
    if json:
        report.print_json("plugins", {"plugins": [asdict(plugin) for plugin in found]})
    else:
        rows = [
            (p.name, p.status, f"{p.distribution} {p.version}", p.module, _provides(p))
            for p in found
        ]
        streams.console().print(report.table(COLUMNS, rows))
    if any(plugin.status == "failed" for plugin in found):
        raise typer.Exit(PLUGIN_FAILED)


def _provides(plugin: Plugin) -> str:
    """The error, or names by kind; many names of a kind are counted."""
    if plugin.error:
        return plugin.error
    return "; ".join(
        f"{kind}: {', '.join(names)}" if len(names) <= 12 else f"{kind}: {len(names)} of them"
        for kind, names in plugin.provides.items()
    )
