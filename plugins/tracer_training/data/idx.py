"""Files in the IDX format, in which MNIST and its like come, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from tracer.errors import TracerError

#: the third byte of a file -> the dtype of its numbers
DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """The array of a file, in its dtype.

    Raises `TracerError` for a file that is corrupt or truncated, with the byte where that shows.
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _broken(path, f"its gzip data are corrupt or truncated ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0":
        raise _broken(path, f"it begins with bytes {content[:2].hex(' ') or 'none'}, not 00 00")
    if content[2] not in DTYPES:
        known = ", ".join(f"{code:#04x} {np.dtype(name).name}" for code, name in DTYPES.items())
        raise _broken(path, f"byte 2 says dtype {content[2]:#04x}, and not one of {known}")
    rank, dtype = content[3], np.dtype(DTYPES[content[2]])
    start = 4 + 4 * rank
    if len(content) < start:
        raise _broken(path, f"it ends at byte {len(content)}, within the sizes of {rank} axes")
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise _broken(
            path, f"{dtype.name}{shape} takes {wanted} bytes with its header, got {len(content)}"
        )
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _broken(path: Path, why: str) -> TracerError:
    return TracerError(f"{str(path)!r} is no whole IDX file: {why}")
