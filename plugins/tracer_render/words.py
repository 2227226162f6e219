"""What is written in boxes and on lines, and what boxes are marked with."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import networkx as nx

from tracer_render import numbers, style
from tracer_render.scopes import Attributes
from tracer_render.style import TIMES

#: A line of hyperparameters is broken where it gets longer than this many characters.
WIDEST = 34
#: An error is cut to so many characters, in several lines; the page's panel has all of it.
LONGEST_ERROR = 240
#: An index is cut to so many characters.
LONGEST_INDEX = 24
#: A closed module lists at most this many parameters.
MOST_WEIGHTS = 4
#: Of what differs in two compared graphs, so many lines.
MOST_CHANGES = 4


def title(node: Hashable, data: Attributes, modules: tuple[str, ...]) -> str:
    """The label, without the part of its module path that the frames around it say already."""
    sign = style.SIGNS.get(data.get("change", ""), "")
    if sign:
        kept = {key: value for key, value in data.items() if key != "change"}
        return f"{sign} {title(node, kept, modules)}"
    if "class" in data:
        return _of_call(data)
    label = str(data.get("label") or data.get("op") or node)
    bare = label.removeprefix("∇ ")
    mark = label[: len(label) - len(bare)]
    for module in modules:
        if not bare.startswith(f"{module}."):
            break
        bare = bare.removeprefix(f"{module}.")
    return mark + bare + index(data)


def index(data: Attributes) -> str:
    """What an operation selects, as in `[:, 0]`; empty of others."""
    entries = data.get("index")
    if not entries:
        return ""
    return f"[{style.cut(', '.join(map(str, entries)), LONGEST_INDEX - 2)}]"


def _of_call(data: Attributes) -> str:
    """Path and class of a closed call; from the first to the last of several that are alike."""
    path, kind, last = data["scope"], data["class"], data.get("last") or ""
    if last and last != path:
        path = f"{path} … {last}"
    mark = "∇ " if data.get("kind") == "cotangent" else ""
    name = "  ".join(dict.fromkeys(filter(None, (path, kind))))
    return f"{mark}{name}"


def marks(data: Attributes, value: float | None) -> Iterable[str]:
    """What is alarming about a node or its overlay's value, in the order of gravity."""
    # a graph that was read from JSON has words for those that are no numbers
    numbers = [float(number) for number in (value, data.get("norm")) if number is not None]
    if data.get("failed"):
        yield "failed"
    if data.get("nan") or data.get("nan_inside") or any(map(math.isnan, numbers)):
        yield "nan"
    if data.get("inf") or data.get("inf_inside") or any(map(math.isinf, numbers)):
        yield "inf"
    if data.get("widened"):
        yield "widened"
    if data.get("reached") is False:
        yield "unreached"
    elif value == 0:
        yield "zero"
    if data.get("change") in style.SIGNS:
        yield data["change"]


def notes(data: Attributes, value: float | None, label: str = "", unit: str = "") -> Iterable[str]:
    """The lines below the title; `label` and `unit` say what the overlay's value is."""
    if data.get("repeats"):
        how = "side by side" if data.get("abreast") else "one after the other"
        yield f"{TIMES} {data['repeats']:,}, {how}"
    if data.get("alike"):
        yield f"the first of {data['alike']:,}"
    if data.get("kind") == "module":
        yield from _wrapped(data.get("hyperparameters") or "")
    if data.get("kind") == "elided" and "between" not in data:
        yield ", ".join(_counts(data))
    shape = f"{_shape(data)} {data.get('dtype') or ''}".strip()
    if shape and "between" not in data and (data.get("dtype") or not data.get("failed")):
        yield style.elide(shape)
    yield from _changes(data)
    if given := numbers.operands(data):
        yield style.elide(given)
    if data.get("kind") == "module":
        yield from _parameters(data)
    if data.get("count", 1) > 1:
        yield which_call(data)
    if data.get("steps"):
        known = value is None and data.get("norm") is not None and "members" not in data
        norm = f", norm {style.number_text(data['norm'])}" if known else ""
        yield f"T = {data['steps']:,} step{'s' if data['steps'] > 1 else ''}{norm}"
    if "between" in data:
        first, last = data["between"]
        yield f"t = {first:,} to {last:,}"
        yield f"{data['operations']:,} operations"
    if value is not None:
        yield f"{label} {style.amount_text(value, unit)}".strip()
    elif "members" in data and data.get("norm") is not None and data["kind"] == "cotangent":
        yield norm_of_call(data)
    for count, word in (("nan", "NaN"), ("inf", "Inf")):
        if number := data.get(count) or data.get(f"{count}_inside"):
            where = "in" if data.get(count) else "inside, in"
            yield f"{word} {where} {number:,} {'entries' if number > 1 else 'entry'}"
    if data.get("widened"):
        yield style.elide(f"{data['widened']} becomes {data.get('dtype')}, by")
        yield style.elide(data["widened_by"])
    if data.get("undefined"):
        yield style.elide(f"no {data['undefined']}")
    if data.get("frozen"):
        yield "frozen"
    if data.get("reached") is False:
        yield "no gradient"
    if data.get("failed"):
        error = f"failed: {data.get('error') or 'raised an error'}"
        yield from style.wrapped(error, style.LONGEST, LONGEST_ERROR)


