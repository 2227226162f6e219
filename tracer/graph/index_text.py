"""How an index is written in a picture: `:`, `0`, `1:3`, `...`, `None`, `mask`, `rows`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import EllipsisType
from typing import Any

import numpy as np

from tracer.arrays import backend
from tracer.graph.calls import Attributes
from tracer.operations.indexing import AT, MASK, OF_MASK

#: what arrays are called of which nothing better is known
NAMELESS = ("", "index", "constant")


def index_text(index: tuple[Any, ...], arrays: Iterable[Attributes]) -> list[str]:
    """The entries of an index; `arrays` are the nodes of those that have axes, in their order."""
    return list(_entries(index, iter(arrays)))


def _entries(index: tuple[Any, ...], arrays: Iterator[Attributes]) -> Iterator[str]:
    for part in index:
        if isinstance(part, slice):
            yield _slice(part)
        elif isinstance(part, EllipsisType):
            yield "..."
        elif part is None or isinstance(part, int | np.integer | np.bool_):
            yield str(part)
        elif backend.is_array(part) and not part.ndim:
            yield str(part.item())
        elif isinstance(part, range):
            yield f"ints[{len(part)}]"
        else:
            array, place = next(arrays, {}), part if isinstance(part, str) else AT
            if place != OF_MASK:
                yield "mask" if place == MASK else array_text(array)


def _slice(part: slice) -> str:
    start, stop, step = ("" if n is None else str(n) for n in (part.start, part.stop, part.step))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def array_text(data: Attributes) -> str:
    """An array in an index: `mask`, its name, or its kind and shape, as in `ints[2,3]`."""
    if data.get("dtype") == "bool":
        return "mask"
    label = str(data.get("label") or "")
    if data.get("kind") not in (None, "operation") and label not in NAMELESS:
        return label
    return f"ints[{','.join(map(str, data.get('shape') or ()))}]"


def between(copies: list[list[str]]) -> list[str]:
    """The entries of what several copies of an operation select: from the first to the last."""
    first, last = copies[0], copies[-1]
    if len(first) != len(last):
        return ["…"]
    same = [len(set(entries)) == 1 for entries in zip(*copies, strict=False)]
    return [a if one else f"{a} … {b}" for a, b, one in zip(first, last, same, strict=True)]
