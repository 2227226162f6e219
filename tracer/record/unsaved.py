"""What a rule reads of a node that has not saved it, said with what to add to `saves`."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tracer.errors import TracingError
from tracer.record.node import Node

#: how an error looks that comes of None in place of an array
KINDS = (TypeError, AttributeError, ValueError)


def unsaved(
    error: BaseException, where: str, rule: Callable[..., object], node: Node
) -> TracingError | None:
    """The error of a rule that reads what `saves` leaves out, with the remedy; None of any other.

    What it reads is taken from its code, or where that does not say, from the error's text.
    """
    absent = {
        "inputs": not node.op.saves_inputs
        and any(x is None and p for x, p in zip(node.inputs, node.parents, strict=True)),
        "output": not node.op.saves_output,
    }
    left_out = [name for name, is_absent in absent.items() if is_absent]
    names = getattr(getattr(inspect.unwrap(rule), "__code__", None), "co_names", ())
    read = [name for name in left_out if name in names]
    if not isinstance(error, KINDS) or not (read or (left_out and "NoneType" in str(error))):
        return None
    saves = tuple(n for n in ("inputs", "output") if n in node.op.saves or n in (read or left_out))
    told = TracingError(
        f"{where} reads what was not saved: write saves = {saves!r} in the operation, which has "
        f"{node.op.saves!r} ({type(error).__name__}: {error})"
    )
    return told.with_traceback(error.__traceback__)
