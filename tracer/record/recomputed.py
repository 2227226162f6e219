"""Blocks of the record whose values are dropped, and computed again when a sweep comes to them.

A block is recorded like all else, so that graphs, parameters and quantities see its operations.
What its rules read is not there, though, until a sweep, last operation first, comes to the end of
the block. Then its operations run again, from what the block was given, and with the same draws:
these are constants of the record. When the sweep comes to the end of another block, what this one
held is dropped again. So a chain of n blocks holds what they were given, and the values of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tracer.arrays.types import Array
from tracer.record.composite import in_place
from tracer.record.frames import INTERNAL_FILES
from tracer.record.node import Node
from tracer.record.replay import forget


class Block:
    """What was recorded from place `start` of a record on: `nodes`, other blocks' among them.

    `known` are values of tensors that it was given, where these are at hand.
    """

    __slots__ = ("_nodes", "_wanting", "given", "start", "stop")

    def __init__(self, nodes: Sequence[Node], start: int, known: Mapping[Node, Array]):
        self.start, self.stop = start, start + len(nodes)
        self._nodes = list(nodes)
        #: what wants a gradient on the outermost tape; transforms inside of others change that
        self._wanting = {node for node in nodes if node.wants}
        #: the values of operations before it that its own take, those that are held
        self.given: dict[Node, Array] = _given(nodes, known)

    @property
    def nodes(self) -> list[Node]:
        """Its operations now, composites expanded or not."""
        return in_place(self._nodes)

    def is_within(self, other: Block) -> bool:
        """Whether another block is around this one."""
        return other is not self and other.start <= self.start and self.stop <= other.stop

    def is_read(self, node: Node) -> bool:
        """Whether sweeps call the rules of one of its operations."""
        return node.wants or node in self._wanting


class Recomputed:
    """The blocks of a record, and which of them have their values now."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        #: each within the one before it
        self._restored: list[Block] = []

    def add(self, block: Block) -> None:
        """Take a block in, which was just recorded, and drop its values.

        One of the operations of a block before it alone is that block, and not around it.
        """
        if any(block.start == other.start and block.stop == other.stop for other in self.blocks):
            return
        self.blocks.append(block)
        self._forget(block)

    def by_node(self) -> dict[Node, Block]:
        """The innermost block of each operation that is in one."""
        return {node: block for block in reversed(self.blocks) for node in block.nodes}

    def restore(self, block: Block, met: set[Block]) -> None:
        """See that the values are there that rules read, but for those of blocks inside of it.

        So they are, too, of blocks around it. What others hold is dropped. `met` are those that the
        same sweep came to before, whose values it may have dropped behind it.
        """
        if block in met:
            return
        for around in self.blocks[::-1]:  # outermost first, since they are done last
            if block.is_within(around) and around not in met:
                self._restore(around)
                met.add(around)
        self._restore(block)
        met.add(block)

    def _restore(self, block: Block) -> None:
        inside = [other for other in self.blocks if other.is_within(block)]
        hidden = {node for other in inside for node in other.nodes}
        inside = [other for other in inside if not any(map(other.is_within, inside))]
        nodes = block.nodes
        read = {node for node in nodes if block.is_read(node) and node not in hidden}
        takers: dict[Node, list[Block]] = {}
        for other in inside:
            for node in _outside(other.nodes):
                takers.setdefault(node, []).append(other)
        given = all(node in other.given for node, others in takers.items() for other in others)
        if given and not any(map(_lacks, read)):
            return
        for other in self._restored[:]:
            if not block.is_within(other):
                self._restored.remove(other)
                self._forget(other)
        self._restored.append(block)
        _Run(nodes, read, takers, block.given).run()

    def _forget(self, block: Block) -> None:
        for node in block.nodes:
            forget(node)
        for other in self.blocks:
            if other.is_within(block):
                other.given.clear()


def _given(nodes: Sequence[Node], known: Mapping[Node, Array]) -> dict[Node, Array]:
    """The values that operations got from outside of them, as far as they are at hand."""
    inside, given = set(nodes), {}
    for node in nodes:
        for parent, value in zip(node.parents, node.inputs, strict=True):
            if parent is None or not parent.parents or parent in inside or parent in given:
                continue
            if (at_hand := known.get(parent, value)) is not None:
                given[parent] = at_hand
    return given


def _lacks(node: Node) -> bool:
    """Whether something is gone that the rules of an operation read."""
    if node.op.saves_output and node.output is None:
        return True
    pairs = zip(node.inputs, node.parents, strict=True)
    return node.op.saves_inputs and any(x is None and p is not None for x, p in pairs)


class _Run:
    """Operations run again, for what the rules of some of them read.

    `takers` are blocks inside of them, by the operations whose values they are to have. Each value
    is dropped behind its last use.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        read: set[Node],
        takers: Mapping[Node, list[Block]],
        given: Mapping[Node, Array],
    ):
        self.nodes, self.read, self.takers, self.given = nodes, read, takers, given
        self.needed: set[Node] = set(self.takers)
        #: what each operation is the last to take
        self.last: dict[Node, list[Node]] = {}
        for node in reversed(nodes):
            if node in read and node.op.saves_output:
                self.needed.add(node)
            if node in self.needed or (node in read and node.op.saves_inputs):
                for parent in node.parents:
                    if parent is not None and parent.parents and parent not in self.needed:
                        self.needed.add(parent)
                        self.last.setdefault(node, []).append(parent)

    def run(self) -> None:
        inside = set(self.nodes)
        values: dict[Node, Array] = {}
        for node in self.needed - inside:
            values[node] = self.given[node] if node in self.given else value_of(node)
            self._give(node, values[node])
        for node in self.nodes:
            if node not in self.needed and node not in self.read:
                continue
            arrays = _arrays(node, values)
            if node in self.needed:
                values[node] = node.op.forward(*arrays, **node.params)
                self._give(node, values[node])
            if node in self.read and node.op.saves_inputs:
                node.inputs = arrays
            if node in self.read and node.op.saves_output:
                node.output = values[node]
            for parent in self.last.get(node, ()):
                values.pop(parent, None)

    def _give(self, node: Node, value: Array) -> None:
        for block in self.takers.get(node, ()):
            block.given[node] = value


def _outside(nodes: Iterable[Node]) -> set[Node]:
    """The operations outside of `nodes` that these take values of."""
    inside = set(nodes)
    return {p for node in inside for p in node.parents if p and p.parents and p not in inside}


def _arrays(node: Node, values: Mapping[Node, Array]) -> tuple[Array | None, ...]:
    return tuple(
        x if x is not None or p is None else values.get(p)
        for x, p in zip(node.inputs, node.parents, strict=True)
    )


def value_of(node: Node) -> Array:
    """The value of an operation, computed again from the nearest values before it that are held."""
    values: dict[Node, Array] = {}
    waiting = [node]
    while waiting:
        this = waiting[-1]
        if this.output is not None:
            values[this] = this.output
        pairs = zip(this.inputs, this.parents, strict=True)
        missing = [p for x, p in pairs if x is None and p is not None and p not in values]
        if missing and this not in values:
            waiting += missing
            continue
        if this not in values:
            values[this] = this.op.forward(*_arrays(this, values), **this.params)
        waiting.pop()
    return values[node]


INTERNAL_FILES.add(__file__)
