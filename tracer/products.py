"""Products with the Hessian and the Gauss-Newton matrix of a recorded objective.

Vectors come in stacks, one `[V, *p]` per parameter, so that many columns cost one sweep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.sweep import Sweep
from tracer.tangents import push
from tracer.tape import Node, Tape, using
from tracer.tensor import Tensor

if TYPE_CHECKING:
    from tracer.terms import Term


class Products:
    """Products for an objective, or a part of it, recorded in `nodes`, whose values must stay.

    `seeds` are the cotangents `[1, *shape]` that its gradient starts from; `parameters` the leaves
    that vectors are made of. `budget` bounds the bytes of temporaries: vectors are taken in chunks.
    """

    def __init__(
        self,
        nodes: list[Node],
        seeds: Mapping[Node, Any],
        parameters: Sequence[Node],
        budget: int | None = None,
    ):
        self.nodes = nodes
        self.seeds = seeds
        self.parameters = list(parameters)
        self.budget = budget

    @cached_property
    def _gradient(self) -> tuple[list[Node], dict[Node, Any]]:
        """The gradient, recorded: the nodes of the extended record, and a tensor per parameter."""
        with using(None), Tape() as tape:
            tape.nodes = list(self.nodes)
            tensors = {node: Tensor(stack) for node, stack in self.seeds.items()}
            arrived = Sweep(self.nodes, tensors, recorded=True).run()
            found = {
                leaf: arrived[leaf]
                for leaf in self.parameters
                if isinstance(arrived.get(leaf), Tensor) and arrived[leaf].node is not None
            }
        return tape.nodes, found

    def hessian(self, vectors: Mapping[Node, Any]) -> dict[Node, Any]:
        """The Hessian times stacks of vectors; a parameter that is left out counts as zero."""
        return self._in_chunks(self._hessian, vectors)

    def gauss_newton(
        self, vectors: Mapping[Node, Any], roots: Sequence[tuple[Term, Any]]
    ) -> dict[Node, Any]:
        """`sum_terms J^T H J` times stacks of vectors (Schraudolph 2002).

        `roots` pairs the objective's terms with rows `[C, *prediction]`, the square root of H.
        """
        return self._in_chunks(partial(self._gauss_newton, roots), vectors)

    def _in_chunks(
        self, product: Callable[[Mapping[Node, Any]], dict[Node, Any]], vectors: Mapping[Node, Any]
    ) -> dict[Node, Any]:
        rows = len(next(iter(vectors.values())))
        step = rows
        if self.budget is not None:
            each = sum(math.prod(n.shape) * n.dtype.itemsize for n in self.nodes if n.wants)
            step = max(1, self.budget // max(1, 2 * each))
        if step >= rows:
            return product(vectors)
        parts = [
            product({leaf: stack[i : i + step] for leaf, stack in vectors.items()})
            for i in range(0, rows, step)
        ]
        return {leaf: np.concatenate([part[leaf] for part in parts]) for leaf in parts[0]}

    def _hessian(self, vectors: Mapping[Node, Any]) -> dict[Node, Any]:
        nodes, gradient = self._gradient
        seeds: dict[Node, Any] = {}
        for leaf, stack in vectors.items():
            if leaf in gradient:
                node = gradient[leaf].node
                seed = stack[:, None]
                seeds[node] = seeds[node] + seed if node in seeds else seed
        direct = {node: seeds.pop(node) for node in list(seeds) if node.op.leaf}
        with using(None):
            arrived = Sweep(nodes, seeds).run() if seeds else {}
        for node, seed in direct.items():
            arrived[node] = seed[:, 0] + arrived[node] if node in arrived else seed[:, 0]
        return self._complete(arrived, vectors)

    def _gauss_newton(
        self, roots: Sequence[tuple[Term, Any]], vectors: Mapping[Node, Any]
    ) -> dict[Node, Any]:
        moved: dict[Any, Any] = dict(vectors)
        with using(None):
            push(self.nodes, moved, recorded=False)
            seeds: dict[Node, Any] = {}
            for term, root in roots:
                prediction = term.prediction
                if prediction not in moved:
                    continue
                stack = _curved(root, moved[prediction], term.sample_axis)
                seeds[prediction] = seeds[prediction] + stack if prediction in seeds else stack
            arrived = Sweep(self.nodes, seeds).run() if seeds else {}
        return self._complete(arrived, vectors)

    def _complete(
        self, arrived: Mapping[Node, Any], vectors: Mapping[Node, Any]
    ) -> dict[Node, Any]:
        like = next(iter(vectors.values()))
        out = {}
        for leaf in self.parameters:
            stack = arrived.get(leaf)
            if stack is None:
                stack = np.zeros_like(like, shape=(len(like), *leaf.shape), dtype=leaf.dtype)
            out[leaf] = stack
        return out


def _curved(root: Any, moved: Any, axis: int) -> Any:
    """`H m` from `H = sum_c s_c s_c^T` per sample: `root [C, *y]`, `moved [V, *y]`."""
    s = np.moveaxis(root, axis + 1, 1)
    m = np.moveaxis(moved, axis + 1, 1)
    flat_s, flat_m = s.reshape(*s.shape[:2], -1), m.reshape(*m.shape[:2], -1)
    inner = np.einsum("cnd,vnd->vnc", flat_s, flat_m)
    out = np.einsum("vnc,cnd->vnd", inner, flat_s).reshape(m.shape)
    return np.moveaxis(out, 1, axis + 1)
