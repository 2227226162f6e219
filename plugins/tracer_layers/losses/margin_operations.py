"""Losses that ask for a margin between scores, of pairs, classes or labels."""

from __future__ import annotations

import numpy as np

from tracer import operation
from tracer.errors import ShapeError
from tracer.extend import (
    Array,
    backend,
    by_contraction,
    by_slopes,
)
from tracer_layers.activations.operations import Logistic
from tracer_layers.losses.loss import (
    EVERY,
    Loss,
    diagonal,
    each_position,
    from_host,
    only_prediction,
    same_shape,
    sample_axis,
)
from tracer_layers.module.rules import arange, raw


class PiecewiseLinear(Loss):
    """A loss whose Hessian is zero almost everywhere."""

    @staticmethod
    def sqrt_hessian(node, weight, rows=EVERY):
        """Zero almost everywhere."""
        return diagonal(0 * node.inputs[0], node, rows)


def _signed(rng):
    """Scores apart from kinks, and signs."""
    return rng.uniform(0.1, 0.8, (3, 2)), rng.choice([-1.0, 1.0], (3, 2))


@operation("hinge")
class Hinge(PiecewiseLinear):
    """`max(0, margin - t x)` of scores x, for signs t."""

    jvp = by_slopes

    def forward(x, target, *, margin):
        same_shape(x, target)
        return np.maximum(margin - target * x, 0)

    def vjp(node, g):
        """g_x = -g t where the margin is not kept, else 0; g_t = -g x there."""
        x, target = node.inputs
        wanting = raw(target) * raw(x) < node.params["margin"]
        return (
            lambda: np.where(wanting, -g * target, 0),
            lambda: np.where(wanting, -g * x, 0),
        )

    def examples(rng):
        x, signs = _signed(rng)
        return [((x, signs), {"margin": 0.5}), ((x, signs), {"margin": 0.0})]


@operation("hinge_embedding")
class HingeEmbedding(PiecewiseLinear):
    """A distance x where t is 1, and `max(0, margin - x)` where it is -1."""

    jvp = by_slopes

    def forward(x, target, *, margin):
        same_shape(x, target)
        return np.where(target != -1, x, 0) + np.where(target != 1, np.maximum(margin - x, 0), 0)

    def vjp(node, g):
        """g_x = g where t is 1, -g where it is -1 and the margin is not kept, else 0."""
        x, target = map(raw, node.inputs)
        wanting = (target != 1) & (x < node.params["margin"])
        return lambda: np.where(target != -1, g, 0) - np.where(wanting, g, 0), None

    def examples(rng):
        x, signs = _signed(rng)
        return [((x, signs.astype(int)), {"margin": 0.5})]


@operation("soft_margin")
class SoftMargin(Loss):
    """`log(1 + exp(-t x))` of logits x and signs t; its likelihood is Bernoulli's of the signs."""

    jvp = by_slopes

    def forward(x, target):
        same_shape(x, target)
        return np.logaddexp(-target * x, 0)

    def vjp(node, g):
        """g_x = -g t sigmoid(-t x); g_t = -g x sigmoid(-t x)."""
        x, target = node.inputs
        wrong = Logistic(-target * x)
        return lambda: -g * (target * wrong), lambda: -g * (x * wrong)

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = |t_c| sqrt(weight_c p_c (1 - p_c)) e_c with p = sigmoid(t x), a row per element."""
        x, target = node.inputs
        p = Logistic(target * x)
        return diagonal(weight * target * target * (p * (1 - p)), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """-sqrt(weight / M) b sigmoid(-b x), with b drawn from |t| and -|t|, |t| of probability p.

        p = sigmoid(|t| x).
        """
        only_prediction(node)
        x, target = node.inputs
        size = abs(target)
        uniform = from_host(rng.random((samples, *x.shape)), x)
        sign = np.where(uniform < Logistic(size * x), size, -size)
        return -np.sqrt(weight * (1 / samples)) * sign * Logistic(-sign * x)

    def examples(rng):
        return [(_signed(rng), {})]


@operation("multi_margin")
class MultiMargin(Loss):
    """`sum_j w_t max(0, margin - x_t + x_j)^p / C` over the classes j other than t; p is 1 or 2.

    Scores x are `[N, C]`, classes t `[N]`, class weights w `[C]`, an optional third input.
    """

    jvp = by_contraction(lambda node: (-1,))

    def forward(x, target, weight=None, *, p, margin):
        _check_classes(x, target, weight)
        missed = _missed(x, target, margin)
        return (missed**p * _class_scale(x, target, weight)).sum(axis=-1)

    def vjp(node, g):
        """g_x[j] = g s_j for j other than t, g_x[t] = -g sum_j s_j; g_w[t] = g loss / w_t.

        s_j = w_t p max(0, margin - x_t + x_j)^(p - 1) / C where that is positive.
        """
        (x, target, *weights), p = node.inputs, node.params["p"]
        missed, hot = _missed(x, target, node.params["margin"]), _hot(x, target)
        reached = raw(missed) > 0

        def scores():
            rate = 2 * missed if p == 2 else reached.astype(x.dtype)
            slope = rate * _class_scale(x, target, *weights)
            return g[..., None] * (slope - hot * np.sum(slope, axis=-1, keepdims=True))

        def class_weights():
            share = np.sum(missed**p, axis=-1, keepdims=True) * (hot / x.shape[-1])
            return np.sum(g[..., None] * share, axis=-2)

        return (scores, None, class_weights)[: len(node.inputs)]

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_j = sqrt(2 weight w_t / C) (e_j - e_t) for j in the margin if p is 2, else zero."""
        only_prediction(node)
        (x, target, *weights), p = node.inputs, node.params["p"]
        reached = raw(_missed(x, target, node.params["margin"])) > 0
        scale = np.sqrt(
            (2 if p == 2 else 0) * weight[..., None] * _class_scale(x, target, *weights)
        )
        here = each_position(x, sample_axis(node), some=rows)
        roots = np.where(here & reached, scale, 0)
        return roots - np.sum(roots, axis=-1, keepdims=True) * _hot(x, target)

    def examples(rng):
        x, target, weight = rng.random((3, 4)), np.array([0, 3, 1]), rng.uniform(0.5, 2, 4)
        return [
            ((x, target), {"p": 1, "margin": 0.7}),
            ((x, target), {"p": 2, "margin": 1.0}),
            ((x, target, weight), {"p": 2, "margin": 0.3}),
        ]


