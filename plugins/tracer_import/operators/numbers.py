"""Arithmetic of sizes and other plain numbers, which Python does."""

from __future__ import annotations

import math
import operator as python
from typing import Any

from tracer_import.operators.table import add_operator

for _name in (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_", "getitem"),
):
    add_operator(f"_operator.{_name}", getattr(python, _name))
for _name in ("ceil", "floor", "trunc", "sqrt"):
    add_operator(f"math.{_name}", getattr(math, _name))
    add_operator(f"torch._sym_{_name}", getattr(math, _name))


def _otherwise(condition: bool, yes: Any, no: Any) -> Any:
    return yes if condition else no


add_operator("torch.sym_max", max)
add_operator("torch.sym_min", min)
add_operator("torch.sym_not", python.not_)
add_operator("torch.sym_int", int)
add_operator("torch.sym_float", float)
add_operator("torch.sym_ite", _otherwise)
