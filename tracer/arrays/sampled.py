"""Plain arrays that know their samples: what flat functions of recorded tensors give.

Comparisons, `np.argmax` and their kin have no derivative, so that programs go on with their results
as with any NumPy array. Which sample an entry belongs to still matters: where such an array meets a
parameter, each sample has its own share of the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class SampledArray(np.ndarray):
    """A NumPy array, and the leaf of a record that stands for it.

    `plain` is the array itself, of NumPy's own class, and `leaf` stands for it in a record (None
    for a constant). NumPy's functions give arrays that know their samples, too; what becomes a
    plain array (`np.asarray`, an index into a plain array) is a constant like any other.

    Its methods and NumPy's functions on it are bound by `tracer.operations.flat`.
    """

    leaf: Any

    _plain: np.ndarray | None = None
    _leaf: Any = None
    #: the operation, leaves, arrays and options that it was made by, until its leaf is asked for
    _made_by: tuple[Any, ...] | None = None
    #: the one that NumPy made it of by itself, until then
    _made_of: SampledArray | None = None

    def __array_finalize__(self, made_of: object) -> None:
        if type(made_of) is SampledArray:
            self._made_of = made_of

    @property
    def plain(self) -> np.ndarray:
        """The array, of NumPy's own class, in the same memory."""
        if self._plain is None:
            self._plain = self.view(np.ndarray)
        return self._plain

    def __reduce__(self) -> Any:
        return self.plain.__reduce__()

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any] | None, /) -> Any:
        return self.copy()


def plain(value: Any) -> Any:
    """An array of NumPy's own class; anything else as it is."""
    return value.plain if type(value) is SampledArray else value
