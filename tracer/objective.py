"""The objective of a sweep: its record, its terms, and products with its curvature matrices.

It splits into terms by a gradient sweep of its head: linear arithmetic down to registered losses,
or whatever lies above the model's `outputs`, which gives each term its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tracer import backend
from tracer.batching import Batch, samples_of
from tracer.dtypes import working
from tracer.errors import BatchError, QuantityError, TracingError
from tracer.operation import statistics
from tracer.products import Products
from tracer.residuals import is_linear, wanted
from tracer.sweep import Recorded, cotangents_of, entry_value, fit
from tracer.tape import Node, Tape
from tracer.terms import Term, one_position_each


@dataclass(eq=False)
class Objective:
    """What a sweep starts from.

    `nodes` is what `record`, a tape, holds up to `loss`, whose raw array is `value`; `names` maps
    parameters to their names, `batch` tells where the samples are, and `first_uses` the first
    operation on each parameter. `outputs` is the tensor that splits model from loss, or None.
    `recorded` says that the sweep is itself recorded, `watched` takes statistics of cotangents.
    """

    record: Tape
    nodes: list[Node]
    loss: Node
    value: Any
    names: dict[Node, str]
    batch: Batch
    first_uses: Mapping[Node, Node]
    outputs: Node | None = None
    recorded: bool = False
    rng: Any = None
    budget: int | None = None
    samples: Any = None
    watched: dict[Any, Any] | None = None

    def like(self, node: Node) -> Any:
        """Some array of the library in use, of the node's dtype."""
        value = self.value
        return value.astype(node.dtype) if value.dtype != node.dtype else value

    def one(self) -> Any:
        """The cotangent of the objective, a stack of one row.

        All that comes of it is in its dtype, so that of half precision is in float32, unless the
        sweep is recorded.
        """
        dtype = self.loss.dtype if self.recorded else working(self.loss.dtype)
        one = backend.namespace(self.value).empty((1, *self.loss.shape), dtype)
        one.fill(1)  # with `ones` it takes three times as long
        return one

    # -- terms --------------------------------------------------------------------------------

    def terms(self, wanted_by: str) -> list[Term]:
        """The terms at `outputs` or at registered losses; those of samples come first.

        Raises `QuantityError`, naming the quantity `wanted_by`, where some part of the objective
        is neither.
        """
        if self.outputs is not None:
            if self.outputs not in set(self.nodes) and not self.outputs.op.leaf:
                raise TracingError("`outputs` was not recorded on this tape before the loss")
            stop, boundary = {self.outputs}, "`outputs`"
        else:
            stop, boundary = {node for node in self.nodes if node.op.loss}, "a registered loss"
        terms, leftover = self._cut(stop, wanted_by, linear=self.outputs is None)
        if leftover or not terms:
            leaf = next(iter(leftover), self.loss)
            raise QuantityError(
                f"{wanted_by} is undefined for this objective: a term of it reaches "
                f"{self.names.get(leaf) or leaf.label!r} without passing through {boundary}"
            )
        return terms

    def first_samples(self) -> tuple[list[Term], dict[Node, Any]]:
        """The first tensors with samples on the way down, and the gradient of what has none."""
        stop = {node for node in self.nodes if isinstance(self.batch.axis(node), int)}
        terms, leftover = self._cut(stop, "a per-sample quantity", linear=False)
        if not terms:
            raise BatchError(
                "the samples could not be followed to the loss: mark the last tensor that has an "
                "axis of samples with tracer.batch(x, axis)"
            )
        return terms, leftover

    def _cut(
        self, stop: set[Node], wanted_by: str, linear: bool
    ) -> tuple[list[Term], dict[Node, Any]]:
        """A gradient sweep from the objective to `stop`: terms, and what arrived elsewhere."""
        arrived = {self.loss: self.one()}
        found: list[Term] = []
        for node in reversed(self.nodes):
            g = arrived.pop(node, None)
            if g is None:
                continue
            if self.watched is not None:
                self.watched[id(node), "cotangent"] = statistics(g[0])
            if node in stop:
                found.append(Term(self, node, g, wanted_by))
                continue
            if linear and not is_linear(node, wanted(node)):
                raise QuantityError(
                    f"{wanted_by} is undefined for this objective: the term made by "
                    f"{node.op.name} ({node.source or 'unknown line'}) is not a registered loss, "
                    f"and nothing says where it splits into model and loss: use a loss such as "
                    f"mse_loss, or name the model's output with tape.backward(loss, outputs=f)"
                )
            view = Recorded(node) if self.recorded else node
            for parent, entry in zip(node.parents, cotangents_of(view, node, g), strict=True):
                if parent is not None and parent.wants:
                    entry = entry_value(entry)
                    if entry is not None:
                        entry = fit(entry, parent.shape)
                        before = arrived.get(parent)
                        arrived[parent] = entry if before is None else before + entry
        for node in [node for node in arrived if node in stop]:
            found.append(Term(self, node, arrived.pop(node), wanted_by))
        return sorted(found, key=lambda term: not term.of_samples), arrived

    # -- matrices -----------------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Node]:
        """Parameters by name."""
        return {name: leaf for leaf, name in self.names.items()}

    @cached_property
    def products(self) -> Products:
        """Products with the Hessian, and with Gauss-Newton matrices of given roots."""
        seeds = {self.loss: self.one()}
        return Products(self.record, self.nodes, seeds, list(self.names), self.budget)

    def gauss_newton(self, kind: str, wanted_by: str, samples: int = 1) -> Any:
        """A function from vectors to products with the Gauss-Newton or a Fisher matrix.

        `kind` says what square root of the terms' Hessians it takes: "exact", "sampled" (from
        targets sampled now) or "empirical".
        """
        make = {
            "exact": lambda term: one_position_each(term.short_sqrt_hessian(), term.sample_axis),
            "sampled": lambda term: term.sqrt_hessian_sampled(samples, self.rng),
            "empirical": Term.sqrt_empirical,
        }[kind]
        terms = [term for term in self.terms(wanted_by) if term.prediction.wants]
        roots = [(term, make(term)) for term in terms]
        return lambda vectors: self.products.gauss_newton(vectors, roots)

    def hessian_diagonal(self, leaf: Node) -> Any:
        """The diagonal of a parameter's block of the Hessian, `[*p]`, from products."""
        return self._diagonal(leaf, self.products)

    def hessian_diagonal_of_samples(self, leaf: Node) -> Any:
        """Each sample's share of that diagonal, `[N, *p]`: products for each sample by itself."""
        count = self.batch.size or 1
        chosen = range(count) if self.samples is None else self.samples % count
        terms, _ = self.first_samples()
        parts = []
        for n in chosen:
            seeds: Mapping[Node, Any] = {
                term.node: np.where(self._only_sample(term, n), term.arrived, 0) for term in terms
            }
            products = Products(self.record, self.nodes, seeds, list(self.names), self.budget)
            parts.append(self._diagonal(leaf, products))
        return np.stack(parts)

    def _only_sample(self, term: Term, n: int) -> Any:
        shape, axis = term.node.shape, self.batch.axis(term.node)
        axis = axis if isinstance(axis, int) else 0
        mask = samples_of(axis, shape[axis]) == n
        mask = mask.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        return backend.of(term.arrived).from_host(mask)

    def _diagonal(self, leaf: Node, products: Products) -> Any:
        size = math.prod(leaf.shape)
        step = max(1, size)
        if self.budget is not None:
            step = max(1, self.budget // max(1, 16 * size * leaf.dtype.itemsize))
        parts = []
        for start in range(0, size, step):
            elements = backend.namespace(self.like(leaf)).arange(size)
            basis = (elements[start : start + step, None] == elements).astype(leaf.dtype)
            moved = products.hessian({leaf: basis.reshape(-1, *leaf.shape)})[leaf]
            parts.append((moved.reshape(basis.shape) * basis).sum(1))
        return np.concatenate(parts).reshape(leaf.shape)
