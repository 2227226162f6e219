"""The random generators of initialisation, dropout and sampled quantities: one per library."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.arrays.backend import Backend
from tracer.arrays.types import Array, Generator

_seed: int | None = None
_generators: dict[str, Generator] = {"numpy": np.random.default_rng()}


def seed(n: int) -> None:
    """Start the shared generators again from `n`, for every thread and on every device.

    The devices' generators differ: the same seed gives other numbers on a GPU than on the host.
    """
    global _seed
    _seed = n
    _generators.clear()


def last_seed() -> int | None:
    """What the generators were started from last; None where nobody said."""
    return _seed


def generator(like: Array | None = None) -> Generator:
    """The shared generator of the library of an array: by default NumPy's.

    NumPy's draws lock it, so that threads may use it at once.
    """
    return generator_of(backend.NUMPY if like is None else backend.of(like))


def generator_of(library: Backend) -> Generator:
    """The shared generator of a library."""
    found = _generators.get(library.name)
    if found is None:
        found = _generators.setdefault(library.name, library.generator(_seed))
    return found


def set_generator(library: Backend, made: Generator) -> None:
    """Let a library's arrays be drawn from another generator, in all threads."""
    _generators[library.name] = made


class Restarted:
    """A generator from one state on for each of several uses, each alike beside others and alone.

    The generator itself ends where the use of the most samples left it. A use draws all its numbers
    before the next one begins. One that is not NumPy's goes on from use to use.
    """

    def __init__(self, rng: Generator | None):
        self.rng = rng
        self._uses: dict[Hashable, Generator] = {}
        self._first_state: Any = None
        self._most = -1

    def of(self, use: Hashable, samples: int) -> Any:
        """The generator of one use, which draws so many samples."""
        if not isinstance(self.rng, np.random.Generator):
            return self.rng
        if use not in self._uses:
            if not self._uses:
                self._first_state = self.rng.bit_generator.state
            longest = samples > self._most
            found = self.rng if longest else copy.deepcopy(self.rng)
            found.bit_generator.state = self._first_state
            self._uses[use], self._most = found, max(self._most, samples)
        return self._uses[use]


def drawn(values: Array, like: Array) -> Array:
    """What a generator drew, in the library of `like`: a generator of NumPy's draws on the host."""
    return backend.of(like).from_host(values)


def poisson(rng: Generator, rate: Array, samples: int) -> Array:
    """`[samples, *rate.shape]` of Poisson counts, in the library of the rates."""
    rate_there = backend.to_host(rate) if isinstance(rng, np.random.Generator) else rate
    return drawn(rng.poisson(rate_there, (samples, *rate.shape)), rate)
