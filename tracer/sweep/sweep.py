"""The backward sweep: stacks of cotangents through the record, last operation first.

A cotangent is a stack `[V, *shape]`; one row and many take the same path. The loop is iterative,
drops each stack as soon as it is passed on, and, where asked, what the nodes saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tracer.arrays.types import Stack
from tracer.cotangents import Cotangent
from tracer.errors import TracingError
from tracer.record.batching import Batch
from tracer.record.leaf_kinds import VARIABLE
from tracer.record.node import Node
from tracer.record.recomputed import Block, Recomputed
from tracer.record.replay import forget
from tracer.sweep.arrived import Arrived, Stacks, whole
from tracer.sweep.observed import Observed
from tracer.sweep.placed import Placed
from tracer.sweep.real_parts import is_complex
from tracer.sweep.rules import (
    Attribution,
    Recorded,
    Visitor,
    cotangents_of,
    fitted,
    in_rule,
    passed_through,
)
from tracer.sweep.scattered import Scattered, only_parent
from tracer.sweep.uses import Uses

#: in place of the shape of what is no array
_UNFIT = ()
#: what an ordinary sweep is asked for besides what arrives at leaves
_NOTHING = (None,) * 4


class Sweep:
    """One sweep over `nodes` (in the order of recording).

    `stacks` holds the seeds to begin with and, at the end, what arrived at leaves and elsewhere
    outside `nodes`. `visit(node, stack, others)` sees every stack that reaches a node, and where
    others wait, and returns the stack to go on with. With `batch`, what reaches an unbatched tensor
    from a batched operation is collected in `uses` as cotangents of the algebra, and
    `complete(leaf, uses, stack)` is called for each leaf as soon as nothing more can reach it,
    which is after the first of its uses (`tracer.record.names.first_uses`), or else at the end.
    `only` restricts the sweep to these nodes, which may want no gradient elsewhere. `watched` sees
    the gradient at each node. `slots` is the number of rows that stand for one, more than 1 where
    rows are masked, and `coupled` says that a sweep of all parameters would mask them: what is made
    of uses, Kronecker factors, is then the same here. `budget` bounds what is made of one stack, in
    bytes. `recomputed` are the record's blocks whose values are computed again where they are met.
    """

    def __init__(
        self,
        nodes: list[Node],
        stacks: Stacks,
        *,
        recorded: bool = False,
        release: bool = False,
        only: set[Node] | None = None,
        batch: Batch | None = None,
        complete: Callable[[Node, list[Cotangent], Any], None] | None = None,
        first_uses: Mapping[Node, Node] | None = None,
        watched: Observed | None = None,
        slots: int = 1,
        coupled: bool = False,
        visit: Visitor | None = None,
        budget: int | None = None,
        recomputed: Recomputed | None = None,
    ):
        self.nodes, self.stacks = nodes, stacks
        self.release, self.only = release, only
        self.complete, self.first_uses = complete, first_uses
        self.slots = slots
        self.watched, self.visit, self.recomputed = watched, visit, recomputed
        self.arrived = Arrived(stacks, lets_wait=visit is None and watched is None)
        self.uses = None
        if batch is not None:
            self.uses = Uses(batch, self.arrived, only, slots, coupled, budget)
        self.attribution = Attribution() if recorded else None

    def run(self) -> Stacks:
        """Sweep, and give what has arrived at leaves and elsewhere outside of the nodes."""
        last_of: dict[Node, list[Node]] = {}
        for leaf, node in (self.first_uses or {}).items():
            last_of.setdefault(node, []).append(leaf)
        asked = (self.uses, self.visit, self.watched, self.recomputed)
        go_back = self._go_back if asked == _NOTHING else self._go_back_observed
        go_back(last_of)
        self._end()
        return self.stacks

    def _go_back(self, last_of: Mapping[Node, list[Node]]) -> None:
        """The loop where stacks are passed on and nothing else is done."""
        stacks, release, pass_on = self.stacks, self.release, self._pass_on
        placed, summed = self.arrived.placed, self.arrived.summed
        attribution = self.attribution
        for node in reversed(self.nodes):
            if placed and node in placed:
                self.arrived.put_together(node)
            g = stacks.pop(node, None)
            if g.__class__ is list:
                g = self._made(node, g)
            if g is not None:
                if summed:
                    summed.discard(node)
                view = node if attribution is None else attribution.view(node)
                pass_on(node, cotangents_of(view, node, g), g)
                if release:
                    forget(node)
            if node in last_of:
                self._finish(last_of[node])

    def _go_back_observed(self, last_of: Mapping[Node, list[Node]]) -> None:
        """The same, with all that is asked of a sweep."""
        uses = {} if self.uses is None else self.uses.of
        recomputed = self.recomputed
        blocks = {} if recomputed is None else recomputed.by_node()
        met: set[Block] = set()
        for node in reversed(self.nodes):
            if node in self.arrived.placed:
                self.arrived.put_together(node)
            g = self.stacks.pop(node, None)
            if recomputed is not None and node in blocks and (g is not None or node in uses):
                recomputed.restore(blocks[node], met)
            if g.__class__ is list:
                g = self._made(node, g)
            self.arrived.summed.discard(node)
            if node in uses:
                self._carry(node, uses.pop(node), g)
            elif g is not None and self.watched is not None:
                self.watch(node, (), g)
            if g is not None:
                if self.visit is not None:
                    g = self.visit(node, g, self.stacks)
                self._pull(node, g)
                if self.release:
                    forget(node)
            if node in last_of:
                self._finish(last_of[node])

    def _pull(self, node: Node, g: Stack) -> None:
        """Take a stack to the inputs of a node, by samples where these are followed."""
        view = node if self.attribution is None else self.attribution.view(node)
        if self.uses is not None and self.uses.are_collected_at(node):
            self.uses.collect(view, node, g)
        else:
            self._pass_on(node, cotangents_of(view, node, g), g)

    def _pass_on(self, node: Node, entries: Sequence[Any], g: Stack) -> None:
        """Send the entries of a vjp, of the right number, to the inputs that are swept."""
        stacks, only = self.stacks, self.only
        for parent, entry in zip(node.parents, entries):  # noqa: B905
            if (
                parent is None
                or entry is None
                or (not parent.wants if only is None else parent not in only)
            ):
                continue
            if entry.__class__ is FunctionType:
                try:  # as `evaluated` does, without a call
                    entry = entry()
                except Exception as error:
                    raise in_rule(error, node, g) from error
                if entry is None:
                    continue
            if entry.__class__ is Placed:
                self.arrived.add(parent, entry)
                continue
            shape = getattr(entry, "shape", _UNFIT)
            if shape[1:] != parent.shape or not shape:
                if entry.__class__ is Scattered and self.arrived.wait(parent, entry):
                    continue
                entry = fitted(entry, node, parent, len(g))
            if parent in stacks:
                self.arrived.add(parent, entry)
            else:
                stacks[parent] = entry

    def _made(self, node: Node, waiting: list[Any]) -> Stack | None:
        """What has arrived at a node, of entries that waited there; None if they went on."""
        if node.op.composite:
            return _pulled(node, waiting)
        parent = only_parent(node)
        if parent is None or not (parent.wants if self.only is None else parent in self.only):
            return whole(waiting)
        passed = passed_through(node, waiting[0])
        if passed is None:
            return whole(waiting)
        if not self.arrived.wait(parent, passed):
            self.arrived.add(parent, fitted(passed, node, parent, len(passed.values)))
        if self.release:
            forget(node)
        return None

    def _carry(self, node: Node, uses: list[Cotangent], stack: Stack | None) -> None:
        """Take what batched operations sent to an unbatched tensor on to its inputs."""
        if self.watched is not None:
            self.watch(node, uses, stack)
        assert self.uses is not None
        self.uses.carry(node if self.attribution is None else Recorded(node), node, uses)

    # -- leaves, and the end --------------------------------------------------------------------

    def _finish(self, leaves: Iterable[Node]) -> None:
        """Complete leaves that nothing more can reach."""
        assert self.complete is not None
        for leaf in leaves:
            if leaf in self.arrived.placed:
                self.arrived.put_together(leaf)
            uses = [] if self.uses is None else self.uses.of.pop(leaf, [])
            stack = self.stacks.pop(leaf, None)
            if isinstance(stack, np.ndarray) and stack.dtype.kind == "c":
                self._check_real(leaf)
            if uses or stack is not None:
                if self.watched is not None:
                    self.watch(leaf, uses, stack)
                self.complete(leaf, uses, stack)

    def _end(self) -> None:
        """Make what still waits, and complete the leaves that are left."""
        stacks, uses = self.stacks, {} if self.uses is None else self.uses.of
        for node in list(self.arrived.placed):
            self.arrived.put_together(node)
        for node, stack in stacks.items():
            if stack.__class__ is list and not node.op.composite:
                stack = stacks[node] = whole(stack)
            if isinstance(stack, np.ndarray) and stack.dtype.kind == "c":
                self._check_real(node)
        if self.attribution is not None:
            self.attribution.end()
        if self.complete is not None:
            self._finish([n for n in (*uses, *stacks) if n.op.leaf and n.op is not VARIABLE])

    def _check_real(self, node: Node) -> None:
        """Raise for a complex gradient of real numbers, which rules of the user's may have made."""
        if is_complex(node):
            return
        own = {
            node.op.name: node.op
            for node in self.nodes
            if not type(node.op).__module__.startswith("tracer")
        }
        raise TracingError(
            f"the vjp of an operation ({', '.join(own) or 'unknown'}) returned complex numbers, "
            f"and gradients by real numbers are real: return their real part, entry.real"
        )

    def watch(self, node: Node, uses: Sequence[Cotangent], stack: Stack | None) -> None:
        """Show the gradient, which is the first row of what arrived (or the first, one a sample).

        At an unbatched tensor it is the sum of its `uses` and of the stack.
        """
        assert self.watched is not None
        parts = [use.total()[0] for use in uses]
        if stack is not None:
            parts.append(stack[0] if self.slots == 1 else stack[: self.slots].sum(0))
        self.watched.see(node, sum(parts[1:], parts[0]))


def _pulled(node: Node, entries: list[Placed]) -> Stack:
    """What a composite makes of the cotangents of its parts."""
    arrived = [
        next((entry.values for entry in entries if entry.index == index), None)
        for index in node.op.parts(**node.params)  # type: ignore[attr-defined]
    ]
    return node.op.pull(node, arrived)  # type: ignore[attr-defined]
