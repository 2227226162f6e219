"""The built-in commands and, beside them, those that plugins register."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trace_net.errors import CommandError
from trace_net.usercode import of_program

#: wrong arguments and other errors of click, whichever typer was built with
CLICK_ERROR = typer.BadParameter.__mro__[2]


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
    """The function or the `typer.Typer` that a plugin registered as a command, in typer's own form.

    One that cannot be made stands in the help as such, and says why when it is called.
    """
    from tracer import registry
    from tracer.errors import PluginError, TracerError
    from tracer.plugins import guard

    # what says itself what is wrong
    passing = (CommandError, TracerError, SystemExit, typer.Exit, typer.Abort, CLICK_ERROR)

    entry, what = registry.commands.entry(name), f"the command {name!r}"
    at = entry.value.place
    try:
        with guard(entry.plugin, what, place=at):
            function = entry.value.resolved()
            at = replace(entry.value, function=function).place
            command = made(name, function, entry.value.help)
    except PluginError as error:
        return broken(name, error)
    except Exception as error:  # of one that a script has registered
        return broken(name, of_program(what, error, at) or error)
    invoke = command.invoke

    def guarded(context: typer.Context) -> None:
        try:
            with guard(entry.plugin, what, passing, at):
                invoke(context)  # what it returns is no exit code
        except passing:
            raise
        except Exception as error:
            raise of_program(what, error, at) or error from error

    command.invoke = guarded
    return command


def made(name: str, function: Callable[..., object] | typer.Typer, help: str) -> Any:
    """A click command, or a group of them, of a function or of a `typer.Typer`."""
    from trace_net.plugin_targets import all_taking_targets, taking_targets

    if not isinstance(function, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name, help=help or None)(taking_targets(function))
        return typer.main.get_command(single)
    all_taking_targets(function)
    command = typer.main.get_command(function)
    command.name, command.help = name, help or command.help
    return command


def broken(name: str, error: Exception) -> Any:
    """A command that raises the error for which there is none."""

    def fail(context: typer.Context) -> None:
        raise error

    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    message = getattr(error, "message", str(error))
    single.command(name, help=f"Failed: {message}", context_settings=anything)(fail)
    return typer.main.get_command(single)
