"""Inputs of a program's shapes, for who has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracer_import.errors import ProgramError
from tracer_import.program import Input, Program, Value
from tracer_import.sizes import known, symbols_in
from tracer_import.trees import nested

#: what a size that may vary is, unless its range says more
SIZE = 2
#: integers are below this where nothing says what they count
BELOW = 2
#: elements of an example at most
MOST = 1 << 28
#: operators whose indices are rows of a table, and where both are among the arguments
TABLES = {"aten.embedding.default": (1, 0)}


def example_inputs(program: Program) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments and keywords that the program takes: normal floats, and indices of rows."""
    rng = np.random.default_rng(0)
    symbols: dict[str, int] = {}
    values = iter([_example(program, each, rng, symbols) for each in program.inputs])
    arguments = tuple(nested(tree, values) for tree in program.arguments)
    return arguments, {name: nested(tree, values) for name, tree in program.keywords.items()}


def _example(
    program: Program, given: Input, rng: np.random.Generator, symbols: dict[str, int]
) -> Any:
    if given.constant:
        return given.constant[0]
    if given.meta is None:
        return 1
    for size in given.meta.shape:
        for name in sorted(symbols_in(size)):
            least, most = program.ranges.get(name, (SIZE, None))
            symbols.setdefault(name, min(max(SIZE, least), SIZE if most is None else most))
    shape = tuple(known(size, symbols) or SIZE for size in given.meta.shape)
    if min(shape, default=0) < 0 or math.prod(shape) > MOST:
        raise ProgramError(f"no example of {given.name} {list(shape)} is made: give an input")
    dtype = given.meta.dtype
    if dtype.kind in "fc":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return np.ones(shape, bool)
    return rng.integers(0, _rows(program, given.value), shape).astype(dtype)


def _rows(program: Program, value: str) -> int:
    """How many rows the tables have that an input is an index of."""
    shapes = {held.value: program.metas[held.value].shape for held in program.held
              if held.value in program.metas}  # fmt: skip
    found = []
    for node in program.nodes:
        if node.target in TABLES and len(node.arguments) > max(TABLES[node.target]):
            index, table = (node.arguments[place] for place in TABLES[node.target])
            shape = shapes.get(table.name, ()) if isinstance(table, Value) else ()
            rows = shape[0] if shape else None
            if index == Value(value) and isinstance(rows, int):
                found.append(rows)
    return min(found, default=BELOW)
