"""`Tape.backward`: which rows start where, the sweeps, and what quantities make of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain as chained
from typing import Any, NamedTuple

import numpy as np

from tracer import backend, bundle, chain
from tracer.batching import Batch, follow
from tracer.bundle import Bundle
from tracer.cotangents import Cotangent, Dense, Outer, collect
from tracer.dtypes import working
from tracer.errors import BatchError, QuantityError, TracingError
from tracer.frames import users_warnings
from tracer.names import Values, first_uses, parameter_names
from tracer.objective import Objective
from tracer.operation import describe
from tracer.ownership import own
from tracer.quantity import Context, Quantity, resolve
from tracer.residuals import SignedRows, bends_in, cheaper_by_rows, exact_leaves, residual
from tracer.rows import (
    Rows,
    ggn_averaged,
    ggn_exact,
    ggn_outputs,
    gradient,
    hessian,
    hessian_eigenvectors,
)
from tracer.sweep import Sweep, held, replay
from tracer.tangents import descendants
from tracer.tape import Node, Tape, call_hook, enclosing, owner, using
from tracer.tensor import Tensor

#: what is known of the samples where no quantity asks
UNFOLLOWED = Batch()
#: rows that start at operations
SIGNED = (hessian, hessian_eigenvectors)
#: what is made by other means than the one sweep
APART = frozenset((None, *SIGNED, ggn_averaged))


def backward(
    tape: Tape,
    loss: Tensor,
    quantities: Any,
    *,
    memory_budget: int | None,
    rng: Any,
    samples: Sequence[int] | None,
    reduce: Mapping[str, Callable[[str, Any], Any]],
    outputs: Tensor | None,
) -> dict[str, Any]:
    """See `Tape.backward`."""
    nodes = record_of(tape, loss)
    tape.loss = loss.node
    asked = resolve(quantities)
    if not reduce.keys() <= asked.keys():
        unknown = sorted(reduce.keys() - asked.keys())
        raise QuantityError(
            f"reduce names {', '.join(map(repr, unknown))}, which is not asked for: "
            f"{', '.join(asked)}"
        )
    outer = enclosing(tape)
    recorded = outer is not None and outer.nodes is tape.nodes
    followed = any(q.needs_samples for q in asked.values())
    batch = follow(nodes) if followed else UNFOLLOWED
    if tape.composites:
        apart = any(q.rows in APART for q in asked.values())
        if apart or outputs is not None or batch.lost:
            tape.recorded()  # from here on with the operations that composites stand for
            nodes = record_of(tape, loss)
            batch = follow(nodes) if followed else batch
    uses = first_uses(nodes)
    objective = Objective(
        owner(tape),
        nodes,
        loss.node,
        loss._value,
        parameter_names(tape, uses),
        batch,
        uses,
        outputs=None if outputs is None else outputs.node,
        recorded=recorded,
        rng=rng,
        budget=memory_budget,
        watched=tape.watched if "grad" in asked else None,
    )
    if samples is not None:
        objective.samples = chosen_samples(samples, objective.batch.size)
    call_hook("begin_sweep", tape=tape, loss=loss)
    with using(outer if recorded else None), users_warnings():
        results = Run(tape, objective, asked, followed, reduce).results()
    call_hook("end_sweep", tape=tape, results=results)
    return results


def record_of(tape: Tape, loss: Any) -> list[Node]:
    """The tape's record up to the loss. Refuses what cannot be swept from, saying why."""
    if not isinstance(loss, Tensor):
        raise TracingError(
            f"backward expects the loss as a tensor, got {describe(loss)}: compute it from "
            f"parameters inside the `with tracer.Tape()` block"
        )
    if loss.size != 1:
        raise TracingError(
            f"backward expects a loss with one element, got {describe(loss)}: sum or average it"
        )
    if loss.node is None or not loss.node.wants:
        raise TracingError(
            "the loss depends on no parameter: make leaves with tracer.parameter(array), and "
            "compute the loss inside the `with tracer.Tape()` block"
        )
    nodes = tape.condensed()
    while nodes and nodes[-1] is not loss.node:
        nodes.pop()
    if not nodes:
        raise TracingError("the loss was not recorded on this tape")
    return nodes


def chosen_samples(samples: Sequence[int], count: int | None) -> Any:
    """The indices of samples, checked."""
    chosen = np.asarray(samples)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise BatchError(f"samples is a list of indices of samples, got {samples!r}")
    if count is not None and not -count <= chosen.min() <= chosen.max() < count:
        raise BatchError(f"samples names one outside the {count} of the batch: {samples!r}")
    return chosen.astype(np.intp)


