"""What a function takes from around it, besides its arguments: parameters, and other tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from tracer.arrays.types import Array, Tree
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.recomputed import value_of
from tracer.record.recorder import Recorder, rerecording, using
from tracer.record.snapshots import Held
from tracer.record.tensor import Tensor, TensorLike

INTERNAL_FILES.add(__file__)

Result = TypeVar("Result")


def captured(function: Callable[..., Tree], *args: Tree) -> list[Tensor]:
    """The tensors around a function that it takes, and that want a gradient; found by calling it.

    `args` are plain. Nothing is recorded where the call is made.
    """
    with using(None), rerecording() as tape:
        function(*args)
    found = []
    for node, value in outside(tape.nodes).items():
        found.append(Tensor(value_of(node) if value is None else value, node))
    return found


def outside(nodes: Sequence[Node]) -> dict[Node, Array | None]:
    """What these nodes take from outside of them that wants a gradient, with its value if held."""
    inside, found = set(nodes), dict[Node, Array | None]()
    for node in nodes:
        for parent, value in zip(node.parents, node.inputs, strict=True):
            if parent is None or parent in inside or not parent.wants:
                continue
            if found.get(parent) is None:
                found[parent] = value
    return found


@contextmanager
def held(tape: Recorder, around: Mapping[Node, TensorLike]) -> Iterator[None]:
    """Let nodes around what a tape records have these values, and want a gradient."""
    if not around:
        yield
        return
    arrays = {n: x._value if isinstance(x, Tensor) else x for n, x in around.items()}
    wanted = {node: node.wants for node in around}
    snapshots, tape.snapshots = tape.snapshots, Held(tape.snapshots, arrays)
    try:
        for node in around:
            node.wants = True
        yield
    finally:
        tape.snapshots = snapshots
        for node, wants in wanted.items():
            node.wants = wants


def plainly(function: Callable[..., Result], around: Mapping[Node, Array] | None = None) -> Result:
    """What a function of no arguments gives where nothing is recorded.

    `around` are values of nodes around it, where these may have others by now.
    """
    if not around:
        with using(None):
            return function()
    with using(None), rerecording() as tape, held(tape, around):
        return function()
