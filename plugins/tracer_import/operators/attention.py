"""Attention, by the library's own operation."""

from __future__ import annotations

from typing import Any

from tracer.extend import TensorLike
from tracer_import.operators.table import operator
from tracer_layers import functional


@operator("scaled_dot_product_attention.default", mode="dropout_p")
def attention(
    query: TensorLike, key: TensorLike, value: TensorLike, attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> TensorLike:  # fmt: skip
    """`softmax(scale query @ key.T + mask) @ value`."""
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )


@operator("_scaled_dot_product_flash_attention_for_cpu.default", mode="dropout_p")
def flash_attention(
    query: TensorLike, key: TensorLike, value: TensorLike, dropout_p: float = 0.0,
    is_causal: bool = False, attn_mask: TensorLike | None = None, scale: float | None = None,
) -> tuple[TensorLike, Any]:  # fmt: skip
    """The same as core ATen has it, with a place for what is not given here."""
    return attention(query, key, value, attn_mask, dropout_p, is_causal, scale), None


@operator("_scaled_dot_product_attention_math.default", mode="dropout_p")
def plain_attention(
    query: TensorLike, key: TensorLike, value: TensorLike, attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, dropout_mask: Any = None,
    scale: float | None = None, enable_gqa: bool = False,
) -> tuple[TensorLike, Any]:  # fmt: skip
    """The same by its other name."""
    return (
        attention(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa),
        None,
    )
