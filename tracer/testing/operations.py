"""The check of an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer.record.operation import Operation
from tracer.testing.backends import check_backend
from tracer.testing.cases import Case
from tracer.testing.derivatives import (
    check_higher_orders,
    check_jvp,
    check_kept,
    check_single_precision,
    check_vjp,
)
from tracer.testing.graphs import check_quantities
from tracer.testing.samples import check_batch_axis, check_parameter_cotangent

CHECKS: tuple[Callable[[Case, float, float], None], ...] = (
    check_vjp,
    check_kept,
    check_jvp,
    check_higher_orders,
    check_single_precision,
    check_batch_axis,
    check_parameter_cotangent,
    check_quantities,
)


def check_operation(
    op: Operation,
    cases: Sequence[tuple[Sequence[Any], dict[str, Any]]] | None = None,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    backend: Callable[[np.ndarray], Any] | None = None,
) -> None:
    """Check all rules of an operation at its examples, or at `cases` of the same form.

    Against numerical derivatives: `vjp`, and derivatives of order two and three. Against each
    other: stacks and single rows, linearity, `vjp` with and without what was kept, `jvp` and `vjp`,
    dtypes. Where samples lie (`batch_axis`) against the forward function, `parameter_cotangent` and
    `carry` against one row per sample, and every registered quantity with a known definition
    against brute force.
    `backend` makes another library's array of a NumPy array: the rules run on these too, and
    must agree.
    """
    if cases is None:
        if not hasattr(op, "examples"):
            raise AssertionError(
                f"operation {op.name!r} has no examples(rng): return a list of (inputs, params)"
            )
        cases = op.examples(np.random.default_rng(0))
    for number, (inputs, params) in enumerate(cases):
        title = f"operation {op.name!r}, example {number}"
        try:
            case = Case(op, inputs, params, title)
            for check in CHECKS:
                check(case, rtol, atol)
            if backend is not None:
                check_backend(case, backend, rtol, atol)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error
