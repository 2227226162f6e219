"""What a module of an imported model is called with besides arrays, as text for its box."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tracer import registry
from tracer_import.program import Argument, DtypeOf, Node, Program, names_in

#: arguments that say how something is computed, and nothing of the model
LEFT_OUT = frozenset(("cudnn_enabled", "cudnn_enable", "train", "training", "size", "dtype"))
#: how long a text is at most
LONGEST = 100


def hyperparameters(program: Program) -> dict[str, str]:
    """By path of a module without modules in it: the options of its first operator with some."""
    nodes: dict[str, list[Node]] = defaultdict(list)
    for node in program.nodes:
        if node.scope:
            nodes[node.scope[-1].path].append(node)
    inner = {path.rpartition(".")[0] for path in program.modules}
    shapes = {held.value: held.array.shape for held in program.held}
    found = {}
    for path, each in nodes.items():
        if path in inner or path not in program.modules:
            continue
        texts = [text for node in each if (text := _text(node, shapes))]
        if texts:
            found[path] = texts[0][:LONGEST]
    return found


def _text(node: Node, shapes: dict[str, tuple[int, ...]]) -> str:
    operator = registry.imports.get(node.target)
    if operator is None or node.target.startswith(("tracer.", "_operator.")):
        return ""
    defaults = _defaults(operator.function)
    named = dict(zip(defaults, node.arguments, strict=False)) | dict(node.keywords)
    parts = []
    for name, value in named.items():
        if _is_option(value) and name not in LEFT_OUT and value != defaults.get(name):
            parts.append(f"{name}={_written(value)}")
    return ", ".join(parts)


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: None if p.default is p.empty else p.default for p in parameters}


def _is_option(value: Argument) -> bool:
    if isinstance(value, DtypeOf) or value is None:
        return False
    return next(names_in(value), None) is None


def _written(value: Argument) -> str:
    if isinstance(value, tuple):
        same = len(set(value)) == 1 and len(value) > 1
        return _written(value[0]) if same else f"({', '.join(map(_written, value))})"
    return f"{value:g}" if isinstance(value, float) else repr(value)
