"""The entry point: the commands, and the exit code that each way of failing becomes."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from trace_net import streams
from trace_net.commands import (
    check,
    course,
    diff,
    doctor,
    new_plugin,
    plugins,
    quantities,
    summary,
    visualize,
)
from trace_net.errors import INTERRUPTED, CommandError
from trace_net.group import BuiltIn, Commands
from trace_net.usercode import of_program

#: Taken anywhere on the command line, before or after the command's name.
GLOBAL_FLAGS = ("--debug", "--no-color")

#: Why what is printed cannot be written; files are looked after in `write`.
UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EDQUOT)

#: Wrong arguments, in whichever click typer was built with.
ArgumentError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="trace-net",
    cls=Commands,
    help="Trace, differentiate and draw a model that is written in a Python file.",
    epilog="Exit codes: 0 done; 1 the model failed or a check found something; 2 usage; "
    "3 no renderer, or it timed out; 4 a plugin failed; 130 interrupted.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


for function in (
    visualize.visualize,
    summary.summary,
    diff.diff,
    quantities.quantities,
    plugins.plugins,
    check.check,
    new_plugin.new_plugin,
    course.course,
    doctor.doctor,
):
    app.command(function.__name__.replace("_", "-"), cls=BuiltIn)(function)


def print_version(wanted: bool) -> None:
    """Print name and version, and end."""
    if wanted:
        from importlib.metadata import version

        print(f"trace-net {version('trace-net')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full traceback of an error.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colours, as NO_COLOR=1 does.")
    ] = False,
) -> None:
    """Print the help where no command is named."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors are reported on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    flags = [argument for argument in arguments if argument in GLOBAL_FLAGS]
    rest = [argument for argument in arguments if argument not in GLOBAL_FLAGS]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names outside a terminal's charset
    if "--no-color" in flags:
        os.environ["NO_COLOR"] = "1"
    try:
        command = typer.main.get_command(app)
        result = command.main([*flags, *rest], prog_name="trace-net", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("trace-net: interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:
        return stopped(stop)
    except BrokenPipeError:  # who reads has seen enough, as `head` does
        streams.close_stdout()
        return 1
    except Exception as error:
        if "--debug" in flags:
            traceback.print_exception(error)
        return report(error)


def stopped(stop: SystemExit) -> int:
    """What Python makes of it at its end: a number is the exit code, text an error (1)."""
    if stop.code is None or isinstance(stop.code, int):
        sys.stdout.flush()
        return int(stop.code or 0)
    streams.report_error(str(stop.code))
    return 1


def report(error: Exception) -> int:
    """Say on stderr what went wrong, and give the exit code for it."""
    from tracer import plugins as loader
    from tracer.errors import PluginError, SettingsError, TracerError, UsageError

    if isinstance(error, CommandError):
        streams.report_error(error.message, error.hint, error.details)
        return error.code
    if isinstance(error, ArgumentError):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "trace-net"
        streams.report_error(
            getattr(error, "format_message", error.__str__)(),
            f"`{path} --help` lists what it takes",
        )
        return 2
    if isinstance(error, PluginError):
        streams.report_error(
            error.message, error.remedy or "`trace-net plugins` lists every plugin"
        )
        return 4
    if isinstance(error, SettingsError):
        streams.report_error(str(error), "`trace-net plugins NAME` lists the settings of a plugin")
        return 2
    if isinstance(error, UsageError):
        streams.report_error(error.message, error.hint)
        return 2
    if isinstance(error, TracerError):
        streams.report_error(str(error), "run it again with --debug to see where")
        return 1
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        streams.close_stdout()
        streams.report_error(
            f"cannot write to stdout: {error.strerror}",
            "choose a file with -o, where there is room",
        )
        return 2
    if (plugin := loader.culprit(error)) is not None:
        return report(loader.raised(plugin, "a part", error))
    if (failure := of_program("a part", error)) is not None:
        return report(failure)
    streams.report_error(
        f"an error inside trace-net: {type(error).__name__}: {error}",
        "run it again with --debug and report the traceback",
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
