"""Graphs as users make them: attributes of other types are put in form, or refused by name.

docs/reference/graph.md says what each attribute is. What a tape makes passes unchanged.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

import networkx as nx
import numpy as np

from tracer.errors import GraphError
from tracer_render import style
from tracer_render.scopes import Attributes

#: what a user gave an attribute, or what is made of it
Given: TypeAlias = Any
Changes: TypeAlias = dict[str, Given]


class Form(NamedTuple):
    """What an attribute is: as words, how another type becomes it, and the types that are it.

    Of lists, `items` are the types of their entries. `fits` raises where it is something else.
    """

    words: str
    fits: Callable[[Given], Given]
    types: frozenset[type]
    items: frozenset[type] | None = None

    def holds(self, value: object) -> bool:
        """Whether a value is in form."""
        if type(value) not in self.types:
            return False
        if self.items is None or not isinstance(value, list):
            return True
        return all(type(item) in self.items for item in value)


def _text(value: Given) -> str:
    if isinstance(value, str | int | float | BaseException | np.generic):
        return str(value)
    return str(getattr(value, "__name__", value))


def _whole(value: Given) -> int:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    return operator.index(value)


def _number(value: Given) -> float | str:
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, str):
        float(number)  # of a graph that was read from JSON: NaN and infinities
        return number
    return number if isinstance(number, int) else float(number)


def _truth(value: Given) -> bool:
    return bool(value)


def _size(value: Given) -> int | str:
    """One size of a shape, which may have a name."""
    if value is None or isinstance(value, str):
        return "?" if value is None else value
    return _whole(value)


def _shape(value: Given) -> list[int | str]:
    if isinstance(value, str):
        raise TypeError
    return [_size(value)] if np.ndim(value) == 0 else [_size(size) for size in value]


def _wholes(value: Given) -> list[int]:
    return [_whole(value)] if np.ndim(value) == 0 else [_whole(item) for item in value]


def _texts(value: Given) -> list[str]:
    return [value] if isinstance(value, str) else [_text(item) for item in value]


def _numbers(value: Given) -> list[float | str | None]:
    return [None if number is None else _number(number) for number in value]


def _path(value: Given) -> str:
    return ".".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)


def _place(value: Given) -> str:
    return ":".join(map(_text, value)) if isinstance(value, list | tuple) else _text(value)


def _dtype(value: Given) -> str:
    return value if isinstance(value, str) else np.dtype(value).name


def _nested(value: Given) -> Given:
    """Numbers in lists in lists."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [_nested(item) for item in value]
    return _number(value)


def _list(value: Given) -> list[Given]:
    if isinstance(value, str):
        raise TypeError
    return list(value)


def _names(value: Given) -> list[Hashable]:
    names: list[Hashable] = _list(value)
    for name in names:
        hash(name)
    return names


def _changed(value: Given) -> list[list[Given]]:
    """What differs, as in the graph of two: `[of, before, after]`; of arguments, by name."""
    found = []
    for of, before, after in _list(value):
        sides = [before, after]
        if of == "hyperparameters":
            sides = [{str(name): each.get(name) for name in after} for each in map(dict, sides)]
        elif of == "shape":
            sides = list(map(_shape, sides))
        found.append([_text(of), *sides])
    return found


def _weights(value: Given) -> list[Changes]:
    """Parameters of a closed call: their names, shapes and whether they are frozen."""
    known = [dict(each) for each in _list(value)]
    return [
        {**each, "name": _text(each["name"]), "shape": _shape(each.get("shape") or ()),
         "frozen": bool(each.get("frozen"))}
        for each in known
    ]  # fmt: skip


NONE: frozenset[type] = frozenset({type(None)})
TEXT, WHOLE = frozenset({str}) | NONE, frozenset({int, bool}) | NONE
LIST, NUMBER = frozenset({list}) | NONE, frozenset({int, float, bool}) | NONE
TRUTH = frozenset({bool}) | NONE

text = Form("text", _text, TEXT)
whole = Form("a whole number", _whole, WHOLE)
number = Form("a number", _number, NUMBER)
truth = Form("True or False", _truth, TRUTH)
wholes = Form("a list of whole numbers", _wholes, LIST, frozenset({int}))
texts = Form("a list of texts", _texts, LIST, frozenset({str}))
names = Form("a list of nodes", _names, NONE)
tables = Form("a list of dictionaries", _list, LIST)
shape = Form("a list of sizes", _shape, LIST, frozenset({int}))

