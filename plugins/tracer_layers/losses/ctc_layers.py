"""Connectionist temporal classification as a function and as a module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError
from tracer.extend import Array, Convertible, TensorLike, backend
from tracer_layers.losses.ctc_operations import ConnectionistTemporal
from tracer_layers.losses.loss import LossModule, arrays, compared, reduced
from tracer_layers.module.rules import raw

__all__ = ["CTCLoss", "ctc_loss"]


def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    input_lengths: Convertible,
    target_lengths: Convertible,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> TensorLike:
    """The negative log-likelihood of labels that lie anywhere along sequences (Graves et al. 2006).

    Log-probabilities are `[T, N, C]`, or `[T, C]` of one sequence; labels `[N, S]`, or all in a row
    `[sum]`; lengths `[N]`. The mean is over sequences, each divided by the number of its labels.
    Where the labels do not fit, the loss is infinite, or zero with `zero_infinity`.

    Its gradient is that of the formula; PyTorch's takes for granted that a log-softmax is below it,
    and agrees there.
    """
    log_probs, targets = arrays("ctc_loss", input=log_probs, target=targets)
    (x,), alone = compared(log_probs), log_probs.ndim == 2
    if alone:
        x = x[:, None]
    frames, counts, labels = map(_ints, (input_lengths, target_lengths, targets))
    frames, counts = frames.reshape(-1), counts.reshape(-1)
    labels = _rows(labels, counts)
    _check(x, labels, frames, counts, blank)
    there = backend.of(raw(x)).from_host
    given = (there(v.astype(np.int64)) for v in (labels, frames, counts))
    losses = ConnectionistTemporal(x, *given, blank=blank)
    if zero_infinity:
        losses = np.where(raw(losses) == np.inf, 0, losses)
    if reduction == "mean":
        losses = losses / there(np.maximum(counts, 1).astype(x.dtype))
    if alone:
        losses = losses[0]
    return reduced(losses, reduction, log_probs.dtype)


def _ints(value: Convertible) -> Array:
    """Labels or lengths on the host."""
    found = backend.to_host(raw(value)) if hasattr(value, "dtype") else np.asarray(value)
    if found.dtype.kind not in "iu" and found.size:
        raise ShapeError(f"ctc_loss expects labels and lengths as ints, got {found.dtype}")
    return found


def _rows(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Labels `[N, longest]`, filled up with zeros, of those in rows or one after the other."""
    if labels.ndim == 1:
        ends = np.cumsum(counts)
        if labels.size < (ends[-1] if len(ends) else 0):
            raise ShapeError(
                f"ctc_loss expects {ends[-1]} labels in a row, as target_lengths say, got "
                f"{labels.size}"
            )
        rows = np.zeros((len(counts), int(counts.max(initial=0))), np.int64)
        for row, end, count in zip(rows, ends, counts, strict=True):
            row[:count] = labels[end - count : end]
        return rows
    known = np.arange(labels.shape[-1]) < counts[:, None]
    return np.where(known, labels, 0)[:, : int(counts.max(initial=0))]


def _check(
    x: TensorLike, labels: np.ndarray, frames: np.ndarray, counts: np.ndarray, blank: int
) -> None:
    samples = (x.shape[1],) if x.ndim == 3 else None
    classes = x.shape[-1]
    fits = (
        samples == frames.shape == counts.shape == labels.shape[:1]
        and x.dtype.kind == "f"
        and not (frames < 1).any() | (frames > x.shape[0]).any() | (counts < 0).any()
        and 0 <= blank < classes
        and not ((labels < 0) | (labels >= classes)).any()
    )
    if not fits:
        raise ShapeError(
            f"ctc_loss expects log_probs [T, N, C], labels from 0 to C - 1 [N, S], lengths [N] of "
            f"at most T and S, and blank as a class, got log_probs {list(x.shape)}, labels "
            f"{list(labels.shape)}, input_lengths {frames.tolist()}, target_lengths "
            f"{counts.tolist()} and blank={blank}"
        )


class CTCLoss(LossModule):
    """See `ctc_loss`."""

    #: sequences come first
    sequence_first = True

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def holds_samples(self, value: TensorLike) -> bool:
        """Of log-probabilities, and not of labels and lengths."""
        return value.ndim == 3

    def forward(
        self,
        log_probs: TensorLike,
        targets: TensorLike,
        input_lengths: Sequence[int],
        target_lengths: Sequence[int],
    ) -> TensorLike:
        options = (self.blank, self.reduction, self.zero_infinity)
        return ctc_loss(log_probs, targets, input_lengths, target_lengths, *options)
