"""A program made ready to run: functions for operators, what is freed when, and modes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracer import registry
from tracer.extend import ImportedOperator
from tracer_import.frames import Caller, caller
from tracer_import.program import Argument, Node, Program, Scope, Value, names_in


@dataclass(frozen=True, slots=True)
class Step:
    """A call of an operator's function.

    `dtypes` are those of its results in the program. Of an operator with a mode, `slot` is where
    its argument is, a position or a keyword, and `moves` whether it follows the model's.
    """

    node: Node
    call: Caller
    function: Callable[..., Any]
    arguments: tuple[Argument, ...]
    keywords: Mapping[str, Argument]
    outputs: tuple[str | None, ...]
    several: bool
    dtypes: tuple[np.dtype | None, ...]
    scope: tuple[Scope, ...]
    freed: tuple[str, ...]
    slot: int | str | None = None
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a program, and whether it was exported in training."""

    steps: tuple[Step, ...]
    training: bool


def planned(program: Program) -> Plan:
    """The plan of a program whose operators are all there."""
    flags = [_mode(node, registry.imports[node.target]) for node in program.nodes]
    given = [flag[1] for flag in flags if flag is not None]
    training = any(given)
    last = _last_uses(program)
    steps = []
    for number, (node, flag) in enumerate(zip(program.nodes, flags, strict=True)):
        step = _step(program, node, tuple(last.get(number, ())))
        if flag is not None:
            step = replace(step, slot=flag[0], moves=bool(flag[1]) == training)
        steps.append(step)
    return Plan(tuple(steps), training)


def _step(program: Program, node: Node, freed: tuple[str, ...]) -> Step:
    metas = program.metas
    dtypes = tuple(
        metas[name].dtype if name is not None and name in metas else None for name in node.outputs
    )
    function = registry.imports[node.target].function
    return Step(
        node,
        caller(node.source), function, node.arguments, node.keywords, node.outputs, node.several,
        dtypes, node.scope, freed,
    )  # fmt: skip


def _mode(node: Node, operator: ImportedOperator) -> tuple[int | str, Any] | None:
    """Where an operator's mode is among the arguments of a node, and what it is there."""
    if not operator.mode:
        return None
    if operator.mode in node.keywords:
        return operator.mode, node.keywords[operator.mode]
    names = list(inspect.signature(operator.function).parameters)
    place = names.index(operator.mode)
    return (place, node.arguments[place]) if place < len(node.arguments) else None


def _last_uses(program: Program) -> dict[int, list[str]]:
    """By the number of a node, the values that nobody needs after it."""
    kept = set(names_in(program.outputs)) | set(program.mutations.values())
    last: dict[str, int] = {}
    for number, node in enumerate(program.nodes):
        for name in node.values():
            last[name] = number
        for output in node.outputs:
            if output is not None:
                last.setdefault(output, number)
    freed: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in kept:
            freed.setdefault(number, []).append(name)
    return freed


def value_of(argument: Argument, values: Mapping[str, Any]) -> Any:
    """An output: a value, or a constant as it is."""
    return values[argument.name] if isinstance(argument, Value) else argument
