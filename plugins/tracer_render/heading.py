"""The lines above a picture: what the model is, and how much of everything it has."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import networkx as nx

from tracer_render import style

DIRECTIONS = {"forward": "forward", "backward": "backward", "both": "forward and backward"}
#: Errors are cut to so many characters, in lines of at most as many.
LONGEST_ERROR, WIDEST = 480, 96


def title(graph: nx.MultiDiGraph, given: str) -> str:
    """The name, and the class of the model where it is known."""
    name, kind = given or graph.graph.get("name") or "", graph.graph.get("model") or ""
    return "  ".join(dict.fromkeys(filter(None, (name, kind))))


def error(graph: nx.MultiDiGraph) -> tuple[str, ...]:
    """In lines, what the forward pass failed with; empty where it did not."""
    text = graph.graph.get("error")
    return tuple(style.wrapped(f"forward failed: {text}", WIDEST, LONGEST_ERROR)) if text else ()


def subtitle(graph: nx.MultiDiGraph) -> str:
    """Direction and time; parameters and their bytes, FLOPs and loss where they are known."""
    kept = {"direction": "forward", "time": "unrolled", **graph.graph}
    way = DIRECTIONS.get(kept["direction"], kept["direction"])
    loops = any(data.get("time") is not None for _, data in graph.nodes(data=True))
    if loops or kept["time"] != "unrolled":
        way += f", {kept['time']} in time"
    return " · ".join([way, *_sizes(graph)])


def _sizes(graph: nx.MultiDiGraph) -> Iterable[str]:
    leaves = [data for _, data in graph.nodes(data=True) if data.get("kind") == "parameter"]
    count = sum(math.prod(data.get("shape") or ()) for data in leaves)
    if leaves:
        frozen = sum(math.prod(d.get("shape") or ()) for d in leaves if d.get("frozen"))
        of_them = f", {frozen:,} of them frozen" if frozen else ""
        size = sum(data.get("nbytes") or 0 for data in leaves)
        yield f"{count:,} parameter{'s' * (count != 1)}{of_them} ({style.amount_text(size, 'B')})"
    flops = graph.graph.get("flops")
    if flops:
        yield f"{style.amount_text(flops, 'FLOP')}s forward"
    loss: Any = graph.graph.get("loss")
    if loss is not None:
        yield f"loss {style.number_text(float(loss))}"
