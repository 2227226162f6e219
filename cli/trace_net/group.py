"""The built-in commands and, beside them, those that plugins register."""

from __future__ import annotations

import functools
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trace_net.blame import blame


class PlainFlags:
    """Flags that are not given are False: None would load typer's validation, which takes 0.1 s."""

    def get_params(self, ctx: Any) -> Any:
        """The parameters, the flags among them with a default."""
        parameters = super().get_params(ctx)  # type: ignore[misc]  # of the command mixed into
        for parameter in parameters:
            if parameter.default is None and getattr(parameter, "is_flag", False):
                parameter.default = False
        return parameters


class BuiltIn(PlainFlags, TyperCommand):
    """A command of trace-net itself."""


class Commands(PlainFlags, TyperGroup):
    """Plugins are loaded only where a command is not built in, or where all are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Built-in names in the order of the help, then those of plugins."""
        from tracer import registry

        built_in = super().list_commands(ctx)
        return [*built_in, *(name for name in registry.commands if name not in built_in)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None: a built-in one is never replaced by a plugin's."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        from tracer import registry

        return plugin_command(cmd_name) if cmd_name in registry.commands else None


def plugin_command(name: str) -> Any:
    """The function that a plugin registered as a command, in typer's own form."""
    from tracer import registry

    entry = registry.commands.entry(name)

    @functools.wraps(entry.value.function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with blame(entry.plugin, f"the command {name!r}"):
            return entry.value.function(*args, **kwargs)

    single = typer.Typer(add_completion=False)
    single.command(name, help=entry.value.help or None)(run)
    return typer.main.get_command(single)
