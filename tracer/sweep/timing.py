"""How long each operation of a record takes, and each rule: all run again, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from types import FunctionType
from typing import TypeVar

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.types import Array, Stack
from tracer.record.composite import recorded
from tracer.record.node import KeepingNode, Node
from tracer.record.recorder import Recorder, Seconds, using
from tracer.record.replay import before, forget
from tracer.sweep.placed import Placed
from tracer.sweep.rules import cotangents_of, evaluated, fitted
from tracer.sweep.sweep import Sweep

#: of so many runs the fastest counts, which other programs disturbed the least
RUNS = 5

Made = TypeVar("Made")


def time_operations(tape: Recorder) -> None:
    """Measure how long the operations of a tape take, in seconds, for `tape.seconds`.

    Each is computed again from what it was given, `RUNS` times behind one that does not count,
    since it touches memory for the first time. The fastest counts. Of a tape that was swept so is
    each operation's rule, for one row of cotangents: what a sweep for the gradient alone does of
    it, without adding up what several uses send back. That is `tape.seconds[node, "cotangent"]`.

    What recording takes is not in it. A recurrent layer is taken as the operations of its steps,
    although it runs faster as one where nobody watches. On a GPU each run waits for its end.
    """
    nodes = recorded(tape)
    seconds: Seconds = {}
    with using(None):
        start = _forward(nodes, tape.loss, seconds)
        if start is not None:
            _backward(nodes, start, seconds)
    tape.seconds = seconds


def _forward(nodes: list[Node], loss: Node | None, seconds: Seconds) -> tuple[Node, Stack] | None:
    """Time the operations; where there is a loss, nodes hold what their rules read, as if recorded.

    Returns the loss and its cotangent; None without a loss.
    """
    values: dict[Node, Array] = {}
    start = None
    timed, every = set(nodes), [*before(nodes), *nodes]
    last_uses = _last_uses(every)
    for node in every:
        arrays = tuple(
            x if parent is None else values.get(parent, x)
            for x, parent in zip(node.inputs, node.parents, strict=True)
        )
        if node in timed:
            out, kept, seconds[node] = _run(node, arrays)
        else:
            out, kept = node.op.forward(*arrays, **node.params), None
        values[node] = out
        if loss is not None and node.wants and node in timed:
            _hold(node, arrays, out, kept)
        if node is loss:
            start = node, _ones(node, out)
        for parent in last_uses.get(node, ()):
            del values[parent]
    return start


def _run(node: Node, arrays: tuple[Array, ...]) -> tuple[Array, object, float]:
    """What an operation gives, what it keeps for its rules, and the seconds that it takes."""
    if not (node.op.keeps and node.wants):
        out, took = _fastest(partial(node.op.forward, *arrays, **node.params), arrays)
        return out, None, took
    made, took = _fastest(partial(node.op.forward_keeping, *arrays, **node.params), arrays)
    return *made, took


def _hold(node: Node, arrays: tuple[Array, ...], out: Array, kept: object) -> None:
    """Let a node have what its rules read."""
    if node.op.saves_inputs:
        node.inputs = arrays
    if node.op.saves_output:
        node.output = out
    if isinstance(node, KeepingNode):
        node.kept = kept


def _last_uses(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """The operations whose values each node is the last to read."""
    last: dict[Node, Node] = {}
    for node in nodes:
        last.update((parent, node) for parent in node.parents if parent and parent.parents)
    found: dict[Node, list[Node]] = {}
    for parent, node in last.items():
        found.setdefault(node, []).append(parent)
    return found


def _ones(loss: Node, value: Array) -> Stack:
    """One row of cotangents; that of half precision is in single, as in a sweep."""
    dtype = working(loss.dtype) if loss.dtype.char == "e" else loss.dtype
    return backend.namespace(value).ones((1, *loss.shape), dtype)


def _backward(nodes: list[Node], start: tuple[Node, Stack], seconds: Seconds) -> None:
    """Time the rules in one sweep, and drop what it needed, as a sweep does."""

    def visit(node: Node, g: Stack, _: Iterable[Node]) -> Stack:
        seconds[node, "cotangent"] = _fastest(partial(_entries, node, g), (g,))[1]
        return g

    try:
        Sweep(nodes, dict([start]), release=True, visit=visit).run()
    finally:
        for node in nodes:
            forget(node)


def _entries(node: Node, g: Stack) -> None:
    """What an operation sends to its inputs, as a sweep asks for it."""
    for parent, entry in zip(node.parents, cotangents_of(node, node, g), strict=True):
        if parent is None or entry is None or not parent.wants:
            continue
        if entry.__class__ is FunctionType:
            entry = evaluated(entry, node, g)
        if entry is None or entry.__class__ is Placed:
            continue
        if np.shape(entry)[1:] != parent.shape:
            fitted(entry, node, parent, len(g))


def _fastest(run: Callable[[], Made], arrays: Iterable[object]) -> tuple[Made, float]:
    """What `run` gives, and the seconds of the fastest of several runs behind the first."""
    wait = next((backend.of(a).wait for a in arrays if backend.is_array(a)), None)
    with np.errstate(all="ignore"):  # the run itself has told of them
        made, best = run(), math.inf
        for _ in range(RUNS):
            if wait is not None:
                wait()
            begin = perf_counter()
            made = run()
            if wait is not None:
                wait()
            best = min(best, perf_counter() - begin)
    return made, best
