"""Whose memory an array is: what is given to a caller shares it with nothing else."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import numpy as np


def own(held: MutableMapping[str, Any], name: str) -> None:
    """Put a copy in the place of a NumPy array whose memory is not its own alone.

    Gradients of sums, biases and shapes pass cotangents on as they are, so that two parameters may
    get the same array, or one that a constant of the program lies in. Most are fresh, and a copy
    takes as long as the gradient of a small model's weight. Every array that shares memory with
    others refers to its owner; CPython counts who does.
    """
    if type(held[name]) is np.ndarray and not _is_alone(held, name):
        held[name] = held[name].copy()


def _is_alone(held: MutableMapping[str, Any], name: str) -> bool:
    # The array and its base are looked up anew each time: a local variable would be counted, too.
    if sys.getrefcount(held[name]) > 2 or not held[name].flags.c_contiguous:  # `held`, the argument
        return False
    if held[name].base is None:
        return held[name].flags.owndata
    if type(held[name].base) is not np.ndarray or not held[name].base.flags.owndata:
        return False
    whole = held[name].base.size == held[name].size
    return whole and sys.getrefcount(held[name].base) == 2  # the array, the argument
