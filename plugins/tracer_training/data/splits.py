"""Data sets in random parts, all samples alike or each class by itself."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Generator, backend
from tracer_training.data.dataset import Samples, Subset, reader_of

__all__ = ["random_split", "stratified_split"]

#: samples that are read at once where only their labels are kept
CHUNK = 1024


def random_split(
    dataset: Samples, lengths: Sequence[int | float], rng: Generator | int | None = None
) -> list[Subset]:
    """A data set in random parts without overlap, of these lengths, or fractions that sum to 1.

    As `torch.utils.data.random_split`, what is left by rounding fractions down goes to the first
    parts, one each. Raises `TracerError` for lengths that do not sum to that of the data set.
    """
    total = len(dataset)
    counts = _counts(lengths, total)
    if counts is None or sum(counts) != total or min(counts, default=0) < 0:
        raise TracerError(
            f"the parts of a data set of {total} samples sum to it, or are fractions that sum to "
            f"1, got {list(lengths)}"
        )
    order = generator_of(rng).permutation(total)
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - n : end]) for n, end in zip(counts, ends, strict=True)]


def _counts(lengths: Sequence[int | float], total: int) -> list[int] | None:
    """Lengths as whole numbers; None for what are neither lengths nor fractions."""
    if any(isinstance(length, float) for length in lengths) and abs(sum(lengths) - 1) < 1e-6:
        counts = [int(total * length) for length in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
        return counts if min(lengths) >= 0 else None
    try:
        return [operator.index(length) for length in lengths]  # type: ignore[arg-type]
    except TypeError:
        return None


def stratified_split(
    dataset: Samples, fraction: float, rng: Generator | int | None = None
) -> tuple[Subset, Subset]:
    """Two random parts, the first with this fraction of each class, of which the last array is.

    Of each class, the first part has the nearest whole number of samples.
    """
    if not 0 <= fraction <= 1:
        raise TracerError(f"a fraction is a number from 0 to 1, got {fraction!r}")
    rng = generator_of(rng)
    labels = _labels(dataset)
    first, second = [], []
    for label in np.unique(labels):
        order = rng.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(order))
        first.append(order[:count])
        second.append(order[count:])
    parts = (rng.permutation(np.concatenate(part)) for part in (first, second))
    one, other = (Subset(dataset, part) for part in parts)
    return one, other


def _labels(dataset: Samples) -> np.ndarray:
    """The last array of all samples, `[N]`, read in chunks: images are not all there at once."""
    if not len(dataset):
        raise TracerError("stratified_split expects a data set with samples, got one of none")
    read = reader_of(dataset, np.arange(len(dataset)))
    chunks = [read(slice(i, i + CHUNK))[-1] for i in range(0, len(dataset), CHUNK)]
    labels = backend.to_host(np.concatenate(chunks))
    if labels.ndim != 1:
        raise TracerError(
            f"stratified_split expects classes [N] as the last array, got {list(labels.shape)}"
        )
    return labels


def generator_of(rng: Generator | int | None) -> np.random.Generator:
    """A generator of NumPy's: the one that is given, or one from a seed."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)
