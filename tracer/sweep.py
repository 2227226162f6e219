"""The backward sweep: stacks of cotangents through the record, last operation first.

A cotangent is a stack `[V, *shape]`; one row and many take the same path. The loop is iterative,
drops each stack as soon as it is passed on, and, where asked, what the nodes saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tracer import backend, plan
from tracer.axes import GroupedAxis, LabelledAxis
from tracer.batching import Batch
from tracer.cotangents import (
    Cotangent,
    Coupled,
    Deferred,
    Dense,
    Reindexed,
    Summed,
    broadcast_uses,
    collect,
    grouped,
)
from tracer.errors import ShapeError, TracingError
from tracer.operation import VARIABLE, describe, leaves_only, statistics
from tracer.tape import Node, Tape, current_tape
from tracer.tensor import Tensor


class Recorded:
    """A node as its rules see it while the sweep itself is recorded: values are tensors."""

    __slots__ = ("inputs", "node", "output")

    kept = None  # an array, in which derivatives would be lost

    def __init__(self, node: Node):
        self.node = node
        self.output = None if node.output is None else Tensor(node.output, node)
        self.inputs = tuple(
            x if p is None or x is None else Tensor(x, p)
            for x, p in zip(node.inputs, node.parents, strict=True)
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def attribute(recorded: Iterable[Node], node: Node) -> None:
    """Let what a rule of `node` recorded name the line of the user's that the node is of."""
    for made in recorded:
        if made.code is not None:
            made.code, made.lasti = node.code, node.lasti


class Sampled:
    """A node with the axes of its samples, for `parameter_cotangent`."""

    __slots__ = ("batch_axes", "batch_axis", "node")

    def __init__(self, node: Any, axis: int, axes: list[Any]):
        self.node = node
        self.batch_axis = axis
        self.batch_axes = axes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def fitted(entry: Any, node: Node, parent: Node, rows: int) -> Any:
    """An entry of a vjp of `node` as a stack `[V, *parent.shape]`. Raises `ShapeError`."""
    try:
        if len(entry) != rows:
            raise ValueError(f"{len(entry)} rows for {rows} of the cotangent")
        return fit(entry, parent.shape)
    except Exception as error:
        given = describe(entry)
        raise ShapeError(
            f"the vjp of {node!r} ({node.source or 'unknown line'}) returned {given} for an input "
            f"of shape {list(parent.shape)}: entries are stacks [V, *input.shape]"
        ) from error


def fit(g: Any, shape: tuple[int, ...]) -> Any:
    """A stack of the broadcast shape as a stack of `shape`: summed where it was broadcast."""
    lead = g.ndim - 1 - len(shape)
    if lead > 0:
        g = g.sum(axis=tuple(range(1, lead + 1)))
    elif lead < 0:
        g = g.reshape(g.shape[0], *(1,) * -lead, *g.shape[1:])
    axes = tuple(i + 1 for i, n in enumerate(shape) if n == 1 and g.shape[i + 1] != 1)
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    if g.shape[1:] != shape:
        g = np.broadcast_to(g, (g.shape[0], *shape))
    return g


def cotangents_of(view: Any, node: Node, g: Any) -> Any:
    """What the operation's `vjp` returns, checked for its length."""
    try:
        entries = node.op.vjp(view, g)
    except Exception as error:
        raise in_rule(error, node, g) from error
    if entries.__class__ is not tuple and not isinstance(entries, tuple | list):
        raise ShapeError(
            f"the vjp of {node.op.name} returned {describe(entries)}: return a tuple of one entry "
            f"per input, as in `return (g * 2,)`"
        )
    if len(entries) != len(node.parents):
        raise ShapeError(
            f"the vjp of {node.op.name} returned {len(entries)} entries for "
            f"{len(node.parents)} inputs: return one per input, None for no gradient"
        )
    return entries


