"""Whose memory an array is: what is given to a caller shares it with nothing else."""

from __future__ import annotations

from sys import getrefcount
from typing import Any, Protocol

import numpy as np

from tracer.arrays.types import Array


class Holder(Protocol):
    """What has an array, as a tensor."""

    _value: Array


def unaliased(held: list[Any]) -> Any:
    """The array in a list that alone refers to it, or a copy where others refer to its memory.

    A copy, too, of an array that cannot be written into.

    Gradients of sums, biases and shapes pass cotangents on as they are, so that two parameters may
    get the same array, or one that a constant of the program lies in. Most are fresh, and a copy
    takes as long as the gradient of a small model's weight. Every array that shares memory with
    others refers to its owner; CPython counts who does. (Where an interpreter counts otherwise than
    this file finds out at its end, all are copied.) Other values are given back as they are.
    """
    if type(held[0]) is np.ndarray and not _is_alone(held):
        return held[0].copy()
    return held[0]


def _is_alone(held: list[Any]) -> bool:
    # The array and its base are looked up anew each time: a local variable would be counted, too.
    if not _COUNTED or getrefcount(held[0]) > _ALONE:  # of the list and the argument
        return False
    if not held[0].flags.writeable:
        return False
    if held[0].base is None:
        return held[0].flags.owndata
    if type(held[0].base) is not np.ndarray or not held[0].base.flags.owndata:
        return False
    whole = held[0].base.size == held[0].size
    return whole and getrefcount(held[0].base) == _ALONE  # of the view and the argument


def is_private(holder: Holder) -> bool:
    """Whether an object's `_value`, a NumPy array, is all its own: writing into it is not seen.

    Where it is a view of another array, that counts as shared.
    """
    if type(holder._value) is not np.ndarray or not _COUNTED:
        return False
    if getrefcount(holder._value) > _ALONE:  # of the object and the argument
        return False
    flags = holder._value.flags  # which refer to the array
    return bool(flags.owndata and flags.writeable)


def _references(held: list[Any]) -> int:
    return getrefcount(held[0])


def _references_of_base(held: list[Any]) -> int:
    return getrefcount(held[0].base)


def _counts_another(array: np.ndarray) -> bool:
    """Whether it tells that an array is held by this function's caller, too."""
    return _references([array]) > _ALONE


#: the references to what is held by one list, or one view, alone
_ALONE = _references([np.empty(2)])
#: whether others count, and those of a view as those of a list
_COUNTED = _counts_another(np.empty(2)) and _references_of_base([np.empty(2)[:]]) == _ALONE
