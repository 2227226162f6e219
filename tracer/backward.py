"""`Tape.backward`: which rows start where, one sweep, and what quantities make of it.

For the gradient the sweep starts at the objective. For rows of the Gauss-Newton matrix the
objective is first split: its head, linear arithmetic down to the terms that are losses, gives each
term its weight; the rows start at the predictions that the terms judge.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from tracer import backend
from tracer.batching import Batch, follow
from tracer.cotangents import Cotangent, Dense, Outer, collect
from tracer.errors import BatchError, QuantityError, TracingError, suggestion
from tracer.operation import UNKNOWN, describe, statistics
from tracer.products import Products
from tracer.quantity import Context, Quantity, resolve
from tracer.residuals import SignedRows, exact_leaves, residual
from tracer.rows import Rows, ggn_averaged, gradient, hessian
from tracer.sweep import Recorded, Sweep, cotangents_of, entry_value, fit, replay
from tracer.tape import Node, Tape, _call_hook, enclosing, owner, using
from tracer.tensor import Tensor


class Values(dict[str, Any]):
    """Values by parameter name; a parameter tensor is accepted as a key too."""

    def __init__(self, names: Mapping[Node, str]):
        super().__init__()
        self._names = names

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Tensor):
            key = self._names.get(key.node, key)  # type: ignore[arg-type]
        return super().__getitem__(key)

    def __missing__(self, key: Any) -> Any:
        known = ", ".join(self) or "none"
        hint = suggestion(key, self) if isinstance(key, str) else ""
        raise KeyError(f"no parameter is called {key!r}.{hint} Parameters: {known}")


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
    check_loss(tape, loss)
    tape.loss = loss.node
    asked = resolve(quantities)
    if unknown := set(reduce) - set(asked):
        raise QuantityError(
            f"reduce names {', '.join(map(repr, sorted(unknown)))}, which is not asked for: "
            f"{', '.join(asked)}"
        )
    outer = enclosing(tape)
    recorded = outer is not None and outer.nodes is tape.nodes
    _call_hook("begin_sweep", tape=tape, loss=loss)
    with using(outer if recorded else None):
        run = Run(tape, loss.node, asked, memory_budget, rng, samples, reduce, recorded)
        results = run.results(outputs.node if outputs is not None else None)
    _call_hook("end_sweep", tape=tape, results=results)
    return results


def check_loss(tape: Tape, loss: Any) -> None:
    """Refuse what cannot be swept from, saying why."""
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
    if loss.node not in set(tape.recorded()):
        raise TracingError("the loss was not recorded on this tape")


class Run:
    """One call of `backward`: what is asked, and the state of each quantity at each parameter."""

    def __init__(
        self,
        tape: Tape,
        loss: Node,
        asked: dict[str, Quantity],
        budget: int | None,
        rng: Any,
        samples: Sequence[int] | None,
        reduce: Mapping[str, Callable[[str, Any], Any]],
        recorded: bool,
    ):
        nodes = tape.recorded()
        position = max(i for i, node in enumerate(nodes) if node is loss)
        self.nodes = nodes[: position + 1]
        self.tape, self.loss, self.asked, self.budget = tape, loss, asked, budget
        self.reduce, self.recorded, self.rng = reduce, recorded, rng
        self.names = parameter_names(tape, self.nodes)
        self.of_objective = [q for q in asked.values() if q.rows is None]
        self.of_hessian = [q for q in asked.values() if q.rows == hessian]
        apart = (None, hessian, ggn_averaged)
        kinds = dict.fromkeys(q.rows for q in asked.values() if q.rows not in apart)
        self.of_averages = [q for q in asked.values() if q.rows == ggn_averaged]
        #: kinds of rows that start at the objective or at its terms, the gradient's first
        self.kinds: list[Rows] = sorted(kinds, key=lambda kind: kind != gradient)
        self.curvature = [kind for kind in self.kinds if kind != gradient]
        self.keeps = bool(self.of_objective or self.of_hessian or self.of_averages)
        if self.curvature or self.keeps or any(q.needs_samples for q in asked.values()):
            self.batch: Batch | None = follow(self.nodes)
        else:
            self.batch = None
        self.samples = None if samples is None else self._chosen(samples)
        self.masked = self.unmarked = False
        self.leftover: dict[Node, Any] = {}
        self.done: set[Node] = set()
        self.bundle = Bundle({}, {}, {})
        self.chunk = slice(None)
        self.hessian_leaves: set[Node] = set()
        self.states: dict[str, dict[Node, Any]] = {name: {} for name in asked}
        self.values: dict[str, Values] = {name: Values(self.names) for name in asked}

    # -- the whole run ------------------------------------------------------------------------

    def results(self, outputs: Node | None) -> dict[str, Any]:
        record = owner(self.tape)
        if record.swept or self.keeps:
            replay(self.nodes, keep_inputs=self.keeps)
        self._check_samples()
        whole: dict[str, Any] = {}
        if self.of_objective:
            objective = Objective(self, outputs)
            whole = {q.name: q.of_objective(objective) for q in self.of_objective}
        if self.kinds:
            self._sweep(self._main_bundle(outputs))
        if self.of_hessian:
            self._sweep_hessian()
        if self.of_averages:
            self._sweep_averages(outputs)
        if not self.recorded:
            record.swept = record.swept or not self.keeps
        for node, name in self.names.items():
            if node not in self.done:
                self._unreached(node, name)
        order = list(self.names.values())
        for values in self.values.values():
            for name in order:
                if name in values:
                    values[name] = values.pop(name)
        return {name: whole.get(name, values) for name, values in self.values.items()}

    def _one(self) -> Any:
        """The cotangent of the objective, a stack of one row."""
        return np.ones_like(self._value_like(self.loss), shape=(1, *self.loss.shape))

    def _main_bundle(self, outputs: Node | None) -> Bundle:
        if self.curvature or self.masked:
            return self._start(self._split(outputs))
        return Bundle({gradient: slice(0, 1)}, {gradient: 1}, {self.loss: self._one()})

    def _sweep_averages(self, outputs: Node | None) -> None:
        """Rows averaged over samples after each operation, along a chain."""
        assert self.batch is not None
        batch, name = self.batch, self.of_averages[0].name
        if self.masked:
            raise QuantityError(f"{name} is defined for independent samples, and these are coupled")
        consumed: set[Node] = set()
        for node in self.nodes:
            for slot, parent in enumerate(node.parents):
                if parent is None or not parent.wants or parent.op.leaf:
                    continue
                if parent in consumed and isinstance(batch.axis(parent), int):
                    raise QuantityError(
                        f"{name} is defined for chains of layers, and {parent!r} is used more than "
                        f"once (by {node.op.name}, input {slot}): use kflr"
                    )
                consumed.add(parent)
        kinds, self.kinds, self.curvature = self.kinds, [ggn_averaged], [ggn_averaged]
        bundle = self._start(self._split(outputs))
        self.kinds = kinds

        def visit(node: Node, g: Any) -> Any:
            axis = batch.axis(node)
            return ggn_averaged.average(g, axis) if isinstance(axis, int) else g

        self._sweep(bundle, visit)

    def _sweep(self, bundle: Bundle, visit: Any = None) -> None:
        """Sweep a bundle of rows, in chunks within the budget."""
        self.bundle = bundle
        chunks = self._chunks(bundle.seeds) if visit is None else [slice(None)]
        for i, chunk in enumerate(chunks):
            last = i == len(chunks) - 1
            whole = chunk == slice(None)
            stacks = {node: s if whole else s[chunk] for node, s in bundle.seeds.items()}
            if last:
                bundle.seeds.clear()
            self.chunk = chunk
            Sweep(
                self.nodes,
                stacks,
                recorded=self.recorded,
                release=last and not self.recorded and not self.keeps,
                batch=None if self.masked else self.batch,
                complete=partial(self._extract, last=last),
                watched=self.tape.watched if gradient in bundle.counts and i == 0 else None,
                gradient_rows=self._slots,
                visit=visit,
            ).run()

    @property
    def _slots(self) -> int:
        """How many rows of the sweep stand for one row: masked, one per sample and one more."""
        return (self.batch.size or 1) + 1 if self.masked and self.batch is not None else 1

    def _sweep_hessian(self) -> None:
        """Signed rows for the parameters that they are exact for, products for the others."""
        assert self.batch is not None
        batch, leaves = self.batch, list(self.names)
        self.hessian_leaves = exact_leaves(self.nodes, leaves, batch)
        blocks: list[SignedRows] = []

        def visit(node: Node, g: Any) -> Any:
            found = residual(node, g, batch)
            if found is not None:
                blocks.append(found)
            return g

        if self.hessian_leaves:
            Sweep(self.nodes, {self.loss: self._one()}, visit=visit).run()
        for block in blocks:
            rows = len(block.signs)
            counts: dict[Rows, slice] = {hessian: slice(0, rows)}
            self._sweep(Bundle(counts, {hessian: rows}, block.seeds, block.signs))
        objective = Objective(self, None)
        for leaf in leaves:
            if leaf not in self.hessian_leaves:
                for quantity in self.of_hessian:
                    self.states[quantity.name][leaf] = quantity.of_block(objective, leaf)
            elif leaf not in self.states[self.of_hessian[0].name]:
                self._unreached(leaf, self.names[leaf])
            self._finish_all(leaf, self.of_hessian)

    # -- samples ------------------------------------------------------------------------------

    def _check_samples(self) -> None:
        batch = self.batch
        if batch is None:
            return
        single = [
            q.name
            for q in self.asked.values()
            if q.per_sample or (q.rows == gradient and q.needs_samples)
        ]
        if batch.size is None:
            if single:
                raise BatchError(
                    f"{single[0]} is of single samples, and nothing in this trace is marked as a "
                    f"batch: mark the inputs, as in x = tracer.batch(x)"
                )
            self.masked = True
            return
        if batch.coupled:
            node = batch.coupled[0]
            where = f" in layer {node.place.scope!r}" if node.place.scope else ""
            of_samples = [q.name for q in self.asked.values() if q.per_sample]
            if of_samples:
                raise BatchError(
                    f"{of_samples[0]} is undefined here: {node.op.name}{where} "
                    f"({node.source or 'unknown line'}) mixes samples through a statistic of the "
                    f"whole batch, so no sample has a gradient of its own below it: use fixed "
                    f"statistics (model.eval()), or quantities of the whole batch"
                )
            self.masked = True
        if batch.lost:
            node = batch.lost[0]
            import warnings

            warnings.warn(
                f"the samples' axis could not be followed through {node.op.name} "
                f"({node.source or 'unknown line'}): one row per sample is propagated instead, "
                f"exact and {batch.size} times as costly; give the operation a `batch_axis` rule, "
                f"or mark its result with tracer.batch(x, axis)",
                stacklevel=5,
            )
            self.masked = True

    # -- where rows start ---------------------------------------------------------------------

    def _split(self, outputs: Node | None, stop_at_samples: bool = False) -> list[Split]:
        """The terms of the objective with their weights: a gradient sweep of its head.

        It stops at `outputs`, or at registered losses, or at the first tensors with samples.
        """
        nodes = self.nodes
        stop: set[Node]
        if outputs is not None:
            stop = {outputs}
            if outputs not in set(nodes) and not outputs.op.leaf:
                raise TracingError("`outputs` was not recorded on this tape before the loss")
        elif (self.curvature or self.of_objective) and not stop_at_samples:
            stop = {node for node in nodes if node.op.loss}
        else:
            assert self.batch is not None
            stop = {node for node in nodes if isinstance(self.batch.axis(node), int)}
        one = np.ones_like(self._value_like(self.loss), shape=(1, *self.loss.shape))
        arrived = {self.loss: one}
        found: list[Split] = []
        watched: dict[Any, Any] | None = self.tape.watched
        for node in reversed(nodes):
            g = arrived.pop(node, None)
            if g is None:
                continue
            if watched is not None and gradient in self.kinds:
                watched[id(node), "cotangent"] = statistics(raw_value(g[0], node.dtype))
            if node in stop:
                found.append(Split(self, node, g, node is outputs))
                continue
            if (self.curvature or self.of_objective) and outputs is None and not stop_at_samples:
                self._check_linear(node)
            view = Recorded(node) if self.recorded else node
            for parent, entry in zip(node.parents, cotangents_of(view, node, g), strict=True):
                if parent is not None and parent.wants:
                    entry = entry_value(entry)
                    if entry is not None:
                        entry = fit(entry, parent.shape)
                        before = arrived.get(parent)
                        arrived[parent] = entry if before is None else before + entry
        if outputs is not None and outputs in arrived:
            found.append(Split(self, outputs, arrived.pop(outputs), True))
        if arrived and (self.curvature or self.of_objective) and not stop_at_samples:
            leaf = next(iter(arrived))
            raise QuantityError(
                f"{self._first_curvature()} is undefined for this objective: a term of it reaches "
                f"{self.names.get(leaf) or leaf.label!r} without passing through "
                f"{'`outputs`' if outputs is not None else 'a registered loss'}"
            )
        self.leftover = arrived
        if not found:
            raise BatchError(
                "the samples could not be followed to the loss: mark the last tensor that has an "
                "axis of samples with tracer.batch(x, axis)"
            )
        return sorted(found, key=lambda split: not split.of_samples)

    def _first_curvature(self) -> str:
        return next(q.name for q in self.asked.values() if q.rows not in (gradient, hessian))

    def _check_linear(self, node: Node) -> None:
        wanted = [i for i, p in enumerate(node.parents) if p is not None and p.wants]
        if node.op.linear or (len(wanted) == 1 and wanted[0] in node.op.linear_in):
            return
        raise QuantityError(
            f"{self._first_curvature()} is undefined for this objective: the term made by "
            f"{node.op.name} ({node.source or 'unknown line'}) is not a registered loss, and "
            f"nothing says where it splits into model and loss: use a loss such as mse_loss, or "
            f"name the model's output with tape.backward(loss, outputs=f)"
        )

    def _start(self, splits: list[Split]) -> Bundle:
        """Seeds `[all rows, *shape]` where the splits cut the record."""
        counts: dict[Rows, slice] = {}
        apart_at: dict[Rows, int] = {}
        blocks = [(kind, split, split.seeds(kind)) for kind in self.kinds for split in splits]
        total, places = 0, []
        if gradient in self.kinds:
            places.append((0, self.leftover))
        for kind in self.kinds:
            first = apart = total
            for split, block in [(s, b) for k, s, b in blocks if k is kind]:
                places.append((total, block))
                if kind != gradient and block:
                    total += len(next(iter(block.values())))
                if split.of_samples:
                    apart = total
            total += kind == gradient
            counts[kind] = slice(first, total)
            apart_at[kind] = total if kind == gradient or self.masked else apart
        seeds: dict[Node, Any] = {}
        for start, block in places:
            for node, stack in block.items():
                if len(stack) == total:
                    part = stack
                else:
                    before = np.zeros_like(stack, shape=(start, *stack.shape[1:]))
                    after = np.zeros_like(
                        stack, shape=(total - start - len(stack), *stack.shape[1:])
                    )
                    part = np.concatenate([before, stack, after])
                seeds[node] = seeds[node] + part if node in seeds else part
        if self.masked:
            seeds = {node: self._one_row_per_sample(node, s) for node, s in seeds.items()}
        return Bundle(counts, apart_at, seeds)

    def _one_row_per_sample(self, node: Node, stack: Any) -> Any:
        """`[V, *shape]` as `[V * (N + 1), *shape]`: a row per sample, zero at the others.

        The row after those of the samples has what is of no sample.
        """
        assert self.batch is not None
        axis = self.batch.axis(node)
        if self.batch.size is None or self.unmarked:
            self.unmarked, axis = True, 0
            count = self.batch.size = self.batch.size or (node.shape[0] if node.shape else 1)
            if not node.shape or node.shape[0] != count:
                raise BatchError(
                    f"the samples of {node!r} are expected along its first axis, in number "
                    f"{count}: mark the inputs, as in x = tracer.batch(x)"
                )
        count = self.batch.size
        if axis is UNKNOWN:
            axis = 0 if node.shape and node.shape[0] == count else None
        if isinstance(axis, int):
            mask = np.eye(count + 1, count, dtype=bool)
        else:
            mask, axis = np.arange(count + 1)[:, None] == count, 0
        width = mask.shape[1]
        mask = mask.reshape(
            1, count + 1, *(width if i == axis else 1 for i in range(len(node.shape)))
        )
        mask = backend.of(stack).from_host(mask)
        return np.where(mask, stack[:, None], 0).reshape(-1, *node.shape)

    def _chunks(self, seeds: dict[Node, Any]) -> list[slice]:
        """Slices of rows whose sweep stays within the budget."""
        rows = len(next(iter(seeds.values())))
        if self.budget is None or rows == 1:
            return [slice(None)]
        largest = max(
            math.prod(node.shape) * node.dtype.itemsize for node in self.nodes if node.wants
        )
        step = max(1, self.budget // (4 * largest))
        step = max(1, step // self._slots) * self._slots
        if step >= rows:
            return [slice(None)]
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]

    def _chosen(self, samples: Sequence[int]) -> Any:
        """The indices of samples, checked."""
        count = self.batch.size if self.batch is not None else None
        chosen = np.asarray(samples)
        if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
            raise BatchError(f"samples is a list of indices of samples, got {samples!r}")
        if count is not None and not -count <= chosen.min() <= chosen.max() < count:
            raise BatchError(f"samples names one outside the {count} of the batch: {samples!r}")
        return chosen.astype(np.intp)

    def _value_like(self, node: Node) -> Any:
        """Some array of the library in use, of the node's dtype."""
        for other in reversed(self.nodes):
            for value in (other.output, *(other.inputs or ())):
                if backend.is_array(value):
                    return value.astype(node.dtype) if value.dtype != node.dtype else value
        return np.empty(0, dtype=node.dtype)

    # -- at a parameter -----------------------------------------------------------------------

    def _extract(self, leaf: Node, uses: list[Cotangent], stack: Any, last: bool) -> None:
        self.done.add(leaf)
        name = self.names.get(leaf)
        if name is None:
            return
        size = self.batch.size if self.batch is not None else None
        if self.masked and stack is not None:
            assert size is not None
            stack = stack.reshape(-1, size + 1, *leaf.shape)
            uses, stack = [Dense(stack[:, :size])], stack[:, size]
        cotangent: Cotangent | None = collect(uses) if uses else None
        if cotangent is None and stack is not None:
            count = size or 1
            if self.batch is not None:
                cotangent = Dense(np.zeros_like(stack, shape=(len(stack), count, *leaf.shape)))
                cotangent.unbatched = stack
            else:
                cotangent = Dense(stack[:, None])
        elif stack is not None:
            assert cotangent is not None
            cotangent.unbatched = stack
        assert cotangent is not None
        cotangent.within(self.budget)
        context = Context(name, leaf.shape, leaf.dtype, size)
        for quantity in self.asked.values():
            part = self._rows_of(cotangent, quantity, leaf)
            if part is None:
                continue
            state = quantity.extract(part, context)
            states = self.states[quantity.name]
            if leaf in states:
                state = quantity.join(states[leaf], state)
            states[leaf] = state
        if last and hessian not in self.bundle.counts:
            self._finish_all(leaf, [q for q in self.asked.values() if q.rows != hessian])

    def _finish_all(self, leaf: Node, quantities: Sequence[Quantity]) -> None:
        size = self.batch.size if self.batch is not None else None
        context = Context(self.names[leaf], leaf.shape, leaf.dtype, size)
        for quantity in quantities:
            if leaf in self.states[quantity.name]:
                self._finish(quantity, leaf, context)

    def _rows_of(self, cotangent: Cotangent, quantity: Quantity, leaf: Node) -> Cotangent | None:
        """The quantity's own rows and samples; None where this chunk has none of its rows."""
        rows = quantity.rows
        if rows is None or rows not in self.bundle.counts:
            return None
        if rows == hessian and leaf not in self.hessian_leaves:
            return None
        kind = self.bundle.counts[rows]
        if quantity.rows == ggn_averaged:
            return cotangent  # averaging changes the number of rows
        begin = (self.chunk.start or 0) // self._slots
        start, stop = max(kind.start - begin, 0), min(kind.stop - begin, cotangent.rows)
        if stop <= start:
            return None
        first_apart = self.bundle.apart[rows]  # type: ignore[index]  # not None here
        apart = max(start, min(first_apart - begin, stop))
        restricted = self.samples is not None and quantity.per_sample
        signs = self.bundle.signs
        if signs is not None:
            signs = cotangent.signs = signs[begin + start : begin + stop]
        if start == 0 and apart == cotangent.rows and not restricted:
            return cotangent
        samples = self.samples if restricted else slice(None)
        part = cotangent.select(slice(start, apart), samples)
        if apart < stop:
            rest = cotangent.select(slice(apart, stop))
            if cotangent.unbatched is not None:
                rest.unbatched = cotangent.unbatched[apart:stop]
            part.unbatched = rest.total()
        elif cotangent.unbatched is not None:
            part.unbatched = cotangent.unbatched[start:stop]
        if signs is not None:
            part.signs = signs[:, samples] if signs.shape[1] > 1 else signs
        return part.within(self.budget)

    def _finish(self, quantity: Quantity, leaf: Node, context: Context) -> None:
        state = self.states[quantity.name].pop(leaf)
        value = quantity.finish(state, context)
        if not self.recorded:
            value = raw_value(value, leaf.dtype)
        if quantity.name in self.reduce:
            value = self.reduce[quantity.name](context.name, value)
        self.values[quantity.name][context.name] = value

    def _unreached(self, leaf: Node, name: str) -> None:
        """A parameter that the objective does not depend on: zeros of every quantity."""
        size = self.batch.size if self.batch is not None else None
        like = self._value_like(leaf)
        for quantity in self.asked.values():
            if quantity.rows is None or name in self.values[quantity.name]:
                continue
            kind = self.bundle.counts.get(quantity.rows, slice(0, 1))
            restricted = self.samples is not None and quantity.per_sample
            count = len(self.samples) if restricted else size or 1  # type: ignore[arg-type]
            zeros = _zeros(like, kind.stop - kind.start, count, leaf.shape)
            context = Context(name, leaf.shape, leaf.dtype, size)
            self.states[quantity.name][leaf] = quantity.extract(zeros, context)
            self._finish(quantity, leaf, context)