def in_rule(error: Exception, node: Node, g: Any) -> Exception:
    """An error that a rule raised, with the operation that it is of; see `operation.explain`."""
    if not hasattr(node.op, "vjp"):
        return TracingError(f"operation {node.op.name} has no vjp: define vjp(node, g)")
    where = f"the vjp of {node!r} ({node.source or 'unknown line'})"
    absent = [
        name
        for name, there in {
            "inputs": node.op.saves_inputs or not any(node.parents),
            "output": node.op.saves_output,
        }.items()
        if not there
    ]
    if absent and "NoneType" in str(error) and isinstance(error, TypeError | AttributeError):
        return TracingError(
            f"{where} reads what was not saved: name {' and '.join(map(repr, absent))} in the "
            f"operation's `saves`, which is {node.op.saves!r} ({error})"
        )
    given = f"of shape {list(g.shape)} ([V, *output])" if hasattr(g, "shape") else "of parts"
    if type(error) in (ValueError, IndexError, TypeError, AttributeError):
        return ShapeError(f"{where}, given a cotangent {given}: {error}")
    error.add_note(f"in {where}, given a cotangent {given}")
    raise error


class Placed:
    """An entry of a vjp that is zero but at a basic index: `values [V, ...]` at `index`.

    A sweep adds it in place to what has arrived already (or, while it is recorded, all of them in
    one operation), so that reading a sequence step by step costs its length and not its square.
    `embed(*values, indices=, shape=)` is the operation that makes the whole stack.
    """

    __slots__ = ("embed", "index", "shape", "values")

    def __init__(self, values: Any, index: tuple[Any, ...], shape: tuple[int, ...], embed: Any):
        self.values = values
        self.index = index
        self.shape = shape
        self.embed = embed

    def dense(self) -> Any:
        """The stack `[V, *shape]`."""
        return self.embed(self.values, indices=(self.index,), shape=self.shape)


def evaluated(entry: Callable[[], Any], node: Node, g: Any) -> Any:
    """An entry that a vjp gave as a function."""
    try:
        return entry()
    except Exception as error:
        raise in_rule(error, node, g) from error


def entry_value(entry: Any) -> Any:
    """An entry of a vjp as a stack: evaluated if it is a function, whole if it is placed."""
    if entry.__class__ is FunctionType:
        entry = entry()
    return entry.dense() if entry.__class__ is Placed else entry


#: bytes of rows of single samples that go through a rule at once, where no budget says less
DERIVED = 256 << 20

#: in place of the shape of what is no array
_UNFIT = ()


