"""Which arguments of a function are differentiated by: by number or name, positional or keyword."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from tracer.arrays.trees import Structure, flatten
from tracer.arrays.types import Tree
from tracer.errors import TracingError
from tracer.record.frames import INTERNAL_FILES

INTERNAL_FILES.add(__file__)

#: one argument by its number or its name
Argument: TypeAlias = int | str
#: what `argnums` may be
Argnums: TypeAlias = Argument | Sequence[Argument]


class Arguments(NamedTuple):
    """The arguments of a call; those at `keys` are differentiated by: numbers, names of keywords.

    `several` is whether these were asked for as a sequence, so that results are tuples.
    """

    args: tuple[Tree, ...]
    keywords: Mapping[str, Tree]
    keys: list[Argument]
    several: bool

    def value(self, key: Argument) -> Tree:
        return self.keywords[key] if isinstance(key, str) else self.args[key]

    @property
    def structure(self) -> Structure:
        """That of the argument, or of the tuple of them."""
        if not self.several:
            return flatten(self.value(self.keys[0]))[1]
        return flatten(tuple(map(self.value, self.keys)))[1]


def arguments(
    function: Callable[..., Tree],
    argnums: Argnums,
    args: Sequence[Tree],
    keywords: Mapping[str, Tree],
) -> Arguments:
    """The arguments of `function(*args, **keywords)`, and which of them `argnums` asks for.

    A number is that of a positional argument, or of one that the function has there and that is
    given by keyword. A name is that of an argument however it is given; where it is not, its
    default is differentiated by.
    """
    if type(argnums) is int and 0 <= argnums < len(args):  # which takes no time
        return Arguments(tuple(args), keywords, [argnums], False)
    several, given = _several(argnums), dict(keywords)
    asked: Sequence[Argument] = argnums if several else (argnums,)  # type: ignore[assignment]
    keys = [_key(function, each, args, given) for each in asked]
    if len(set(keys)) < len(keys):
        raise TracingError(f"argnums names an argument twice: {argnums!r}")
    return Arguments(tuple(args), given, keys, several)


def _several(argnums: object) -> bool:
    if isinstance(argnums, np.ndarray):
        return argnums.ndim > 0
    return isinstance(argnums, list | tuple | range)


def _key(
    function: Callable[..., Tree], asked: Argument, args: Sequence[Tree], keywords: dict[str, Tree]
) -> Argument:
    if isinstance(asked, str):
        return _by_name(function, asked, args, keywords)
    try:
        if isinstance(asked, bool | np.bool_):
            raise TypeError
        i = operator.index(asked)
    except TypeError:
        raise TracingError(
            f"argnums is an integer or a sequence of them, or names of arguments, got {asked!r}"
        ) from None
    if -len(args) <= i < len(args):
        return i % len(args)
    names = list(_parameters(function))
    if 0 <= i < len(names) and names[i] in keywords:
        return names[i]
    raise TracingError(
        f"argnums names argument {i}, of {len(args)} given: give it, or ask for a keyword by its "
        f'name, as argnums="decay"'
    )


def _by_name(
    function: Callable[..., Tree], name: str, args: Sequence[Tree], keywords: dict[str, Tree]
) -> Argument:
    if name in keywords:
        return name
    parameters = _parameters(function)
    if name in list(parameters)[: len(args)] and _is_positional(parameters[name]):
        return list(parameters).index(name)
    default = parameters[name].default if name in parameters else None
    if default is not None and default is not inspect.Parameter.empty:
        keywords[name] = default
        return name
    known = ", ".join([*parameters, *(k for k in keywords if k not in parameters)])
    problem = "which is not given" if name in parameters else f"and the arguments are {known}"
    raise TracingError(
        f"argnums is an integer or a sequence of them, or names of arguments, got {name!r}, "
        f"{problem if known else 'which is not given'}"
    )


def _parameters(function: Callable[..., Tree]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function by name; none where it is written in C without their text."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
