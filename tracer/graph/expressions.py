"""What an operation was given, as it is written in the user's source.

The interpreter knows where in its file each instruction is from. That tells what a constant is
called, and which scalar made float64 of float32. Where the source is not there, or the expression
is not that of the operation itself, nothing is told.
"""

from __future__ import annotations

import ast
import itertools
import linecache
from functools import lru_cache
from types import CodeType
from typing import TypeAlias

from tracer.record.node import Node
from tracer.record.raising import Failure

#: what was recorded at a line: an operation, or one that failed
Recorded: TypeAlias = Node | Failure

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.MatMult: "matmul",
}
#: names under which NumPy and its like are imported
MODULES = ("np", "numpy", "cp", "cupy", "xp")
#: longer expressions are not shown
LONGEST = 40


def operand(recorded: Recorded, slot: int) -> str:
    """The expression of an input, such as `np.sqrt(d)`; empty where it is not known or long."""
    written = _operand(recorded, slot)
    text = "" if written is None else ast.unparse(written)
    return text if len(text) <= LONGEST else ""


def operand_name(recorded: Recorded, slot: int) -> str:
    """The name of the variable or attribute that an input is; empty where it is none."""
    return _name(_operand(recorded, slot))


def index_names(recorded: Recorded, count: int) -> list[str]:
    """The names of the `count` arrays in `x[rows, :, columns]`; empty ones where not known."""
    tree = None if recorded.code is None else _tree(recorded.code, recorded.lasti)
    if isinstance(tree, ast.Subscript):
        index = tree.slice
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        arrays = [part for part in parts if not isinstance(part, ast.Slice | ast.Constant)]
        if len(arrays) == count:
            return [_name(part) for part in arrays]
    if isinstance(tree, ast.Call) and count == 1 and _called(tree) == "take":
        of_module = isinstance(tree.func, ast.Attribute) and _name(tree.func.value) in MODULES
        positional = dict(enumerate(tree.args))
        named = {keyword.arg: keyword.value for keyword in tree.keywords}
        return [_name(named.get("indices", positional.get(1 if of_module else 0)))]
    return [""] * count


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _name(written: ast.expr | None) -> str:
    while isinstance(written, ast.Subscript):  # `mask[:, None]` is a view of the mask
        written = written.value
    if isinstance(written, ast.Attribute):
        return written.attr
    return written.id if isinstance(written, ast.Name) else ""


def _operand(recorded: Recorded, slot: int) -> ast.expr | None:
    tree = None if recorded.code is None else _tree(recorded.code, recorded.lasti)
    operation, count = recorded.op.name, len(recorded.parents)
    if isinstance(tree, ast.BinOp | ast.AugAssign):
        if OPERATORS.get(type(tree.op)) != operation or count != 2:
            return None
        sides = (tree.left, tree.right) if isinstance(tree, ast.BinOp) else (None, tree.value)
        return sides[slot]
    if not isinstance(tree, ast.Call):
        return None
    called = tree.func
    if _called(tree) != operation:
        return None
    given = list(tree.args)
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        given.pop(0)  # the subscripts of einsum
    if len(given) == 1 and isinstance(given[0], ast.List | ast.Tuple):
        given = list(given[0].elts)  # as of concatenate
    if len(given) == count - 1 and isinstance(called, ast.Attribute):
        given.insert(0, called.value)  # a method
    if len(given) != count or any(isinstance(each, ast.Starred) for each in given):
        return None
    return given[slot]


@lru_cache(maxsize=1024)
def _tree(code: CodeType, lasti: int) -> ast.expr | ast.stmt | None:
    """The expression or statement that an instruction is of, parsed; None where it is not known."""
    place = next(itertools.islice(code.co_positions(), lasti // 2, None), None)
    if place is None:
        return None
    first, last, start, end = place
    if first is None or last is None or start is None or end is None:
        return None
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]
    if len(lines) != last - first + 1:
        return None
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    text = b"".join(lines).decode(errors="replace")
    try:
        return ast.parse(f"({text})", mode="eval").body
    except (SyntaxError, ValueError):
        pass
    try:
        (statement,) = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    return statement
