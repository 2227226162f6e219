"""Attention: every query takes the mean of values, weighed by how its product with each key
compares (Vaswani et al. 2017).
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tracer import Operation, operation
from tracer.errors import ShapeError
from tracer.extend import (
    POOLED,
    UNKNOWN,
    Embed,
    Generator,
    Placed,
    Shape,
    TensorLike,
    broadcast_tangent,
    broadcast_uses,
    lifted,
)
from tracer_layers.activations.dropout_layers import dropout
from tracer_layers.attention import arrays
from tracer_layers.attention.masks import additive, causal, combined, refuse_empty_rows
from tracer_layers.module.dtypes import floats

__all__ = ["scaled_dot_product_attention"]


@operation("attention_weights")
class AttentionWeights(Operation):
    """`softmax(scale * query @ key.T + bias)`: `[..., L, D]`, `[..., S, D]` give `[..., L, S]`.

    One operation, since its steps between the two products would each keep or pass on an array of
    that size, the largest of all. `bias` is optional and broadcasts to the result.
    """

    saves = ("inputs", "output")

    def forward(query, key, bias=None, *, scale):
        return arrays.weights(query, key, bias, scale)

    def vjp(node, g):
        """g_query = scale * s @ key; g_key = scale * s^T @ query; g_bias = s.

        s = y * (g - sum_s g y) `[V, ..., L, S]` is the cotangent of the scores, for the output y.
        """
        (query, key, *_), y = node.inputs, node.output
        scale = node.params["scale"]
        if all(type(a) is np.ndarray for a in (g, y, query, key)):
            both = functools.cache(lambda: arrays.pulled(g, y, query, key, scale))
            entries = (lambda: both()[0], lambda: both()[1], lambda: arrays.scores(g, y))
            return entries[: len(node.inputs)]
        slope = arrays.scores(g, y)

        def queries():
            return np.matmul(slope, key) * scale

        def keys():
            return np.matmul(np.swapaxes(slope, -1, -2), query) * scale

        return (queries, keys, lambda: slope)[: len(node.inputs)]

    def jvp(node, tangents):
        """y * (s - sum_s s y) for the tangent s of the scores."""
        (query, key, *_), scale, rank = node.inputs, node.params["scale"], len(node.shape)
        t_query, t_key, *t_bias = tangents
        parts = []
        if t_query is not None:
            parts.append(np.matmul(lifted(t_query, rank), np.swapaxes(key, -1, -2)) * scale)
        if t_key is not None:
            parts.append(np.matmul(query * scale, np.swapaxes(lifted(t_key, rank), -1, -2)))
        if t_bias and t_bias[0] is not None:
            parts.append(broadcast_tangent(t_bias[0], node.shape))
        return arrays.scores(sum(parts[1:], parts[0]), node.output)

    def parameter_cotangent(node, slot, g):
        """Of a bias, which is added to the scores of all samples: a `Summed` of their cotangents s.

        U[v,n] = sum_t s[v,n,t] over the places t that it is broadcast to.
        """
        rank = len(node.input_shape(2)) if slot == 2 else 0
        aligned = node.batch_axis + rank - len(node.shape)
        if slot < 2 or (aligned >= 0 and node.input_shape(2)[aligned] != 1):
            return None
        return broadcast_uses(arrays.scores(g, node.output), node.batch_axis, node.input_shape(2))

    def batch_axis(node, axes):
        """Among the leading axes, or that of the queries; keys are mixed."""
        places = {
            axis - len(node.input_shape(slot)): slot
            for slot, axis in enumerate(axes)
            if isinstance(axis, int)
        }
        if -1 in places or places.get(-2) == 1:
            return POOLED
        return places.popitem()[0] + len(node.shape) if len(places) == 1 else UNKNOWN

    def flops(node):
        return 2 * math.prod(node.shape) * node.input_shape(0)[-1]

    def examples(rng):
        query, key = rng.standard_normal((2, 3, 2)), rng.standard_normal((2, 4, 2))
        return [
            ((query, key), {"scale": 0.7}),
            ((query, key, rng.standard_normal((3, 4))), {"scale": 1.0}),
            ((query[:, None], key), {"scale": 0.5}),
        ]


@operation("heads")
class Heads(Operation):
    """One part of a projection, by heads: `[N, L, parts * H * D]` gives `[N, H, L, D]`.

    With `sequence_first` it takes `[L, N, parts * H * D]`. The result is a view.
    """

    saves = ()
    linear = True
    reindexes = True

    def forward(x, *, heads, part, parts, sequence_first):
        first, second, width = x.shape
        split = x.reshape(first, second, parts, heads, width // (parts * heads))[:, :, part]
        return split.transpose((1, 2, 0, 3) if sequence_first else (0, 2, 1, 3))

    def vjp(node, g):
        """g_x[v,n,l,(part,h,d)] = g[v,n,h,l,d] `[V, N, L, parts * H * D]`, 0 in the other parts."""
        params, shape = node.params, node.input_shape(0)
        order = (0, 3, 1, 2, 4) if params["sequence_first"] else (0, 1, 3, 2, 4)
        width = shape[-1] // params["parts"]
        values = np.reshape(np.transpose(g, order), (len(g), *shape[:2], width))
        if params["parts"] == 1:
            return (values,)
        start = params["part"] * width
        index = (slice(None), slice(None), slice(start, start + width))
        return (Placed(values, index, shape, Embed),)

    def batch_axis(node, axes):
        moved = {0: 2, 1: 0} if node.params["sequence_first"] else {0: 0, 1: 2}
        return moved.get(axes[0], UNKNOWN)

    def examples(rng):
        x = rng.random((2, 3, 8))
        return [
            ((x,), {"heads": 2, "part": 1, "parts": 2, "sequence_first": False}),
            ((x,), {"heads": 2, "part": 0, "parts": 1, "sequence_first": True}),
        ]


def attend(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    bias: TensorLike | None,
    scale: float,
    dropout_p: float,
    rng: Generator | None,
) -> tuple[TensorLike, TensorLike]:
    """`(output [..., L, Dv], weights [..., L, S])`, the weights after dropout."""
    inputs = (query, key) if bias is None else (query, key, bias)
    weights = AttentionWeights(*inputs, scale=scale)
    weights = dropout(weights, dropout_p, rng=rng)
    return np.matmul(weights, value), weights


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    rng: Generator | None = None,
) -> TensorLike:
    """`softmax(scale * query @ key.T + mask) @ value` (Vaswani et al. 2017).

    `query [..., L, D]`, `key [..., S, D]`, `value [..., S, Dv]` give `[..., L, Dv]`. `attn_mask`
    broadcasts to `[..., L, S]`: of bools that are true where a key takes part, or floats that are
    added. `is_causal` hides from query i the keys behind position i, besides. `scale` is
    `1 / sqrt(D)` by default. Weights are dropped with probability `dropout_p`, at any time. With
    `enable_gqa`, groups of query heads (axis -3) share a head of keys and values.

    Raises `ShapeError` for shapes that do not fit and for queries whose keys are all hidden.
    """
    name, given = "scaled_dot_product_attention", (query, key, value)
    query, key, value = (floats(x, *given) for x in given)
    if enable_gqa:
        key, value = (_repeated(name, query, x) for x in (key, value))
    _check(name, query, key, value)
    queries, keys = query.shape[-2], key.shape[-2]
    lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    mask = None
    if attn_mask is not None:
        mask = additive("attn_mask", attn_mask, query.dtype, hidden=False)
        fits_within("attn_mask", mask, (*lead, queries, keys))
    bias = combined([mask, causal(queries, keys, query) if is_causal else None])
    if mask is not None:
        refuse_empty_rows(name, bias)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return attend(query, key, value, bias, scale, dropout_p, rng)[0]


def fits_within(name: str, mask: TensorLike, shape: Shape) -> None:
    """Refuse a mask that does not broadcast to the shape of the scores."""
    aligned = shape[len(shape) - mask.ndim :]
    fits = mask.ndim <= len(shape) and all(
        m in (1, n) for m, n in zip(mask.shape, aligned, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{name} expects a shape that broadcasts to [..., queries, keys] = {list(shape)}, got "
            f"{list(mask.shape)}: give it one row for each query and one column for each key"
        )


def _check(name: str, query: TensorLike, key: TensorLike, value: TensorLike) -> None:
    shapes = [list(x.shape) for x in (query, key, value)]
    enough = all(len(shape) >= 2 for shape in shapes)
    fits = enough and shapes[0][-1] == shapes[1][-1] and shapes[1][-2] == shapes[2][-2]
    try:
        np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    except ValueError:
        fits = False
    if not fits or not shapes[1][-2]:
        raise ShapeError(
            f"{name} expects query [..., L, D], key [..., S, D] and value [..., S, Dv] with equal "
            f"leading axes and at least one key, got {shapes[0]}, {shapes[1]} and {shapes[2]}: "
            f"transpose them, or give enable_gqa=True where heads are shared"
        )


def _repeated(name: str, query: TensorLike, shared: TensorLike) -> TensorLike:
    """Heads of keys or values, each for its group of query heads."""
    fits = query.ndim >= 3 and shared.ndim >= 3
    if not fits or not shared.shape[-3] or query.shape[-3] % shared.shape[-3]:
        raise ShapeError(
            f"{name} with enable_gqa expects [..., heads, length, width] and a number of heads of "
            f"keys and values that divides that of queries, got {list(query.shape)} and "
            f"{list(shared.shape)}"
        )
    return np.repeat(shared, query.shape[-3] // shared.shape[-3], axis=-3)