def _check_classes(x: Array, target: Array, weight: Array | None) -> None:
    fits = x.ndim == 2 and target.shape == x.shape[:1] and target.dtype.kind in "iu"
    if not fits or (weight is not None and weight.shape != x.shape[1:]):
        raise ShapeError(
            f"expects class indices (ints) [N] as the target of scores [N, C], and weights [C] if "
            f"any, got {target.dtype}{list(target.shape)} for {list(x.shape)}"
        )
    if backend.of(target).asynchronous or not target.size:
        return
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= x.shape[1]:
        raise ShapeError(
            f"expects class indices from 0 to {x.shape[1] - 1}, got {low} to {high}: count classes "
            f"from 0"
        )


def _hot(x: Array, target: Array) -> Array:
    """`[N, C]` of 1 at the classes and 0 elsewhere."""
    target = raw(target)
    return (arange(target, x.shape[-1]) == target[..., None]).astype(x.dtype)


def _missed(x: Array, target: Array, margin: float) -> Array:
    """`[N, C]`: by how much each score is too near to that of the class; zero at the class."""
    hot = _hot(x, target)
    own = np.sum(x * hot, axis=-1, keepdims=True)
    return np.maximum(margin - own + x, 0) * (1 - hot)


def _class_scale(x: Array, target: Array, weight: Array | None = None) -> Array | float:
    """`w_t / C`, `[N, 1]` or a number."""
    scale = 1 / x.shape[-1]
    if weight is None:
        return scale
    return np.sum(weight * _hot(x, target), axis=-1, keepdims=True) * scale


@operation("multilabel_margin")
class MultiLabelMargin(PiecewiseLinear):
    """`sum_kj max(0, 1 - x[t_k] + x[j]) / C` over the labels t_k and all j that are no label.

    Scores x are `[N, C]`, and labels t `[N, C]` those before the first negative one.
    """

    jvp = by_contraction(lambda node: (-1,))

    def forward(x, target):
        _check_labels(x, target)
        missed, _ = _missed_labels(x, target)
        return missed.sum(axis=(-1, -2)) / x.shape[-1]

    def vjp(node, g):
        """g_x[j] = g (n_j - m_j) / C.

        n_j counts the labels k that are too near to j, and m_j, if j is a label, the scores that
        are too near to it.
        """
        x, target = map(raw, node.inputs)
        missed, labels = _missed_labels(x, target)
        near = (missed > 0).astype(x.dtype)
        slope = near.sum(-2) - np.einsum("...k,...kc->...c", near.sum(-1), labels)
        return lambda: g[..., None] * (slope / x.shape[-1]), None

    def examples(rng):
        target = np.array([[2, 0, -1, 3], [1, -1, 0, 0], [-1, 0, 1, 2]])
        return [((rng.random((3, 4)), target), {})]


def _check_labels(x: Array, target: Array) -> None:
    if x.ndim != 2 or target.shape != x.shape or target.dtype.kind not in "iu":
        raise ShapeError(
            f"expects labels (ints) [N, C], filled up with -1, as the target of scores [N, C], got "
            f"{target.dtype}{list(target.shape)} for {list(x.shape)}"
        )
    if not backend.of(target).asynchronous and bool((target >= x.shape[1]).any()):
        raise ShapeError(
            f"expects labels from 0 to {x.shape[1] - 1}, or -1 behind the last one, got "
            f"{int(target.max())}"
        )


def _missed_labels(x: Array, target: Array) -> tuple[Array, Array]:
    """`[N, K, C]`: by how much scores are too near to label k's; and the labels as 0 and 1."""
    count, before = x.shape[-1], np.cumsum(target < 0, axis=-1) == 0
    labels = (arange(target, count) == target[..., None]) & before[..., None]
    others = ~labels.any(axis=-2, keepdims=True)
    hot = labels.astype(x.dtype)
    own = np.einsum("...kc,...c->...k", hot, x)
    missed = np.maximum(1 - own[..., None] + x[..., None, :], 0)
    return np.where(before[..., None] & others, missed, 0), hot
