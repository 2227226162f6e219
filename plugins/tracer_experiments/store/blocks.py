"""Points of a series as bytes: a block holds up to `SIZE`, and only the last one grows."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tracer.errors import TracerError
from tracer_experiments.values import Edges, Histogram

#: points of a full block
SIZE = 512
STEP, TIME, NUMBER = np.dtype("<i8"), np.dtype("<f4"), np.dtype("<f8")


class Block(NamedTuple):
    """Steps, seconds since the run began and values, as they are kept.

    Steps that are evenly spaced are their first and their distance; seconds are float32 after the
    first one, which is float64.
    """

    length: int
    steps: bytes
    times: bytes
    numbers: bytes


def packed(steps: Iterable[int], times: Iterable[float], numbers: Iterable[float]) -> Block:
    """A block of points."""
    at, seconds = np.fromiter(steps, STEP), np.fromiter(times, NUMBER)
    values = np.fromiter(numbers, NUMBER)
    strides = np.diff(at)
    if at.size > 2 and np.all(strides == strides[0]):
        at = np.array([at[0], strides[0]], STEP)
    first = seconds[:1].tobytes()
    return Block(
        values.size, at.tobytes(), first + (seconds - seconds[0]).astype(TIME).tobytes(),
        values.tobytes(),
    )  # fmt: skip


def steps_of(count: int, steps: bytes) -> np.ndarray:
    """The steps of a block, `[count]` int64."""
    at = np.frombuffer(steps, STEP)
    return at[0] + at[1] * np.arange(count) if at.size != count else at


def times_of(times: bytes) -> np.ndarray:
    """The seconds of a block, `[count]` float64."""
    first = np.frombuffer(times, NUMBER, 1)
    return first + np.frombuffer(times, TIME, offset=NUMBER.itemsize)


def numbers_of(numbers: bytes) -> np.ndarray:
    """The values of a block, `[count]` float64."""
    return np.frombuffer(numbers, NUMBER)


def packed_histogram(histogram: Histogram) -> bytes:
    """Counts, edges, and what has no place."""
    edges = histogram.edges if isinstance(histogram.edges, tuple) else (histogram.edges,)
    head = np.array(
        [histogram.ndim, *histogram.shape, histogram.nan, histogram.infinite], STEP
    ).tobytes()
    parts = [np.asarray(part, NUMBER).tobytes() for part in (histogram, *edges)]
    return zlib.compress(head + b"".join(parts), 1)


def histogram_of(data: bytes) -> Histogram:
    """The histogram of `packed_histogram`; `ValueError` or `zlib.error` for other bytes."""
    whole = zlib.decompress(data)
    axes = int(np.frombuffer(whole, STEP, 1)[0])
    head = np.frombuffer(whole, STEP, axes + 3).tolist()
    shape, (nan, infinite) = head[1 : axes + 1], head[axes + 1 :]
    rest = np.frombuffer(whole, NUMBER, offset=(axes + 3) * STEP.itemsize)
    counts, rest = np.split(rest, [int(np.prod(shape))])
    edges: Edges = tuple(np.split(rest, np.cumsum([n + 1 for n in shape])[:-1]))
    try:
        return Histogram(
            counts.reshape(shape), edges if axes > 1 else edges[0], nan=nan, infinite=infinite
        )
    except TracerError as error:
        raise ValueError(str(error)) from None
