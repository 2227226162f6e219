"""The check of an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer.record.operation import Operation
from tracer.testing.cases import Case
from tracer.testing.complex_numbers import check_complex, check_complex_case, is_of_complex
from tracer.testing.derivatives import (
    check_higher_orders,
    check_jvp,
    check_kept,
    check_single_precision,
    check_vjp,
)
from tracer.testing.graphs import check_quantities
from tracer.testing.portable import check_on_arrays
from tracer.testing.report import Report
from tracer.testing.samples import (
    axes_of,
    check_batch_axis,
    check_parameter_cotangent,
    claims_single,
    markings,
)

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
) -> Report:
    """Check all rules of an operation at its examples, or at `cases` of the same form.

    Against numerical derivatives: `vjp`, and derivatives of order two and three. Against each
    other: stacks and single rows, linearity, `vjp` with and without what was kept, `jvp` and `vjp`,
    dtypes. With complex numbers in the place of real ones: the same where the operation takes them,
    and else that it refuses them. Where samples lie (`batch_axis`) against the forward function,
    `parameter_cotangent` and `carry` against one row per sample, and every registered quantity with
    a known definition against brute force.
    `backend` makes another library's array of a NumPy array: the rules run on these too, and
    must agree.

    The report says what was compared, and what could not be, as with a `batch_axis` that knows no
    samples at the examples, or samples along an axis that has size 1 in all of them.
    """
    if cases is None:
        if not hasattr(op, "examples"):
            raise AssertionError(
                f"operation {op.name!r} has no examples(rng): return a list of (inputs, params)"
            )
        cases = op.examples(np.random.default_rng(0))
    _check_form(op, cases)
    marked, seen, single, of_complex = False, set(), set(), not op.takes_complex
    for number, (inputs, params) in enumerate(cases):
        title = f"operation {op.name!r}, example {number}"
        try:
            if is_of_complex(op, inputs, params):
                check_complex_case(op, inputs, params, title)
                of_complex = True
                continue
            case = Case(op, inputs, params, title)
            for check in CHECKS:
                check(case, rtol, atol)
            of_complex = check_complex(case) or of_complex
            marked = marked or next(markings(case), None) is not None
            for where, size in axes_of(case):
                if size > 1:
                    seen.add(where)
                elif size == 1 and claims_single(case, where[0], where[2]):
                    single.add(where)
            if backend is not None:
                check_on_arrays(case, backend, rtol, atol)
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error
    if not of_complex:
        raise AssertionError(
            f"operation {op.name!r} refuses complex numbers at all examples: leave takes_complex "
            f"out, or give an example of such numbers"
        )
    return _report(op, marked, sorted(single - seen), backend is not None)


def _check_form(op: Operation, cases: object) -> None:
    """Raise `AssertionError` unless these are examples: pairs of inputs and options."""
    form = "write a list of (inputs, params), as [((x, y), {})]"
    if not isinstance(cases, list | tuple) or not cases:
        raise AssertionError(f"operation {op.name!r} has no example, but {cases!r:.60}: {form}")
    for case in cases:
        pair = isinstance(case, tuple | list) and len(case) == 2
        if not pair or not isinstance(case[0], tuple | list) or not isinstance(case[1], dict):
            raise AssertionError(f"operation {op.name!r} has the example {case!r:.60}: {form}")


def _report(
    op: Operation, marked: bool, single: Sequence[tuple[int, int, int]], elsewhere: bool
) -> Report:
    """`marked`: samples were known to lie somewhere in an example.

    `single` are axes where they would be known to lie, and that have size 1 in every example.
    """
    made = {
        "vjp": "with numerical derivatives, row by row and in stacks, with what was kept and not",
        "jvp": f"{'with' if op.jvp else 'derived, with'} the vjp, transposed, rows alone, recorded",
        "higher orders": "derivatives of order two and three with numerical ones",
        "dtypes": "single precision stays that",
        "complex numbers": "numerical derivatives" if op.takes_complex else "refused",
    }
    missing: dict[str, str] = {}
    if marked:
        made["batch_axis"] = "samples, one exchanged at a time, with where they lie in the output"
        made["parameter_cotangent"] = "all contractions with one row per sample"
        made["quantities"] = "all that bring a reference with brute force"
    else:
        reason = "no batch_axis, so that samples are followed one row each"
        if op.batch_axis is not None:
            reason = "batch_axis knows no samples of more than one at these examples"
        missing |= {"batch_axis": reason, "parameter_cotangent": reason}
        if not op.loss:
            made["quantities"] = "all that bring a reference with brute force, of its inputs"
    if marked and single:
        slot, ndim, axis = single[0]
        missing["batch_axis of every axis"] = (
            f"axis {axis} of input {slot}{f' of {ndim} axes' if ndim > 1 else ''} has size 1 in "
            f"every example: give one with more"
        )
    if elsewhere:
        made["backend"] = "all rules on the other library's arrays with those on NumPy's"
    return Report(made, missing, is_defined=True)
