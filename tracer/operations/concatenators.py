"""`tracer.r_` and `tracer.c_`: NumPy's `np.r_` and `np.c_`, of arrays, numbers and tensors."""

import numpy as np

from tracer.arrays.sampled import SampledArray
from tracer.errors import ShapeError
from tracer.operations.arguments import operand
from tracer.operations.joining import array
from tracer.record.tensor import Tensor


class Concatenator:
    """Joins what is between the brackets along an axis, as NumPy's object of its name does.

    Arrays, nested lists, numbers, tensors, and slices: `0:4:2` is `np.arange(0, 4, 2)`, and
    `0:1:5j` is `np.linspace(0, 1, 5)`. A text `"axis, ndim, place"` comes first: the axis that is
    joined along, the least number of axes of each part, and where those of parts with fewer stand.
    Without tensors, what NumPy's object gives.
    """

    def __init__(self, name, axis, ndmin, first):
        self._name, self._defaults = name, (axis, ndmin, first)
        self.__doc__ = f"`np.{name}` for tensors, arrays, numbers, lists and slices."

    def __repr__(self):
        return f"tracer.{self._name}"

    def __getitem__(self, key):
        parts = key if isinstance(key, tuple) else (key,)
        if not any(map(_holds_tensor, parts)):
            return getattr(np, self._name)[key]
        axis, ndmin, first = self._defaults
        if isinstance(parts[0], str):
            axis, ndmin, first = _directive(parts[0], self._defaults, self)
            parts = parts[1:]
        arrays = [_part(part, ndmin, first, self) for part in parts]
        kinds = [
            part if isinstance(part, int | float) else array.dtype
            for part, array in zip(parts, arrays, strict=True)
        ]
        return np.concatenate(arrays, axis=axis, dtype=np.result_type(*kinds))


def _holds_tensor(part):
    if isinstance(part, slice):
        return any(map(_holds_tensor, (part.start, part.stop, part.step)))
    if isinstance(part, list | tuple):
        return any(map(_holds_tensor, part))
    return isinstance(part, Tensor | SampledArray)


def _directive(text, defaults, name):
    """Axis, least number of axes and place of the given ones, from NumPy's text for them."""
    try:
        given = [int(word) for word in text.split(",")]
        if not 1 <= len(given) <= 3:
            raise ValueError
    except ValueError:
        raise ShapeError(
            f'{name!r} of tensors takes one to three integers as its text, as {name!r}["0,2", t], '
            f"got {text!r}"
        ) from None
    return (*given, *defaults[len(given) :])


def _part(part, ndmin, first, name):
    """One part as an array or tensor of `ndmin` axes or more."""
    if isinstance(part, str):
        raise ShapeError(f"a text comes first in {name!r}[...], got {part!r} behind others")
    if isinstance(part, slice):
        made = _counted(part, name)
    else:
        made = array(part) if isinstance(part, list | tuple) else operand(part)
    missing = ndmin - made.ndim
    if missing <= 0:
        return made
    if isinstance(part, slice):  # whose axis takes the place by itself
        made = np.reshape(made, (1,) * missing + made.shape)
        return made if first == -1 else np.swapaxes(made, -1, first)
    start = first + missing + 1 if first < 0 else first
    if not 0 <= start <= missing:
        if made.ndim:
            raise ShapeError(
                f"{name!r}[...] adds {missing} axes to a part of shape {list(made.shape)}, whose "
                f"own may stand from place {-missing - 1} to {missing} on, got {first}"
            )
        start = missing
    return np.reshape(made, (1,) * start + made.shape + (1,) * (missing - start))


def _counted(part, name):
    start, step = 0 if part.start is None else part.start, 1 if part.step is None else part.step
    if isinstance(step, complex):
        return np.linspace(start, part.stop, num=int(abs(step)))
    if any(map(_holds_tensor, (start, part.stop, step))):
        raise ShapeError(
            f"a slice in {name!r}[...] counts by plain numbers: write "
            f"start + step * np.arange(count), or start:stop:5j for five points"
        )
    return np.arange(start, part.stop, step)


r_ = Concatenator("r_", axis=0, ndmin=1, first=-1)
c_ = Concatenator("c_", axis=-1, ndmin=2, first=0)
