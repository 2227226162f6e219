"""What all kernels' methods have: the library that they call, and what it can be given."""

from __future__ import annotations

import numpy as np

from tracer.extend import Array, Compiled
from tracer_native.library import DTYPES, Library

#: elements from which on a call pays that does little with each: it takes 5 microseconds
MANY = 1 << 14


class Calling(Compiled):
    """Kernels of one library, which `ready` of `Kernels` finds."""

    _call: Library


def have_many(x: Array) -> bool:
    """Whether a call pays that does little with each element."""
    return bool(x.size >= MANY)


def alike(*arrays: Array) -> bool:
    """Whether these are NumPy's own arrays, of one dtype that there are kernels for."""
    dtype = arrays[0].dtype
    return dtype in DTYPES and all(
        type(a) is np.ndarray and a.dtype == dtype and a.flags.aligned for a in arrays
    )


def all_rows(*arrays: Array) -> bool:
    return alike(*arrays) and all(a.flags.c_contiguous for a in arrays)
