"""Data sets: `dataset[i]` is a sample, `dataset[[3, 1, 4]]` a batch of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, backend

__all__ = ["ArrayDataset", "Dataset", "Subset", "random_split", "stratified_split"]

#: what samples are chosen by: a number, a slice, or numbers in an array or list
Chosen: TypeAlias = "int | slice | Sequence[int] | np.ndarray"
#: what makes arrays of samples from those that are kept
Prepare: TypeAlias = Callable[..., tuple[Array, ...]]


class Dataset:
    """Base of data sets: `len`, and `[]` with a number, a slice or numbers, which gives arrays.

    A subclass defines `__len__` and `batch(indices)`, which gives a tuple of arrays `[N, ...]` for
    an array of N numbers.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        """The samples of these numbers, as arrays with the samples along axis 0."""
        raise NotImplementedError

    def __getitem__(self, chosen: Any) -> tuple[Array, ...]:
        if isinstance(chosen, slice):
            return self.batch(np.arange(len(self))[chosen])
        if not hasattr(chosen, "__len__"):
            number = self._number(chosen)
            return tuple(array[0] for array in self.batch(np.array([number])))
        numbers = np.asarray(chosen)
        if numbers.dtype.kind == "b":
            if numbers.shape != (len(self),):
                raise ShapeError(
                    f"a mask of a data set of {len(self)} samples has as many elements, got "
                    f"{list(numbers.shape)}"
                )
            return self.batch(np.flatnonzero(numbers))
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise ShapeError(
                f"samples are chosen by whole numbers, a slice or a mask, got "
                f"{numbers.dtype}{list(numbers.shape)}"
            )
        numbers = numbers.astype(np.int64)
        outside = (numbers < -len(self)) | (numbers >= len(self))
        if outside.any():
            self._number(numbers[outside][0])
        return self.batch(np.where(numbers < 0, numbers + len(self), numbers))

    def _number(self, index: Any) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise TracerError(
                f"samples are chosen by whole numbers, a slice or a mask, got {index!r}"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of a data set of {len(self)}")
        return number % len(self)


class ArrayDataset(Dataset):
    """Arrays with samples along axis 0, in the host's memory or on a device.

    `prepare(*arrays)` makes what is given from the samples that are kept, as floats from bytes.
    Raises `ShapeError` for arrays of different lengths.
    """

    def __init__(self, *arrays: Any, prepare: Prepare | None = None):
        if not arrays:
            raise TracerError("a data set is made of one array or more, got none")
        self.arrays = tuple(a if backend.is_array(a) else np.asarray(a) for a in arrays)
        self.prepare = prepare
        for array in self.arrays:
            if not array.ndim:
                raise ShapeError("a data set has samples along axis 0, got an array without axes")
        lengths = [len(array) for array in self.arrays]
        if len(set(lengths)) > 1:
            shapes = ", ".join(str(list(array.shape)) for array in self.arrays)
            raise ShapeError(f"the arrays of a data set are equally long, got {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        found = tuple(array.take(backend.of(array).from_host(indices), 0) for array in self.arrays)
        return found if self.prepare is None else self.prepare(*found)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self.arrays)
        return f"ArrayDataset({shapes})"


class Subset(Dataset):
    """The samples of a data set with these numbers, in this order."""

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray):
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        return gathered(self.dataset, self.indices[indices])

    def __repr__(self) -> str:
        return f"Subset({self.dataset!r}, {len(self)} of {len(self.dataset)})"


def gathered(dataset: Any, indices: np.ndarray) -> tuple[Array, ...]:
    """Samples of a data set of ours at once; of another one, which knows `[i]`, one by one."""
    if isinstance(dataset, Dataset):
        return dataset.batch(indices)
    samples = [dataset[int(i)] for i in indices]
    rows = [sample if isinstance(sample, tuple | list) else (sample,) for sample in samples]
    return tuple(stacked(column) for column in zip(*rows, strict=True))


def stacked(values: Sequence[Any]) -> Array:
    """Samples of equal shapes as one array; Python's floats become float32, as in PyTorch."""
    if all(isinstance(value, float) for value in values):
        return np.array(values, np.float32)
    arrays = [value if backend.is_array(value) else np.asarray(value) for value in values]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(sorted({str(list(array.shape)) for array in arrays}))
        raise ShapeError(
            f"the samples of a batch have one shape, got {shapes}: give a collate_fn that pads"
        )
    return np.stack(arrays)


def generator_of(rng: Generator | int | None) -> np.random.Generator:
    """A generator of NumPy's: the one that is given, or one from a seed."""
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def random_split(
    dataset: Any, lengths: Sequence[int | float], rng: Generator | int | None = None
) -> list[Subset]:
    """A data set in random parts without overlap, of these lengths, or fractions that sum to 1.

    As `torch.utils.data.random_split`, what is left by rounding fractions down goes to the first
    parts, one each. Raises `TracerError` for lengths that do not sum to that of the data set.
    """
    total = len(dataset)
    if any(isinstance(length, float) for length in lengths) and abs(sum(lengths) - 1) < 1e-6:
        counts = [int(total * length) for length in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [operator.index(length) for length in lengths]  # type: ignore[arg-type]
    if sum(counts) != total or min(counts, default=0) < 0:
        raise TracerError(
            f"the parts of a data set of {total} samples sum to it, or are fractions that sum to "
            f"1, got {list(lengths)}"
        )
    order = generator_of(rng).permutation(total)
    ends = np.cumsum(counts)
    return [Subset(dataset, order[end - n : end]) for n, end in zip(counts, ends, strict=True)]


def stratified_split(
    dataset: Any, fraction: float, rng: Generator | int | None = None
) -> tuple[Subset, Subset]:
    """Two random parts, the first with this fraction of each class, of which the last array is.

    Of each class, the first part has the nearest whole number of samples.
    """
    if not 0 <= fraction <= 1:
        raise TracerError(f"a fraction is a number from 0 to 1, got {fraction!r}")
    rng = generator_of(rng)
    labels = backend.to_host(gathered(dataset, np.arange(len(dataset)))[-1])
    first, second = [], []
    for label in np.unique(labels):
        order = rng.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(order))
        first.append(order[:count])
        second.append(order[count:])
    parts = (rng.permutation(np.concatenate(part)) for part in (first, second))
    one, other = (Subset(dataset, part) for part in parts)
    return one, other
