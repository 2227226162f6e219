"""The checks of renderers and overlays, on graphs that any of them may be given."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping
from typing import Any

import networkx as nx
import numpy as np

from tracer.api.tape import Tape
from tracer.extensions import DrawOptions, Overlay, Renderer, RendererUnavailable
from tracer.record.leaves import batch, parameter
from tracer.record.scopes import steps
from tracer.sweep.timing import time_operations
from tracer.testing.networks import SquaredError
from tracer.testing.report import Report

#: what a label may hold: all that means something to a format
HOSTILE = "<b>&\"'\\N{}|\n;]-->\N{GREEK SMALL LETTER LAMDA}"


def recurrent_tape() -> tuple[Tape, Any]:
    """A loop of three steps, with gradients from which one is NaN, and a frozen parameter."""
    with Tape(watch=True) as tape:
        w = parameter(np.full((2, 2), 0.5), name="w")
        hostile = parameter(np.ones(2), name=HOSTILE)
        h: Any = batch(np.ones((3, 2)), name="x")
        for _ in steps(3):
            h = np.tanh(h @ w)
        losses: Any = SquaredError(h * hostile, np.zeros((3, 2)))
        loss = np.sum(losses)
    return tape, loss


def graphs() -> dict[str, nx.MultiDiGraph]:
    """By what is peculiar to them, graphs to draw."""
    tape, loss = recurrent_tape()
    tape.backward(loss)
    failed = tape.graph("forward")
    last = list(failed)[-1]
    failed.nodes[last].update(failed=True, error=HOSTILE)
    ill = tape.graph("both")
    for node in ill:
        ill.nodes[node].update(nan=2, norm=float("nan"))
    with Tape() as empty:
        pass
    return {
        "forward": tape.graph("forward"),
        "backward": tape.graph("backward"),
        "both directions": tape.graph("both"),
        "folded in time": tape.graph("both", time="folded"),
        "with an operation that failed": failed,
        "with NaN everywhere": ill,
        "empty": empty.graph("forward"),
    }


def check_renderer(renderer: Renderer) -> Report:
    """Check that a renderer draws graphs of all kinds, and leaves them as they are.

    Each is drawn with and without values of an overlay, and gives bytes. Whether they are a right
    picture, nobody can say here: look at one.
    """
    title = f"renderer {getattr(renderer, 'name', renderer)!r}"
    if not isinstance(renderer, Renderer):
        raise AssertionError(
            f"{title} is a {type(renderer).__name__}, not a tracer.extend.Renderer"
        )
    if not isinstance(renderer.media_type, str) or "/" not in renderer.media_type:
        raise AssertionError(f"{title}: media_type is a MIME type, got {renderer.media_type!r}")
    missing = {"picture": "whether it is right is for eyes to say"}
    for what, graph in graphs().items():
        before = _content(graph)
        for values in (None, {node: float(i) for i, node in enumerate(graph)}):
            options = DrawOptions(title=HOSTILE, values=values)
            where = f"{title}, graph {what}{', with values' if values else ''}"
            try:
                picture = renderer.render(graph, options)
            except RendererUnavailable as error:
                return Report({}, {"render": f"it cannot draw here: {error}"}, is_defined=False)
            if not isinstance(picture, bytes):
                raise AssertionError(f"{where}: render gives {type(picture).__name__}, not bytes")
            if not picture and len(graph):
                raise AssertionError(f"{where}: render gives nothing")
            if renderer.render(graph, options) != picture:
                missing["repetition"] = "the same graph gives other bytes the second time"
            if _content(graph) != before:
                raise AssertionError(f"{where}: render changes the graph that it is given")
    made = {"render": f"bytes of {len(graphs())} kinds of graphs, each drawn twice"}
    return Report(made, missing, is_defined=False)


def check_overlay(overlay: Overlay) -> Report:
    """Check that an overlay gives numbers to nodes of the graph, and leaves it as it is.

    On a recurrent network, swept for the quantities that the overlay asks for. Whether these are
    the right numbers, nobody can say here.
    """
    title = f"overlay {getattr(overlay, 'name', overlay)!r}"
    if not isinstance(overlay, Overlay):
        raise AssertionError(f"{title} is a {type(overlay).__name__}, not a tracer.extend.Overlay")
    if isinstance(overlay.quantities, str):
        raise AssertionError(f"{title}: quantities is a tuple of names, got a str")
    counted = 0
    for direction in ("forward", "both"):
        tape, loss = recurrent_tape()
        if overlay.timed:
            time_operations(tape)
        results = tape.backward(loss, tuple(dict.fromkeys(("grad", *overlay.quantities))))
        for time in ("unrolled", "folded"):
            graph = tape.graph(direction, time=time)
            before, where = _content(graph), f"{title}, graph {direction}, {time}"
            values = overlay.values(graph, results)
            if not isinstance(values, Mapping):
                raise AssertionError(
                    f"{where}: values gives {type(values).__name__}, not a mapping to numbers"
                )
            for node, value in values.items():
                if node not in graph:
                    raise AssertionError(f"{where}: {node!r} is no node of the graph")
                if not isinstance(value, numbers.Real):
                    raise AssertionError(
                        f"{where}: {node!r} has {value!r}, a {type(value).__name__}, not a number"
                    )
            if _content(graph) != before:
                raise AssertionError(f"{where}: values changes the graph that it is given")
            counted = max(counted, len(values))
    if not counted:
        reason = "no node of a recurrent network has a number"
        reason += " (nothing was timed)" if overlay.timed else ""
        return Report({}, {"values": reason}, is_defined=False)
    made = {"values": f"up to {counted} nodes of a recurrent network have a number"}
    return Report(made, {"numbers": "nothing says what they should be"}, is_defined=False)


def _content(graph: nx.MultiDiGraph) -> str:
    data = (list(graph.nodes(data=True)), list(graph.edges(data=True)), graph.graph)
    return repr(copy.deepcopy(data))
