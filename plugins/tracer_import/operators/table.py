"""The operators of this package, and how a function becomes one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tracer.extend import ImportedOperator

#: operator name -> the operator, in the order of the files
OPERATORS: dict[str, ImportedOperator] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def operator(*names: str, mode: str = "") -> Callable[[Function], Function]:
    """Make a function the operators of these names; those of ATen without `aten.`.

    The function takes what the operator's schema does, under its names.
    """

    def add(function: Function) -> Function:
        for name in names:
            add_operator(name, function, mode)
        return function

    return add


def add_operator(name: str, function: Callable[..., Any], mode: str = "") -> None:
    """Make a function the operator of a name."""
    full = name if name.startswith(FULL) else f"aten.{name}"
    if full in OPERATORS:
        raise ValueError(f"the operator {full} is there already")
    OPERATORS[full] = ImportedOperator(full, function, mode)


#: what names begin with that are not ATen's
FULL = ("aten.", "tracer.", "onnx.", "_operator.", "math.", "torch.", "higher_order.")
