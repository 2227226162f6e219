"""Products with the Hessian and the Gauss-Newton matrix of a recorded objective.

Vectors come in stacks, one `[V, *p]` per parameter, so that many columns cost one sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from tracer import hooks
from tracer.arrays.dtypes import widened, working
from tracer.arrays.types import Stack
from tracer.curvature.plan import Allowance
from tracer.curvature.seed_rows import SeedRows
from tracer.curvature.terms import Term
from tracer.record.axes import (
    GroupedAxis,
    SampleAxis,
    entries_by_sample,
    entries_in_order,
    position_of,
)
from tracer.record.frames import users_warnings
from tracer.record.node import Node
from tracer.record.recorder import Recorder, rerecording, using
from tracer.record.replay import replay
from tracer.record.tensor import Tensor
from tracer.sweep.sweep import Sweep
from tracer.sweep.tangents import push


class Products:
    """Products for an objective, or a part of it, recorded in `nodes` of a tape's `record`.

    Values that a later sweep of the record drops are computed again. `seeds` are the cotangents
    `[1, *shape]` that its gradient starts from; `parameters` the leaves that vectors are made of,
    with their names.
    What is `allowed` bounds the bytes of temporaries: vectors are taken in chunks. `only` is what
    depends on these parameters, where they are not all.
    """

    def __init__(
        self,
        record: Recorder,
        nodes: list[Node],
        seeds: Mapping[Node, Stack],
        parameters: Mapping[Node, str],
        allowed: Allowance,
        only: set[Node] | None = None,
    ):
        self.record = record
        self.nodes = nodes
        #: after how many of the record's releases the values are there
        self._restored = record.releases
        self.seeds = seeds
        self.names = parameters
        self.parameters = list(parameters)
        self.allowed = allowed
        self.only = only

    def _restore(self) -> None:
        """See that the values are there, and are those that were recorded."""
        releases = self.record.releases
        self.record.snapshots.check(self.nodes, replayed=True)
        if releases != self._restored:
            replay(self.nodes, keep_inputs=set(self.nodes))
            self._restored = releases

    @cached_property
    def _gradient(self) -> tuple[list[Node], dict[Node, Tensor]]:
        """The gradient, recorded: the nodes of the extended record, and a tensor per parameter."""
        with using(None), rerecording() as tape:
            tape.nodes = list(self.nodes)
            tensors = {node: Tensor(stack) for node, stack in self.seeds.items()}
            arrived = Sweep(self.nodes, tensors, recorded=True, only=self.only).run()
            found = {
                leaf: arrived[leaf]
                for leaf in self.parameters
                if isinstance(arrived.get(leaf), Tensor) and arrived[leaf].node is not None
            }
        return tape.nodes, found

    def hessian(self, vectors: Mapping[Node, Stack]) -> dict[Node, Stack]:
        """The Hessian's block of some parameters times a stack of vectors for each of them."""
        hooks.call("begin_sweep", tape=self.record, loss=None)
        with users_warnings():
            self._restore()
            nodes, gradient = self._gradient
            product = partial(self._hessian, nodes, gradient)
            out = self._in_chunks(product, vectors, _bytes(nodes))
        return self._told("hessian_product", out)

    def gauss_newton(
        self, vectors: Mapping[Node, Stack], roots: Sequence[tuple[Term, SeedRows | None]]
    ) -> dict[Node, Stack]:
        """`sum_terms J^T H J`, its block of some parameters, times stacks (Schraudolph 2002).

        `roots` pairs the objective's terms with rows `[C, *prediction]`, the square root of H, or
        with None where H is the term's `leaf_hessian`.
        """
        hooks.call("begin_sweep", tape=self.record, loss=None)
        with users_warnings():
            self._restore()
            product = partial(self._gauss_newton, roots)
            out = self._in_chunks(product, vectors, _bytes(self.nodes))
        return self._told("ggn_product", out)

    def _told(self, what: str, out: dict[Node, Stack]) -> dict[Node, Stack]:
        """A product, of which the hooks of plugins are told."""
        if hooks.heard("end_sweep"):
            named = {self.names[leaf]: stack for leaf, stack in out.items()}
            hooks.call("end_sweep", tape=self.record, results={what: named})
        return out

    def _in_chunks(
        self,
        product: Callable[[Mapping[Node, Stack]], Mapping[Node, Stack]],
        vectors: Mapping[Node, Stack],
        each: int,
    ) -> dict[Node, Stack]:
        """A product in chunks of vectors; `each` is about what one vector's temporaries take."""
        like = next(iter(vectors.values()))
        rows = step = len(like)
        each += 2 * _bytes(self.parameters)
        limit = self.allowed.limit(rows * each)
        if limit is not None:
            step = max(1, limit // max(1, each))
        out = {
            leaf: np.zeros_like(
                like, shape=(rows, *leaf.shape), dtype=np.result_type(like.dtype, leaf.dtype)
            )
            for leaf in vectors
        }
        for start in range(0, rows, step):
            some = slice(start, start + step)
            arrived = product({leaf: widened(stack[some]) for leaf, stack in vectors.items()})
            for leaf, stack in out.items():
                if leaf in arrived:
                    stack[some] = arrived[leaf]
        return out

    def _hessian(
        self, nodes: list[Node], gradient: Mapping[Node, Tensor], vectors: Mapping[Node, Stack]
    ) -> dict[Node, Stack]:
        """Tangents of the gradient: forward over reverse.

        It takes 0.6 to 1 of the time of reverse over reverse, for one vector and for eight, of an
        MLP, an LSTM and a transformer, and a sixth for eight vectors and convolutions.
        """
        moved: dict[Node | None, Stack] = {**vectors}  # type: ignore[dict-item]  # a key is no None
        reached = {leaf: gradient[leaf].node for leaf in vectors if leaf in gradient}
        with using(None):
            push(nodes, moved, recorded=False, wanted=set(reached.values()))
        found = {leaf: moved.get(node) for leaf, node in reached.items()}
        return {leaf: stack[:, 0] for leaf, stack in found.items() if stack is not None}

    def _gauss_newton(
        self, roots: Sequence[tuple[Term, SeedRows | None]], vectors: Mapping[Node, Stack]
    ) -> dict[Node, Stack]:
        moved: dict[Any, Any] = dict(vectors)
        with using(None):
            push(self.nodes, moved, False, {term.prediction for term, _ in roots})
            seeds: dict[Node, Stack] = {}
            for term, root in roots:
                prediction = term.prediction
                if prediction not in moved:
                    continue
                if root is None:
                    stack = term.leaf_hessian * moved[prediction]
                else:
                    along = prediction.shape and (term.has_axis or term.at_loss)
                    axis = term.axis if along else None
                    stack = self._curved(root, moved[prediction], axis)
                seeds[prediction] = seeds[prediction] + stack if prediction in seeds else stack
            moved.clear()
            return Sweep(self.nodes, seeds, only=self.only).run() if seeds else {}

    def _curved(self, root: SeedRows, moved: Stack, axis: SampleAxis | None) -> Stack:
        """`H m`, from all rows of the root or, where they are made anew, from chunks of them."""
        step = len(root)
        if not root.held and self.allowed.nbytes is not None:
            each = math.prod(moved.shape[1:]) * moved.dtype.itemsize
            step = max(1, self.allowed.nbytes // (8 * max(1, each)))
        total: Any = None
        for start in range(0, len(root), step or 1):
            part = _curved(root[start : start + step], moved, axis)
            total = part if total is None else total + part
        return np.zeros_like(moved) if total is None else total


def _bytes(nodes: Sequence[Node]) -> int:
    """Bytes of the values that want a gradient, all together."""
    return sum(math.prod(n.shape) * working(n.dtype).itemsize for n in nodes if n.wants)


def _curved(root: Stack, moved: Stack, axis: SampleAxis | None) -> Stack:
    """`H m` from `H = sum_c s_c s_c^T` per sample: `root [C, *y]`, `moved [V, *y]`.

    Without an axis of samples it is one matrix for all of y.
    """
    if axis is None:
        return _curved(root[:, None], moved[:, None], 0)[:, 0]
    shape = moved.shape
    if moved.ndim == 1:  # of a number
        root, moved = root[:, None], moved[:, None]
    along = 1 + position_of(axis)
    s, m = np.moveaxis(root, along, 1), np.moveaxis(moved, along, 1)
    flat_s, flat_m = (x.reshape(*x.shape[:2], math.prod(x.shape[2:])) for x in (s, m))
    inner = np.einsum("cnd,vnd->vnc", flat_s, flat_m)
    if isinstance(axis, GroupedAxis) and axis.uses(len(s[0])) > 1:  # a sample's entries are one
        entries = entries_by_sample(inner, axis, 1)
        total = np.broadcast_to(entries.sum(2, keepdims=True), entries.shape)
        inner = entries_in_order(total, axis, inner.shape[1], 1)
    out = np.einsum("vnc,cnd->vnd", inner, flat_s).reshape(m.shape)
    return np.moveaxis(out, 1, along).reshape(shape)
