"""The graph as JSON: networkx's node-link data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import networkx as nx

from tracer.extend import DrawOptions

SCHEMA_VERSION = 1


def write(graph: nx.MultiDiGraph, options: DrawOptions) -> str:
    """`networkx.node_link_data`, which `networkx.node_link_graph` reads back, and more keys.

    `schema_version` is the version of this format. `overlay`, where one is given, holds its
    `name`, `label` and `values` by node. Numbers that JSON cannot hold are the strings `"NaN"`,
    `"Infinity"` and `"-Infinity"`. Keys are sorted; nodes keep the graph's order. `files`
    is left out.
    """
    document = {"schema_version": SCHEMA_VERSION, **nx.node_link_data(graph, edges="edges")}
    document["graph"] = {k: v for k, v in graph.graph.items() if k != "files"}
    if options.title:
        document["title"] = options.title
    values = options.values
    if options.overlay is not None:
        if values is None:
            values = options.overlay.values(graph, {})
        document["overlay"] = {
            "name": options.overlay.name,
            "label": options.overlay.label,
            "values": values,
        }
    return dumps(document, indent=1) + "\n"


def dumps(document: Any, indent: int | None = None) -> str:
    """JSON text with sorted keys, whatever numbers, arrays and objects the document holds."""
    return json.dumps(
        plain(document), allow_nan=False, ensure_ascii=True, indent=indent, sort_keys=True
    )


def plain(value: Any) -> Any:
    """The value in JSON's types: NumPy's numbers as numbers, sets sorted, the unknown as text."""
    if value is None or isinstance(value, str | bool):
        return value
    if hasattr(value, "tolist") and not isinstance(value, type):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _WORDS.get(value, "NaN")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=str)
    return str(value)


_WORDS = {math.inf: "Infinity", -math.inf: "-Infinity"}