class Share(NamedTuple):
    """A quantity's part of the rows of a chunk, `start` to `stop`, and the samples that it is of.

    From `apart` on they start at terms of no sample. `samples` is None for all of them.
    """

    start: int
    apart: int
    stop: int
    samples: Any


class Run:
    """One call of `backward`: what is asked, and the state of each quantity at each parameter.

    Rows go through sweeps in bundles: those of the gradient and of the Gauss-Newton matrix
    together, averaged rows by themselves, signed rows of the Hessian by the operation that they
    start at.
    """

    def __init__(
        self,
        tape: Tape,
        objective: Objective,
        asked: dict[str, Quantity],
        followed: bool,
        reduce: Mapping[str, Callable[[str, Any], Any]],
    ):
        self.tape, self.objective, self.asked, self.reduce = tape, objective, asked, reduce
        #: quantity -> its kind of rows, the longer ones for all where some quantity needs them
        self.kinds = {name: quantity.rows for name, quantity in asked.items()}
        if ggn_outputs in self.kinds.values():
            longer: dict[Any, Rows] = {ggn_exact: ggn_outputs}
            self.kinds = {name: longer.get(kind, kind) for name, kind in self.kinds.items()}
        #: the kinds of the one sweep, and the quantities that are made otherwise
        self.together: list[Any] = []
        self.apart: list[Quantity] = []
        for name, kind in self.kinds.items():
            if kind in APART:
                self.apart.append(asked[name])
            elif kind not in self.together:
                self.together.append(kind)
        #: whether values must outlive the first sweep
        self.keeps = bool(self.apart)
        self.names = objective.names
        self.followed = followed
        self.masked = self._must_mask() if followed else False
        self.bundle = Bundle({}, {}, {})
        self.done: set[Node] = set()
        self.by_signs: set[Node] = set()
        self.states: dict[str, dict[Node, Any]] = {name: {} for name in asked}
        self.values: dict[str, Values] = {name: Values(self.names) for name in asked}

    def _of(self, *kinds: Rows | None) -> list[Quantity]:
        return [quantity for quantity in self.asked.values() if self.kinds[quantity.name] in kinds]

    # -- the whole run ------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        objective, apart = self.objective, self.apart
        record = objective.record
        if apart:
            self.by_signs = self._exact_by_signs()
        if objective.recorded and apart:
            name = apart[0].name
            raise QuantityError(
                f"{name} inside another tape would count as constant there: take it after that "
                f"tape, or in its place tracer.hessian or tracer.hvp, which are recorded"
            )
        again = record.swept or self.keeps
        record.snapshots.check(objective.nodes, replayed=again)
        if again:
            known = {} if record.swept else held(objective.nodes)
            replay(objective.nodes, known, self._read_again() if apart else ())
        if not (objective.recorded or self.keeps):
            record.releases += 1  # from now on, since a sweep may raise before its end
        whole = {q.name: q.of_objective(objective) for q in apart if q.rows is None}
        if self.together:
            self._sweep(self._bundle(self.together))
        if apart and self._of(*SIGNED):
            self._sweep_signed_rows()
        if apart and self._of(ggn_averaged):
            self._sweep_averages()
        for leaf in self.names:
            if leaf not in self.done:
                self._unreached(leaf, list(self.asked.values()))
        for values in self.values.values():
            for name in self.names.values():
                if name in values:
                    values[name] = own([values.pop(name)])
        return {name: whole.get(name, values) for name, values in self.values.items()}

    def _bundle(self, kinds: list[Rows]) -> Bundle:
        """Rows of these kinds, started at the objective or, where there is need, at its terms."""
        objective = self.objective
        if kinds == [gradient] and not self.masked:
            return Bundle({gradient: slice(0, 1)}, {gradient: 1}, {objective.loss: objective.one()})
        if kinds == [gradient]:
            started = bundle.start(kinds, *objective.first_samples())
        else:
            curvature = (kind for kind in kinds if kind != gradient)
            started = bundle.start(kinds, objective.terms(self._of(next(curvature))[0].name), {})
        return bundle.masked(started, objective.batch) if self.masked else started

    @property
    def _slots(self) -> int:
        """How many rows of the sweep stand for one row: masked, one per sample and one more."""
        return (self.objective.batch.size or 1) + 1 if self.masked else 1

    def _sweep(self, rows: Bundle, visit: Any = None, only: set[Node] | None = None) -> None:
        """Sweep a bundle of rows, in chunks within the budget, through `only` these nodes."""
        objective, slots = self.objective, self._slots
        self.bundle = rows
        chunks = [slice(None)]
        if visit is None:
            chunks = rows.chunks(objective.nodes, objective.budget, slots)
        for i, chunk in enumerate(chunks):
            last = i == len(chunks) - 1
            whole = chunk == slice(None)
            stacks = {node: s if whole else s[chunk] for node, s in rows.seeds.items()}
            if last:
                rows.seeds.clear()
            begin = (chunk.start or 0) // slots
            shares = self._shares(begin, len(next(iter(stacks.values()))) // slots)
            Sweep(
                objective.nodes,
                stacks,
                recorded=objective.recorded,
                release=last and not objective.recorded and not self.keeps,
                batch=objective.batch if self.followed else None,
                complete=partial(self._extract, shares, begin, last),
                first_uses=objective.first_uses,
                watched=objective.watched if gradient in rows.counts and i == 0 else None,
                slots=slots,
                visit=visit,
                only=only,
            ).run()

    def _sweep_averages(self) -> None:
        """Rows averaged over samples at each link of a chain; between links, rows are exact."""
        objective, name = self.objective, self._of(ggn_averaged)[0].name
        nodes, batch, budget = objective.nodes, objective.batch, objective.budget
        if self.masked:
            raise QuantityError(f"{name} is defined for independent samples, and these are coupled")
        started = self._bundle([ggn_averaged])
        if started.apart[ggn_averaged] < started.counts[ggn_averaged].stop:
            raise QuantityError(f"{name} is of samples, and a loss here judges none: use kflr")
        links = chain.links(nodes, started.seeds, batch)
        if budget is not None:
            parts = chain.parts(nodes, links, batch)
            shared = chain.shared(parts)
            if not shared:
                self._sweep_links(started, links, parts)
                return
            largest = max(math.prod(link.shape) for link in links)
            itemsize = working(objective.loss.dtype).itemsize
            needed = 4 * largest * largest // (batch.size or 1) * itemsize
            if needed > budget:
                raise QuantityError(
                    f"{name} takes all rows at once where several links of a chain share a "
                    f"parameter, here {self.names.get(shared.pop())!r}: that is about {needed} "
                    f"bytes, and memory_budget is {budget}: raise it, or use kflr"
                )
        averaged = set(links)

        def visit(node: Node, g: Any, others: Iterable[Node]) -> Any:
            return ggn_averaged.average(g, batch.axes[node]) if node in averaged else g

        self._sweep(started, visit)

    def _sweep_links(self, rows: Bundle, links: list[Node], parts: list[list[Node]]) -> None:
        """Averaged rows in chunks within the budget, from one link to the next.

        Of a link only the mean outer product and its root are whole, `[D, D]`.
        """
        batch = self.objective.batch
        self.bundle = rows
        for part, link in zip(parts, [*links, None], strict=True):
            square: Any = 0
            uses = first_uses(part)
            chunks = rows.chunks(part, self.objective.budget, 1) if rows.seeds else []
            for i, chunk in enumerate(chunks):
                arrived = Sweep(
                    part,
                    {node: stack[chunk] for node, stack in rows.seeds.items()},
                    batch=batch,
                    complete=partial(
                        self._extract, self._shares(0, rows.rows), 0, i == len(chunks) - 1
                    ),
                    first_uses=uses,
                ).run()
                if link is not None:
                    square = square + ggn_averaged.square(arrived.pop(link), batch.axes[link])
            if link is not None:
                root = ggn_averaged.root(square, link.shape, batch.axes[link])
                rows = Bundle(rows.counts, rows.apart, {link: root})

    def _sweep_signed_rows(self) -> None:
        """Signed rows for the parameters that they are exact for, products for the others.

        The gradients that they start from are held for all operations: of these, one row each.
        """
        objective, quantities = self.objective, self._of(*SIGNED)
        kinds = [kind for kind in SIGNED if self._of(kind)]
        above = descendants(objective.nodes, self.by_signs)
        blocks: list[Iterator[SignedRows]] = []

        def visit(node: Node, g: Any, pending: Iterable[Node]) -> Any:
            found = residual(node, g, objective.batch, kinds[-1], objective.budget)
            if found is not None:
                blocks.append(found)
            return g

        if self.by_signs:
            one = {objective.loss: objective.one()}
            bent = descendants(objective.nodes, self._bent)
            Sweep(objective.nodes, one, visit=visit, only=above & bent).run()
        for block in chained.from_iterable(blocks):
            rows = len(next(iter(block.seeds.values())))
            counts: dict[Rows, slice] = {kind: slice(0, rows) for kind in kinds}
            apart: dict[Rows, int] = dict.fromkeys(counts, rows)
            signed = Bundle(counts, apart, block.seeds, block.signs, last=False)
            self._sweep(signed, only=above)
        for leaf in self.names:
            if leaf not in self.by_signs:
                for quantity in quantities:
                    self.states[quantity.name][leaf] = quantity.of_block(objective, leaf)
            elif leaf not in self.states[quantities[0].name]:
                self._unreached(leaf, quantities)
            self._finish(leaf, quantities, self._context(leaf))

    def _exact_by_signs(self) -> set[Node]:
        """The parameters that signed rows serve, if they are asked for."""
        objective, quantities = self.objective, self._of(*SIGNED)
        if not quantities:
            return set()
        exact = exact_leaves(objective.nodes, self.names, objective.batch)
        if self._of(hessian_eigenvectors):
            return exact
        products = sum((objective.batch.size or 1) if q.per_sample else 1 for q in quantities)
        return cheaper_by_rows(objective.nodes, exact, objective.batch, products)

    @cached_property
    def _bent(self) -> set[Node]:
        """The operations that signed rows start at."""
        return {node for node in self.objective.nodes if bends_in(node, self.objective.batch)}

    def _read_again(self) -> set[Node]:
        """The operations whose inputs are read after the first sweep, besides by their rules.

        Signed rows start from those of operations that bend; averages take none, and products all.
        """
        by_signs = not self._of(*SIGNED) or self.by_signs.issuperset(self.names)
        return self._bent if by_signs and not self._of(None) else set(self.objective.nodes)

    # -- samples ------------------------------------------------------------------------------

    def _must_mask(self) -> bool:
        """Whether one row per sample is needed. Raises where a quantity of samples is undefined."""
        batch = self.objective.batch
        if batch.size is None:
            for q in self.asked.values():
                if q.per_sample or (q.rows == gradient and q.needs_samples):
                    raise BatchError(
                        f"{q.name} is of single samples, and nothing in this trace is marked as a "
                        f"batch: mark the inputs, as in x = tracer.batch(x)"
                    )
            return True
        if batch.coupled:
            node = batch.coupled[0]
            where = f" in layer {node.place.scope!r}" if node.place.scope else ""
            for q in self.asked.values():
                if q.per_sample:
                    raise BatchError(
                        f"{q.name} is undefined here: {node.op.name}{where} "
                        f"({node.source or 'unknown line'}) mixes samples through a statistic of "
                        f"the whole batch, so no sample has a gradient of its own below it: use "
                        f"fixed statistics (model.eval()), or quantities of the whole batch"
                    )
        if batch.lost:
            node = batch.lost[0]
            warnings.warn(
                f"the samples' axis could not be followed through {node.op.name} "
                f"({node.source or 'unknown line'}): one row per sample is propagated instead, "
                f"exact and {batch.size} times as costly; give the operation a `batch_axis` rule, "
                f"or mark its result with tracer.batch(x, axis)",
                stacklevel=6,
            )
        return bool(batch.coupled or batch.lost)

    # -- at a parameter -----------------------------------------------------------------------

    def _context(self, leaf: Node) -> Context:
        return Context(self.names[leaf], leaf.shape, leaf.dtype, self.objective.batch.size)

    def _extract(
        self,
        shares: list[tuple[Quantity, Share | None]],
        begin: int,
        last: bool,
        leaf: Node,
        uses: list[Cotangent],
        stack: Any,
    ) -> None:
        """Take in what a chunk of rows, those from `begin` on, brings to a parameter."""
        self.done.add(leaf)
        signs = self.bundle.signs
        if leaf not in self.names:
            return
        cotangent, context = self._collected(leaf, uses, stack), self._context(leaf)
        if signs is not None:
            cotangent.signs = signs[begin : begin + cotangent.rows]
        for quantity, share in shares:
            part = cotangent if share is None else self._part(cotangent, share)
            state = quantity.extract(part, context)
            states = self.states[quantity.name]
            states[leaf] = quantity.join(states[leaf], state) if leaf in states else state
        if last and self.bundle.last:
            self._finish(leaf, self.asked.values(), context)

    def _collected(self, leaf: Node, uses: list[Cotangent], stack: Any) -> Cotangent:
        """All that reached a parameter: uses by samples, and a stack of what is of no sample."""
        size = self.objective.batch.size
        if self.masked:
            if stack is not None:
                uses = [*uses, Dense(stack.reshape(-1, self._slots, *leaf.shape))]
            every = collect(uses)
            uses = [every.select(samples=slice(0, size))]
            stack = every.select(samples=slice(size, None)).total()
        if uses:
            cotangent = collect(uses)
        elif self.followed:
            cotangent = Dense(np.zeros_like(stack, shape=(len(stack), size or 1, *leaf.shape)))
        else:
            cotangent, stack = Dense(stack[:, None]), None
        cotangent.unbatched = stack
        return cotangent.within(self.objective.budget)

    def _shares(self, begin: int, count: int) -> list[tuple[Quantity, Share | None]]:
        """What each quantity reads of `count` rows from `begin` on; None stands for all of it.

        Quantities that read none of them are left out.
        """
        shares: list[tuple[Quantity, Share | None]] = []
        for quantity in self.asked.values():
            kind = self.kinds[quantity.name]
            span = None if kind is None else self.bundle.counts.get(kind)
            if kind is None or span is None:
                continue
            if kind == ggn_averaged:
                shares.append((quantity, None))  # averaging changes the number of rows
                continue
            start, stop = max(span.start - begin, 0), min(span.stop - begin, count)
            if start < stop:
                apart = max(start, min(self.bundle.apart[kind] - begin, stop))
                samples = self.objective.samples if quantity.per_sample else None
                whole = start == 0 and apart == count and samples is None
                shares.append((quantity, None if whole else Share(start, apart, stop, samples)))
        return shares

    def _part(self, cotangent: Cotangent, share: Share) -> Cotangent:
        """The rows and samples of a share."""
        start, apart, stop, samples = share
        samples = slice(None) if samples is None else samples
        part = cotangent.select(slice(start, apart), samples)
        if apart < stop:
            rest = cotangent.select(slice(apart, stop))
            if cotangent.unbatched is not None:
                rest.unbatched = cotangent.unbatched[apart:stop]
            part.unbatched = rest.total()
        elif cotangent.unbatched is not None:
            part.unbatched = cotangent.unbatched[start:stop]
        if cotangent.signs is not None:
            signs = cotangent.signs[start:stop]
            part.signs = signs[:, samples] if signs.shape[1] > 1 else signs
        return part.within(self.objective.budget)

    def _finish(self, leaf: Node, quantities: Iterable[Quantity], context: Context) -> None:
        """Make values of the states of a parameter that there are, as soon as they are complete."""
        for quantity in quantities:
            if leaf not in self.states[quantity.name]:
                continue
            held = [quantity.finish(self.states[quantity.name].pop(leaf), context)]
            if not self.objective.recorded:
                held[0] = raw_value(held[0], leaf.dtype)
            if quantity.name in self.reduce:
                held[0] = self.reduce[quantity.name](context.name, own(held))
            self.values[quantity.name][context.name] = held[0]

    def _unreached(self, leaf: Node, quantities: Sequence[Quantity]) -> None:
        """A parameter that the objective does not depend on: zeros of every quantity."""
        size, samples = self.objective.batch.size, self.objective.samples
        like, context = self.objective.like(leaf), self._context(leaf)
        for quantity in quantities:
            if quantity.rows is None or self.names[leaf] in self.values[quantity.name]:
                continue
            rows: Any = self.kinds[quantity.name]
            span = self.bundle.counts.get(rows, slice(0, 1))
            restricted = samples is not None and quantity.per_sample
            count = len(samples) if restricted else size or 1
            zeros = _zeros(like, span.stop - span.start, count, leaf.shape)
            self.states[quantity.name][leaf] = quantity.extract(zeros, context)
        self._finish(leaf, quantities, context)


def _zeros(like: Any, rows: int, samples: int, shape: tuple[int, ...]) -> Cotangent:
    """The cotangent of what nothing reaches, as of a linear map where it may be a weight."""
    if len(shape) < 2:
        return Dense(np.zeros_like(like, shape=(rows, samples, *shape)))
    left = np.zeros_like(like, shape=(samples, 1, 1, math.prod(shape[1:])))
    right = np.zeros_like(like, shape=(rows, samples, 1, 1, shape[0]))
    return Outer(left, right, shape)


def raw_value(value: Any, dtype: Any) -> Any:
    """Arrays of the parameter's dtype without history; other objects as they are."""
    if isinstance(value, Tensor):
        value = value._value
    if type(value) is np.ndarray and value.dtype == dtype:
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if backend.is_array(value) and value.dtype != dtype and value.dtype.kind == "f":
        return value.astype(dtype)
    return value
