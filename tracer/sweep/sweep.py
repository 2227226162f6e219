"""The backward sweep: stacks of cotangents through the record, last operation first.

A cotangent is a stack `[V, *shape]`; one row and many take the same path. The loop is iterative,
drops each stack as soon as it is passed on, and, where asked, what the nodes saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tracer.arrays.types import Stack
from tracer.cotangents import Cotangent, Coupled, Dense, collect
from tracer.errors import TracingError
from tracer.record.axes import SAMPLED, position_of
from tracer.record.batching import Batch
from tracer.record.leaf_kinds import VARIABLE
from tracer.record.node import Node
from tracer.record.recomputed import Block, Recomputed
from tracer.record.recorder import Recorder, current_tape
from tracer.record.replay import forget
from tracer.record.tensor import Tensor
from tracer.sweep.carry import carried_by_use, derived, is_reindexing, of_samples, reindexed, spread
from tracer.sweep.observed import Observed
from tracer.sweep.placed import Placed
from tracer.sweep.real_parts import is_complex, real_use
from tracer.sweep.rules import (
    Recorded,
    Sampled,
    View,
    Visitor,
    attribute,
    cotangents_of,
    entry_value,
    evaluated,
    fit,
    fitted,
    passed_through,
)
from tracer.sweep.scattered import Scattered, only_parent, takes_scattered

#: in place of the shape of what is no array
_UNFIT = ()


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
        stacks: dict[Node, Any],
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
        self.nodes = nodes
        self.stacks = stacks
        self.recorded = recorded
        self.release = release
        self.only = only
        self.batch = batch
        self.complete = complete
        self.first_uses = first_uses
        self.watched = watched
        self.slots = slots
        self.coupled = coupled
        self.visit = visit
        self.budget = budget
        self.recomputed = recomputed
        self.uses: dict[Node, list[Cotangent]] = {}
        #: nodes whose stacks are sums made here, to which more is added in place
        self.summed: set[Node] = set()
        #: entries that wait to be put together, while the sweep is recorded
        self.placed: dict[Node, list[Placed]] = {}
        #: the node whose rules record now, the tape, and where on it
        self._recorded: tuple[Node, Recorder | None, int] | None = None

    def run(self) -> dict[Node, Any]:
        stacks, uses, batch, only = self.stacks, self.uses, self.batch, self.only
        finished: dict[Node, list[Node]] = {}
        for leaf, node in (self.first_uses or {}).items():
            finished.setdefault(node, []).append(leaf)
        recorded, release, watched = self.recorded, self.release, self.watched
        visit, summed, placed = self.visit, self.summed, self.placed
        recomputed = self.recomputed
        blocks = {} if recomputed is None else recomputed.by_node()
        met: set[Block] = set()
        for node in reversed(self.nodes):
            if placed and node in placed:
                self._put_together(node)
            g = stacks.pop(node, None)
            if recomputed and node in blocks and (g is not None or node in uses):
                recomputed.restore(blocks[node], met)
            if g.__class__ is list:
                g = _pulled(node, g) if node.op.composite else self._arrived(node, g)
            if summed:
                summed.discard(node)
            if uses and node in uses:
                self._carry(node, uses.pop(node), g)
            elif watched is not None and g is not None:
                self.watch(node, (), g)
            if g is not None:
                if visit is not None:
                    g = visit(node, g, stacks)
                view = self._recording(node) if recorded else node
                if batch is not None and isinstance(batch.axes.get(node), SAMPLED):
                    self._collect(view, node, g)
                else:
                    entries = cotangents_of(view, node, g)  # of the right number
                    for parent, entry in zip(node.parents, entries):  # noqa: B905
                        if (
                            parent is None
                            or entry is None
                            or (not parent.wants if only is None else parent not in only)
                        ):
                            continue
                        if entry.__class__ is FunctionType:
                            entry = evaluated(entry, node, g)
                            if entry is None:
                                continue
                        if entry.__class__ is Placed:
                            self._add(parent, entry)
                            continue
                        shape = getattr(entry, "shape", _UNFIT)
                        if shape[1:] != parent.shape or not shape:
                            if entry.__class__ is Scattered and self._waits(parent, entry):
                                continue
                            entry = fitted(entry, node, parent, len(g))
                        if parent in stacks:
                            self._add(parent, entry)
                        else:
                            stacks[parent] = entry
                if release:
                    forget(node)
            if node in finished:
                for leaf in finished[node]:
                    self._finish(leaf)
        for node in list(placed):
            self._put_together(node)
        for node, stack in stacks.items():
            if stack.__class__ is list and not node.op.composite:
                stack = stacks[node] = _whole(stack)
            self._check_real(node, stack)
        if recorded:
            self._attribute()
        if self.complete is not None:
            for leaf in [n for n in (*uses, *stacks) if n.op.leaf and n.op is not VARIABLE]:
                self._finish(leaf)
        return stacks

    def _check_real(self, node: Node, stack: object) -> None:
        """Raise for a complex gradient of real numbers, which rules of the user's may have made."""
        if not isinstance(stack, np.ndarray) or stack.dtype.kind != "c" or is_complex(node):
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

    def _recording(self, node: Node) -> Recorded:
        """The node as its rules see it; what they record, from now on, is on the node's line."""
        self._attribute()
        tape = current_tape()
        self._recorded = (node, tape, 0 if tape is None else len(tape.nodes))
        return Recorded(node)

    def _attribute(self) -> None:
        """Give what the rules of the last node recorded the line of the node."""
        if self._recorded is not None:
            node, tape, start = self._recorded
            if tape is not None:
                attribute(tape.nodes[start:], node)
            self._recorded = None

    def _finish(self, leaf: Node) -> None:
        if leaf in self.placed:
            self._put_together(leaf)
        uses, stack = self.uses.pop(leaf, []), self.stacks.pop(leaf, None)
        self._check_real(leaf, stack)
        if uses or stack is not None:
            if self.watched is not None:
                self.watch(leaf, uses, stack)
            assert self.complete is not None
            self.complete(leaf, uses, stack)

    def watch(self, node: Node, uses: Sequence[Cotangent], stack: Stack | None) -> None:
        """Show the gradient, which is the first row of what arrived (or the first, one a sample).

        At an unbatched tensor it is the sum of its `uses` and of the stack.
        """
        assert self.watched is not None
        parts = [use.total()[0] for use in uses]
        if stack is not None:
            parts.append(stack[0] if self.slots == 1 else stack[: self.slots].sum(0))
        self.watched.see(node, sum(parts[1:], parts[0]))

    def _add(self, parent: Node, entry: Any) -> None:
        """Add an entry of a vjp to what has arrived at a node."""
        stacks, summed = self.stacks, self.summed
        if entry.__class__ is Placed:
            if parent.op.composite:
                stacks.setdefault(parent, []).append(entry)
            elif type(entry.values) is Tensor or type(stacks.get(parent)) is Tensor:
                self.placed.setdefault(parent, []).append(entry)
            else:
                self._place(parent, entry)
            return
        if entry.shape[1:] != parent.shape:
            entry = fit(entry, parent.shape)
        before = stacks.get(parent)
        if before is None:
            stacks[parent] = entry
        elif parent in summed and before.dtype == entry.dtype and type(entry) is not Tensor:
            before += entry
        else:
            total = stacks[parent] = _whole(before) + entry
            if type(total) is Tensor:
                summed.discard(parent)
            else:
                summed.add(parent)

    def _waits(self, parent: Node, entry: Scattered) -> bool:
        """Let an entry wait as it is, where nobody looks and all that came to it may take it so."""
        if self.visit is not None or self.watched is not None or parent in self.stacks:
            return False
        if not takes_scattered(parent, entry):
            return False
        self.stacks[parent] = [entry]
        return True

    def _arrived(self, node: Node, waiting: list[Scattered]) -> Stack | None:
        """The stack of what waited for a node; None where its input takes it as it is."""
        parent = only_parent(node)
        if parent is None or not (parent.wants if self.only is None else parent in self.only):
            return _whole(waiting)
        passed = passed_through(node, waiting[0])
        if passed is None:
            return _whole(waiting)
        if not self._waits(parent, passed):
            self._add(parent, fitted(passed, node, parent, len(passed.values)))
        if self.release:
            forget(node)
        return None

    def _put_together(self, node: Node) -> None:
        """Add the entries that wait for this node to what has arrived there."""
        entries = self.placed.pop(node)
        values, indices = zip(*((entry.values, entry.index) for entry in entries), strict=True)
        self._add(node, entries[0].embed(*values, indices=indices, shape=entries[0].shape))

    def _place(self, parent: Node, entry: Placed) -> None:
        """Add what is zero but at an index, in place."""
        stack, values = self.stacks.get(parent), entry.values
        if stack is None:
            shape = (len(values), *parent.shape)
            plain = type(values) is np.ndarray  # whose own function takes a third of the time
            stack = np.zeros(shape, values.dtype) if plain else np.zeros_like(values, shape=shape)
            if parent.op.marks_unreached:
                stack = -stack
        elif parent not in self.summed or stack.dtype != values.dtype:
            stack = _whole(stack) + np.zeros_like(values, shape=())
        self.stacks[parent] = stack
        self.summed.add(parent)
        stack[(slice(None), *entry.index)] += values

    # -- edges between batched operations and unbatched tensors ---------------------------------

    def _collect(self, view: Node | Recorded, node: Node, g: Stack) -> None:
        assert self.batch is not None
        axis, axes = self.batch.axes[node], self.batch.axes_of(node)
        along = position_of(axis)
        entries: Any = None
        for slot, parent in enumerate(node.parents):
            if parent is None or not parent.wants:
                continue
            if self.only is not None and parent not in self.only:
                continue
            if axes[slot] is None:
                use = None
                if node.op.parameter_cotangent is not None:
                    use = node.op.parameter_cotangent(Sampled(view, axis, axes), slot, g)
                    if use is not None and is_complex(node) and not is_complex(parent):
                        use = real_use(use)
                structured = use is not None
                if use is None and (self.slots == 1 or len(parent.shape) > 1):
                    entries = cotangents_of(view, node, g) if entries is None else entries
                    if entries[slot] is None:
                        continue
                    use = spread(node, slot, g, along, entries)
                    if use is None and self.slots == 1:
                        use = derived(view, node, slot, g, along, entries, self.budget)
                        if use is None:
                            continue
                if use is not None:
                    use = of_samples(use, axis, node.place.present)
                    if self.coupled and not structured and len(parent.shape) < 2:
                        use = Dense(use.per_sample())  # as masked rows have it, its uses summed
                    use = use if self.slots == 1 else Coupled(use, self.slots)
                    self.uses.setdefault(parent, []).append(use)
                    continue
            entries = cotangents_of(view, node, g) if entries is None else entries
            entry = entries[slot]
            if entry.__class__ is FunctionType:
                entry = evaluated(entry, node, g)
            if entry is not None:
                if entry.__class__ is Scattered and self._waits(parent, entry):
                    continue
                if entry.__class__ is not Placed and entry.shape[1:] != parent.shape:
                    entry = fitted(entry, node, parent, len(g))
                self._add(parent, entry)

    # -- operations between a leaf and the tensor that batched operations consume ---------------

    def _carry(self, node: Node, uses: list[Cotangent], stack: Stack | None) -> None:
        if self.watched is not None:
            self.watch(node, uses, stack)
        cotangent = collect(uses)
        view = Recorded(node) if self.recorded else node
        for slot, parent in enumerate(node.parents):
            if parent is None or not parent.wants:
                continue
            if self.only is not None and parent not in self.only:
                continue
            carried: Cotangent | None
            if is_complex(node) != is_complex(parent):
                carried = None  # of real parts, which no structure of the complex one has
            elif isinstance(cotangent, Coupled) and cotangent.inner.use_terms() is not None:
                inner = self._carried(view, node, slot, cotangent.inner)
                carried = None if inner is None else Coupled(inner, cotangent.samples)
            else:
                carried = self._carried(view, node, slot, cotangent)
            if carried is None:
                u = cotangent.per_sample()
                flat = u.reshape(math.prod(u.shape[:2]), *node.shape)
                entry = entry_value(cotangents_of(view, node, flat)[slot])
                if entry is None:
                    continue
                entry = fit(entry, parent.shape)
                array = entry.reshape(*u.shape[:2], *parent.shape)
                carried = Dense(array, (node.op.name, node.code, node.lasti))
            self.uses.setdefault(parent, []).append(carried)

    def _carried(self, view: View, node: Node, slot: int, cotangent: Cotangent) -> Cotangent | None:
        """The cotangent of an input in the form that the output's has, or None."""
        if node.op.carry is not None:
            carried = node.op.carry(view, slot, cotangent)
            if carried is not None:
                return carried
        carried = carried_by_use(view, node, slot, cotangent)
        if carried is None and is_reindexing(node):
            carried = reindexed(node, cotangent)
        return carried


def _whole(stack: Stack | list[Scattered]) -> Stack:
    """A stack, made if it is one that waits to be put where something was taken from."""
    return stack[0].dense() if isinstance(stack, list) else stack


def _pulled(node: Node, entries: list[Placed]) -> Any:
    """What a composite makes of the cotangents of its parts."""
    arrived = [
        next((entry.values for entry in entries if entry.index == index), None)
        for index in node.op.parts(**node.params)  # type: ignore[attr-defined]
    ]
    return node.op.pull(node, arrived)  # type: ignore[attr-defined]
