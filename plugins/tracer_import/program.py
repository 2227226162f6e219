"""A program: what a model of another library computes, in one form for all that it is read from.

It is a list of nodes in the order in which they run. Values have names; an argument of a node is a
`Value` where it is one that is computed, and else what it says. Nothing here runs anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tracer_import.sizes import Size


@dataclass(frozen=True, slots=True)
class Value:
    """A value of the program, by its name, where it is an argument."""

    name: str


@dataclass(frozen=True, slots=True)
class DtypeOf:
    """A dtype as an argument; that of the program's floats follows the model, as in `double()`."""

    dtype: np.dtype


#: None, a number, a text, a `Value`, a `DtypeOf`, or a tuple of arguments
Argument: TypeAlias = Any
#: how arguments and results are nested: None for one value, a tuple or list of trees, or a mapping
Tree: TypeAlias = Any


class Scope(NamedTuple):
    """A call of a module of the model: its path, its class, and which call of it this is."""

    path: str
    kind: str
    number: int = 0


class Source(NamedTuple):
    """A line of the model's own code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file.rpartition('/')[2]}:{self.line}"


@dataclass(frozen=True, slots=True)
class Meta:
    """What is known of a value beforehand: its dtype, and its sizes, some of them symbols.

    `strides`, in elements, say how it lay in memory there, where that is known.
    """

    dtype: np.dtype
    shape: tuple[Size, ...]
    strides: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """One operator with its arguments, and the names of its results.

    `scope` are the calls that it is in, the outermost first. A node of several results has as many
    names, None for what nobody uses; one of a single result has that name alone.
    """

    target: str
    arguments: tuple[Argument, ...]
    keywords: Mapping[str, Argument]
    outputs: tuple[str | None, ...]
    scope: tuple[Scope, ...] = ()
    source: Source | None = None
    several: bool = False

    def values(self) -> Iterator[str]:
        """The names of the values that it takes."""
        yield from names_in((self.arguments, *self.keywords.values()))


@dataclass(frozen=True, slots=True)
class Input:
    """What the program is called with: a name for the caller, and that of its value.

    `constant` holds what the program was made with, where it takes nothing else.
    """

    name: str
    value: str
    meta: Meta | None = None
    constant: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """An array of the model: the name of its value, and its path in the model.

    One that is another's second name has no value, "". `array` is one object for those that share
    one. `kind` is "parameter", "buffer", "transient" (a buffer that is not saved), or "constant",
    which no state has.
    """

    value: str
    path: str
    array: np.ndarray
    kind: str
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """What a model computes.

    `inputs` are in the order of `arguments`, a tree of positional arguments, and one of keywords.
    `outputs` are values or constants in the order of `results`. `mutations` are the paths of the
    buffers that a call changes, and the values that they have then. `ranges` are the symbols of
    sizes, each from its least to its largest (None: no largest).
    """

    inputs: tuple[Input, ...]
    held: tuple[Held, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Argument, ...]
    mutations: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[Tree, ...] = ()
    argument_names: tuple[str, ...] = ()
    keywords: Mapping[str, Tree] = field(default_factory=dict)
    results: Tree = None
    metas: Mapping[str, Meta] = field(default_factory=dict)
    ranges: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    #: path -> class of the modules, in the model's order; "" where nothing tells the class
    modules: Mapping[str, str] = field(default_factory=dict)
    #: what it was read from, for messages
    origin: str = "the program"
    notes: tuple[str, ...] = ()

    def counts(self) -> Counter[str]:
        """How often each operator is there."""
        return Counter(node.target for node in self.nodes)


def names_in(argument: Argument) -> Iterator[str]:
    """The names of the values in an argument."""
    if isinstance(argument, Value):
        yield argument.name
    elif isinstance(argument, tuple | list):
        for each in argument:
            yield from names_in(each)


def renamed(argument: Argument, names: Mapping[str, str]) -> Argument:
    """The argument with other values."""
    if isinstance(argument, Value):
        return Value(names.get(argument.name, argument.name))
    if isinstance(argument, tuple):
        return tuple(renamed(each, names) for each in argument)
    return argument
