"""Random changes of whole batches of images, `transform(x, rng)`, for `DataLoader(transform=)`.

`x` is `[N, C, H, W]` and keeps its shape and dtype; each sample is changed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, backend

__all__ = ["Compose", "Normalize", "RandomCrop", "RandomHorizontalFlip", "RandomShift"]

#: what changes a batch, with numbers drawn from the generator
Transform: TypeAlias = Callable[[Array, np.random.Generator], Array]


class Compose:
    """One transform after the other; they may be given in a list."""

    def __init__(self, *transforms: Transform | Sequence[Transform]):
        given = [each if isinstance(each, list | tuple) else (each,) for each in transforms]
        self.transforms: list[Transform] = [each for some in given for each in some]
        for each in self.transforms:
            if not callable(each):
                raise TracerError(f"Compose expects transforms, got {each!r}")

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        for transform in self.transforms:
            x = transform(x, rng)
        return x


class Normalize:
    """`(x - mean) / std` of images of floats, for all channels or each one by itself."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        self.mean, self.std = (np.array(v, np.float64).reshape(-1, 1, 1) for v in (mean, std))
        if not (self.std > 0).all():
            raise TracerError(f"Normalize expects standard deviations above 0, got {std!r}")

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        images(x, "Normalize")
        if x.dtype.kind != "f":
            raise TracerError(
                f"Normalize expects images of floats, got {x.dtype}{list(x.shape)}: divide bytes "
                f"by 255 first"
            )
        for values in (self.mean, self.std):
            if len(values) not in (1, x.shape[1]):
                raise ShapeError(
                    f"Normalize has {len(values)} channels, got images {list(x.shape)} of "
                    f"{x.shape[1]}"
                )
        mean, std = (backend.of(x).from_host(v.astype(x.dtype)) for v in (self.mean, self.std))
        return (x - mean) / std


class RandomHorizontalFlip:
    """Mirrors a share `p` of the images, left to right."""

    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise TracerError(f"RandomHorizontalFlip expects a probability, got {p!r}")
        self.p = p

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        images(x, "RandomHorizontalFlip")
        flipped = backend.of(x).from_host(rng.random(len(x)) < self.p)
        return np.where(flipped[:, None, None, None], x[..., ::-1], x)


class RandomCrop:
    """Cuts out `size`, an int or (H, W), at random places, from images with `padding` zeros around.

    With the images' own size and a padding of 4, it shifts them by up to 4.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding
        if len(self.size) != 2 or min(*self.size, padding + 1) < 1:
            raise TracerError(
                f"RandomCrop expects a size (H, W) from 1 and a padding from 0, got {size!r} and "
                f"{padding!r}"
            )

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        images(x, "RandomCrop")
        return cropped(x, rng, self.size, self.padding)


class RandomShift:
    """Shifts images by up to `most` elements in each direction; zeros come in."""

    def __init__(self, most: int):
        if most < 0:
            raise TracerError(f"RandomShift expects a number of elements from 0, got {most!r}")
        self.most = most

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        images(x, "RandomShift")
        return cropped(x, rng, x.shape[2:], self.most)


def cropped(x: Array, rng: np.random.Generator, size: Sequence[int], around: int) -> Array:
    """Parts of this size at random places of images with zeros around them."""
    if around:
        x = np.pad(x, ((0, 0), (0, 0), (around, around), (around, around)))
    room = [have - want for have, want in zip(x.shape[2:], size, strict=True)]
    if min(room) < 0:
        raise ShapeError(f"parts {list(size)} are cut out of images of {list(x.shape[2:])}")
    windows = np.lib.stride_tricks.sliding_window_view(x, tuple(size), axis=(2, 3))
    places = [np.arange(len(x)), *(rng.integers(most + 1, size=len(x)) for most in room)]
    number, row, column = map(backend.of(x).from_host, places)
    return windows[number, :, row, column]


def images(x: Array, name: str) -> None:
    """Raise `ShapeError` for what are no images `[N, C, H, W]`."""
    if x.ndim != 4:
        raise ShapeError(f"{name} is of images [N, C, H, W], got {list(x.shape)}")