def _zeros(like: Any, rows: int, samples: int, shape: tuple[int, ...]) -> Cotangent:
    """The cotangent of what nothing reaches, as of a linear map where it may be a weight."""
    if len(shape) < 2:
        return Dense(np.zeros_like(like, shape=(rows, samples, *shape)))
    left = np.zeros_like(like, shape=(samples, 1, 1, math.prod(shape[1:])))
    right = np.zeros_like(like, shape=(rows, samples, 1, 1, shape[0]))
    return Outer(left, right, shape)


@dataclass
class Bundle:
    """Rows that go through a sweep together.

    `counts` tells where each kind's rows are, `apart` the first of those that start at a term of no
    sample; `seeds` where they start; `signs [R, N]` (or `[R, 1]`) weigh their squares.
    """

    counts: dict[Rows, slice]
    apart: dict[Rows, int]
    seeds: dict[Node, Any]
    signs: Any = None


class Objective:
    """The objective as quantities of whole matrices see it: products with vectors.

    `parameters` maps names to leaves.
    """

    def __init__(self, run: Run, outputs: Node | None):
        self.run = run
        self.parameters = {name: leaf for leaf, name in run.names.items()}
        self.rng = run.rng
        self.budget = run.budget
        self._outputs = outputs

    @cached_property
    def splits(self) -> list[Split]:
        """The terms of the objective; an error where it does not split."""
        return self.run._split(self._outputs)

    @cached_property
    def products(self) -> Products:
        run = self.run
        return Products(run.nodes, run.loss, list(run.names), run._value_like(run.loss))

    @cached_property
    def _roots(self) -> dict[str, list[tuple[Split, Any]]]:
        return {}

    def gauss_newton(self, vectors: Mapping[Node, Any], kind: str) -> dict[Node, Any]:
        """Products with the matrix whose square roots are "exact" or "empirical"."""
        if kind not in self._roots:
            self._roots[kind] = [
                (split, split.sqrt_hessian() if kind == "exact" else split.sqrt_empirical())
                for split in self.splits
                if split.prediction.wants
            ]
        return self.products.gauss_newton(vectors, self._roots[kind])

    def sampled_roots(self, samples: int) -> list[tuple[Split, Any]]:
        """Square roots in expectation, from targets sampled now."""
        return [
            (split, split.sqrt_hessian_sampled(samples, self.rng))
            for split in self.splits
            if split.prediction.wants
        ]

    def hessian_diagonal(self, leaf: Node) -> Any:
        """The diagonal of a parameter's block, `[*p]`, from products over a basis."""
        return self._diagonal(leaf, self.products)

    def _diagonal(self, leaf: Node, products: Products) -> Any:
        size = math.prod(leaf.shape)
        like = self.run._value_like(leaf)
        step = size
        if self.budget is not None:
            step = max(1, self.budget // max(1, 4 * size * leaf.dtype.itemsize))
        eye = backend.namespace(like).eye(size, dtype=leaf.dtype)
        parts = []
        for start in range(0, size, step):
            basis = eye[start : start + step]
            moved = products.hessian({leaf: basis.reshape(-1, *leaf.shape)})[leaf]
            parts.append((moved.reshape(basis.shape) * basis).sum(1))
        return np.concatenate(parts).reshape(leaf.shape)

    def hessian_diagonal_of_samples(self, leaf: Node) -> Any:
        """Each sample's share of that diagonal, `[N, *p]`: one product per sample and element."""
        run = self.run
        assert run.batch is not None
        run.kinds, kinds = [gradient], run.kinds
        cut = run._split(None, stop_at_samples=True)
        run.kinds = kinds
        count = run.batch.size or 1
        chosen = np.arange(count) if run.samples is None else run.samples % count
        parts = []
        for n in chosen:
            seeds = {}
            for split in cut:
                axis = run.batch.axis(split.node)
                mask = np.arange(count) == n
                mask = mask.reshape([-1 if i == axis else 1 for i in range(len(split.node.shape))])
                mask = backend.of(split.arrived).from_host(mask)
                seeds[split.node] = np.where(mask, split.arrived, 0)
            products = Products(
                run.nodes, run.loss, list(run.names), run._value_like(run.loss), seeds
            )
            parts.append(self._diagonal(leaf, products))
        return np.stack(parts)


class Split:
    """A term of the objective: the node that it was cut at and its weight in the objective.

    At a registered loss, `weight` has the loss's shape, and rows start at its prediction. At
    the model's `outputs`, rows start there, from the Hessian of the recorded loss.
    """

    def __init__(self, run: Run, node: Node, arrived: Any, is_output: bool):
        self.run = run
        self.node = node
        self.arrived = arrived
        self.is_output = is_output or not node.op.loss

    @property
    def prediction(self) -> Node:
        target = self.node if self.is_output else self.node.parents[0]
        assert target is not None
        return target

    @property
    def sample_axis(self) -> int:
        """Where the samples are in the prediction."""
        batch = self.run.batch
        axis = batch.axis(self.prediction) if batch is not None else None
        return axis if isinstance(axis, int) else 0

    @property
    def weight(self) -> Any:
        weight = self.arrived[0]
        values = weight.data if isinstance(weight, Tensor) else weight
        if bool((values < 0).any()):
            raise QuantityError(
                f"{self.run._first_curvature()} is undefined for this objective: the loss "
                f"{self.node.op.name} has a negative weight in it, whose Gauss-Newton matrix has "
                f"no square root: use quantities of the Hessian"
            )
        return weight

    @property
    def of_samples(self) -> bool:
        """Whether the prediction has an axis of samples (its first, where nothing is marked)."""
        batch = self.run.batch
        if batch is None or batch.size is None:
            return True
        axis = batch.axis(self.prediction)
        return axis is UNKNOWN or isinstance(axis, int)

    def seeds(self, kind: Rows) -> dict[Node, Any]:
        """Stacks of one kind of rows at the nodes below the cut."""
        if kind != gradient:
            if not self.prediction.wants:
                return {}
            stack = kind.start(self, self.run.rng)
            return {self.prediction: stack if self.of_samples else self._apart(stack)}
        if self.is_output:
            return {self.node: self.arrived}
        view = Recorded(self.node) if self.run.recorded else self.node
        seeds: dict[Node, Any] = {}
        entries = cotangents_of(view, self.node, self.arrived)
        for parent, entry in zip(self.node.parents, entries, strict=True):
            if parent is not None and parent.wants:
                entry = entry_value(entry)
                if entry is not None:
                    entry = fit(entry, parent.shape)
                    seeds[parent] = seeds[parent] + entry if parent in seeds else entry
        return seeds

    def _apart(self, stack: Any) -> Any:
        """Rows of a term of no sample, one for each of what the loss takes for samples.

        A rule's rows each stand for all entries of the first axis, which are independent in the
        loss, but not below it.
        """
        shape = self.prediction.shape
        if self._rule("sqrt_hessian") is None or not shape:
            return stack
        mask = np.eye(shape[0], dtype=bool).reshape(1, shape[0], shape[0], *(1,) * len(shape[1:]))
        mask = backend.of(stack).from_host(mask)
        return np.where(mask, stack[:, None], 0).reshape(-1, *shape)

    def _rule(self, name: str) -> Any:
        return None if self.is_output else getattr(self.node.op, name, None)

    def sqrt_hessian(self) -> Any:
        rule = self._rule("sqrt_hessian")
        if rule is None:
            from tracer.split import sqrt_hessian_of_record

            return sqrt_hessian_of_record(self)
        view = Recorded(self.node) if self.run.recorded else self.node
        return rule(view, self.weight)

    def sqrt_empirical(self) -> Any:
        """One row: the gradient of each sample's loss, times the root of its weight."""
        if self.is_output:
            raise QuantityError(
                "the empirical Fisher matrix needs registered losses, whose weights are known"
            )
        root = np.sqrt(self.weight)[None]
        return entry_value(cotangents_of(self.node, self.node, root)[0])

    def sqrt_hessian_sampled(self, samples: int, rng: Any) -> Any:
        rule = self._rule("sqrt_hessian_sampled")
        if rule is None:
            raise QuantityError(
                f"{self.run._first_curvature()} samples targets from the model's likelihood, and "
                f"{'a loss in plain code' if self.is_output else self.node.op.name} has none: use "
                f"the exact quantity"
            )
        from tracer.random import generator

        view = Recorded(self.node) if self.run.recorded else self.node
        return rule(view, self.weight, samples, generator() if rng is None else rng)


def raw_value(value: Any, dtype: Any) -> Any:
    """Arrays of the parameter's dtype without history; other objects as they are."""
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if backend.is_array(value) and value.dtype != dtype and value.dtype.kind == "f":
        return value.astype(dtype)
    return value


def parameter_names(tape: Tape, nodes: list[Node]) -> dict[Node, str]:
    """The name of every parameter on the tape, in the order of models and of first use."""
    names: dict[Node, str] = {}
    for root in tape.roots:
        for name, tensor in root.named_parameters():
            if tensor.node is not None and tensor.node.wants:
                names.setdefault(tensor.node, name)
    leaves = dict.fromkeys(
        p for node in nodes for p in node.parents if p is not None and p.op.leaf and p.wants
    )
    given = {leaf.params.get("name") for leaf in leaves} | {*names.values()}
    free = (name for i in itertools.count() if (name := f"parameter_{i}") not in given)
    for leaf in leaves:
        if leaf not in names:
            names[leaf] = leaf.params.get("name") or next(free)
    taken: dict[str, Node] = {}
    for node, name in names.items():
        if name in taken:
            raise TracingError(
                f"two parameters of shapes {list(taken[name].shape)} and {list(node.shape)} are "
                f"both called {name!r}: give other names, or put the models into one Module"
            )
        taken[name] = node
    return names
