"""The standardisation of a last axis, which layer normalisation consists of."""

from __future__ import annotations

import numpy as np

from tracer import Operation, operation
from tracer.extend import Array, by_symmetry, compiled, expect_attention
from tracer_layers.module.rules import mapped_axis, row_sums

#: elements of sequences from which on products are worth to be divided
MANY = 1 << 16


@operation("standardise")
class Standardise(Operation):
    """`(x - mean) / sqrt(variance + eps)` over the last axis, of the biased variance.

    One operation, since its steps pass on ten arrays of the size of `x` for every row of a stack:
    ten rows take them nearly twice as long.
    """

    saves = ("inputs", "output")
    jvp = by_symmetry

    def forward_keeping(x, *, eps):
        if x.ndim > 2 and x.size >= MANY:  # sequences, whose next product may be attention's
            expect_attention()
        fast = compiled().standardise(x, eps)
        if fast is not None:
            return fast
        centred, rate = _moments(x, eps)
        centred *= rate
        return centred, rate

    def vjp(node, g):
        """(g - mean(g) - y * mean(g * y)) / sqrt(variance + eps), means along the last axis."""
        y, rate = node.output, node.kept
        if rate is None:
            _, rate = _moments(node.inputs[0], node.params["eps"])
        fast = compiled().standardise_vjp(g, y, rate)
        if fast is not None:
            return (fast,)
        size = y.shape[-1]
        pulled = y * (np.einsum("...d,...d->...", g, y)[..., None] / size)
        pulled += row_sums(g) / size
        return ((g - pulled) * rate,)

    def batch_axis(node, axes):
        return mapped_axis(axes[0], len(node.shape), mixed=1)

    def examples(rng):
        return [
            ((rng.standard_normal((2, 3, 4)),), {"eps": 1e-2}),
            ((rng.random(3),), {"eps": 1.0}),
        ]


def _moments(x: Array, eps: float) -> tuple[Array, Array]:
    """`x` less its mean, and one over the root of its variance and `eps`, with the axis kept."""
    centred = x - row_sums(x) / x.shape[-1]
    variance = np.einsum("...d,...d->...", centred, centred)[..., None] / x.shape[-1]
    return centred, 1 / np.sqrt(variance + eps)
