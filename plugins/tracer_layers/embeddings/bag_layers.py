"""`EmbeddingBag`: sums, means and maxima of rows of a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, TensorLike, backend, operand
from tracer_layers.embeddings.layers import (
    bounded,
    check_table_options,
    norm_text,
    table,
    table_row,
)
from tracer_layers.embeddings.operations import Lookup
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = ["EmbeddingBag", "embedding_bag"]

MODES = ("sum", "mean", "max")


def embedding_bag(
    input: TensorLike,
    weight: TensorLike,
    offsets: TensorLike | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: TensorLike | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> TensorLike:
    """The rows of a table `weight [K, D]`, joined for each bag of ints; see `EmbeddingBag`."""
    check_table_options("embedding_bag", max_norm, scale_grad_by_freq)
    if mode not in MODES:
        raise TracerError(f"embedding_bag expects mode as one of {MODES}, got {mode!r}")
    input, offsets = operand(input), None if offsets is None else operand(offsets)
    padding_idx = table_row("embedding_bag", padding_idx, weight.shape[0])
    if per_sample_weights is not None and (mode != "sum" or offsets is not None):
        raise TracerError(
            "EmbeddingBag takes per_sample_weights for sums of bags of one size: use "
            "mode='sum' and an input [N, L] without offsets"
        )
    if offsets is None and input.ndim == 2:
        index, kept = input, np.ones_like(raw(input), dtype=bool)
    elif offsets is not None and input.ndim == 1:
        index, kept = _bags(raw(input), raw(offsets), include_last_offset)
    else:
        raise ShapeError(
            f"EmbeddingBag expects an input [N, L], or [M] with offsets [N], got "
            f"{list(input.shape)} {'without' if offsets is None else 'with'} offsets"
        )
    if padding_idx is not None:
        kept = kept & (raw(index) != padding_idx)
    if max_norm is not None:
        weight = bounded("embedding_bag", weight, input, max_norm, norm_type)
    vectors = Lookup(index, weight, padding_idx=padding_idx)
    if mode == "max":
        return _maxima(vectors, kept)
    weights = kept.astype(vectors.dtype)
    if per_sample_weights is not None:
        weights = floats(per_sample_weights, weight) * weights
    if mode == "mean":
        weights = weights / np.maximum(np.sum(weights, axis=1, keepdims=True), 1)
    return np.sum(vectors * weights[..., None], axis=1)


def _bags(input: Array, offsets: Array | None, include_last_offset: bool) -> tuple[Array, Array]:
    """`[N, longest]`: the indices, those that fill up being the first, and which count."""
    ends = [int(end) for end in backend.to_host(offsets)]
    if not include_last_offset:
        ends.append(len(input))
    if ends[0] != 0 or ends != sorted(ends) or ends[-1] > len(input):
        raise ShapeError(
            f"EmbeddingBag expects offsets that rise from 0 to at most {len(input)}, got {ends}"
        )
    starts, lengths = np.array(ends[:-1]), np.diff(ends)
    steps = np.arange(max(1, lengths.max(initial=0)))
    kept = steps < lengths[:, None]
    there = backend.of(input).from_host
    positions = np.where(kept, starts[:, None] + steps, 0)
    return tracer.batch(input[there(positions)]), there(kept)


class EmbeddingBag(Module):
    """Joins the vectors of each bag of ints; see `Embedding` for the table.

    Takes bags of one size `[N, L]`, or all bags in a row `[M]` with the `offsets [N]` at which they
    begin (and, with `include_last_offset`, the last one ends). `per_sample_weights [N, L]` scale
    the vectors of sums. An empty bag gives zeros. `padding_idx` counts for nothing.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: TensorLike | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        check_table_options("EmbeddingBag", max_norm, scale_grad_by_freq)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if mode not in MODES:
            raise TracerError(f"EmbeddingBag expects mode as one of {MODES}, got {mode!r}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.mode = mode
        self.include_last_offset = include_last_offset
        self.padding_idx = table_row("EmbeddingBag", padding_idx, num_embeddings)
        shape, dtype = (num_embeddings, embedding_dim), float_dtype(dtype, device)
        values = table("EmbeddingBag", shape, self.padding_idx, _weight, dtype, rng)
        self.weight = tracer.parameter(values)

    def forward(
        self,
        input: TensorLike,
        offsets: TensorLike | None = None,
        per_sample_weights: TensorLike | None = None,
    ) -> TensorLike:
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        text = f"{self.num_embeddings}, {self.embedding_dim}{norm_text(self)}"
        return f"{text}, mode={self.mode!r}{padding}"


def _maxima(vectors: TensorLike, kept: Array) -> TensorLike:
    """The maximum over axis 1 of what is kept, the first of equals; zero if that is nothing."""
    masked = np.where(kept[..., None], raw(vectors), -np.inf)
    first = np.argmax(masked, axis=1)[:, None]
    picked = np.take_along_axis(vectors, first, 1)[:, 0]
    return np.where(kept.any(axis=1)[:, None], picked, 0)
