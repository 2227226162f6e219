"""The Transformer (Vaswani et al. 2017): its layers, stacks of them, and both stacks together."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, TensorLike
from tracer_layers.activations.dropout_layers import Dropout
from tracer_layers.attention.layers import MultiheadAttention, holds_sequences, xavier_uniform
from tracer_layers.attention.masks import causal
from tracer_layers.functional import gelu, relu
from tracer_layers.linear_maps.layers import Linear
from tracer_layers.module.arguments import at_least
from tracer_layers.module.containers import ModuleList
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.module import Module
from tracer_layers.normalisation.layers import LayerNorm

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

ACTIVATIONS: dict[Any, Callable[[Any], Any]] = {"relu": relu, "gelu": gelu}


class _Block:
    """What both kinds of layers have: residual branches around normalisations, and a network."""

    holds_samples = holds_sequences

    def _build(self, attentions, d_model, nhead, dim_feedforward, dropout, activation,
               layer_norm_eps, batch_first, norm_first, bias, device, dtype, rng):  # fmt: skip
        kind = type(self).__name__
        at_least(kind, 1, dim_feedforward=dim_feedforward)
        dtype = float_dtype(dtype, device)
        for name in attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype, rng=rng
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype, rng=rng)
        branches = range(1, len(attentions) + 2)
        for i in branches:
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
        for i in branches:
            setattr(self, f"dropout{i}", Dropout(dropout, rng=rng))
        self.norm_first = norm_first
        self.batch_first = batch_first
        self.sequence_first = not batch_first
        self.activation = _activation(kind, activation)

    def _residual(self, x, number, branch):
        """`x` plus a branch of it, normalised before the branch or after the sum."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(branch(norm(x)))
        return norm(x + dropout(branch(x)))

    def _feed_forward(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def _activation(
    kind: str, activation: str | Callable[[TensorLike], TensorLike]
) -> Callable[[TensorLike], TensorLike]:
    found = ACTIVATIONS.get(activation) if isinstance(activation, str) else activation
    if not callable(found):
        raise TracerError(
            f'{kind} expects activation as "relu", "gelu" or a function, got {activation!r}'
        )
    return found


class TransformerEncoderLayer(_Block, Module):
    """Self-attention, then a network of two linear maps, each with a residual branch and a norm.

    `[L, N, d_model]` to the same; with `batch_first`, `[N, L, d_model]`. `norm_first` normalises
    what enters a branch (Xiong et al. 2020) rather than the sum.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[TensorLike], TensorLike] = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        self._build(("self_attn",), d_model, nhead, dim_feedforward, dropout, activation,
                    layer_norm_eps, batch_first, norm_first, bias, device, dtype, rng)  # fmt: skip

    def forward(
        self,
        src: TensorLike,
        src_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool = False,
    ) -> TensorLike:
        """Masks are those of `MultiheadAttention.forward`."""

        def attention(x: TensorLike) -> TensorLike:
            return self.self_attn(
                x, x, x, src_key_padding_mask, False, attn_mask=src_mask, is_causal=is_causal
            )[0]

        x = self._residual(floats(src), 1, attention)
        return self._residual(x, 2, self._feed_forward)


class TransformerDecoderLayer(_Block, Module):
    """Self-attention, attention to a memory, then a network, each with a residual branch and norm.

    `[L, N, d_model]` and a memory `[S, N, d_model]` give `[L, N, d_model]`; with `batch_first`,
    samples come first.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[TensorLike], TensorLike] = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        self._build(("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout,
                    activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype,
                    rng)  # fmt: skip

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> TensorLike:
        """Masks are those of `MultiheadAttention.forward`."""

        def attention(x: TensorLike) -> TensorLike:
            return self.self_attn(
                x, x, x, tgt_key_padding_mask, False, attn_mask=tgt_mask, is_causal=tgt_is_causal
            )[0]

        def to_memory(x: TensorLike) -> TensorLike:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, attn_mask=memory_mask,
                is_causal=memory_is_causal,
            )[0]  # fmt: skip

        x = self._residual(floats(tgt), 1, attention)
        x = self._residual(x, 2, to_memory)
        return self._residual(x, 3, self._feed_forward)


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, equal at first, and `norm` of the last one's output.

    `enable_nested_tensor` and `mask_check` choose among PyTorch's implementations and change
    nothing here: padded positions have outputs in evaluation, too.
    """

    holds_samples = holds_sequences

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.sequence_first = getattr(encoder_layer, "sequence_first", True)

    def forward(
        self,
        src: TensorLike,
        mask: Array | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool | None = None,
    ) -> TensorLike:
        """Masks are those of `MultiheadAttention.forward`, for all layers."""
        x = src
        with tracer.scope("layers", "ModuleList"):
            for layer in self.layers:
                x = layer(
                    x,
                    src_mask=mask,
                    src_key_padding_mask=src_key_padding_mask,
                    is_causal=bool(is_causal),
                )
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer, equal at first, and `norm` of the last's output."""

    holds_samples = holds_sequences

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.sequence_first = getattr(decoder_layer, "sequence_first", True)

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> TensorLike:
        """Masks are those of `MultiheadAttention.forward`, for all layers."""
        x = tgt
        with tracer.scope("layers", "ModuleList"):
            for layer in self.layers:
                x = layer(
                    x,
                    memory,
                    tgt_mask=tgt_mask,
                    memory_mask=memory_mask,
                    tgt_key_padding_mask=tgt_key_padding_mask,
                    memory_key_padding_mask=memory_key_padding_mask,
                    tgt_is_causal=bool(tgt_is_causal),
                    memory_is_causal=bool(memory_is_causal),
                )
        return x if self.norm is None else self.norm(x)