NODE: dict[str, Form] = {
    **dict.fromkeys(("kind", "op", "label", "class", "hyperparameters", "error"), text),
    **dict.fromkeys(("widened", "widened_by", "undefined", "last", "change"), text),
    "scope": Form("a dotted path", _path, TEXT),
    "source": Form("text, as in 'model.py:12',", _place, TEXT),
    "dtype": Form("the name of a dtype", _dtype, TEXT),
    "shape": shape,
    **dict.fromkeys(("nbytes", "time", "loop", "steps", "call", "nan", "inf"), whole),
    **dict.fromkeys(("module", "number", "count", "operations", "parameters"), whole),
    **dict.fromkeys(("parameter_values", "repeats", "alike", "elided"), whole),
    **dict.fromkeys(("nan_inside", "inf_inside"), whole),
    **dict.fromkeys(("norm", "flops", "seconds"), number),
    **dict.fromkeys(("times", "between"), wholes),
    **dict.fromkeys(("scopes", "index"), texts),
    **dict.fromkeys(("members", "copies"), names),
    "weights": Form("a list of dictionaries with name and shape", _weights, NONE),
    "changes": Form("a list of what differs, before and after", _changed, NONE),
    "operands": Form("a list of numbers and None", _numbers, LIST, NUMBER),
    "values": Form("numbers in nested lists", _nested, NUMBER),
    **dict.fromkeys(("failed", "frozen", "reached", "abreast", "held"), truth),
}
EDGE = {"slot": whole, "delay": whole, "kind": text, "change": text, "shape": shape}
GRAPH: dict[str, Form] = {
    **dict.fromkeys(("direction", "time", "name", "model", "error"), text),
    **dict.fromkeys(("flops", "loss"), number),
    **dict.fromkeys(("loops", "calls"), tables),
}
#: What the entries of these lists have, and what is taken where it is left out.
TABLES: dict[str, dict[str, Given]] = {
    "loops": {"parent": None, "scope": "", "reverse": False},
    "calls": {"parent": None, "scope": "", "kind": "", "module": None, "number": 0, "times": []},
}
#: An attribute, and what it says nothing without.
TOGETHER = {"count": "number", "widened": "widened_by", "between": "operations"}
#: In pictures None is as good as what is left out.
SAYS_NOTHING = {
    *("label", "direction", "norm", "values", "members", "copies", "steps", "count", "number"),
    *("between", "elided", "operations", "parameters", "parameter_values", "repeats", "alike"),
}


def in_form(graph: nx.Graph) -> nx.MultiDiGraph:
    """The graph itself, or a copy whose attributes have the types that are drawn.

    Raises `GraphError` with the node and the attribute for what cannot be drawn.
    """
    if not graph.is_directed():
        raise GraphError(
            f"a picture is of a directed graph, and a networkx.{type(graph).__name__} came: give "
            f"its edges directions, as in networkx.MultiDiGraph(graph)"
        )
    made = graph if graph.is_multigraph() else nx.MultiDiGraph(graph)
    known = Layouts(NODE)
    nodes = {
        node: _changes(data, NODE, f"node {node!r}")
        for node, data in made.nodes(data=True) if not known.hold(data)
    }  # fmt: skip
    known = Layouts(EDGE)
    edges = {
        (tail, head, key): _changes(data, EDGE, f"edge from {tail!r} to {head!r}")
        for tail, heads in made.adjacency()
        for head, between in heads.items()
        for key, data in between.items() if not known.hold(data)
    }  # fmt: skip
    whole_graph = _changes(made.graph, GRAPH, "graph")
    whole_graph |= _tables({**made.graph, **whole_graph})
    for node, data in made.nodes(data=True):
        told = {**data, **nodes[node]} if node in nodes else data
        if not told.get("kind") or (told["kind"] == "operation" and not told.get("op")):
            nodes[node] = {**nodes.get(node, {}), **_kind(made, node, told)}
    changed = [node for node, changes in nodes.items() if changes]
    if changed or whole_graph or any(edges.values()):
        made = made.copy()
        made.graph |= whole_graph
        _drop(made.graph)
        for node in changed:
            made.nodes[node].update(nodes[node])
            _drop(made.nodes[node])
        for (tail, head, key), changes in edges.items():
            made.edges[tail, head, key].update(changes)
    _check_places(made)
    return made


