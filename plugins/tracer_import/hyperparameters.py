"""What a module of an imported model is called with besides arrays, as text for its box."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from tracer import registry
from tracer_import.program import Argument, DtypeOf, Node, Program, Value, names_in

#: arguments that say how something is computed, and nothing of the model
LEFT_OUT = frozenset(
    "cudnn_enabled cudnn_enable train training size dtype pin_memory hx has_biases".split()
)
#: operators that are layers by themselves
LAYERS = re.compile(
    r"aten\.(linear|bilinear|conv|embedding|lstm|gru|rnn|\w*norm|\w*pool|\w*dropout|\w*softmax|"
    r"\w*softplus|gelu|glu|elu|celu|leaky_relu|hardtanh|threshold|\w*shrink|upsample|flatten|"
    r"unflatten|pad|constant_pad|reflection_pad|replication_pad|pixel_|channel_shuffle)"
)
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
    if operator is None or LAYERS.match(node.target) is None:
        return ""
    defaults = _defaults(operator.function)
    named = dict(zip(defaults, node.arguments, strict=False)) | dict(node.keywords)
    parts = _sizes(node.target, named, shapes)
    for name, value in named.items():
        default = defaults.get(name)
        same = (
            value == default
            or (default is None and not value)
            or (isinstance(value, tuple) and set(value) == {default})
        )
        if _is_option(value) and name not in LEFT_OUT and not same:
            parts.append(f"{name}={_written(value)}")
    return ", ".join(parts)


def _sizes(
    target: str, named: dict[str, Argument], shapes: dict[str, tuple[int, ...]]
) -> list[str]:
    """What a layer's constructor is told of its sizes, by the shape of its weight."""
    weight = named.get("weight")
    shape = shapes.get(weight.name, ()) if isinstance(weight, Value) else ()
    if target == "aten.linear.default" and len(shape) == 2:
        return [f"in_features={shape[1]}", f"out_features={shape[0]}"]
    if target.startswith("aten.conv") and len(shape) > 2:
        channels = [shape[1] * int(named.get("groups") or 1), shape[0]]
        if "transpose" in target:
            channels = [shape[0], shape[1] * int(named.get("groups") or 1)]
        return [*map(str, channels), f"kernel_size={_written(shape[2:])}"]
    if target == "aten.embedding.default" and len(shape) == 2:
        return [str(shape[0]), str(shape[1])]
    if "batch_norm" in target and shape:
        return [str(shape[0])]
    return []


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
