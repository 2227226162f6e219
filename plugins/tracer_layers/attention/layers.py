"""`MultiheadAttention`: attention of several heads between learned linear maps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import INPUT, Generator, TensorLike, expect_attention
from tracer_layers.attention.masks import additive, causal, combined, refuse_empty_rows
from tracer_layers.attention.operations import Heads, attend
from tracer_layers.linear_maps.layers import Linear, linear
from tracer_layers.module.arguments import at_least, probability
from tracer_layers.module.dtypes import float_dtype
from tracer_layers.module.initial import normal, uniform
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = ["MultiheadAttention"]

#: elements of queries from which on products are worth to be divided
MANY = 1 << 16


def holds_sequences(layer: Module, value: TensorLike) -> bool:
    """`Module.holds_samples` of layers of sequences: of `[L, N, E]`, not of masks or one sample."""
    return value.ndim == 3 and value.dtype.kind != "b"


class MultiheadAttention(Module):
    """Attention of `num_heads` heads of width `embed_dim / num_heads` (Vaswani et al. 2017).

    Queries `[L, N, embed_dim]`, keys `[S, N, kdim]` and values `[S, N, vdim]` give
    `[L, N, embed_dim]`; with `batch_first`, samples come first; without N it is one sample.
    Self-attention, `layer(x, x, x)`, applies its three maps as one.
    """

    holds_samples = holds_sequences

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        at_least("MultiheadAttention", 1, embed_dim=embed_dim, num_heads=num_heads)
        probability("MultiheadAttention", dropout)
        if embed_dim % num_heads:
            raise TracerError(
                f"MultiheadAttention expects num_heads that divides embed_dim, got "
                f"embed_dim={embed_dim}, num_heads={num_heads}"
            )
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        at_least("MultiheadAttention", 1, kdim=self.kdim, vdim=self.vdim)
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.sequence_first = not batch_first
        self.add_zero_attn = add_zero_attn
        self.rng = rng
        dtype = float_dtype(dtype, device)
        one = self.kdim == self.vdim == embed_dim
        shapes = {
            "q_proj_weight": None if one else (embed_dim, embed_dim),
            "k_proj_weight": None if one else (embed_dim, self.kdim),
            "v_proj_weight": None if one else (embed_dim, self.vdim),
            "in_proj_weight": (3 * embed_dim, embed_dim) if one else None,
        }
        for name, shape in shapes.items():
            self.register_parameter(name, xavier_uniform(shape, dtype, rng) if shape else None)
        zeros = tracer.parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        self.register_parameter("in_proj_bias", zeros)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype, rng=rng)
        if bias:
            self.out_proj.bias = tracer.parameter(np.zeros(embed_dim, dtype))
        for name in ("bias_k", "bias_v"):
            # normal of the variance 2 / (fan_in + fan_out), both embed_dim here
            values = normal((1, 1, embed_dim), dtype, rng) / math.sqrt(embed_dim)
            extra = tracer.parameter(values.astype(dtype)) if add_bias_kv else None
            self.register_parameter(name, extra)

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[TensorLike, TensorLike | None]:
        """`(output, weights)`; weights are None unless needed.

        `key_padding_mask [N, S]` and `attn_mask`, `[L, S]` or `[N * num_heads, L, S]`, are of
        bools that are true where a key is *not* seen, or of floats that are added to the scores.
        `is_causal` hides from query i the keys behind position i, besides. Weights are
        `[N, L, S]`, the mean over heads, or with `average_attn_weights=False`
        `[N, num_heads, L, S]`.

        Raises `ShapeError` for shapes and dtypes that do not fit, and for a query whose keys are
        all hidden.
        """
        self._check(query, key, value)
        if math.prod(query.shape) >= MANY:
            expect_attention()
        alone = query.ndim == 2
        q, k, v = self._projected(query, key, value)
        queries, samples = q.shape[2], q.shape[0]
        hidden = self._bias(key_padding_mask, attn_mask, is_causal, samples, queries, k)
        k, v = self._extended(k, self.bias_k), self._extended(v, self.bias_v)
        if hidden is not None and (extra := k.shape[2] - hidden.shape[-1]):
            # what is added to the keys is always seen
            hidden = np.pad(hidden, [(0, 0)] * (hidden.ndim - 1) + [(0, extra)])
        if hidden is not None:
            refuse_empty_rows("MultiheadAttention", hidden)
        rate = self.dropout if self.training else 0.0
        out, weights = attend(q, k, v, hidden, 1 / math.sqrt(self.head_dim), rate, self.rng)
        order = (2, 0, 1, 3) if self.sequence_first else (0, 2, 1, 3)
        moved = np.transpose(out, order)
        merged = moved.reshape(*query.shape[:-1], self.embed_dim)
        output = self.out_proj(merged)
        if not need_weights:
            return output, None
        weights = np.mean(weights, axis=1) if average_attn_weights else weights
        return output, weights[0] if alone else weights

    def _projected(self, query: TensorLike, key: TensorLike, value: TensorLike) -> list[TensorLike]:
        """Queries, keys and values by heads, `[N, H, L, D]` and twice `[N, H, S, D]`."""
        width, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is None:
            inputs, parts = [query, key, value], [1, 1, 1]
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif _same(query, key) and _same(key, value):
            inputs, parts, weights = [query], [3], [self.in_proj_weight]
        else:
            shared = _same(key, value)
            inputs, parts = ([query, key], [1, 2]) if shared else ([query, key, value], [1, 1, 1])
            weights = _cut(self.in_proj_weight, parts, width)
        biases = [None] * len(parts) if bias is None else _cut(bias, parts, width)
        found = []
        for x, weight, shift, count in zip(inputs, weights, biases, parts, strict=True):
            projection = linear(x, weight, shift)
            if x.ndim == 2:
                projection = np.expand_dims(projection, 1 if self.sequence_first else 0)
            found += [
                Heads(
                    projection,
                    heads=self.num_heads,
                    part=part,
                    parts=count,
                    sequence_first=self.sequence_first,
                )
                for part in range(count)
            ]
        return found

    def _extended(self, x: TensorLike, learned: TensorLike | None) -> TensorLike:
        """Keys or values `[N, H, S, D]` with a learned one and one of zeros behind them."""
        samples, heads, _, width = x.shape
        parts = [x]
        if learned is not None:
            # broadcast as a vector, of which Kronecker factors are defined
            every = np.broadcast_to(np.reshape(learned, heads * width), (samples, heads * width))
            parts.append(np.reshape(every, (samples, heads, 1, width)))
        if self.add_zero_attn:
            parts.append(np.zeros_like(raw(x), shape=(samples, heads, 1, width)))
        return np.concatenate(parts, axis=2) if len(parts) > 1 else x

    def _bias(
        self,
        padding: TensorLike | None,
        mask: TensorLike | None,
        is_causal: bool,
        samples: int,
        queries: int,
        k: TensorLike,
    ) -> TensorLike | None:
        """What is added to the scores `[N, H, L, S]`, or None; axes may be of size one."""
        keys, found = k.shape[2], []
        if padding is not None:
            added = additive("key_padding_mask", padding, k.dtype, hidden=True)
            if added.shape not in ((samples, keys), (keys,))[: 1 + (samples == 1)]:
                raise ShapeError(
                    f"MultiheadAttention expects a key_padding_mask [samples, keys] = "
                    f"{[samples, keys]}, got {list(added.shape)}: give it a row for each sample"
                )
            found.append(np.reshape(added, (samples, 1, 1, keys)))
        if mask is not None:
            added = additive("attn_mask", mask, k.dtype, hidden=True)
            each = samples * self.num_heads
            if added.shape not in ((queries, keys), (each, queries, keys)):
                raise ShapeError(
                    f"MultiheadAttention expects an attn_mask [queries, keys] = {[queries, keys]} "
                    f"or [samples * heads, queries, keys] = {[each, queries, keys]}, got "
                    f"{list(added.shape)}"
                )
            if added.ndim == 3:
                added = np.reshape(added, (samples, self.num_heads, queries, keys))
            found.append(added)
        if is_causal:
            found.append(causal(queries, keys, raw(k)))
        return combined(found)

    def _check(self, query: TensorLike, key: TensorLike, value: TensorLike) -> None:
        given = [list(x.shape) for x in (query, key, value)]
        axis = 0 if self.batch_first else 1
        fits = (
            [x[-1:] for x in given] == [[self.embed_dim], [self.kdim], [self.vdim]]
            and query.ndim in (2, 3)
            and query.ndim == key.ndim
            and given[1][:-1] == given[2][:-1]
            and (query.ndim == 2 or given[0][axis] == given[1][axis])
            and 0 not in (key.shape[1 - axis if key.ndim == 3 else 0], key.shape[-1])
        )
        if not fits:
            first, second = ("N", "S") if self.batch_first else ("S", "N")
            lead = ", ".join("L" if name == "S" else name for name in (first, second))
            raise ShapeError(
                f"MultiheadAttention(embed_dim={self.embed_dim}, kdim={self.kdim}, "
                f"vdim={self.vdim}, batch_first={self.batch_first}) expects query "
                f"[{lead}, {self.embed_dim}], key [{first}, {second}, {self.kdim}] and value "
                f"[{first}, {second}, {self.vdim}], or all without N, got {given[0]}, {given[1]} "
                f"and {given[2]}: transpose them, or give batch_first={not self.batch_first}"
            )

    def extra_repr(self) -> str:
        return (
            f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, "
            f"batch_first={self.batch_first}"
        )


def _cut(parameter: TensorLike | None, parts: list[int], width: int) -> list[TensorLike | None]:
    """Rows of a parameter, `width` for each part; itself if it is not cut."""
    if len(parts) == 1:
        return [parameter]
    stops = np.cumsum(parts).tolist()
    return [
        parameter[(stop - count) * width : stop * width]
        for stop, count in zip(stops, parts, strict=True)
    ]


def _same(a: object, b: object) -> bool:
    """Whether two inputs are one: the same object, or one array that was marked twice."""
    if a is b or raw(a) is not raw(b):
        return a is b
    leaves = [x.node if isinstance(x, Tensor) else None for x in (a, b)]
    first, second = (n.params["axis"] if n and n.op is INPUT else None for n in leaves)
    return first is not None and first == second


def xavier_uniform(shape: tuple[int, int], dtype: DTypeLike, rng: Generator | None) -> Tensor:
    """A parameter `[O, I]`, uniform in `+-sqrt(6 / (I + O))` (Glorot and Bengio 2010)."""
    return uniform(shape, math.sqrt(6 / sum(shape)), dtype, rng)
