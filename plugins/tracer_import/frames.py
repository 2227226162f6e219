"""Calls that count as made by a line of the model's own code, which the record and errors name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

from tracer_import.program import Source

#: calls a function with arguments and keywords
Caller = Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]


def here(
    function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Any:
    """Call it by the line that calls the model."""
    return function(*arguments, **keywords)


def _call(function, arguments, keywords):  # type: ignore[no-untyped-def]  # its code is moved
    return function(*arguments, **keywords)


#: what the modules of those lines are called
GLOBALS = {"__name__": "imported_program"}


@functools.lru_cache(maxsize=4096)
def caller(source: Source | None) -> Caller:
    """What calls by a line of a file, which need not be there."""
    if source is None:
        return here
    code = _call.__code__.replace(
        co_filename=source.file, co_firstlineno=max(0, source.line - 1), co_name="forward"
    )
    return FunctionType(code, GLOBALS)