class Layouts:
    """The names and types of attributes that are in form: nodes of a tape have few layouts."""

    def __init__(self, forms: Mapping[str, Form]):
        self._forms = forms
        self._lists: dict[tuple[object, ...], list[tuple[str, frozenset[type]]] | None] = {}

    def hold(self, data: Attributes) -> bool:
        """Whether attributes are in form as they are; each layout is looked at once."""
        layout = (*data, *map(type, data.values()))
        if layout not in self._lists:
            self._lists[layout] = self._in_form(data)
        lists = self._lists[layout]
        if lists is None:
            return False
        for name, items in lists:  # noqa: SIM110  # called for every node and edge
            if not items.issuperset(map(type, data[name])):
                return False
        return True

    def _in_form(self, data: Attributes) -> list[tuple[str, frozenset[type]]] | None:
        """The lists and the types of their entries; None where a name or a type is not in form."""
        lists = []
        for name, value in data.items():
            form = self._forms.get(name)
            if value is None and name in SAYS_NOTHING:
                return None
            if value is not None and TOGETHER.get(name, name) not in data:
                return None
            if form is not None and type(value) not in form.types:
                return None
            if form is not None and form.items is not None and isinstance(value, list):
                lists.append((name, form.items))
        return lists


def _changes(data: Attributes, forms: Mapping[str, Form], of: str) -> Changes:
    """What is to be changed of attributes; empty where all are in form."""
    changes: Changes = {}
    for name, value in data.items():
        form = forms.get(name)
        if form is None or form.holds(value):
            if name in SAYS_NOTHING and value is None:
                changes[name] = None
            continue
        try:
            made = form.fits(value)
        except (TypeError, ValueError, KeyError):
            raise _refused(of, name, form.words, value) from None
        if not _is_same(made, value):
            changes[name] = made
    kind, sizes = (changes.get(name, data.get(name)) for name in ("kind", "shape"))
    if kind == "parameter" and any(isinstance(size, str) for size in sizes or ()):
        raise _refused(of, "shape", "a list of whole numbers", data["shape"])
    for name, other in TOGETHER.items():
        if data.get(name) is not None and other not in data and name in forms:
            raise GraphError(
                f"{name} of the {of} says nothing without {other}: give both, or leave both out"
            )
    return changes


def _is_same(made: object, value: object) -> bool:
    """Whether a value was in form, as far as that is known from its entries alone."""
    try:
        return type(made) is type(value) and bool(made == value)
    except ValueError:  # of arrays in lists
        return False


def _refused(of: str, name: str, words: str, value: object) -> GraphError:
    return GraphError(
        f"{name} of the {of} is {words}, and {style.elide(repr(value))} came: give it one, or "
        f"leave it out"
    )


def _kind(graph: nx.MultiDiGraph, node: Hashable, data: Attributes) -> dict[str, str]:
    """The kind of a node that has none, and the name of an operation that has none."""
    if "members" in data or "elided" in data:
        return {} if data.get("kind") else {"kind": "module"}
    if not data.get("kind") and not data.get("op") and not graph.pred[node]:
        return {"kind": "input"}
    return {"kind": data.get("kind") or "operation", "op": data.get("op") or _label(node, data)}


def _label(node: Hashable, data: Attributes) -> str:
    return str(data.get("label") or node)


def _drop(data: Changes) -> None:
    for name in SAYS_NOTHING:
        if data.get(name, 0) is None:
            del data[name]


def _tables(attributes: Attributes) -> Changes:
    """The tables of a graph with what their entries leave out; only those that change."""
    changed: Changes = {}
    for name, defaults in TABLES.items():
        if name not in attributes:
            continue
        rows = attributes[name] or []
        for number_of, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise _refused("graph", name, "a list of dictionaries", attributes[name])
            parent = row.get("parent")
            if parent is not None and parent not in range(number_of):
                raise _refused("graph", f"parent in {name}", "the place of one before it", parent)
            if name == "loops" and not isinstance(row.get("steps"), int | np.integer):
                raise _refused("graph", "steps in loops", "a whole number", row.get("steps"))
        if attributes[name] is None or any(defaults.keys() - row.keys() for row in rows):
            changed[name] = [{**defaults, **row} for row in rows]
    return changed


def _check_places(graph: nx.MultiDiGraph) -> None:
    """Raise where nodes name loops and calls that the graph does not list."""
    loops, calls = graph.graph.get("loops") or (), graph.graph.get("calls") or ()
    depths: list[int] = []
    for loop in loops:
        depths.append(1 if loop["parent"] is None else depths[loop["parent"]] + 1)
    for node, data in graph.nodes(data=True):
        for name, table in (("loop", loops), ("call", calls)):
            place = data.get(name)
            if place is not None and table and place not in range(len(table)):
                raise GraphError(
                    f"{name} of the node {node!r} is {place}, and the graph's {name}s are "
                    f"{len(table)}: give its place in that list"
                )
        times = data.get("times")
        if times and loops and (data.get("loop") is None or len(times) != depths[data["loop"]]):
            raise GraphError(
                f"times of the node {node!r} is {times}, one for each loop around it, and its "
                f"loop is {data.get('loop')}: give as many times as loops"
            )
