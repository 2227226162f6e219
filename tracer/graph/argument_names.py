"""What constants are called: buffers of modules, arguments of operations, variables."""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import EllipsisType
from typing import Any

from tracer.arrays import backend
from tracer.arrays.types import Array
from tracer.graph.expressions import index_names, operand_name
from tracer.record.node import Node
from tracer.record.raising import Failure
from tracer.record.rules import Rules

#: names of arguments that tell nothing
PLAIN = frozenset(("value", "values", "args", "parts", "operands", "arrays"))


def argument_name(consumer: Node | Failure, slot: int, value: Array | None = None) -> str:
    """The buffer that a constant is of, else the argument that it is given as, as in `target`.

    Else the variable that an array, the `value`, is in the user's source. Empty where the name
    would tell nothing.
    """
    name = _buffer(consumer, value) or _argument(consumer.op, slot)
    return name if name or value is None else operand_name(consumer, slot)


def indices(node: Node) -> list[tuple[str, Array]]:
    """The arrays in the index of an operation that selects, `x[rows, :2]`, with their names.

    An index that is an input of the operation itself is not among them.
    """
    index = node.params.get("index", ())
    if not isinstance(index, tuple) or "diagonal" in node.params:
        return []
    arrays = [part for part in index if backend.is_array(part) and part.ndim]
    given = sum(not isinstance(part, slice | int | None | EllipsisType) for part in index)
    if not arrays or given != len(arrays):
        return [("", array) for array in arrays]
    return list(zip(index_names(node, len(arrays)), arrays, strict=True))


def _buffer(consumer: Node | Failure, value: Array | None) -> str:
    """The name of a buffer of the calling module with this value."""
    call = consumer.place.call
    reference = None if call is None else call.called.module
    module: Any = None if reference is None else reference()
    if value is None or not hasattr(module, "named_buffers"):
        return ""
    for name, array in module.named_buffers(recurse=False):
        same = getattr(array, "shape", None) == value.shape and array.dtype == value.dtype
        if same and type(array) is type(value) and bool((array == value).all()):
            return str(name)
    return ""


@lru_cache(maxsize=1024)
def _argument(op: Rules, slot: int) -> str:
    for name in ("forward", "forward_keeping"):
        try:
            arguments = list(inspect.signature(getattr(op, name)).parameters.values())
        except (AttributeError, TypeError, ValueError):
            continue
        positional = [a for a in arguments if a.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if 0 < slot < len(positional):
            found = positional[slot].name
            return found if len(found) > 1 and found not in PLAIN else ""
    return ""
