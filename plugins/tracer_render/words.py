"""What is written in boxes and on lines, and what boxes are marked with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import networkx as nx

from tracer_render import style


def title(node: Any, data: Mapping[str, Any], modules: tuple[str, ...]) -> str:
    """The label, without the part of its module path that the frames around it say already."""
    label = str(data.get("label") or data.get("op") or node)
    bare = label.removeprefix("∇ ")
    mark = label[: len(label) - len(bare)]
    for module in modules:
        if not bare.startswith(f"{module}."):
            break
        bare = bare.removeprefix(f"{module}.")
    return mark + bare


def marks(data: Mapping[str, Any], value: float | None) -> Iterable[str]:
    """What is alarming about a node or its overlay's value, in the order of gravity."""
    numbers = [number for number in (value, data.get("norm")) if number is not None]
    if data.get("failed"):
        yield "failed"
    if data.get("nan") or any(map(math.isnan, numbers)):
        yield "nan"
    if data.get("inf") or any(map(math.isinf, numbers)):
        yield "inf"
    if data.get("reached") is False:
        yield "unreached"
    elif value == 0:
        yield "zero"


def notes(data: Mapping[str, Any], value: float | None) -> Iterable[str]:
    """The lines below the title."""
    if "members" in data:
        yield style.elide(data["scope"])
        yield ", ".join(_counts(data))
    shape = f"{style.shape_text(data.get('shape'))} {data.get('dtype') or ''}".strip()
    if shape:
        yield style.elide(shape)
    if data.get("steps"):
        known = data.get("norm") is not None and "members" not in data
        norm = f", norm {style.number_text(data['norm'])}" if known else ""
        yield f"T = {data['steps']:,} step{'s' if data['steps'] > 1 else ''}{norm}"
    if "elided" in data:
        first, last = data["between"]
        yield f"t = {first:,} to {last:,}"
        yield f"{data['operations']:,} operations"
    if value is not None:
        yield style.number_text(value)
    elif "members" in data and data.get("norm") is not None:
        yield f"norm {style.number_text(data['norm'])}"
    for count, word in (("nan", "NaN"), ("inf", "Inf")):
        if data.get(count):
            yield f"{word} in {data[count]:,} {'entries' if data[count] > 1 else 'entry'}"
    if data.get("frozen"):
        yield "frozen"
    if data.get("reached") is False:
        yield "no gradient"
    if data.get("failed"):
        yield style.elide(f"failed: {data.get('error') or 'raised an error'}")


def _counts(data: Mapping[str, Any]) -> Iterable[str]:
    yield f"{data['operations']} operation{'s' if data['operations'] != 1 else ''}"
    if data["parameters"]:
        yield f"{data['parameter_values']:,} parameters"


def flow(graph: nx.MultiDiGraph, data: Mapping[str, Any]) -> str:
    """The shape of what flows, and from which step it comes where that is another one."""
    shape = style.shape_text(data.get("shape"))
    delay = data.get("delay")
    if not delay:
        return shape
    loops = graph.graph.get("loops", ())
    reverse = data.get("loop") is not None and loops[data["loop"]]["reverse"]
    sign = "+" if (data.get("kind") == "cotangent") != reverse else style.MINUS
    return f"t{sign}{delay}  {shape}".rstrip()
