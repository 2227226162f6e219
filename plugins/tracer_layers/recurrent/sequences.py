"""Batches of sequences of different lengths: padded arrays that know how long each one is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError, TracerError, TracingError
from tracer.extend import Convertible, TensorLike, backend
from tracer_layers.module.rules import raw

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence:
    """Sequences of different lengths; recurrent layers take and return it.

    `padded [T, N, ...]` holds them side by side, zero after each one's end, and `lengths [N]` are
    their lengths. Where PyTorch stores the steps one after the other, `data` and `batch_sizes` give
    that form.
    """

    def __init__(self, padded: TensorLike, lengths: np.ndarray):
        self.padded = padded
        self.lengths = lengths

    @property
    def batch_sizes(self) -> np.ndarray:
        """`[T]`: how many sequences are that long."""
        return within_lengths(self.lengths, len(self.padded)).sum(1)

    @property
    def data(self) -> TensorLike:
        """`[sum(lengths), ...]`: step after step, the longest sequences first in each."""
        order = np.argsort(-self.lengths, kind="stable")
        steps, places = np.nonzero(within_lengths(self.lengths[order], len(self.padded)))
        return self.padded[steps, order[places]]


def pack_padded_sequence(
    input: TensorLike,
    lengths: Convertible | None,
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Padded sequences `[T, N, ...]` (or `[N, T, ...]`) with their lengths.

    `enforce_sorted` refuses lengths that grow, as PyTorch does; nothing here needs them sorted.
    """
    if input.ndim < 2:
        raise ShapeError(f"expects padded sequences [T, N, ...], got {list(input.shape)}")
    padded = np.swapaxes(input, 0, 1) if batch_first else input
    lengths = checked_lengths(lengths, padded.shape[0], padded.shape[1])
    if enforce_sorted and bool((np.diff(lengths) > 0).any()):
        raise ShapeError(
            f"expects lengths that never grow, got {lengths.tolist()}: sort the sequences, the "
            f"longest first, or pass enforce_sorted=False"
        )
    return PackedSequence(filled(padded[: int(lengths.max())], lengths, 0), lengths)


def pack_sequence(sequences: Sequence[TensorLike], enforce_sorted: bool = True) -> PackedSequence:
    """A list of sequences `[T_n, ...]` as one."""
    lengths = [len(sequence) for sequence in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def pad_sequence(
    sequences: Sequence[TensorLike],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> TensorLike:
    """A list of sequences `[T_n, ...]` as one array `[T, N, ...]` (or `[N, T, ...]`), padded.

    They are padded behind their ends or, with `padding_side="left"`, before they begin.
    """
    if padding_side not in ("left", "right"):
        raise TracerError(f'padding_side is "left" or "right", got {padding_side!r}')
    if sequences is None or not len(sequences):
        raise ShapeError("expects at least one sequence, got none")
    longest = max(len(sequence) for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - len(sequence)
        pairs = [(missing, 0) if padding_side == "left" else (0, missing)]
        pairs += [(0, 0)] * (sequence.ndim - 1)
        padded.append(np.pad(sequence, pairs, constant_values=padding_value))
    return np.stack(padded, axis=0 if batch_first else 1)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[TensorLike, np.ndarray]:
    """`(padded, lengths)`: `[T, N, ...]` (or `[N, T, ...]`), of `total_length` steps if given."""
    if not isinstance(sequence, PackedSequence):
        raise TracingError(
            f"pad_packed_sequence expects a PackedSequence, as pack_padded_sequence makes, got a "
            f"{type(sequence).__name__}"
        )
    padded, lengths = sequence.padded, sequence.lengths
    if total_length is not None:
        if total_length < len(padded):
            raise ShapeError(
                f"expects total_length of at least the longest sequence's {len(padded)}, got "
                f"{total_length}"
            )
        extra = total_length - len(padded)
        padded = np.pad(padded, [(0, extra), *((0, 0),) * (padded.ndim - 1)])
    if padding_value:
        padded = filled(padded, lengths, padding_value)
    return (np.swapaxes(padded, 0, 1) if batch_first else padded), lengths


def unpad_sequence(
    padded_sequences: TensorLike, lengths: Convertible, batch_first: bool = False
) -> list[TensorLike]:
    """Padded sequences `[T, N, ...]` (or `[N, T, ...]`) as a list of `[T_n, ...]`."""
    by_sample = padded_sequences if batch_first else np.swapaxes(padded_sequences, 0, 1)
    ends = checked_lengths(lengths, by_sample.shape[1], by_sample.shape[0])
    return [by_sample[n, : int(end)] for n, end in enumerate(ends)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[TensorLike]:
    """The sequences `[T_n, ...]` of a `PackedSequence`, as a list."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


def within_lengths(lengths: np.ndarray, steps: int) -> np.ndarray:
    """`[T, N]`: whether sequence n has a step t."""
    return np.arange(steps)[:, None] < lengths


def filled(padded: TensorLike, lengths: np.ndarray, value: float) -> TensorLike:
    """`[T, N, ...]` with `value` after each sequence's end, whatever stood there, NaN even."""
    mask = within_lengths(lengths, len(padded)).reshape(len(padded), -1, *(1,) * (padded.ndim - 2))
    return np.where(backend.of(raw(padded)).from_host(mask), padded, value)


def checked_lengths(lengths: Convertible, steps: int, count: int) -> np.ndarray:
    """Lengths `[N]` as ints; `ShapeError` if they do not fit `count` sequences of `steps` steps."""
    found = np.asarray(backend.to_host(raw(lengths)) if hasattr(lengths, "shape") else lengths)
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise ShapeError(
            f"expects lengths as {count} ints, one per sequence, got {found.dtype}"
            f"{list(found.shape)}"
        )
    if count and not 1 <= int(found.min()) <= int(found.max()) <= steps:
        raise ShapeError(
            f"expects lengths from 1 to {steps}, the steps of the padded sequences, got "
            f"{found.tolist()}: leave out empty sequences"
        )
    return found.astype(np.intp)
