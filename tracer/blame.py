"""Whose fault it is: what is known of each plugin, and errors that name it, with file and line."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import pluggy

from tracer import errors
from tracer.errors import PluginError

#: the owner of what scripts and notebooks register
USER = "user"


@dataclass
class Plugin:
    """What is known of a plugin: where it comes from, and why it failed if it did.

    `status` is `"loaded"`, `"failed"` or `"blocked"`. `provides` are names by kind, `hooks` the
    hooks that it implements, `replaces` what it has taken from others, as sentences.
    """

    name: str
    module: str
    distribution: str
    version: str
    status: str = "loaded"
    error: str = ""
    provides: dict[str, list[str]] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)

    def described(self) -> str:
        """The name and the distribution, for messages."""
        return f"plugin {self.name!r} of distribution {self.distribution!r}"


#: the distribution of the core and of the bundled plugins
OURS = "trace-net"

#: name -> what is known of every plugin that was found
PLUGINS: dict[str, Plugin] = {}

#: where files lie that call plugins, and are not at fault
CALLERS = (
    *(os.path.join(os.path.dirname(str(m.__file__)), "") for m in (errors, pluggy, importlib)),
    contextlib.__file__,
    "<frozen",
)


def described(plugin: str) -> str:
    """A plugin by its name, with its distribution where that is known."""
    known = PLUGINS.get(plugin)
    return f"plugin {plugin!r}" if known is None else known.described()


def remedy(plugin: str) -> str:
    """What to do about a plugin that fails."""
    block, known = f"block it with TRACER_DISABLE_PLUGINS={plugin}", PLUGINS.get(plugin)
    if known is None:
        return block
    return f"remove it with `pip uninstall {known.distribution}`, or {block}"


def failure(plugin: str, message: str, place: str = "") -> PluginError:
    """The error that says so of a plugin: `message` begins behind its name."""
    at = f" ({place})" if place else ""
    return PluginError(f"{described(plugin)}: {message}{at}", remedy(plugin), plugin)


@contextmanager
def guard(
    plugin: str, what: str, passes: tuple[type[BaseException], ...] = (), place: str = ""
) -> Iterator[None]:
    """What the block raises is raised as `PluginError`: `what` of this plugin failed, and where.

    Errors that `passes` names are raised as they are, as all are where no plugin is to blame but
    the program itself. Without a line of the plugin's in the traceback, `place` is named.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if plugin == USER or isinstance(error, (PluginError, *passes)):
            raise
        raise raised(plugin, what, error, place) from error


def raised(plugin: str, what: str, error: BaseException, place: str = "") -> PluginError:
    """The `PluginError` for an error that `what` of a plugin raised."""
    at = place_of_error(plugin, error) or place
    return PluginError(
        f"{what} of {described(plugin)} failed: {type(error).__name__}: {error}"
        + (f" ({at})" if at else ""),
        remedy(plugin),
        plugin,
    )


def place_of_error(plugin: str, error: BaseException) -> str:
    """`file:line` of the innermost frame in the plugin's files, of the error or of its cause.

    Of a plugin whose files are not known, those beside the outermost frame that is not in ours are.
    Empty where there is none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}:{error.lineno}"
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(CALLERS)
    ]
    files = _files(plugin) or (_beside(frames[0][0]) if frames else "")
    inside = [frame for frame in frames if files and frame[0].startswith(files)]
    if inside:
        file, line = inside[-1]
        return f"{shown(file)}:{line}"
    return "" if error.__cause__ is None else place_of_error(plugin, error.__cause__)


def _files(plugin: str) -> str:
    """What the paths of a plugin's files begin with; empty where that is not known."""
    known = PLUGINS.get(plugin)
    package = "" if known is None else known.module.partition(":")[0].partition(".")[0]
    file = getattr(sys.modules.get(package), "__file__", None)
    return _beside(file) if file else ""


def _beside(file: str) -> str:
    """The folder of a package, with a separator, or the file of a single module."""
    folder = os.path.join(os.path.dirname(file), "")
    return folder if os.path.exists(f"{folder}__init__.py") else file


def culprit(error: BaseException) -> str | None:
    """The plugin of another distribution in whose files an error was raised; None if in none."""
    files = [(name, _files(name)) for name, p in PLUGINS.items() if p.distribution != OURS]
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        names = [name for name, prefix in files if prefix and file.startswith(prefix)]
        if names:
            return nearest(names, frame.f_globals.get("__name__", ""))
    return None


def of_module(module: str) -> str | None:
    """The plugin whose package a module is in; None where it is in no plugin's."""
    package = module.partition(".")[0]
    names = [name for name, p in PLUGINS.items() if _parts(p.module)[0] == package]
    return nearest(names, module) if names else None


def nearest(names: list[str], module: str) -> str:
    """Of plugins of one package, the one whose own module is nearest to a module of it."""

    def shared(name: str) -> int:
        pairs = zip(_parts(PLUGINS[name].module), _parts(module), strict=False)
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(names, key=shared)


def _parts(module: str) -> list[str]:
    return module.partition(":")[0].split(".")


def place(thing: Any) -> str:
    """`file:line` where a function, a class, or the class of an object is defined; or empty."""
    found = _code(thing)
    if found is not None:
        return f"{shown(found.co_filename)}:{found.co_firstlineno}"
    kind = thing if isinstance(thing, type) else type(thing)
    # one that `type(...)` made has its lines where its bases have theirs
    known = (_place_of(base) for base in kind.__mro__ if base.__module__ == kind.__module__)
    return next(filter(None, known), "")


def _place_of(kind: type) -> str:
    """`file:line` of a class, or of the first of its functions; or empty."""
    try:
        _, line = inspect.getsourcelines(kind)
        return f"{shown(inspect.getsourcefile(kind) or '')}:{line}"
    except (OSError, TypeError):  # of a notebook or of compiled code
        codes = [code for code in map(_code, vars(kind).values()) if code is not None]
        first = min(codes, key=lambda code: code.co_firstlineno, default=None)
        return f"{shown(first.co_filename)}:{first.co_firstlineno}" if first else ""


def _code(thing: Any) -> CodeType | None:
    thing = inspect.unwrap(getattr(thing, "__func__", thing)) if callable(thing) else thing
    return getattr(thing, "__code__", None)


def shown(file: str) -> str:
    """A path relative to the working directory where it lies below it."""
    folder = os.path.join(os.getcwd(), "")
    return file.removeprefix(folder)
