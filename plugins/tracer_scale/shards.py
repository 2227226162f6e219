"""Data in parts: what is loaded where it is needed, and never all at once."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array

__all__ = ["Shards"]

#: arrays with samples along axis 0: the inputs of a model, and last the targets
Batch: TypeAlias = "tuple[Array, ...]"
Folder: TypeAlias = "str | PathLike[str]"


class Shards:
    """`n` parts of a data set: `load(i)` gives the arrays `(x, y)` of part i.

    `load` is called in the workers, again where a worker was lost, and gives the same each time.
    All arrays have their samples along axis 0; there may be several inputs, `(x0, x1, y)`, and a
    shard may be empty. What `load` refers to is sent to the workers: let it open a file by its
    name, where data are large.

    ```python
    shards = scale.Shards(load, n=64)
    shards = scale.Shards.npz("data/")  # a file each, with arrays x and y
    shards = scale.Shards.npy("x.npy", "y.npy", size=1000)  # mapped, read where needed
    shards = scale.Shards.text("book.txt", length=64, size=1000)
    shards = scale.Shards.of(train, size=1000)  # of a data set, dataset[i:j]
    ```
    """

    def __init__(self, load: Callable[[int], Batch], n: int):
        if not callable(load):
            raise TracerError(
                f"Shards expects a function load(i) that gives (x, y), got a {type(load).__name__}"
            )
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise TracerError(f"Shards expects a number of shards from 1, got n={n!r}")
        self.load, self.n = load, int(n)

    @classmethod
    def npz(cls, folder: Folder, names: Sequence[str] = ("x", "y")) -> Shards:
        """A shard for each `.npz` file of a folder, in the order of their names.

        `names` are those of its arrays. Raises `TracerError` for a folder without such files.
        """
        files = sorted(Path(folder).glob("*.npz"))
        if not Path(folder).is_dir():
            raise TracerError(
                f"there is no folder {str(folder)!r}: its .npz files are a shard each"
            )
        if not files:
            raise TracerError(f"{str(folder)!r} holds no .npz files: one is a shard each")
        return cls(_OfFiles(tuple(map(str, files)), tuple(names)), len(files))

    @classmethod
    def npy(cls, *paths: Folder, size: int) -> Shards:
        """Shards of `size` samples of `.npy` files: inputs, and last the targets.

        Files are mapped into memory; a worker reads its samples alone.
        """
        files = tuple(map(str, paths))
        lengths = {path: len(np.load(path, mmap_mode="r")) for path in files}
        if len(files) < 2 or len(set(lengths.values())) > 1:
            raise TracerError(
                f"Shards.npy expects files of inputs and of targets with as many samples each, got "
                f"{lengths}"
            )
        return cls(_OfMaps(files, _checked(size)), _count(lengths[files[0]], size))

    @classmethod
    def text(cls, path: Folder, *, length: int, size: int, encoding: str = "utf-8") -> Shards:
        """Shards of `size` windows of a text, one after the other, each of `length` characters.

        x and y are int64 `[size, length]`, y one character further; numbers are places in the
        sorted characters of the text, `shards.load.vocabulary`.
        """
        load = _OfText(str(path), length, _checked(size), encoding)
        return cls(load, _count(load.windows, size))

    @classmethod
    def of(cls, dataset: Any, size: int) -> Shards:
        """Shards of `size` samples of a data set, which has a length and batches `dataset[i:j]`.

        The data set is sent to the workers.
        """
        return cls(_OfDataset(dataset, _checked(size)), _count(len(dataset), size))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Batch:
        """The arrays of a shard. Raises `TracerError` where they are not as long as each other."""
        found = self.load(index)
        if not isinstance(found, tuple | list) or len(found) < 2:
            raise TracerError(
                f"load({index}) gives inputs and targets, (x, y), got a {type(found).__name__}"
            )
        if any(isinstance(array, list | tuple) or not np.ndim(array) for array in found):
            kinds = " and ".join(type(array).__name__ for array in found)
            raise TracerError(
                f"load({index}) gives arrays with an axis of samples, (x, y), got {kinds}: make "
                f"arrays of lists by np.asarray"
            )
        lengths = [len(array) for array in found]
        if len(set(lengths)) > 1:
            raise TracerError(
                f"load({index}) gives arrays of {' and '.join(map(str, lengths))} samples: samples "
                f"are along axis 0 of all of them"
            )
        return tuple(found)

    def source(self, count: int) -> object:
        """What the first shards are of, for a checkpoint of them: others may be added later."""
        return self.load.first(count) if isinstance(self.load, _OfFiles) else self.load

    def __repr__(self) -> str:
        return f"<{self.n} shards>"


@dataclass(frozen=True)
class _OfFiles:
    files: tuple[str, ...]
    names: tuple[str, ...]

    def first(self, count: int) -> list[object]:
        """Names and sizes of the first files."""
        paths = [Path(file) for file in self.files[:count]]
        return [self.names, *((path.name, path.stat().st_size) for path in paths)]

    def __call__(self, index: int) -> Batch:
        with open(self.files[index], "rb") as file:
            try:
                arrays = np.load(file)
            except (ValueError, EOFError, zipfile.BadZipFile) as error:
                raise TracerError(f"{self.files[index]!r} is no .npz file, or not whole") from error
            lacking = [name for name in self.names if name not in arrays]
            if lacking:
                raise TracerError(
                    f"{self.files[index]!r} has no array {lacking[0]!r}, but "
                    f"{', '.join(arrays.files)}: give names="
                )
            return tuple(arrays[name] for name in self.names)


@dataclass(frozen=True)
class _OfMaps:
    files: tuple[str, ...]
    size: int

    def __call__(self, index: int) -> Batch:
        some = slice(index * self.size, (index + 1) * self.size)
        return tuple(np.array(np.load(path, mmap_mode="r")[some]) for path in self.files)


@dataclass
class _OfText:
    path: str
    length: int
    size: int
    encoding: str
    vocabulary: str = field(init=False)
    windows: int = field(init=False)

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise TracerError(f"there is no text {self.path!r}")
        text = self._text()
        self.vocabulary = "".join(sorted(set(text)))
        self.windows = (len(text) - 1) // self.length if self.length > 0 else 0
        if self.windows < 1:
            raise TracerError(
                f"windows of {self.length} characters and the one after do not fit a text of "
                f"{len(text)}"
            )

    def _text(self) -> str:
        return Path(self.path).read_text(encoding=self.encoding)

    def __call__(self, index: int) -> Batch:
        start = index * self.size * self.length
        count = min(self.size, self.windows - index * self.size)
        part = self._text()[start : start + count * self.length + 1]
        places = {character: i for i, character in enumerate(self.vocabulary)}
        numbers = np.array([places[character] for character in part], np.int64)
        shape = (count, self.length)
        return numbers[:-1].reshape(shape), numbers[1:].reshape(shape)


@dataclass(frozen=True)
class _OfDataset:
    dataset: Any
    size: int

    def __call__(self, index: int) -> Batch:
        stop = min(len(self.dataset), (index + 1) * self.size)
        return tuple(self.dataset[index * self.size : stop])


def _checked(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise TracerError(f"a shard has a whole number of samples from 1, got size={size!r}")
    return int(size)


def _count(samples: int, size: int) -> int:
    return max(1, math.ceil(samples / size))
