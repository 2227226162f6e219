"""The lines above a picture: what the model is, and how much of everything it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx

from tracer.extend import totals
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
    """What the graph has of everything; of two compared ones, what each has where it differs."""
    each = graph.graph.get("compared") or [totals(graph)]
    counts = [about["parameters"] for about in each]
    if any(counts):
        frozen = _each([f"{about['frozen']:,}" for about in each])
        of_them = f", {frozen} of them frozen" if any(a["frozen"] for a in each) else ""
        size = _each([style.amount_text(about["parameter_bytes"], "B") for about in each])
        count, plural = _each([f"{n:,}" for n in counts]), "s" * (counts != [1])
        yield f"{count} parameter{plural}{of_them} ({size})"
    if any(about.get("flops") for about in each):
        flops = _each([_known(about.get("flops"), "FLOPs") for about in each])
        yield f"{flops} forward"
    if any(about.get("loss") is not None for about in each):
        yield f"loss {_each([_known(about.get('loss')) for about in each])}"


def _each(texts: list[str]) -> str:
    """One text where all are the same, else all."""
    return " / ".join(dict.fromkeys(texts))


def _known(number: Any, unit: str = "") -> str:
    return "?" if number is None else style.amount_text(float(number), unit)
