"""Random numbers of the parts of a batch: a stream for each, whoever computes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from tracer.extend import Backend, backend, generator, generator_of, set_generator
from tracer_training.checkpoints.packing import (
    generators_of,
    python_state,
    set_python_state,
    set_state,
    state_of,
)
from tracer_training.kinds import Model, Value


class Source(Protocol):
    """What draws random numbers: its state, which is taken and set, and that of a new stream."""

    def state(self) -> Value: ...

    def set(self, state: Value) -> None: ...

    def of(self, seed: list[int]) -> Value: ...


@contextmanager
def streams(model: Model, library: Backend) -> Iterator[Callable[[int], None]]:
    """Gives a function that begins the stream of a part, or a batch, by its number.

    The streams depend on where the shared generator is, which is the same on all ranks; afterwards
    it is one draw further, and all others are where they were.
    """
    seed = int(generator().integers(2**63))
    sources = sources_of(model)
    if library is not backend.NUMPY:
        sources.append(OfDevice(library))
    before = [source.state() for source in sources]

    def begin(number: int) -> None:
        for place, source in enumerate(sources):
            source.set(source.of([seed, place, number]))

    try:
        yield begin
    finally:
        for source, state in zip(sources, before, strict=True):
            source.set(state)


def sources_of(model: Model) -> list[Source]:
    """The host's: those that are shared, of NumPy and Python, and those of a model's modules."""
    own = generators_of(model)
    return [OfObject(generator()), OfNumpy(), OfPython(), *(OfObject(own[key]) for key in own)]


class OfObject:
    """A generator of NumPy's or Python's."""

    def __init__(self, source: Value):
        self.source = source

    def state(self) -> Value:
        return state_of(self.source)

    def set(self, state: Value) -> None:
        set_state(self.source, state)

    def of(self, seed: list[int]) -> Value:
        if isinstance(self.source, random.Random):
            return OfPython().of(seed)
        if isinstance(self.source, np.random.RandomState):
            return OfNumpy().of(seed)
        return type(self.source.bit_generator)(np.random.SeedSequence(seed)).state


class OfDevice:
    """The shared generator of a device, in whose place that of a stream stands."""

    def __init__(self, library: Backend):
        self.library = library

    def state(self) -> Value:
        return generator_of(self.library)

    def set(self, state: Value) -> None:
        set_generator(self.library, state)

    def of(self, seed: list[int]) -> Value:
        return self.library.generator(int(np.random.SeedSequence(seed).generate_state(1)[0]))


class OfNumpy:
    """NumPy's old shared generator."""

    def state(self) -> Value:
        return np.random.get_state(legacy=False)  # noqa: NPY002

    def set(self, state: Value) -> None:
        np.random.set_state(state)  # noqa: NPY002

    def of(self, seed: list[int]) -> Value:
        bits = np.random.MT19937(np.random.SeedSequence(seed))
        return np.random.RandomState(bits).get_state(legacy=False)


class OfPython:
    """Python's shared generator."""

    def state(self) -> Value:
        return python_state()

    def set(self, state: Value) -> None:
        set_python_state(state)

    def of(self, seed: list[int]) -> Value:
        return random.Random(repr(seed)).getstate()