class Sweep:
    """One sweep over `nodes` (in the order of recording).

    `stacks` holds the seeds to begin with and, at the end, what arrived at leaves and elsewhere
    outside `nodes`. `visit(node, stack, others)` sees every stack that reaches a node, and where
    others wait, and returns the stack to go on with. With `batch`, what reaches an unbatched tensor
    from a batched operation is collected in `uses` as cotangents of the algebra, and
    `complete(leaf, uses, stack)` is called for each leaf as soon as nothing more can reach it,
    which is after the first of its uses (`tracer.names.first_uses`), or else at the end.
    `only` restricts the sweep to these nodes, which may want no gradient elsewhere. `watched` takes
    statistics of the gradient. `slots` is the number of rows that stand for one, more than 1 where
    rows are masked, and `coupled` says that a sweep of all parameters would mask them: what is made
    of uses, Kronecker factors, is then the same here. `budget` bounds what is made of one stack, in
    bytes.
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
        watched: dict[Any, Any] | None = None,
        slots: int = 1,
        coupled: bool = False,
        visit: Callable[[Node, Any, Iterable[Node]], Any] | None = None,
        budget: int | None = None,
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
        self.uses: dict[Node, list[Cotangent]] = {}
        #: nodes whose stacks are sums made here, to which more is added in place
        self.summed: set[Node] = set()
        #: entries that wait to be put together, while the sweep is recorded
        self.placed: dict[Node, list[Placed]] = {}
        #: the node whose rules record now, the tape, and where on it
        self._recorded: tuple[Node, Tape | None, int] | None = None

    def run(self) -> dict[Node, Any]:
        stacks, uses, batch, only = self.stacks, self.uses, self.batch, self.only
        finished: dict[Node, list[Node]] = {}
        for leaf, node in (self.first_uses or {}).items():
            finished.setdefault(node, []).append(leaf)
        recorded, release, watched = self.recorded, self.release, self.watched
        visit, summed, placed = self.visit, self.summed, self.placed
        for node in reversed(self.nodes):
            if placed and node in placed:
                self._put_together(node)
            g = stacks.pop(node, None)
            if summed:
                summed.discard(node)
            if uses and node in uses:
                self._carry(node, uses.pop(node))
            if g is not None:
                if g.__class__ is list:
                    g = _pulled(node, g)
                if watched is not None:
                    self.watch(node, g)
                if visit is not None:
                    g = visit(node, g, stacks)
                view = self._recording(node) if recorded else node
                if batch is not None and isinstance(batch.axes.get(node), int):
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
        for stack in stacks.values():
            if stack.__class__ is np.ndarray and stack.dtype.kind == "c":
                raise self._of_complex_numbers()
        if recorded:
            self._attribute()
        if self.complete is not None:
            for leaf in [n for n in (*uses, *stacks) if n.op.leaf and n.op is not VARIABLE]:
                self._finish(leaf)
        return stacks

    def _of_complex_numbers(self) -> TracingError:
        """The error for a gradient that is complex, which rules of the user's may have made."""
        own = {
            node.op.name: node.op
            for node in self.nodes
            if not type(node.op).__module__.startswith("tracer")
        }
        return TracingError(
            f"the vjp of an operation ({', '.join(own) or 'unknown'}) returned complex numbers, "
            f"and gradients are real: return their real part, entry.real"
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
        if stack.__class__ is np.ndarray and stack.dtype.kind == "c":
            raise self._of_complex_numbers()
        if uses or stack is not None:
            if self.watched is not None:
                parts = [use.total()[:1] for use in uses]
                if stack is not None:
                    parts.append(stack[: self.slots].sum(0)[None])
                self.watch(leaf, sum(parts[1:], parts[0]))
            assert self.complete is not None
            self.complete(leaf, uses, stack)

    def watch(self, node: Node, stack: Any) -> None:
        """Keep statistics of the gradient, the first rows of a stack (one, or one per sample)."""
        assert self.watched is not None
        total = stack[0] if self.slots == 1 else stack[: self.slots].sum(0)
        value = total._value if isinstance(total, Tensor) else total
        self.watched[id(node), "cotangent"] = statistics(value)

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
            total = stacks[parent] = before + entry
            if type(total) is Tensor:
                summed.discard(parent)
            else:
                summed.add(parent)

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
        elif parent not in self.summed or stack.dtype != values.dtype:
            stack = stack + np.zeros_like(values, shape=())
        self.stacks[parent] = stack
        self.summed.add(parent)
        stack[(slice(None), *entry.index)] += values

    # -- edges between batched operations and unbatched tensors ---------------------------------

    def _collect(self, view: Any, node: Node, g: Any) -> None:
        assert self.batch is not None
        axis = self.batch.axes[node]
        axes = self.batch.axes_of(node)
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
                structured = use is not None
                if use is None and (self.slots == 1 or len(parent.shape) > 1):
                    entries = cotangents_of(view, node, g) if entries is None else entries
                    if entries[slot] is None:
                        continue
                    use = spread(node, slot, g, axis, entries)
                    if use is None and self.slots == 1:
                        use = derived(view, node, slot, g, axis, entries, self.budget)
                        if use is None:
                            continue
                if use is not None:
                    use = _of_samples(use, axis, node.place.present)
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
                if entry.__class__ is not Placed and entry.shape[1:] != parent.shape:
                    entry = fitted(entry, node, parent, len(g))
                self._add(parent, entry)

    # -- operations between a leaf and the tensor that batched operations consume ---------------

    def _carry(self, node: Node, uses: list[Cotangent]) -> None:
        cotangent = collect(uses)
        view = Recorded(node) if self.recorded else node
        for slot, parent in enumerate(node.parents):
            if parent is None or not parent.wants:
                continue
            if self.only is not None and parent not in self.only:
                continue
            carried: Cotangent | None
            if isinstance(cotangent, Coupled) and cotangent.inner.use_terms() is not None:
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

    def _carried(self, view: Any, node: Node, slot: int, cotangent: Cotangent) -> Any:
        """The cotangent of an input in the form that the output's has, or None."""
        if node.op.carry is not None:
            carried = node.op.carry(view, slot, cotangent)
            if carried is not None:
                return carried
        carried = carried_by_use(view, node, slot, cotangent)
        if carried is None and _reindexes(node):
            carried = _reindexed(node, cotangent)
        return carried


def _of_samples(use: Cotangent, axis: int, present: Any) -> Cotangent:
    """The cotangent of the samples from that of an axis's entries, of which some are there."""
    if present is not None and isinstance(axis, LabelledAxis) and len(present) == use.samples:
        use, present = use.among(present), None
    if isinstance(axis, GroupedAxis):
        use = grouped(use, axis)
    return use if present is None else use.among(present)


def _reindexes(node: Node) -> bool:
    reindexes = node.op.reindexes
    return reindexes(node) if callable(reindexes) else reindexes


def _reindexed(node: Node, cotangent: Cotangent) -> Reindexed:
    op, params, shape = node.op, node.params, node.input_shape(0)
    return Reindexed(
        cotangent,
        shape,
        pull=lambda stack: fit(entry_value(op.vjp(node, stack)[0]), shape),
        push=lambda direction: op.forward(direction, **params),
        key=(op.name, repr(sorted(params.items()))),
    )


def spread(node: Node, slot: int, g: Any, axis: int, entries: Any) -> Cotangent | None:
    """What an unbatched input has that an operation only broadcasts over the samples, or None.

    Its `vjp` before summing then has them apart, and each place that it was broadcast to.
    """
    op, shape = node.op, node.input_shape(slot)
    if not (op.elementwise or op.spreads):
        return None
    aligned = axis + len(shape) - len(node.shape)
    if aligned >= 0 and shape[aligned] != 1:
        return None
    entry = entry_value(entries[slot])
    if entry is None:
        return None
    if entry.shape[1:] != node.shape:
        entry = np.broadcast_to(entry, (len(g), *node.shape))
    summed = broadcast_uses(entry, axis, shape)
    if len(shape) > 1 and not _linear(node, slot):
        return Dense(summed.per_sample(), (op.name, node.code, node.lasti))
    return summed


def _linear(node: Node, slot: int) -> bool:
    return node.op.linear or slot in node.op.linear_in


def carried_by_use(view: Any, node: Node, slot: int, cotangent: Cotangent) -> Cotangent | None:
    """The uses of an input of an operation that adds, scales or moves elements, or None.

    It adds no two elements of that input, so that each use of its output is one of it, or several.
    """
    op, shape = node.op, node.input_shape(slot)
    if not (op.elementwise or op.spreads or op.places) or not _linear(node, slot):
        return None
    terms = cotangent.use_terms()
    if terms is None:
        return None

    def pull(stack: Any) -> Any:
        entry = entry_value(cotangents_of(view, node, stack)[slot])
        if entry is None:
            return np.zeros_like(stack, shape=(len(stack), *shape))
        if op.elementwise and entry.shape[1:] != node.shape:
            return np.broadcast_to(entry, (len(stack), *node.shape))
        return entry

    return terms.moved(pull, shape)


def derived(
    view: Any, node: Node, slot: int, g: Any, axis: int, entries: Any, budget: int | None = None
) -> Cotangent | None:
    """The cotangent of an unbatched input of any operation.

    Where the operation only broadcasts that input over the samples, its `vjp` before summing
    already has them apart; elsewhere one row per sample goes through the `vjp`, of all samples at
    once if that fits the budget.
    """
    shape, through = node.input_shape(slot), (node.op.name, node.code, node.lasti)
    aligned = axis + len(shape) - len(node.shape)
    if getattr(node.op, "broadcasts", False) and (aligned < 0 or shape[aligned] == 1):
        entry = entry_value(entries[slot])
        if entry is None:
            return None
        if entry.ndim - 1 == len(node.shape) and entry.shape[1 + axis] == node.shape[axis]:
            return Dense(broadcast_uses(entry, axis, shape).per_sample(), through)
    count, view = node.shape[axis], view if isinstance(view, Recorded) else Captured(node)
    if count == 1 and (use := carried_by_use(view, node, slot, Summed(g[:, None, None]))):
        return use
    library = backend.of(g)

    def made(rows: slice, samples: np.ndarray) -> Any:
        mask = samples[:, None] == np.arange(count)
        mask = mask.reshape(
            len(samples), *(count if i == axis else 1 for i in range(len(node.shape)))
        )
        apart = np.where(library.from_host(mask), g[rows][:, None], 0)
        entry = entry_value(
            cotangents_of(view, node, apart.reshape(math.prod(apart.shape[:2]), *node.shape))[slot]
        )
        return None if entry is None else fit(entry, shape).reshape(*apart.shape[:2], *shape)

    each = plan.entry_bytes(node, slot) + 3 * math.prod(node.shape) * g.dtype.itemsize
    every = np.arange(count)
    if count * len(g) * each <= (DERIVED if budget is None else budget // 3):
        whole = made(slice(None), every)
        return None if whole is None else Dense(whole, through)
    first = made(slice(0, 1), every[:1])
    if first is None:
        return None
    return Deferred(made, range(len(g)), every, shape, first.dtype, each)


class Captured:
    """A node with the values that it has now, for rules that run when a sweep has passed it."""

    __slots__ = ("inputs", "kept", "node", "output")

    def __init__(self, node: Node):
        self.node = node
        self.inputs, self.output, self.kept = node.inputs, node.output, node.kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)


def _pulled(node: Node, entries: list[Placed]) -> Any:
    """What a composite makes of the cotangents of its parts."""
    arrived = [
        next((entry.values for entry in entries if entry.index == index), None)
        for index in node.op.parts(**node.params)  # type: ignore[attr-defined]
    ]
    return node.op.pull(node, arrived)  # type: ignore[attr-defined]


def forget(node: Node) -> None:
    """Drop what a node saved, but for the constants and leaves that a replay starts from."""
    node.output = None
    if node.kept is not None:
        node.kept = None
    node.inputs = leaves_only(node.inputs, node.parents)


def replay(
    nodes: Sequence[Node],
    known: Mapping[Node, Any] | None = None,
    keep_inputs: Collection[Node] = (),
    only: Collection[Node] | None = None,
) -> None:
    """Compute again what sweeps have dropped, from the leaves and constants.

    That is for the rules of the nodes that want a gradient, or of `only` these, which may want none
    any more.

    The values of operations that are `known` are taken as they are. Without them all are computed,
    so that they agree with each other also where the array of a parameter has been changed.
    `keep_inputs` are nodes that keep their inputs also where their rules do not read them.
    """
    every = [*_before(nodes), *nodes]
    values = dict(known or {})
    needed: set[Node | None] = set()
    for node in reversed(every):
        swept = node.wants if only is None else node in only
        missing = node in needed or (swept and node.op.saves_output and node not in values)
        if missing:
            needed.add(node)
        if missing or (swept and (node.op.saves_inputs or node in keep_inputs)):
            needed.update(p for p in node.parents if p not in values)
    for node in every:
        if node.kept is not None:
            node.kept = None
        arrays = tuple(
            values.get(p, x)  # type: ignore[arg-type]  # a constant's parent is None
            for x, p in zip(node.inputs, node.parents, strict=True)
        )
        if node in needed:
            values[node] = node.op.forward(*arrays, **node.params)
        if not (node.wants if only is None else node in only):
            continue
        if node.op.saves_inputs or node in keep_inputs:
            node.inputs = arrays
        if node.op.saves_output:
            node.output = values[node]


def held(nodes: Iterable[Node]) -> dict[Node, Any]:
    """The values of operations that nodes hold, as their own or as inputs."""
    values: dict[Node, Any] = {}
    for node in nodes:
        if node.output is not None:
            values[node] = node.output
        for parent, value in zip(node.parents, node.inputs, strict=True):
            if parent is not None and parent.parents and value is not None:
                values[parent] = value
    return values


def _before(nodes: Sequence[Node]) -> list[Node]:
    """The operations outside of `nodes` (of other tapes) that they come from, inputs first."""
    known, found = set(nodes), []
    waiting = [p for node in nodes for p in node.parents]
    while waiting:
        node = waiting[-1]
        if node is None or not node.parents or node in known:
            waiting.pop()
            continue
        missing = [p for p in node.parents if p is not None and p.parents and p not in known]
        if missing:
            waiting += missing
        else:
            known.add(node)
            found.append(node)
    return found
