"""`Tape.backward`: which rows start where, the sweeps, and what quantities make of them."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain as chained
from typing import Any, NamedTuple

import numpy as np

from tracer import hooks
from tracer.arrays import backend
from tracer.arrays.dtypes import working
from tracer.arrays.ownership import own
from tracer.cotangents import Cotangent, Dense, Outer, Unfollowed, collect
from tracer.curvature import plan
from tracer.curvature.bundle import Bundle, bundle_of_terms
from tracer.curvature.gradients import are_all, gradients, raw_value
from tracer.curvature.limits import Limits, averaging_limit, limits
from tracer.curvature.masking import last_known, masked, rows_of_samples, used_unfollowed
from tracer.curvature.objective import Objective
from tracer.curvature.progress import Progress, telling
from tracer.curvature.quantity import (
    Context,
    Quantity,
    first_of,
    require_additive,
    resolve,
    with_chunk,
)
from tracer.curvature.residuals import SignedRows, residual
from tracer.curvature.results import Results
from tracer.curvature.rows import (
    Rows,
    ggn_averaged,
    ggn_exact,
    ggn_outputs,
    gradient,
    hessian,
    hessian_eigenvectors,
)
from tracer.curvature.sample_checks import (
    couplings,
    refuse_averages,
    refuse_other_samples,
    refuse_undefined,
    refuse_unmarked,
    refuse_unmarked_averages,
    refuse_unmarked_factors,
)
from tracer.curvature.seed_rows import SeedRows, of_stack
from tracer.curvature.selection import chosen
from tracer.curvature.signed_parameters import cheaper_by_rows, exact_leaves, rows_there
from tracer.curvature.splitting import penalties_left_out
from tracer.curvature.terms import Term
from tracer.curvature.undefined import Undefined
from tracer.curvature.values import Values
from tracer.errors import BatchError, QuantityError, TracingError
from tracer.record import composite
from tracer.record.batching import Batch, follow
from tracer.record.describe import describe
from tracer.record.frames import users_warnings
from tracer.record.names import first_uses, parameter_names
from tracer.record.node import Node
from tracer.record.recorder import (
    Recorder,
    enclosing,
    opened_elsewhere,
    owner,
    refuse_elsewhere,
    using,
)
from tracer.record.replay import held, replay
from tracer.record.tensor import Tensor
from tracer.sweep import chain
from tracer.sweep.bending import bends_in
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import descendants

#: what is known of the samples where no quantity asks
UNFOLLOWED = Batch()
#: rows that start at operations
SIGNED = (hessian, hessian_eigenvectors)
#: what is made by other means than the one sweep
APART = frozenset((None, *SIGNED, ggn_averaged))


def backward(
    tape: Recorder,
    loss: Tensor,
    quantities: Any,
    *,
    memory_budget: int | None,
    rng: Any,
    samples: Sequence[int] | None,
    reduce: Mapping[str, Callable[[str, Any], Any]],
    outputs: Tensor | None,
    undefined: str,
    parameters: Any,
    progress: Any,
) -> Results:
    """See `Tape.backward`."""
    nodes = record_of(tape, loss)
    tape.loss = loss.node
    asked = resolve(quantities)
    check_options(reduce, rng, outputs, memory_budget)
    if memory_budget is not None:
        memory_budget = math.ceil(min(memory_budget, sys.maxsize))
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
            composite.recorded(tape)  # from here on with the operations that composites stand for
            nodes = record_of(tape, loss)
            batch = follow(nodes) if followed else batch
    if batch.lost and owner(tape).swept:
        with using(None):  # indices that say which samples are chosen may have been dropped
            replay(nodes, {}, nodes)
        batch = follow(nodes)
    uses = first_uses(nodes)
    every = names = parameter_names(tape, uses, loss.node)
    only = None
    if parameters is not None:
        names = chosen(parameters, every)
        only = descendants(nodes, set(names))
    left_out = Undefined(undefined, names, every, nodes)
    watched = tape.watched if "grad" in asked else None
    objective = None
    options = (only, samples, outputs, memory_budget)
    plain = not (recorded or reduce or progress) and all(given is None for given in options)
    if not (plain and are_all(asked)):
        objective = Objective(
            owner(tape),
            nodes,
            loss.node,
            loss._value,
            names,
            batch,
            uses,
            outputs=None if outputs is None else outputs.node,
            recorded=recorded,
            rng=rng,
            budget=memory_budget,
            progress=Progress(telling(progress)),
            watched=watched,
            only=only,
        )
        if samples is not None:
            objective.samples = chosen_samples(samples, objective.batch.size)
    hooks.call("begin_sweep", tape=tape, loss=loss)
    with using(outer if recorded else None), users_warnings():
        if objective is None:
            results = gradients(owner(tape), nodes, loss, names, uses, asked, left_out, watched)
        else:
            results = Run(tape, objective, asked, followed, reduce, left_out).results()
    hooks.call("end_sweep", tape=tape, results=results)
    for remark in [] if objective is None else objective.remarks:
        warnings.warn(remark, stacklevel=3)
    left_out.warn()
    return results


def check_options(reduce: Any, rng: Any, outputs: Any, memory_budget: Any) -> None:
    """Raise `QuantityError` for options that are not of their kind."""
    if outputs is not None and not (isinstance(outputs, Tensor) and outputs.node is not None):
        raise QuantityError(
            f"outputs is the tensor that was recorded as the model's output, got "
            f"{describe(outputs)}"
        )
    if memory_budget is not None and not (
        isinstance(memory_budget, int | float | np.number) and memory_budget > 0
    ):
        raise QuantityError(
            f"memory_budget is a number of bytes above 0, as 2**30, got {memory_budget!r}"
        )
    if isinstance(rng, str | float):
        raise QuantityError(
            f"rng is a random generator, as np.random.default_rng(0) makes, got {rng!r}"
        )
    if not isinstance(reduce, Mapping):
        raise QuantityError(
            f"reduce maps names of quantities to functions of a parameter's name and value, as in "
            f"reduce={{'grad_batch': f}}, got {describe(reduce)}"
        )
    for name, function in reduce.items():
        if not callable(function):
            raise QuantityError(
                f"reduce[{name!r}] is a function of a parameter's name and value, got "
                f"{describe(function)}"
            )


def record_of(tape: Recorder, loss: Any) -> list[Node]:
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
        uses = first_uses(composite.recorded(tape))
        if uses:
            raise TracingError(
                "the loss was not recorded with the parameters on this tape: it was computed after "
                "the `with tracer.Tape()` block had ended, inside of tracer.pause(), or from raw, "
                "detached or frozen values alone: compute it inside the block, from what the model "
                "returns"
            )
        if loss.node is not None and (frozen := uses.frozen):
            raise TracingError(
                f"the loss depends on no parameter that wants a gradient: all {len(frozen)} that "
                f"were used are frozen; parameter.requires_grad_() before the trace lets one want "
                f"a gradient"
            )
        raise TracingError(
            "the loss depends on no parameter: make leaves with tracer.parameter(array), and "
            "compute the loss inside the `with tracer.Tape()` block"
        )
    nodes = composite.condensed(tape)
    if opened_elsewhere():
        inside = set(nodes)
        refuse_elsewhere(p for node in nodes for p in node.parents if p not in inside)
    while nodes and nodes[-1] is not loss.node:
        nodes.pop()
    if not nodes:
        raise TracingError("the loss was not recorded on this tape")
    return nodes


def chosen_samples(samples: Sequence[int], count: int | None) -> Any:
    """The indices of samples, checked."""
    try:
        chosen = np.asarray(samples)
    except ValueError:  # a ragged list
        chosen = np.zeros(())
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
        tape: Recorder,
        objective: Objective,
        asked: dict[str, Quantity],
        followed: bool,
        reduce: Mapping[str, Callable[[str, Any], Any]],
        undefined: Undefined,
    ):
        self.undefined = undefined
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
        #: the bytes that the sweep of now stays within, None where it need not
        self.budget: int | None = None
        self.done: set[tuple[Node, str]] = set()
        self.by_signs: set[Node] = set()
        self.limits = Limits(objective.budget, objective.budget, objective.budget)
        #: the quantities whose states of chunks were seen to join
        self.joining: set[str] = set()
        #: the parameters whose states are sums made here
        self.summed: dict[str, set[Node]] = {name: set() for name in asked}
        #: diagonals of the Hessians of registered penalties on parameters
        self.penalties: dict[Node, Any] = {}
        self.states: dict[str, dict[Node, Any]] = {name: {} for name in asked}
        self.values: dict[str, dict[str, Any]] = {name: {} for name in asked}

    def of(self, *kinds: Rows | None) -> list[Quantity]:
        return [quantity for quantity in self.asked.values() if self.kinds[quantity.name] in kinds]

    # -- the whole run ------------------------------------------------------------------------

    def results(self) -> Results:
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
        groups = [self._bundle(kinds) for kinds in self._groups()]
        if self.followed and not objective.batch.marked:
            refuse_unmarked_factors(self.asked.values(), self.names)
            if objective.samples is not None:  # in number as the loss says
                chosen_samples(objective.samples, objective.batch.size)
        if self.followed or apart:
            self.limits = limits(self, groups[-1] if groups else None)
        whole = {q.name: q.of_objective(objective) for q in apart if q.rows is None}
        for rows in groups:
            text = f"{', '.join(self.asked)}: one sweep"
            objective.progress.stage(text, rows.rows * self.slots(rows) * len(objective.nodes))
            self._sweep(rows, self.limits.rows, keeps=self.keeps or rows is not groups[-1])
        if apart and self.of(*SIGNED):
            if self.masked and not any(rows.masked for rows in groups):
                self._see_samples()
            self._sweep_signed_rows()
        if apart and self.of(ggn_averaged):
            self._sweep_averages()
        objective.progress.finish()
        for leaf in self.names:
            rest = [q for q in self.asked.values() if (leaf, q.name) not in self.done]
            self._unreached(leaf, rest)
        self.undefined.check()
        for values in self.values.values():
            for name in self.names.values():
                if name in values:
                    values[name] = own([values.pop(name)])
        results = {name: whole.get(name, values) for name, values in self.values.items()}
        return Results(
            (name, self._handed_out(name, found) if type(found) is dict else found)
            for name, found in results.items()
        )

    def _handed_out(self, name: str, values: dict[str, Any]) -> Values:
        return Values(self.undefined.every, values, self.undefined.absent(name))

    def _groups(self) -> list[list[Rows]]:
        """The kinds of rows that go through one sweep, for each sweep.

        The gradient goes by itself beside curvature whose rows are masked, and where terms of no
        sample reach parameters directly, at which its one row would stand among all the others.
        """
        curvature = [kind for kind in self.together if kind != gradient]
        if gradient not in self.together or not curvature:
            return [self.together] if self.together else []
        name = self.of(curvature[0])[0].name
        if (
            self.masked
            or self.objective.split(name).plain
            or not all(term.of_samples for term in self.objective.terms(name))
        ):
            return [[gradient], curvature]
        return [self.together]

    def _bundle(self, kinds: list[Rows]) -> Bundle:
        """Rows of these kinds, started at the objective or, where there is need, at its terms."""
        objective = self.objective
        asking = {kind: self.of(kind)[0].name for kind in kinds}
        if kinds == [gradient]:
            by_samples = any(quantity.needs_samples for quantity in self.of(gradient))
            if not (self.masked and by_samples):
                one = {objective.loss: objective.unit_cotangent()}
                counts: dict[Rows, slice] = {gradient: slice(0, 1)}
                return Bundle(counts, {gradient: 1}, one, by_samples=by_samples)
            started = bundle_of_terms(asking, *objective.first_samples())
        else:
            curvature = (name for kind, name in asking.items() if kind != gradient)
            terms = objective.terms(next(curvature))
            refuse_other_samples(
                self.of(*kinds), [t.prediction for t in terms if not t.of_samples], objective.batch
            )
            self._count_penalties(terms)
            started = bundle_of_terms(asking, terms, {})
        return masked(started, objective.batch) if self.masked else started

    def _count_penalties(self, terms: Sequence[Term]) -> None:
        """Note what terms add to the diagonal of parameters that they are of."""
        self.penalties = {}
        penalties = [term.node for term in terms if not term.of_samples]
        lacking = [quantity.name for quantity in self.asked.values() if quantity.of_uses]
        if penalties and lacking:
            of = self.objective
            of.remarks.append(penalties_left_out(lacking, penalties, of.nodes, of.names))
        for term in terms:
            if term.leaf_hessian is not None:
                before, leaf = self.penalties.get(term.prediction, 0), term.prediction
                self.penalties[leaf] = before + term.leaf_hessian

    @property
    def _count(self) -> int:
        """The number of samples; one where none are known."""
        size = self.objective.batch.size
        return 1 if size is None else size

    def slots(self, rows: Bundle) -> int:
        """How many rows of the sweep stand for one row: masked, one per sample and one more."""
        return self._count + 1 if rows.masked else 1

    def _sweep(
        self,
        rows: Bundle,
        budget: int | None,
        visit: Any = None,
        only: set[Node] | None = None,
        keeps: bool = True,
    ) -> None:
        """Sweep a bundle of rows, in chunks within the budget, through `only` these nodes.

        Unless it `keeps` the record's values, the last chunk drops them on its way.
        """
        self.bundle, self.budget = rows, budget
        if not rows.seeds:
            return
        objective, slots = self.objective, self.slots(rows)
        if only is None:
            only = self._seen_from if rows.masked else objective.only
        chunks = [slice(None)]
        if visit is None:
            chunks = rows.chunks(self.limits.each, budget, slots)
        for i, chunk in enumerate(chunks):
            last = i == len(chunks) - 1
            whole = chunk == slice(None)
            stacks = {
                node: s if whole and not isinstance(s, SeedRows) else s[chunk]
                for node, s in rows.seeds.items()
            }
            if last:
                rows.seeds.clear()
            begin = (chunk.start or 0) // slots
            shares = self._shares(begin, len(next(iter(stacks.values()))) // slots)
            Sweep(
                objective.nodes,
                stacks,
                recorded=objective.recorded,
                release=last and not objective.recorded and not keeps,
                batch=objective.batch if self.followed and rows.by_samples else None,
                complete=partial(self._extract, shares, begin, last),
                first_uses=objective.first_uses,
                watched=objective.watched if gradient in rows.counts and i == 0 else None,
                slots=slots,
                coupled=bool(objective.batch.coupled),
                visit=self._counted(visit or self._verifying(), len(next(iter(stacks.values())))),
                only=only,
                budget=budget,
            ).run()

    def _counted(self, visit: Any, rows: int) -> Any:
        """A visitor that counts these rows at each node, where somebody wants to know."""
        progress = self.objective.progress
        if progress.tell is None:
            return visit

        def see(node: Node, g: Any, others: Iterable[Node]) -> Any:
            progress.advance(rows)
            return g if visit is None else visit(node, g, others)

        return see

    def _sweep_averages(self) -> None:
        """Rows averaged over samples at each link of a chain; between links, rows are exact."""
        objective, name = self.objective, self.of(ggn_averaged)[0].name
        nodes, batch = objective.nodes, objective.batch
        refuse_unmarked_averages(name, batch)
        terms = objective.terms(name)
        refuse_other_samples(
            self.of(ggn_averaged),
            [t.prediction for t in terms if not t.of_samples],
            objective.batch,
        )
        refuse_averages(name, self.masked, all(t.of_samples for t in terms), objective.facts)
        started = self._bundle([ggn_averaged])
        links = chain.links(nodes, started.seeds, batch)
        budget = self.budget = averaging_limit(self, links)
        if budget is not None:
            parts = chain.parts(nodes, links, batch)
            shared = chain.shared(parts)
            if not shared:
                self._sweep_links(started, links, parts, budget)
                return
            largest = max(math.prod(link.shape) for link in links)
            itemsize = working(objective.loss.dtype).itemsize
            needed = 4 * largest * largest // max(1, self._count) * itemsize
            if needed > budget:
                limit = "half of what is free" if objective.budget is None else "memory_budget"
                raise QuantityError(
                    f"{name} takes all rows at once where several links of a chain share a "
                    f"parameter, here {self.names.get(shared.pop())!r}: that is about {needed} "
                    f"bytes, and {limit} is {budget}: raise it, or use kflr"
                )
        averaged = set(links)

        def visit(node: Node, g: Any, others: Iterable[Node]) -> Any:
            return ggn_averaged.average(g, batch.axes[node]) if node in averaged else g

        rows = len(next(iter(started.seeds.values())))
        objective.progress.stage(f"{name}: one sweep", rows * len(nodes))
        self._sweep(started, None, visit)

    def _sweep_links(
        self, rows: Bundle, links: list[Node], parts: list[list[Node]], budget: int
    ) -> None:
        """Averaged rows in chunks within the budget, from one link to the next.

        Of a link only the mean outer product and its root are whole, `[D, D]`.
        """
        batch, only = self.objective.batch, self.objective.only
        progress, name = self.objective.progress, self.of(ggn_averaged)[0].name
        self.bundle = rows
        for part, link in zip(parts, [*links, None], strict=True):
            if link is not None and only is not None and link not in only:
                link = None  # nothing below it leads to a parameter that is asked for
            where = plan.at(link) if link is not None else "at the parameters"
            count = len(next(iter(rows.seeds.values()))) if rows.seeds else 0
            progress.stage(f"{name}: rows averaged {where}", len(part) * count)
            square: Any = 0
            uses = first_uses(part)
            each = plan.row_bytes(part, uses)
            chunks = rows.chunks(each, budget, 1) if rows.seeds else []
            for i, chunk in enumerate(chunks):
                arrived = Sweep(
                    part,
                    {node: stack[chunk] for node, stack in rows.seeds.items()},
                    batch=batch,
                    only=only,
                    complete=partial(
                        self._extract, self._shares(0, rows.rows), 0, i == len(chunks) - 1
                    ),
                    first_uses=uses,
                    visit=self._counted(
                        None, count if chunk.stop is None else chunk.stop - chunk.start
                    ),
                ).run()
                if link is not None:
                    square = square + ggn_averaged.square(arrived.pop(link), batch.axes[link])
            if link is not None:
                root = ggn_averaged.root(square, link.shape, batch.axes[link])
                rows = Bundle(rows.counts, rows.sampleless_from, {link: root})

    def _sweep_signed_rows(self) -> None:
        """Signed rows for the parameters that they are exact for, products for the others.

        The gradients that they start from are held for all operations: of these, one row each.
        """
        objective, quantities = self.objective, self.of(*SIGNED)
        kinds = [kind for kind in SIGNED if self.of(kind)]
        above = descendants(objective.nodes, self.by_signs)
        blocks: list[Iterator[SignedRows]] = []
        block, room = self.limits.block, self.limits.room

        def visit(node: Node, g: Any, pending: Iterable[Node]) -> Any:
            found = residual(node, g, objective.batch, kinds[-1], block, room)
            if found is not None:
                blocks.append(found)
            return g

        if self.by_signs:
            one = {objective.loss: objective.unit_cotangent()}
            bent = descendants(objective.nodes, self._bent)
            Sweep(objective.nodes, one, visit=visit, only=above & bent).run()
        if objective.progress.tell is not None:
            every = sum(there.rows for there in rows_there(objective.nodes, objective.batch))
            name = ", ".join(quantity.name for quantity in quantities)
            objective.progress.stage(f"{name}: {every} signed rows", every * len(above))
        for some in chained.from_iterable(blocks):
            rows = len(next(iter(some.seeds.values())))
            counts: dict[Rows, slice] = {kind: slice(0, rows) for kind in kinds}
            apart: dict[Rows, int] = dict.fromkeys(counts, rows)
            signed = Bundle(counts, apart, some.seeds, some.signs, last=False)
            self._sweep(signed, block, only=above)
        for leaf in self.names:
            if leaf not in self.by_signs:
                for quantity in quantities:
                    self._state(quantity, leaf, partial(quantity.of_block, objective, leaf))
            elif leaf not in self.states[quantities[0].name]:
                self._unreached(leaf, quantities)
            self._finish(leaf, quantities, self._context(leaf))

    def _exact_by_signs(self) -> set[Node]:
        """The parameters that signed rows serve, if they are asked for."""
        objective, quantities = self.objective, self.of(*SIGNED)
        if not quantities:
            return set()
        exact = exact_leaves(objective.nodes, self.names, objective.batch)
        if self.of(hessian_eigenvectors):
            return exact
        products = sum(self._count if q.per_sample else 1 for q in quantities)
        return cheaper_by_rows(objective.nodes, exact, objective.batch, products)

    @cached_property
    def _bent(self) -> set[Node]:
        """The operations that signed rows start at."""
        return {node for node in self.objective.nodes if bends_in(node, self.objective.batch)}

    def _read_again(self) -> set[Node]:
        """The operations whose inputs are read after the first sweep, besides by their rules.

        Signed rows start from those of operations that bend; averages take none, and products all.
        """
        by_signs = not self.of(*SIGNED) or self.by_signs.issuperset(self.names)
        return self._bent if by_signs and not self.of(None) else set(self.objective.nodes)

    # -- samples ------------------------------------------------------------------------------

    def _must_mask(self) -> bool:
        """Whether one row per sample is needed. Raises where a quantity of samples is undefined."""
        batch = self.objective.batch
        if batch.size is None:
            refuse_unmarked(self.asked.values())
            return True
        refuse_undefined(self.asked.values(), self.objective.facts)
        if batch.lost:
            node = batch.lost[0]
            self.objective.remarks.append(  # where nothing is refused yet
                f"the samples' axis could not be followed through {node.op.name} "
                f"({node.source or 'unknown line'}): one row per sample is propagated instead, "
                f"exact and {batch.size} times as costly; give the operation a `batch_axis` rule, "
                f"or mark its result with tracer.batch(x, axis)"
            )
        return bool(couplings(self.objective.facts) or batch.lost or batch.singly)

    @cached_property
    def _seen_from(self) -> set[Node] | None:
        """What masked rows go through: down to where they are seen to come to their own samples."""
        objective = self.objective
        if objective.only is None or not objective.batch.lost:
            return objective.only
        return objective.only | descendants(objective.nodes, set(last_known(objective)))

    def _verifying(self) -> Any:
        """A visitor that sees that the rows of single samples come to these alone."""
        if not self.bundle.masked:
            return None
        slots = self.slots(self.bundle)
        return rows_of_samples(self.asked.values(), self.objective, slots)

    def _see_samples(self) -> None:
        """See that masked rows come to their own samples, for quantities that none are made of.

        Random rows start there, since a gradient is zero where a model fits. They go down to where
        the samples are known again. Raises `BatchError`.
        """
        objective, batch = self.objective, self.objective.batch
        visit = rows_of_samples(self.of(*SIGNED), objective, self._count + 1)
        if visit is None:
            return
        terms, _ = objective.first_samples()
        rng = np.random.default_rng(0)
        rows: dict[Node, Any] = {}
        for node in {*(term.node for term in terms), *batch.assumed}:
            row = rng.standard_normal((1, *node.shape)).astype(working(node.dtype))
            rows[node] = of_stack(backend.of(objective.value).from_host(row))
        started = masked(Bundle({gradient: slice(0, 1)}, {gradient: 1}, rows), batch)
        seeds = {node: stack[:] for node, stack in started.seeds.items()}
        only = descendants(objective.nodes, set(last_known(objective)))
        Sweep(objective.nodes, seeds, slots=self._count + 1, visit=visit, only=only).run()

    # -- at a parameter -----------------------------------------------------------------------

    def _context(self, leaf: Node) -> Context:
        return Context(self.names[leaf], leaf.shape, leaf.dtype, self.objective.batch.size)

    def _is_partial(self, quantity: Quantity, part: Cotangent, begin: int, last: bool) -> bool:
        """Whether a quantity gets more rows in other chunks."""
        kind = self.kinds[quantity.name]
        if not self.bundle.last or kind == ggn_averaged or kind is None:
            return not self.bundle.last or not last or begin > 0
        span = self.bundle.counts[kind]
        return part.rows < span.stop - span.start

    def _with_rows(self, quantity: Quantity, context: Context) -> Context:
        """The context with the number of rows that there will be of the quantity's kind."""
        kind = self.kinds[quantity.name]
        if kind is None or kind == gradient or not self.bundle.last:
            return context
        span = self.bundle.counts[kind]
        return context._replace(rows=span.stop - span.start)

    def contexts(self, quantity: Quantity, counts: Mapping[Any, slice]) -> list[Context]:
        """A quantity's, of all parameters, where kinds of rows have these `counts`."""
        kind, chosen = self.kinds[quantity.name], self.objective.samples
        span = None if kind is None else counts.get(kind)
        rows = None if span is None else span.stop - span.start
        restricted = quantity.of_chosen_samples and chosen is not None
        samples = len(chosen) if restricted else self.objective.batch.size
        return [
            Context(name, leaf.shape, leaf.dtype, samples, rows)
            for leaf, name in self.names.items()
        ]

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
        self.done.update((leaf, quantity.name) for quantity, _ in shares)
        signs = self.bundle.signs
        if leaf not in self.names or self._is_uneven(shares, leaf, uses):
            return
        cotangent, context = self._collected(leaf, uses, stack), self._context(leaf)
        if signs is not None:
            cotangent.signs = signs[begin : begin + cotangent.rows]
        for quantity, share in shares:
            part = cotangent if share is None else self._part(cotangent, share)
            part.partial = self._is_partial(quantity, part, begin, last)
            if leaf in self.penalties and leaf not in self.states[quantity.name]:
                self._penalise(part, quantity, leaf)  # once, with the first rows
            known = self._with_rows(quantity, context)
            first = leaf not in self.states[quantity.name]
            self._state(quantity, leaf, partial(quantity.extract, part, known))
            state = self.states[quantity.name].get(leaf)
            if first and part.partial and state is not None and quantity.name not in self.joining:
                self.joining.add(quantity.name)
                require_additive(quantity, part, state, known)
        if last and self.bundle.last:
            self._finish(leaf, self.asked.values(), context)

    def _is_uneven(
        self, shares: list[tuple[Quantity, Share | None]], leaf: Node, uses: list[Cotangent]
    ) -> bool:
        """Whether averages left uses of one kind with rows in several numbers, which do not add.

        So it is where a link between them has another number of elements than rows came to it.
        """
        if ggn_averaged not in self.bundle.counts:
            return False
        if len({(use.kind(), use.rows) for use in uses}) == len({use.kind() for use in uses}):
            return False
        error = QuantityError(
            "its rows are averaged between its uses, and come in several numbers: use kflr"
        )
        for quantity, _ in shares:
            self.undefined.add(quantity, leaf, error)
        return True

    def _state(self, quantity: Quantity, leaf: Node, make: Callable[[], Any]) -> None:
        """Take in a state of a quantity at a parameter, or leave out what is undefined there."""
        if self.undefined.has(quantity, leaf):
            return
        states, summed = self.states[quantity.name], self.summed[quantity.name]
        if leaf in states and leaf not in summed:
            states[leaf] = first_of(quantity, states[leaf])
            summed.add(leaf)
        try:
            state = make()
            states[leaf] = with_chunk(quantity, states[leaf], state) if leaf in states else state
        except QuantityError as error:
            states.pop(leaf, None)
            self.undefined.add(quantity, leaf, error)

    def _collected(self, leaf: Node, uses: list[Cotangent], stack: Any) -> Cotangent:
        """All that reached a parameter: uses by samples, and a stack of what is of no sample."""
        size = self._count
        if self.bundle.masked:
            if stack is not None:
                uses = [*uses, self._of_masked(leaf, stack)]
            every = collect(uses)
            uses = [every.select(samples=slice(0, size))]
            stack = every.select(samples=slice(size, None)).total()
        if uses:
            cotangent = collect(uses)
        elif self.followed and self.bundle.by_samples:
            cotangent = Dense(np.zeros_like(stack, shape=(len(stack), size, *leaf.shape)))
        else:
            cotangent, stack = Dense(stack[:, None]), None
        cotangent.unbatched = stack
        return cotangent.within(self.budget)

    def _of_masked(self, leaf: Node, stack: Any) -> Cotangent:
        """Masked rows `[V * slots, *p]` that reached a parameter by no use of its own."""
        slots = self.slots(self.bundle)
        array = stack.reshape(len(stack) // slots, slots, *leaf.shape)
        where = None
        if len(leaf.shape) > 1 and any(quantity.of_uses for quantity in self.asked.values()):
            where = used_unfollowed(leaf, self.objective)
        return Dense(array) if where is None else Unfollowed(array, where)

    def _penalise(self, cotangent: Cotangent, quantity: Quantity, leaf: Node) -> None:
        """Count a penalty on a parameter in its Gauss-Newton matrix."""
        kind = self.kinds[quantity.name]
        if kind is not None and kind.of_gauss_newton:
            cotangent.unbatched_squares = self.penalties.get(leaf)

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
                apart = max(start, min(self.bundle.sampleless_from[kind] - begin, stop))
                samples = self.objective.samples if quantity.of_chosen_samples else None
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
        return part.within(self.budget)

    def _finish(self, leaf: Node, quantities: Iterable[Quantity], context: Context) -> None:
        """Make values of the states of a parameter that there are, as soon as they are complete."""
        for quantity in quantities:
            if leaf not in self.states[quantity.name]:
                continue
            try:
                held = [quantity.finish(self.states[quantity.name].pop(leaf), context)]
            except QuantityError as error:
                self.undefined.add(quantity, leaf, error)
                continue
            if not self.objective.recorded:
                held[0] = raw_value(held[0], leaf.dtype)
            if quantity.name in self.reduce:
                held[0] = self.reduce[quantity.name](context.name, own(held))
            self.values[quantity.name][context.name] = held[0]

    def _unreached(self, leaf: Node, quantities: Sequence[Quantity]) -> None:
        """A parameter that the objective does not depend on: zeros of every quantity."""
        samples = self.objective.samples
        like, context = self.objective.like(leaf), self._context(leaf)
        for quantity in quantities:
            if quantity.rows is None or self.names[leaf] in self.values[quantity.name]:
                continue
            rows: Any = self.kinds[quantity.name]
            span = self.bundle.counts.get(rows, slice(0, 1))
            restricted = samples is not None and quantity.of_chosen_samples
            count = len(samples) if restricted else self._count
            zeros = _zeros(like, span.stop - span.start, count, leaf.shape)
            self._penalise(zeros, quantity, leaf)
            self._state(quantity, leaf, partial(quantity.extract, zeros, context))
        self._finish(leaf, quantities, context)


def _zeros(like: Any, rows: int, samples: int, shape: tuple[int, ...]) -> Cotangent:
    """The cotangent of what nothing reaches, as of a linear map where it may be a weight."""
    if len(shape) < 2:
        return Dense(np.zeros_like(like, shape=(rows, samples, *shape)))
    left = np.zeros_like(like, shape=(samples, 1, 1, math.prod(shape[1:])))
    right = np.zeros_like(like, shape=(rows, samples, 1, 1, shape[0]))
    return Outer(left, right, shape)