def _copies(layer: Module, count: int) -> ModuleList:
    at_least("a stack of layers", 1, num_layers=count)
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class Transformer(Module):
    """An encoder of sources and a decoder of targets that attends to what it gives.

    `src [S, N, d_model]` and `tgt [L, N, d_model]` give `[L, N, d_model]`; with `batch_first`,
    samples come first. `custom_encoder` and `custom_decoder` take the place of the stacks.
    """

    holds_samples = holds_sequences

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[TensorLike], TensorLike] = relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        options = {
            "dim_feedforward": dim_feedforward, "dropout": dropout, "activation": activation,
            "layer_norm_eps": layer_norm_eps, "batch_first": batch_first, "norm_first": norm_first,
            "bias": bias, "device": device, "dtype": dtype, "rng": rng,
        }  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        if custom_encoder is None:
            encoder_layer = TransformerEncoderLayer(d_model, nhead, **options)
            custom_encoder = TransformerEncoder(encoder_layer, num_encoder_layers, norm())
        if custom_decoder is None:
            decoder_layer = TransformerDecoderLayer(d_model, nhead, **options)
            custom_decoder = TransformerDecoder(decoder_layer, num_decoder_layers, norm())
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        for parameter in self.parameters():
            if parameter.ndim == 2:
                parameter.data = xavier_uniform(parameter.shape, parameter.dtype, rng).data
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first
        self.sequence_first = not batch_first

    def forward(
        self,
        src: TensorLike,
        tgt: TensorLike,
        src_mask: TensorLike | None = None,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> TensorLike:
        """Masks are those of `MultiheadAttention.forward`."""
        axis = 1 if self.sequence_first else 0
        samples_agree = src.ndim == tgt.ndim and (
            src.ndim == 2 or src.shape[axis] == tgt.shape[axis]
        )
        if not samples_agree or not src.shape[-1] == tgt.shape[-1] == self.d_model:
            lengths = [f"[{n}, N, {self.d_model}]" for n in "SL"]
            if self.batch_first:
                lengths = [f"[N, {n}, {self.d_model}]" for n in "SL"]
            raise ShapeError(
                f"Transformer(d_model={self.d_model}, batch_first={self.batch_first}) expects src "
                f"{lengths[0]} and tgt {lengths[1]}, or both without N, got {list(src.shape)} and "
                f"{list(tgt.shape)}"
            )
        memory = self.encoder(
            src,
            mask=src_mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=src_is_causal,
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: object = None, dtype: DTypeLike | None = None
    ) -> Array:
        """`[sz, sz]` with -inf above the diagonal and 0 elsewhere: position i sees up to i."""
        mask = causal(sz, sz, np.empty(0, float_dtype(dtype))).copy()
        return mask if device is None else tracer.to_device(mask, device)
