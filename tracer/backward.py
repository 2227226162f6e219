"""`Tape.backward`: which rows start where, one sweep, and what quantities make of it.

For the gradient the sweep starts at the objective. For rows of the Gauss-Newton matrix the
objective is first split: its head, linear arithmetic down to the terms that are losses, gives each
term its weight; the rows start at the predictions that the terms judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracer import backend
from tracer.batching import Batch, follow
from tracer.cotangents import Cotangent, Dense, collect
from tracer.errors import BatchError, QuantityError, TracingError, suggestion
from tracer.operation import describe
from tracer.quantity import Context, Quantity, resolve
from tracer.rows import Rows, gradient
from tracer.sweep import Recorded, Sweep, cotangents_of, entry_value, fit, replay
from tracer.tape import Node, Tape, _call_hook, using
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


def enclosing(tape: Tape) -> Tape | None:
    """The nearest tape around this one that is still open."""
    outer = tape.parent
    while outer is not None and not outer.is_open:
        outer = outer.parent
    return outer


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
        self.kinds: list[Rows] = list(dict.fromkeys(q.rows for q in asked.values()))
        self.curvature = [kind for kind in self.kinds if kind != gradient]
        if self.curvature or any(q.needs_samples for q in asked.values()):
            self.batch: Batch | None = follow(self.nodes)
        else:
            self.batch = None
        self.samples = None if samples is None else np.asarray(samples, dtype=np.intp)
        self.masked = False
        self.done: set[Node] = set()
        self.chunk = slice(None)
        self.counts: dict[Rows, slice] = {}
        self.states: dict[str, dict[Node, Any]] = {name: {} for name in asked}
        self.values: dict[str, Values] = {name: Values(self.names) for name in asked}

    # -- the whole run ------------------------------------------------------------------------

    def results(self, outputs: Node | None) -> dict[str, Any]:
        if self.tape.swept:
            replay(self.nodes)
        self._check_samples()
        if self.curvature or self.masked:
            splits = self._split(outputs)
            seeds = self._start(splits)
        else:
            one = np.ones_like(self._value_like(self.loss), shape=(1, *self.loss.shape))
            seeds = {self.loss: one}
            self.counts[gradient] = slice(0, 1)
        chunks = self._chunks(seeds)
        for i, chunk in enumerate(chunks):
            last = i == len(chunks) - 1
            self._sweep(seeds, chunk, last)
        if not self.recorded:
            self.tape.swept = True
        for node, name in self.names.items():
            if node not in self.done:
                self._unreached(node, name)
        order = list(self.names.values())
        for values in self.values.values():
            for name in order:
                if name in values:
                    values[name] = values.pop(name)
        return dict(self.values)

    def _sweep(self, seeds: dict[Node, Any], chunk: slice, last: bool) -> None:
        self.chunk = chunk
        self.done.clear()
        whole = chunk == slice(None)
        stacks = {node: stack if whole else stack[chunk] for node, stack in seeds.items()}
        if whole:
            seeds.clear()
        Sweep(
            self.nodes,
            stacks,
            recorded=self.recorded,
            release=last and not self.recorded,
            batch=None if self.masked else self.batch,
            complete=lambda leaf, uses, stack: self._extract(leaf, uses, stack, last),
            watched=self.tape.watched,
        ).run()

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

    def _split(self, outputs: Node | None) -> list[Split]:
        """The terms of the objective with their weights: a gradient sweep of its head."""
        nodes = self.nodes
        stop: set[Node]
        if outputs is not None:
            stop = {outputs}
            if outputs not in set(nodes) and not outputs.op.leaf:
                raise TracingError("`outputs` was not recorded on this tape before the loss")
        elif self.curvature:
            stop = {node for node in nodes if node.op.loss}
        else:
            assert self.batch is not None
            stop = {node for node in nodes if isinstance(self.batch.axis(node), int)}
        one = np.ones_like(self._value_like(self.loss), shape=(1, *self.loss.shape))
        arrived = {self.loss: one}
        found: list[Split] = []
        for node in reversed(nodes):
            g = arrived.pop(node, None)
            if g is None:
                continue
            if node in stop:
                found.append(Split(self, node, g, node is outputs))
                continue
            if self.curvature and outputs is None:
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
        if arrived and self.curvature:
            leaf = next(iter(arrived))
            raise QuantityError(
                f"{self._first_curvature()} is undefined for this objective: a term of it reaches "
                f"{self.names.get(leaf) or leaf.label!r} without passing through "
                f"{'`outputs`' if outputs is not None else 'a registered loss'}"
            )
        if not found:
            raise BatchError(
                "the samples could not be followed to the loss: mark the last tensor that has an "
                "axis of samples with tracer.batch(x, axis)"
            )
        return found

    def _first_curvature(self) -> str:
        return next(q.name for q in self.asked.values() if q.rows != gradient)

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

    def _start(self, splits: list[Split]) -> dict[Node, Any]:
        """Seeds `[all rows, *shape]` where the splits cut the record."""
        blocks = [(kind, split, split.seeds(kind)) for kind in self.kinds for split in splits]
        total, places = 0, []
        for kind in self.kinds:
            first = total
            parts = [(s, b) for k, s, b in blocks if k is kind]
            for _, block in parts:
                places.append((total, block))
                if kind != gradient:
                    total += len(next(iter(block.values())))
            total += kind == gradient
            self.counts[kind] = slice(first, total)
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
        return seeds

    def _one_row_per_sample(self, node: Node, stack: Any) -> Any:
        """`[V, *shape]` as `[V * N, *shape]`, the rows of a sample being zero at the others."""
        assert self.batch is not None
        axis = self.batch.axis(node)
        axis = axis if isinstance(axis, int) else 0
        if self.batch.size is None:
            self.batch.size = node.shape[axis] if node.shape else 1
        count = self.batch.size
        if not node.shape or node.shape[axis] != count:
            raise BatchError(
                f"the samples of {node!r} are expected along its first axis, in number {count}"
            )
        mask = np.eye(count, dtype=bool).reshape(
            1, count, *(count if i == axis else 1 for i in range(len(node.shape)))
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
        if self.masked:
            assert self.batch is not None
            size = self.batch.size or 1
            step = max(1, step // size) * size
        if step >= rows:
            return [slice(None)]
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]

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
            uses = [Dense(stack.reshape(-1, size, *leaf.shape))]
            stack = None
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
        cotangent.budget = self.budget
        context = Context(name, leaf.shape, leaf.dtype, size)
        for quantity in self.asked.values():
            part = self._rows_of(cotangent, quantity)
            if part is None:
                continue
            state = quantity.extract(part, context)
            states = self.states[quantity.name]
            if leaf in states:
                state = quantity.join(states[leaf], state)
            states[leaf] = state
        if last:
            for quantity in self.asked.values():
                if leaf in self.states[quantity.name]:
                    self._finish(quantity, leaf, context)

    def _rows_of(self, cotangent: Cotangent, quantity: Quantity) -> Cotangent | None:
        """The quantity's own rows and samples; None where this chunk has none of its rows."""
        kind = self.counts[quantity.rows]
        size = self.batch.size or 1 if self.masked and self.batch is not None else 1
        begin = (self.chunk.start or 0) // size
        start, stop = max(kind.start - begin, 0), min(kind.stop - begin, cotangent.rows)
        if stop <= start:
            return None
        everything = start == 0 and stop == cotangent.rows
        restricted = self.samples is not None and quantity.per_sample
        if everything and not restricted:
            return cotangent
        part = cotangent.select(slice(start, stop), self.samples if restricted else slice(None))
        if cotangent.unbatched is not None:
            part.unbatched = cotangent.unbatched[start:stop]
        part.budget = self.budget
        return part

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
            zeros = Dense(np.zeros_like(like, shape=(1, size or 1, *leaf.shape)))
            context = Context(name, leaf.shape, leaf.dtype, size)
            try:
                self.states[quantity.name][leaf] = quantity.extract(zeros, context)
            except QuantityError:
                continue
            self._finish(quantity, leaf, context)


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

    def seeds(self, kind: Rows) -> dict[Node, Any]:
        """Stacks of one kind of rows at the nodes below the cut."""
        if kind != gradient:
            if not self.prediction.wants:
                return {}
            return {self.prediction: kind.start(self, self.run.rng)}
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

    def sqrt_hessian(self) -> Any:
        rule = getattr(self.node.op, "sqrt_hessian", None)
        if self.is_output or rule is None:
            from tracer.split import sqrt_hessian_of_record

            return sqrt_hessian_of_record(self)
        view = Recorded(self.node) if self.run.recorded else self.node
        return rule(view, self.weight)

    def sqrt_hessian_sampled(self, samples: int, rng: Any) -> Any:
        rule = getattr(self.node.op, "sqrt_hessian_sampled", None)
        if self.is_output or rule is None:
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
    unnamed = 0
    for node in nodes:
        for parent in node.parents:
            if parent is None or not parent.op.leaf or not parent.wants or parent in names:
                continue
            name = parent.params.get("name")
            if name is None:
                name, unnamed = f"parameter_{unnamed}", unnamed + 1
            names[parent] = name
    taken: dict[str, Node] = {}
    for node, name in names.items():
        if name in taken:
            raise TracingError(
                f"two parameters of shapes {list(taken[name].shape)} and {list(node.shape)} are "
                f"both called {name!r}: give other names, or put the models into one Module"
            )
        taken[name] = node
    return names
