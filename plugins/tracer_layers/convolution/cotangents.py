"""The cotangent of a convolution's weight: an `Outer`, contracted by compiled kernels if they run.

A kernel correlates inputs and outputs as they lie, a sample after the other, and needs no columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tracer import Dense, Outer, Reindexed
from tracer.extend import Array, Cotangent, Shape, Signs, Some, Stack, compiled
from tracer_layers.convolution.windows import Windows

Made = TypeVar("Made")


class WindowsOuter(Outer):
    """`U[v,n,o,k,c] = sum_p g[v,n,o,p] x[n,c,i]` of `x [N, C, *size]` and `g [V, N, O, *output]`.

    Its `shape` is `[O, *kernel, C/G]`; `left` makes what the windows see, as `Outer` wants it.
    """

    def __init__(
        self,
        left: Callable[[Some], Array],
        shape: Shape,
        moment: Callable[[], Array] | None,
        x: Array,
        g: Array,
        w: Windows,
        groups: int,
    ):
        rows, samples, outputs = g.shape[:3]
        right = np.reshape(g, (rows, samples, groups, outputs // groups, math.prod(w.output)))
        super().__init__(left, np.transpose(right, (0, 1, 4, 2, 3)), shape, moment=moment)
        self.x, self.g, self.w = x, g, w

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Outer:
        chosen = super().select(rows, samples)
        parts = isinstance(rows, slice) and isinstance(samples, slice)
        if not parts or type(self.g) is not np.ndarray:
            return chosen
        every = samples == slice(None)
        left = self._left if every else (lambda some: self._made(samples)[some])
        x, g = self.x[samples], self.g[rows, samples]
        moment = self._moment if every else None
        return WindowsOuter(left, self.shape, moment, x, g, self.w, self.groups)

    def _by_kernel(self, contraction: Callable[..., Made | None]) -> list[Made] | None:
        """One of `Compiled`'s contractions for each row of `g`; None where no kernel takes it."""
        if type(self.g) is not np.ndarray or self.x.dtype != self.dtype or not self.rows:
            return None
        made = []
        for g in self.g:
            row = contraction(self.x, g, self.w, self.groups)
            if row is None:
                return None
            made.append(row)
        return made

    def whole(self) -> Cotangent:
        """As a kernel makes it, `[*kernel, C/G, O]`; the sum over samples comes with it."""
        made = self._by_kernel(compiled().correlation_each)
        if made is None:
            return super().whole()
        whole = Reindexed(
            Dense(_stacked([each for each, _ in made])),
            self.shape,
            pull=lambda stack: np.moveaxis(stack, -1, 1),
            push=lambda direction: np.moveaxis(direction, 0, -1),
            key=("outputs last",),
        )
        whole.known_total = _kernels_first([total for _, total in made])
        return whole

    def _total(self) -> Stack:
        made = self._by_kernel(compiled().correlate)
        return super()._total() if made is None else _kernels_first(made)

    def _squared_norms(self) -> Array:
        """The sum over samples comes with them, for the gradient."""
        made = self._by_kernel(compiled().correlation_norms)
        if made is None:
            return super()._squared_norms()
        self.known_total = _kernels_first([total for _, total in made])
        return np.stack([norms for norms, _ in made])

    def _sum_of_squares(self, signs: Signs) -> Array:
        made = self._by_kernel(compiled().correlation_squares) if signs is None else None
        if made is None:
            return super()._sum_of_squares(signs)
        total, *others = made
        for other in others:
            total += other
        return _kernel_first(total)


def _stacked(rows: list[Array]) -> Stack:
    """`np.stack(rows)`, of one without a copy."""
    return rows[0][None] if len(rows) == 1 else np.stack(rows)


def _kernels_first(weights: list[Array]) -> Stack:
    """Weights `[O, C/G, *kernel]` as a stack `[V, O, *kernel, C/G]`."""
    return _stacked([_kernel_first(weight) for weight in weights])


def _kernel_first(weight: Array) -> Array:
    """`[O, C/G, *kernel]` as `[O, *kernel, C/G]`."""
    return np.moveaxis(weight, 1, -1)
