"""Attention of several heads as a function, with all its weights as arguments."""

from __future__ import annotations

from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike
from tracer_layers.attention.layers import MultiheadAttention
from tracer_layers.linear_maps.layers import linear

__all__ = ["multi_head_attention_forward"]


def multi_head_attention_forward(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: TensorLike | None,
    in_proj_bias: TensorLike | None,
    bias_k: TensorLike | None,
    bias_v: TensorLike | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: TensorLike,
    out_proj_bias: TensorLike | None,
    training: bool = True,
    key_padding_mask: TensorLike | None = None,
    need_weights: bool = True,
    attn_mask: TensorLike | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: TensorLike | None = None,
    k_proj_weight: TensorLike | None = None,
    v_proj_weight: TensorLike | None = None,
    static_k: TensorLike | None = None,
    static_v: TensorLike | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[TensorLike, TensorLike | None]:
    """What `MultiheadAttention` gives for queries `[L, N, E]`, with these weights for its own.

    `static_k` and `static_v` are not taken.
    """
    name = "multi_head_attention_forward"
    if static_k is not None or static_v is not None:
        raise TracerError(
            f"{name} takes no static_k and static_v: give keys and values that are projected "
            f"already to scaled_dot_product_attention"
        )
    width = query.shape[-1]
    if width != embed_dim_to_check or width % num_heads:
        raise ShapeError(
            f"{name} expects queries [L, N, {embed_dim_to_check}] and num_heads that divides their "
            f"width, got {list(query.shape)} and {num_heads}"
        )
    layer = MultiheadAttention.__new__(MultiheadAttention)
    separate = use_separate_proj_weight
    vars(layer).update(
        embed_dim=width,
        kdim=key.shape[-1],
        vdim=value.shape[-1],
        num_heads=num_heads,
        head_dim=width // num_heads,
        dropout=dropout_p,
        batch_first=False,
        sequence_first=True,
        add_zero_attn=add_zero_attn,
        rng=None,
        training=training,
        in_proj_weight=None if separate else in_proj_weight,
        q_proj_weight=q_proj_weight if separate else None,
        k_proj_weight=k_proj_weight if separate else None,
        v_proj_weight=v_proj_weight if separate else None,
        in_proj_bias=in_proj_bias,
        bias_k=bias_k,
        bias_v=bias_v,
        out_proj=lambda x: linear(x, out_proj_weight, out_proj_bias),
    )
    masks = (key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
    return layer.forward(query, key, value, *masks)
