"""The random generators of initialisation, dropout and sampled quantities: one per library."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer import backend

_seed: int | None = None
_generators: dict[str, Any] = {"numpy": np.random.default_rng()}


def seed(n: int) -> None:
    """Start the shared generators again from `n`, for every thread and on every device.

    The devices' generators differ: the same seed gives other numbers on a GPU than on the host.
    """
    global _seed
    _seed = n
    _generators.clear()


def generator(like: Any = None) -> Any:
    """The shared generator of the library of an array: by default NumPy's.

    NumPy's draws lock it, so that threads may use it at once.
    """
    library = backend.NUMPY if like is None else backend.of(like)
    found = _generators.get(library.name)
    if found is None:
        found = _generators.setdefault(library.name, library.generator(_seed))
    return found


def drawn(values: Any, like: Any) -> Any:
    """What a generator drew, in the library of `like`: a generator of NumPy's draws on the host."""
    return backend.of(like).from_host(values)


def poisson(rng: Any, rate: Any, samples: int) -> Any:
    """`[samples, *rate.shape]` of Poisson counts, in the library of the rates."""
    rate_there = backend.to_host(rate) if isinstance(rng, np.random.Generator) else rate
    return drawn(rng.poisson(rate_there, (samples, *rate.shape)), rate)
