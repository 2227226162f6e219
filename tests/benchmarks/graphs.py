"""Graphs and pictures of large tapes, and of long loops."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tracer
from tracer import registry

from .measure import Goal, Row, race

REPEATS, TIME = 3, 10_000
ALL_STEPS = tracer.DrawOptions(steps=None)


def rows() -> Iterator[Row]:
    """networkx from 100,000 operations; SVG of about 1,000 and 10,000 nodes."""
    tape = _long(100_000)
    yield _row("networkx graph of 100,000 operations", tape.graph, 2.0)
    for nodes, goal in ((1_000, 2.0), (10_000, 5.0)):
        graph = _recurrent(nodes).graph("both")
        what = f"SVG of a ladder of {graph.number_of_nodes():,} nodes"
        yield _row(what, partial(_draw, graph), goal)
    long = _recurrent(6 * TIME)
    what = f"{TIME:,} steps of a recurrent loop, "
    yield _row(f"{what}recorded and differentiated", partial(_recurrent, 6 * TIME), None)
    yield _row(f"{what}folded", partial(long.graph, time="folded"), None)
    yield _row(f"{what}SVG, folded", lambda: _draw(long.graph("both", "folded")), None)
    yield _row(
        f"{what}SVG, the middle left out",
        lambda: _draw(long.graph("both"), tracer.DrawOptions()),
        None,
    )


def _row(what: str, run: Callable[[], Any], goal: float | None) -> Row:
    goals = () if goal is None else (Goal(goal, f"{goal:g}"),)
    return Row(what, 1.0, race({"trace-net": lambda: run}, REPEATS), goals)


def _draw(graph: Any, options: Any = ALL_STEPS) -> bytes:
    return registry.renderers["svg"].render(graph, options)


def _long(count: int) -> Any:
    with tracer.Tape() as tape:
        x = tracer.parameter(np.ones(3))
        for _ in range(count):
            x = operator.mul(x, 1.0)
    return tape


def _recurrent(nodes: int) -> Any:
    """A recurrent loop with about so many nodes forward and backward, six a step."""
    w, h = tracer.parameter(np.eye(2), "w"), np.ones((1, 2))
    with tracer.Tape() as tape:
        for _ in tracer.steps(nodes // 6):
            h = np.tanh(h @ w + 0.1)
        tape.backward(np.sum(h))
    return tape
