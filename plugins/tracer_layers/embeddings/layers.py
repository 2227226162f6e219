"""`Embedding`: rows of a table, selected by indices."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

import tracer
from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, TensorLike, backend, operand, rebind
from tracer_layers.embeddings.operations import Lookup
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import float_dtype
from tracer_layers.module.initial import normal
from tracer_layers.module.module import Module
from tracer_layers.module.rules import arange, raw
from tracer_layers.module.state import is_parameter

__all__ = ["Embedding", "embedding", "one_hot"]


def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> TensorLike:
    """`weight[input]`: ints `[...]` and a table `[K, D]` give `[..., D]`.

    With `max_norm`, rows that are looked up are first made no longer than that, in the norm of the
    order `norm_type`, and stay so if the table is a parameter. `sparse` makes no difference:
    gradients are arrays, and rows that are not looked up take no part in a sweep.
    """
    check_table_options("embedding", max_norm, scale_grad_by_freq)
    padding_idx = table_row("embedding", padding_idx, weight.shape[0])
    input = operand(input)
    if max_norm is not None:
        weight = bounded("embedding", weight, input, max_norm, norm_type)
    return Lookup(input, weight, padding_idx=padding_idx)


def one_hot(tensor: TensorLike, num_classes: int = -1) -> Array:
    """`[..., K]` of the ints 0 and 1 from class indices `[...]`; K is the largest and 1 by default.

    Raises `ShapeError` for what is no class index.
    """
    tensor = operand(tensor)
    index = raw(tensor)
    if index.dtype.kind not in "iu":
        raise ShapeError(f"one_hot expects ints, got {index.dtype}: use astype(int)")
    if num_classes == -1 and not index.size:
        raise ShapeError("one_hot expects num_classes where there are no indices to count them by")
    low, high = (int(index.min()), int(index.max())) if index.size else (0, -1)
    classes = high + 1 if num_classes == -1 else num_classes
    if low < 0 or high >= classes:
        raise ShapeError(f"one_hot expects indices from 0 to {classes - 1}, got {low} to {high}")
    return (tensor[..., None] == arange(index, classes)).astype(np.int64)


def check_table_options(layer: str, max_norm: float | None, scale_grad_by_freq: bool) -> None:
    """Refuse a bound that is none, and a gradient that is no derivative."""
    if max_norm is not None and not max_norm > 0:
        raise TracerError(f"{layer} expects a positive max_norm or None, got {max_norm}")
    if scale_grad_by_freq:
        raise TracerError(
            f"{layer} expects scale_grad_by_freq=False, since what it gives is no derivative: "
            f"divide the rows of results['grad'][name] by np.bincount(indices)"
        )


def bounded(
    layer: str, weight: TensorLike, index: TensorLike, max_norm: float, norm_type: float
) -> TensorLike:
    """The table, in which the rows of `index` that are longer than `max_norm` are so long.

    A parameter is given new values and keeps them, as in PyTorch, outside of the record; a raw
    array stays as it is.
    """
    if isinstance(weight, Tensor) and not is_parameter(weight):
        raise TracerError(
            f"{layer} expects a parameter as its table for max_norm, which changes it, got a "
            f"tensor that is computed: divide its rows by their norms where they are made"
        )
    values = raw(weight)
    used = np.zeros(len(values), dtype=bool)
    found = backend.to_host(raw(index))
    if found.size and (found.min() < 0 or found.max() >= len(values)):
        return weight  # the lookup says so
    used[found] = True
    lengths = np.linalg.norm(values, norm_type, axis=1)
    longer = backend.of(values).from_host(used) & (lengths > max_norm)
    scale = np.where(longer, max_norm / (lengths + 1e-7), 1).astype(values.dtype)
    if not is_parameter(weight):
        return values * scale[:, None]
    if backend.of(values).asynchronous or bool(longer.any()):
        rebind(weight, values * scale[:, None])
    return weight


def table_row(layer: str, padding_idx: int | None, rows: int) -> int | None:
    """`padding_idx` counted from the start, or None."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise TracerError(
            f"{layer} expects padding_idx as one of the {rows} embeddings, got {padding_idx}"
        )
    return padding_idx % rows


def table(
    layer: str,
    shape: tuple[int, int],
    padding_idx: int | None,
    given: TensorLike | None,
    dtype: DTypeLike | None,
    rng: Generator | None,
) -> TensorLike:
    """The initial table: normal, with zeros for the padding, or the one given."""
    at_least(layer, 0, num_embeddings=shape[0], embedding_dim=shape[1])
    if given is None:
        values = normal(shape, dtype, rng)
        if padding_idx is not None:
            values[padding_idx] = 0
        return values
    if tuple(given.shape) != shape:
        raise ShapeError(f"{layer} expects a weight {list(shape)}, got {list(given.shape)}")
    return given


class Embedding(Module):
    """A table of `num_embeddings` vectors, looked up by ints; that of `padding_idx` stays zero.

    For `max_norm`, `norm_type` and `sparse` see `embedding`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: TensorLike | None = None,
        _freeze: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        check_table_options("Embedding", max_norm, scale_grad_by_freq)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = table_row("Embedding", padding_idx, num_embeddings)
        shape, dtype = (num_embeddings, embedding_dim), float_dtype(dtype, device)
        values = table("Embedding", shape, self.padding_idx, _weight, dtype, rng)
        self.weight = tracer.parameter(values)
        self.requires_grad_(not _freeze)

    @classmethod
    def from_pretrained(
        cls,
        embeddings: TensorLike,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An embedding of a copy of given rows `[K, D]`, frozen unless told otherwise."""
        options = (max_norm, norm_type, scale_grad_by_freq, sparse)
        return cls(*embeddings.shape, padding_idx, *options, _weight=embeddings, _freeze=freeze)

    def forward(self, input: TensorLike) -> TensorLike:
        if self.max_norm is None:
            return Lookup(input, self.weight, padding_idx=self.padding_idx)
        options = (self.padding_idx, self.max_norm, self.norm_type)
        return embedding(input, self.weight, *options)

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        text = f"{self.num_embeddings}, {self.embedding_dim}{padding}{norm_text(self)}"
        return text + (", sparse=True" if self.sparse else "")


def norm_text(layer: Module) -> str:
    """The options of a table that bound its rows, for `repr`."""
    text = "" if layer.max_norm is None else f", max_norm={layer.max_norm}"
    return text + ("" if layer.norm_type == 2 else f", norm_type={layer.norm_type}")