def which_call(data: Attributes) -> str:
    """Which of the calls of its module a call is."""
    return f"call {data['number'] + 1} of {data['count']}"


def norm_of_call(data: Attributes) -> str:
    """The norm of the cotangents in a closed call: of its parameters', where it has some."""
    norm = f"norm {style.number_text(data['norm'])}"
    if data.get("parameters") and data.get("count", 1) > 1:
        return f"{norm} of all calls"
    return f"parameters' {norm}" if data.get("parameters") else norm


def _shape(data: Attributes) -> str:
    """The shape; where a first graph has another, both."""
    changed = (before for of, before, *_ in data.get("changes") or () if of == "shape")
    return " → ".join(map(style.shape_text, (*changed, data.get("shape"))))


def _changes(data: Attributes) -> Iterable[str]:
    """A line for each thing that differs from a first graph: `kernel_size (3, 3) → (5, 5)`."""
    changes = [change for change in data.get("changes") or () if change[0] != "shape"]
    told = [line for change in changes for line in _changed(*change)]
    shown = told if len(told) <= MOST_CHANGES else told[: MOST_CHANGES - 1]
    yield from map(style.elide, shown)
    if len(shown) < len(told):
        yield f"… and {len(told) - len(shown)} more changes"


def _changed(of: str, before: Attributes, after: Attributes, where: str = "") -> Iterable[str]:
    """What became of an attribute; of hyperparameters, each. `where` is a module inside."""
    start = f"{where}: " if where else ""
    if of == "hyperparameters":
        for name in after:
            told = "" if name.isdecimal() else f"{name} "
            yield f"{start}{told}{_value(before[name])} → {_value(after[name])}"
    elif of == "inputs":
        yield f"{start}other inputs"
    elif of == "frozen":
        yield "frozen now" if after else "no longer frozen"
    else:
        yield f"{start}{of} {_value(before)} → {_value(after)}"


def _value(value: object) -> str:
    return "none" if value is None else str(value)


def _wrapped(text: str) -> Iterable[str]:
    """At most two lines of hyperparameters, broken after commas."""
    lines = [""]
    for part in style.printable(text).split(", "):
        longer = f"{lines[-1]}, {part}" if lines[-1] else part
        if len(longer) > WIDEST and lines[-1]:
            lines[-1] += ","
            longer = part
            lines.append("")
        lines[-1] = longer
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1].rstrip(',')}, …"]
    yield from (style.elide(line) for line in lines if line)


def _parameters(data: Attributes) -> Iterable[str]:
    """A line for each of few parameters of a module that holds no other, else how many."""
    weights = data.get("weights")
    count = data["parameter_values"]
    if not weights:
        if data["operations"] > 1 or count:
            yield ", ".join(_counts(data))
        return
    shown = weights if len(weights) <= MOST_WEIGHTS else weights[: MOST_WEIGHTS - 1]
    for weight in shown:
        frozen = " frozen" if weight["frozen"] else ""
        sign = style.SIGNS.get(weight.get("change", ""), "")
        was = f"{style.shape_text(weight['before'])} → " if weight.get("before") else ""
        text = f"{sign} {weight['name']} {was}{style.shape_text(weight['shape'])}{frozen}"
        yield style.elide(text.strip())
    if len(shown) < len(weights):
        yield f"… and {len(weights) - len(shown)} more, {count:,} parameters"


def _counts(data: Attributes) -> Iterable[str]:
    yield f"{data['operations']:,} operation{'s' if data['operations'] != 1 else ''}"
    if data.get("parameter_values"):
        yield f"{data['parameter_values']:,} parameters"


def flow(graph: nx.MultiDiGraph, tail: Hashable, head: Hashable, data: Attributes) -> str:
    """From which step a value comes where that is another one; its shape if no box has it.

    The box of a value says its shape: for data the tail, for a cotangent the head.
    """
    told = graph.nodes[head if data.get("kind") == "cotangent" else tail]
    shape = style.shape_text(data.get("shape"))
    if data.get("shape") == told.get("shape"):
        shape = ""
    delay = data.get("delay")
    if not delay:
        return shape
    loops = graph.graph.get("loops", ())
    reverse = data.get("loop") is not None and loops[data["loop"]]["reverse"]
    sign = "+" if (data.get("kind") == "cotangent") != reverse else style.MINUS
    return f"t{sign}{delay}  {shape}".rstrip()
