"""How kernels are told of windows: as one struct, with three spatial axes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache

from tracer.extend import Geometry

RANK = 3
Three = ctypes.c_int64 * RANK


class Numbers(ctypes.Structure):
    """`Geometry` in `source/tiles.hpp`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("samples", "groups", "channels", "outputs")),
        *((name, Three) for name in ("size", "kernel", "stride", "dilation", "before", "output")),
    ]


@lru_cache(maxsize=1024)
def numbers(w: Geometry, samples: int, groups: int, channels: int, outputs: int) -> Numbers:
    """The struct for windows over up to three axes: fewer of them come last."""
    before = [first for first, _ in w.padding]

    def three(values: Sequence[int], missing: int) -> ctypes.Array[ctypes.c_int64]:
        return Three(*(missing,) * (RANK - len(values)), *values)

    return Numbers(
        *(samples, groups, channels, outputs),
        *(three(values, 1) for values in (w.size, w.kernel, w.stride, w.dilation)),
        three(before, 0),
        three(w.output, 1),
    )
