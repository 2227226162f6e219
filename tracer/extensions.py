"""What plugins provide besides operations, quantities and backends: pictures and commands."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from tracer.blame import place
from tracer.errors import PluginError

if TYPE_CHECKING:
    import networkx as nx

#: the commands of trace-net itself, which no plugin's replaces
BUILT_IN = (
    *("visualize", "summary", "diff", "quantities", "plugins", "check", "doctor"),
    *("new-plugin", "course"),
)


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """How to draw a graph.

    `depth` draws calls of modules nested deeper than that many levels as one box each (`None`:
    every operation is drawn); `"auto"` is the depth at which the picture fits on a page. Modules
    whose paths are in `opened` are open besides.
    `overlay` and `values` colour nodes: `values` maps node ids to numbers. `timeout` bounds the
    layout, in seconds. `theme` is `"auto"`, `"light"` or `"dark"`. Of a loop with more `steps` in
    time than that, unrolled, the first and the last ones are drawn (`None`: all are). `other` is
    the same trace unrolled where the drawn graph is folded, or folded where that is unrolled, with
    the values of its nodes; given to renderers that have `switches`.
    """

    title: str = ""
    depth: int | Literal["auto"] | None = None
    overlay: Overlay | None = None
    values: Mapping[str, float] | None = None
    timeout: float = 30.0
    theme: str = "auto"
    steps: int | None = 8
    other: tuple[nx.MultiDiGraph, Mapping[str, float] | None] | None = None
    opened: tuple[str, ...] = ()


class Renderer(ABC):
    """Draws a graph in one format. `name` is the format and the file suffix, as in `"svg"`.

    `switches` says that the picture shows a recurrent trace both ways, folded and unrolled in time.
    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()
    switches: bool = False
    media_type: str = "application/octet-stream"

    @abstractmethod
    def render(self, graph: nx.MultiDiGraph, options: DrawOptions) -> bytes:
        """The picture, as bytes to be written to a file.

        Raises `RendererUnavailable` where a program or library is missing or timed out.
        """


class RendererUnavailable(Exception):
    """No engine can draw this format here, or it timed out; the message says what to install."""


class Overlay(ABC):
    """Colours nodes by a number. `quantities` are computed before `values` is called.

    `label` says what the number is, `unit` what it is counted in, as `"s"`; with a unit, numbers
    are written with a prefix, as in 1.2 ms. A box that stands for several nodes, as a closed module
    does, takes the largest of their values, or where they `add_up` the sum. Where operations are
    to be `timed`, that is done before the graph is built, whose nodes have `seconds` then.
    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()
    label: str = ""
    unit: str = ""
    quantities: tuple[str, ...] = ()
    add_up: bool = False
    timed: bool = False

    @abstractmethod
    def values(
        self, graph: nx.MultiDiGraph, results: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, float]:
        """Node id -> number. NaN and infinities are kept; a node without a value is left out."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand of `trace-net`: a function that typer understands, by its annotations.

    It may be a `typer.Typer` with commands of its own, or the place of one of both as a text,
    `"package.module:name"`, which is imported when the command line needs it. A parameter annotated
    `tracer.Target` is a TARGET, which the command line loads.
    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    function: Callable[..., Any] | str
    help: str = ""
    replaces: str | tuple[str, ...] = ()

    def resolved(self) -> Callable[..., Any]:
        """The function, imported if only its place is known; `PluginError` if it is not there."""
        if not isinstance(self.function, str):
            return self.function
        module, _, name = self.function.partition(":")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"the command {self.name!r} is {self.function!r}, which cannot be imported: {error}"
            ) from error
        return found

    @property
    def place(self) -> str:
        """`file:line` of the function, or of the first one of a `typer.Typer`; or its name."""
        if isinstance(self.function, str):
            return self.function
        listed = getattr(self.function, "registered_commands", [])
        return place(next((each.callback for each in listed), self.function))


def check_command(command: Command) -> None:
    """Raise `PluginError` for a command that could not be called by its name."""
    if command.name in BUILT_IN:
        raise PluginError(
            f"the command {command.name!r} is one of trace-net's own, which are never replaced: "
            f"choose another name ({command.place})"
        )
    if command.name.startswith("-") or command.name.split() != [command.name]:
        raise PluginError(
            f"the command {command.name!r} cannot be typed: choose a name of one word, without "
            f"spaces or a dash before it ({command.place})"
        )
    if isinstance(command.function, str):
        if not re.fullmatch(r"[\w.]+:\w+", command.function):
            raise PluginError(
                f"the command {command.name!r} is {command.function!r}: the place of a function is "
                f'"package.module:name"'
            )
    elif not callable(command.function):
        raise PluginError(
            f"the command {command.name!r} is to call {command.function!r}, which is no function"
        )


def check_overlay(overlay: Overlay) -> None:
    """Raise `PluginError` for an overlay whose quantities are no names."""
    names = overlay.quantities
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise PluginError(
            f"the overlay {overlay.name!r} has quantities = {names!r}: give a tuple of names, as "
            f"in ('grad',) ({place(type(overlay))})"
        )
