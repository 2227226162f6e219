"""What a sweep may take of the memory, and what it is going to take, estimated before it runs.

A plan without a `memory_budget` is for half of the memory that is free. Where all fits, nothing is
done in chunks; where not even one row fits, or the values themselves do not, it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.types import Array
from tracer.curvature.quantity import Context, Quantity
from tracer.errors import QuantityError
from tracer.record.names import first_uses
from tracer.record.node import Node
from tracer.sweep.sizes import entry_bytes, node_bytes

#: bytes up to which nobody asks how much is free
SMALL = 64 << 20


#: bytes that a budget counts for at least where something is refused: a sweep of little is never
LEAST = 1 << 20


#: bytes from which on rows of the Hessian go no faster all at once, where no budget says less
AT_ONCE = 512 << 20


class Allowance:
    """The bytes that a call of `backward` may use: its `budget`, or half of what is free.

    `like` is an array of the library in use, whose memory it is. The system is asked where an
    answer is needed.
    """

    def __init__(self, budget: int | None, like: Array):
        self.budget = budget
        self.like = like

    @property
    def nbytes(self) -> int | None:
        """What there may be now; None where nobody knows."""
        if self.budget is not None:
            return self.budget
        free = backend.of(self.like).free_memory()
        return None if free is None else free // 2

    def limit(self, needed: int, beside: int = 0, adding: int = 0) -> int | None:
        """The bytes to stay within, None if all that is `needed` fits `beside` what is kept.

        `adding` is what adding up chunks takes, where there are several.
        """
        if self.budget is not None or needed + beside <= SMALL:
            return self.budget
        most = self.nbytes
        if most is None or needed + beside <= most:
            return None
        return max(1, most - beside - adding)

    def require(self, needed: int, name: str, what: str, instead: str) -> None:
        """Raise `QuantityError` where so many bytes are more than there may be.

        `name` is the quantity's, `what` says which bytes these are, `instead` what to do.
        """
        if needed <= LEAST or (self.budget is None and needed <= SMALL):
            return
        most = self.nbytes
        if most is None or needed <= most:
            return
        limit = "half of the memory that is free" if self.budget is None else "memory_budget"
        raise QuantityError(
            f"{name} takes {size(needed)} {what}, and {limit} is {size(most)}: {instead}"
        )


def size(count: int) -> str:
    """`1.5 GB (1,500,000,000 bytes)`."""
    for unit, digits in (("TB", 12), ("GB", 9), ("MB", 6)):
        if count >= 10**digits:
            return f"{count / 10**digits:.3g} {unit} ({count:,} bytes)"
    return f"{count:,} bytes"


class Width(NamedTuple):
    """The most bytes that one row takes at once in a sweep, and the operation it is at.

    `least` leaves out the temporaries of rules, some of which need none.
    """

    nbytes: int
    least: int
    node: Node | None


def width(nodes: Sequence[Node]) -> Width:
    """The widest cut of a sweep of one row over `nodes`.

    Stacks wait at tensors that are used again further up in the record, and those that parameters'
    cotangents are made of until the parameter is complete. A rule makes two temporaries beside what
    it reads and returns. The cotangents of parameters themselves are not counted.
    """
    waiting: dict[Node, int] = {}
    begin, total, most = first_uses(nodes), 0, Width(0, 0, None)
    for node in reversed(nodes):
        if not node.wants:
            continue
        here, arrived = node_bytes(node), waiting.pop(node, 0)
        total -= arrived
        least = max(most.least, total + arrived)
        parents = {p for p in node.parents if p is not None and p.wants}
        for parent in parents:
            kept = here
            if not (parent.op.leaf or parent.op.composite):  # of composites, parts wait
                kept = max(node_bytes(parent) - waiting.get(parent, 0), 0)
            waiting[parent] = waiting.get(parent, 0) + kept
            total += kept
        made = [here, *(node_bytes(parent) for parent in parents if not parent.op.leaf)]
        if node.op.parameter_cotangent is None and not node.op.elementwise:
            made += [entry_bytes(node, i) for i, p in enumerate(node.parents) if p and p.op.leaf]
        if not node.op.composite:  # of which only what arrived is surely there
            least = max(least, total + here)
        cut = total + here + 2 * max(made)
        most = Width(cut, least, node) if cut > most.nbytes else most._replace(least=least)
        total -= sum(waiting.pop(leaf) for leaf in parents if begin.get(leaf) is node)
    return most


def row_bytes(nodes: Sequence[Node], leaves: Collection[Node]) -> int:
    """Bytes of one row over `nodes`: a contraction holds three arrays of one sample's share."""
    return max(width(nodes).nbytes, 3 * leaf_bytes(leaves), 1)


def record_elements(nodes: Iterable[Node]) -> int:
    """Elements of all that wants a gradient, at most three times which a row takes at once."""
    return sum([math.prod(node.shape) for node in nodes if node.wants])


def leaf_bytes(leaves: Collection[Node]) -> int:
    """Bytes of the largest parameter."""
    return max(map(node_bytes, leaves), default=0)


class ValueBytes(NamedTuple):
    """The bytes of all values that a call returns, and the quantity that has most of them.

    `largest_value` is for the largest value of one parameter.
    """

    nbytes: int
    largest_value: int
    largest: Quantity | None
    share: int
    parameter: str


def values(
    asked: Mapping[str, Quantity],
    contexts: Callable[[Quantity], Iterable[Context]],
    reduced: Collection[str],
) -> ValueBytes:
    """What quantities return for the parameters of their `contexts`.

    Those that are `reduced` as soon as they exist are there one parameter at a time.
    """
    total, largest_value, most = 0, 0, ValueBytes(0, 0, None, 0, "")
    for name, quantity in asked.items():
        if quantity.rows is None:
            continue
        each = [
            (quantity.elements(c) * working(c.dtype).itemsize, c.name) for c in contexts(quantity)
        ]
        largest = max(each, default=(0, ""))
        share = largest[0] if name in reduced else sum(nbytes for nbytes, _ in each)
        total, largest_value = total + share, max(largest_value, largest[0])
        if share > most.share:
            most = ValueBytes(0, 0, quantity, share, largest[1])
    return most._replace(nbytes=total, largest_value=largest_value)


def require_values(allowed: Allowance, found: ValueBytes) -> None:
    """Refuse values that are themselves too large. A budget is for what is made besides."""
    if found.largest is None or allowed.budget is not None:
        return
    name = found.largest.name
    cheaper = f"use {found.largest.cheaper}, or " if found.largest.cheaper else ""
    allowed.require(
        found.nbytes,
        name,
        f"for its values (the largest is of {found.parameter!r})"
        if found.share == found.nbytes
        else f"with what else is asked for, {size(found.share)} of which are its own values",
        f"{cheaper}reduce={{{name!r}: f}}, which keeps what f(parameter_name, value) returns",
    )


def at(node: Node | None) -> str:
    """`at tanh (model.py:12, layer 'encoder')`."""
    if node is None:
        return ""
    layer = f", layer {node.place.scope!r}" if node.place.scope else ""
    return f"at {node.op.name} {list(node.shape)} ({node.source or 'unknown line'}{layer})"


def instead_of(quantity: Quantity, otherwise: str = "take fewer samples at once") -> str:
    """The cheaper way, for messages."""
    return f"use {quantity.cheaper}, or {otherwise}" if quantity.cheaper else otherwise
