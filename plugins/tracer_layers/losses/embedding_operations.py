"""Losses of how near vectors are to each other, which models give two or three at a time.

The vectors are on one axis of the prediction, since a Hessian is by all of them together. It is
not positive where the loss asks vectors to be apart. So these losses have no rule for its root:
quantities of the Gauss-Newton matrix find it by themselves, or say that there is none.
"""

from __future__ import annotations

import numpy as np

from tracer import operation
from tracer.errors import ShapeError
from tracer.extend import (
    Array,
    by_contraction,
)
from tracer_layers.losses.loss import Loss
from tracer_layers.module.rules import mapped_axis, raw

#: what squared lengths are added to, as in PyTorch
SMALL = 1e-12


class OfVectors(Loss):
    """A loss of vectors `[..., number, width]` as `[...]`."""

    @staticmethod
    def batch_axis(node, axes):
        return mapped_axis(axes[0], len(node.input_shape(0)), 2)


@operation("cosine_embedding")
class CosineEmbedding(OfVectors):
    """`1 - cos` of the angle between two vectors where t is 1, `max(0, cos - margin)` where -1."""

    jvp = by_contraction(lambda node: (-2, -1))

    def forward(x, target, *, margin):
        if target.shape not in (x.shape[:-2], ()):
            raise ShapeError(
                f"expects a sign for each pair of vectors, {list(x.shape[:-2])}, got "
                f"{list(target.shape)}"
            )
        cosine = _cosine(x)[0]
        far = np.where(target == -1, np.maximum(cosine - margin, 0), 0)
        return np.where(target == 1, 1 - cosine, far)

    def vjp(node, g):
        """g_a = s g (b / (|a| |b|) - cos a / |a|^2), and so for b.

        s is -1 where t is 1, and 1 where it is -1 and the margin is not kept.
        """
        x, target = node.inputs[0], raw(node.inputs[1])
        cosine, squares = _cosine(x)
        wanting = (target == -1) & (raw(cosine) > node.params["margin"])
        slope = g * (wanting.astype(x.dtype) - (target == 1).astype(x.dtype))
        lengths = np.sqrt(squares[..., 0, :] * squares[..., 1, :])[..., None]
        turned = x[..., ::-1, :] / lengths - cosine[..., None, None] * x / squares
        return slope[..., None, None] * turned, None

    def examples(rng):
        x, signs = rng.standard_normal((4, 2, 3)), np.array([1, -1, -1, 1])
        return [((x, signs), {"margin": -0.9}), ((x, signs), {"margin": 0.3})]


def _cosine(x: Array) -> tuple[Array, Array]:
    """The cosines `[...]`, and the squared lengths `[..., 2, 1]`."""
    squares = np.sum(x * x, axis=-1, keepdims=True) + SMALL
    products = np.sum(x[..., 0, :] * x[..., 1, :], axis=-1)
    return products / np.sqrt(squares[..., 0, 0] * squares[..., 1, 0]), squares


@operation("triplet_margin")
class TripletMargin(OfVectors):
    """`max(0, margin + d(a, b) - d(a, c))` of vectors a, b, c and `d(a, b) = |a - b + eps|_p`.

    With `swap` of the lesser of `d(a, c)` and `d(b, c)` (Balntas et al. 2016).
    """

    jvp = by_contraction(lambda node: (-2, -1))

    def forward(x, *, margin, p, eps, swap):
        if x.ndim < 2 or x.shape[-2] != 3:
            raise ShapeError(f"expects three vectors [..., 3, width], got {list(x.shape)}")
        near, far = _distances(x, p, eps, swap)
        return np.maximum(margin + near - far, 0)

    def vjp(node, g):
        """g_a = g (n(a - b) - n(a - c)), g_b = -g n(a - b), g_c = g n(a - c) out of the margin.

        n(u) is the gradient of the norm; with the other distance, b is in place of a.
        """
        x, options = node.inputs[0], node.params
        p, eps, swap = (options[name] for name in ("p", "eps", "swap"))
        near, far = (raw(d) for d in _distances(x, p, eps, swap))
        slope = (g * (options["margin"] + near - far > 0))[..., None]
        a, b, c = (x[..., i, :] for i in range(3))
        pulled, pushed = slope * _direction(a - b + eps, p), slope * _direction(a - c + eps, p)
        if not swap:
            return (np.stack([pulled - pushed, -pulled, pushed], axis=-2),)
        other = slope * _direction(b - c + eps, p)
        first = raw(_norm(a - c + eps, p)) <= raw(_norm(b - c + eps, p))
        mine, its = np.where(first[..., None], pushed, 0), np.where(first[..., None], 0, other)
        return (np.stack([pulled - mine, -pulled - its, mine + its], axis=-2),)

    def examples(rng):
        x = rng.standard_normal((4, 3, 2))
        plain = {"margin": 1.0, "p": 2.0, "eps": 1e-6, "swap": False}
        return [((x,), plain), ((x,), plain | {"p": 3.0, "swap": True}), ((x,), plain | {"p": 1.5})]


def _norm(u: Array, p: float) -> Array:
    return np.linalg.norm(u, p, axis=-1)


def _distances(x: Array, p: float, eps: float, swap: bool) -> tuple[Array, Array]:
    a, b, c = (x[..., i, :] for i in range(3))
    near, far = _norm(a - b + eps, p), _norm(a - c + eps, p)
    return near, np.minimum(far, _norm(b - c + eps, p)) if swap else far


def _direction(u: Array, p: float) -> Array:
    """The gradient of the p-norm: `sign(u) (|u| / |u|_p)^(p - 1)`, zero at zero.

    Of p = 0, which counts, it is zero; of infinity it is a sign, shared by the largest.
    """
    if p == 0:
        return np.zeros_like(raw(u))
    if np.isinf(p):
        sizes = abs(raw(u))
        largest = sizes == np.max(sizes, axis=-1, keepdims=True)
        return np.sign(raw(u)) * largest / np.sum(largest, axis=-1, keepdims=True, dtype=u.dtype)
    length = _norm(u, p)[..., None]
    there = raw(length) > 0
    if p == 2:
        return np.where(there, u / np.where(there, length, 1), 0)
    share = np.abs(u) / np.where(there, length, 1)
    return np.where(there, np.sign(raw(u)) * share ** (p - 1), 0)
