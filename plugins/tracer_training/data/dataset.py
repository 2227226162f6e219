"""Data sets: `dataset[i]` is a sample, `dataset[[3, 1, 4]]` a batch of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, backend

__all__ = ["ArrayDataset", "ConcatDataset", "Dataset", "Subset"]

#: a data set: one of ours, or another object that has a length and samples, `[i]`
Samples: TypeAlias = Any
#: what makes arrays of samples from those that are kept
Prepare: TypeAlias = Callable[..., tuple[Array, ...]]
#: gives the samples of a part of an order
Reader: TypeAlias = Callable[[slice], tuple[Array, ...]]


class Dataset:
    """Base of data sets: `len`, and `[]` with a number, a slice or numbers, which gives arrays.

    A subclass defines `__len__` and `batch(indices)`, which gives a tuple of arrays `[N, ...]` for
    an array of N numbers.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no length: define __len__(self)")

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        """The samples of these numbers, as arrays with the samples along axis 0."""
        raise NotImplementedError(
            f"{type(self).__name__} gives no samples: define batch(self, indices)"
        )

    def reader(self, order: np.ndarray) -> Reader:
        """What gives `batch(order[part])` for slices `part`, of an order that is read in parts."""
        return lambda part: self.batch(order[part])

    def __getitem__(self, chosen: Any) -> tuple[Array, ...]:
        if isinstance(chosen, slice) or hasattr(chosen, "__len__"):
            return self.batch(sample_numbers(chosen, len(self)))
        return tuple(array[0] for array in self.batch(sample_numbers([chosen], len(self))))


def sample_numbers(chosen: Any, count: int) -> np.ndarray:
    """What a slice, a mask, or a list or array of numbers choose of `count` samples, int64 `[N]`.

    Negative numbers count from the end. Raises `IndexError` for a number that there is not, and
    `TracerError` for what is no number.
    """
    if isinstance(chosen, slice):
        return np.arange(count)[chosen]
    numbers = backend.to_host(chosen) if backend.is_array(chosen) else np.asarray(chosen)
    if numbers.dtype.kind == "b":
        if numbers.shape != (count,):
            raise ShapeError(
                f"a mask of a data set of {count} samples has as many elements, got "
                f"{list(numbers.shape)}"
            )
        return np.flatnonzero(numbers)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ShapeError(
            f"samples are chosen by whole numbers, a slice or a mask, got "
            f"{numbers.dtype}{list(numbers.shape)}"
        )
    numbers = numbers.astype(np.int64)
    outside = (numbers < -count) | (numbers >= count)
    if outside.any():
        raise IndexError(f"sample {numbers[outside][0]} of a data set of {count}")
    return np.where(numbers < 0, numbers + count, numbers)


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
        return self.reader(indices)(slice(None))

    def reader(self, order: np.ndarray) -> Reader:
        """Moves the order to where the arrays are, once: batches then wait for nothing."""
        # a device's arrays are taken from by numbers that are there; one copy for each library
        orders = {library: library.from_host(order) for library in map(backend.of, self.arrays)}
        pairs = [(array, orders[backend.of(array)]) for array in self.arrays]

        def read(part: slice) -> tuple[Array, ...]:
            found = tuple(array.take(numbers[part], 0) for array, numbers in pairs)
            return found if self.prepare is None else self.prepare(*found)

        return read

    def __repr__(self) -> str:
        shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self.arrays)
        return f"ArrayDataset({shapes})"


class Subset(Dataset):
    """The samples of a data set with these numbers, a slice or a mask of it, in this order.

    Raises `IndexError` for a number that the data set does not have.
    """

    def __init__(self, dataset: Samples, indices: slice | Sequence[int] | np.ndarray):
        self.dataset, self.indices = dataset, sample_numbers(indices, len(dataset))

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        return gathered(self.dataset, self.indices[indices])

    def reader(self, order: np.ndarray) -> Reader:
        return reader_of(self.dataset, self.indices[order])

    def __repr__(self) -> str:
        return f"Subset({self.dataset!r}, {len(self)} of {len(self.dataset)})"


class ConcatDataset(Dataset):
    """The samples of several data sets, one set after the other."""

    def __init__(self, *datasets: Samples):
        if not datasets:
            raise TracerError("ConcatDataset expects one data set or more, got none")
        self.datasets = datasets
        #: where each data set ends
        self.ends = np.cumsum([len(dataset) for dataset in datasets])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        """One gather of each data set that has samples in it; they come in the order asked for."""
        owners = np.searchsorted(self.ends, indices, side="right")
        # of no samples, the first data set says what its arrays are
        present = np.unique(owners) if len(owners) else np.zeros(1, np.int64)
        parts = [
            gathered(self.datasets[i], indices[owners == i] - (self.ends[i - 1] if i else 0))
            for i in present
        ]
        if len(parts) == 1:
            return parts[0]
        if len({len(part) for part in parts}) > 1:
            counts = [len(part) for part in parts]
            raise ShapeError(f"data sets in a row give as many arrays each, got {counts}")
        # where each asked sample is in the parts that are joined, which are in order of owner
        places = np.argsort(np.argsort(owners, kind="stable"), kind="stable")
        return ArrayDataset(*map(np.concatenate, zip(*parts, strict=True))).batch(places)

    def __repr__(self) -> str:
        return f"ConcatDataset({', '.join(map(repr, self.datasets))})"


def gathered(dataset: Samples, indices: np.ndarray) -> tuple[Array, ...]:
    """Samples of a data set of ours at once; of another one, which knows `[i]`, one by one."""
    if isinstance(dataset, Dataset):
        return dataset.batch(indices)
    samples = [dataset[operator.index(i)] for i in indices]
    rows = [sample if isinstance(sample, tuple | list) else (sample,) for sample in samples]
    return tuple(stacked(column) for column in zip(*rows, strict=True))


def reader_of(dataset: Samples, order: np.ndarray) -> Reader:
    """What gives the samples of parts of an order: a data set's own reader, where it has one."""
    if isinstance(dataset, Dataset):
        return dataset.reader(order)
    return lambda part: gathered(dataset, order[part])


def stacked(values: Sequence[Any]) -> Array:
    """Samples of equal shapes as one array; Python's floats become float32, as in PyTorch."""
    if all(isinstance(value, float) for value in values):
        return np.array(values, np.float32)
    arrays = [value if backend.is_array(value) else np.asarray(value) for value in values]
    if len({array.shape for array in arrays}) > 1:
        shapes = ", ".join(sorted({str(list(array.shape)) for array in arrays}))
        raise ShapeError(
            f"the samples of a batch have one shape, got {shapes}: give a collate_fn that pads, or "
            f"ArrayDataset(x, y) if these are the arrays of all samples"
        )
    return np.stack(arrays)
