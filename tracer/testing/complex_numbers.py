"""Checks of an operation with complex numbers: its rules are right for them, or it refuses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tracer.api.functional import vjp
from tracer.api.linearisation import Linearisation
from tracer.arrays.types import Array
from tracer.errors import TracingError
from tracer.record.node import Params
from tracer.record.operation import Operation
from tracer.record.tensor import Tensor, TensorLike
from tracer.sweep.rules import cotangents_of, entry_value
from tracer.testing.agreement import agree
from tracer.testing.cases import ROWS, Case
from tracer.testing.gradients import check_gradients


def is_of_complex(op: Operation, inputs: Sequence[object], params: Params) -> bool:
    """Whether an example has complex numbers, or gives some: that of an operation for these."""
    if any(isinstance(x, np.ndarray) and x.dtype.kind == "c" for x in inputs):
        return True
    return bool(op.takes_complex) and np.iscomplexobj(op.forward(*inputs, **params))


def check_complex(case: Case) -> bool:
    """An example of real numbers with complex ones in their place, for all inputs and for each.

    Whether there was something to check: an operation that takes some may refuse others.
    """
    op, slots, checked = case.op, case.slots, False
    for chosen in [slots, *([slot] for slot in slots if len(slots) > 1)]:
        inputs = list(case.inputs)
        for slot in chosen:
            inputs[slot] = _complex(case.inputs[slot], case.rng)
        if not op.takes_complex:
            _check_refused(op, inputs, chosen, case)
            continue
        try:
            check_complex_case(op, inputs, case.params, case.title)
            checked = True
        except (TracingError, TypeError):  # ours, or that of a forward that takes none
            continue
    return checked


def _complex(x: Array, rng: np.random.Generator) -> Array:
    return x + 1j * rng.uniform(0.2, 0.6, x.shape)


def _check_refused(op: Operation, inputs: list[object], slots: list[int], case: Case) -> None:
    given = [inputs[slot] for slot in slots]
    try:
        output, _ = vjp(lambda *some: op(*_filled(inputs, slots, some), **case.params), *given)
    except Exception:  # ours, or of a forward that takes none
        return
    if output.dtype.kind in "fc":
        raise AssertionError(
            f"{case.title}: complex inputs give a value, and nothing says that the rules hold for "
            f"them: say takes_complex = True where they do"
        )


def _filled(
    inputs: Sequence[object], slots: Sequence[int], given: Sequence[TensorLike]
) -> list[object]:
    new = dict(zip(slots, given, strict=True))
    return [new.get(i, x) for i, x in enumerate(inputs)]


def check_complex_case(op: Operation, inputs: Sequence[object], params: Params, title: str) -> None:
    """Derivatives of two orders and both modes with differences, stacks row by row, and dtypes."""
    sloped = {
        i: x for i, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.dtype.kind in "fc"
    }
    slots, given, title = list(sloped), list(sloped.values()), f"{title}, with complex numbers"

    def function(*some: TensorLike) -> Array | Tensor:
        return op(*_filled(inputs, slots, some), **params)

    try:
        check_gradients(function, list(range(len(slots))))(*given)
    except AssertionError as error:
        raise AssertionError(f"{title}: {error}") from error
    record = Linearisation(function, given, range(len(given)))
    rng, (output,) = np.random.default_rng(0), record.outputs
    g = rng.standard_normal((ROWS, *output.shape))
    if output.dtype.kind == "c":
        g = g + 1j * rng.standard_normal(g.shape)
    stacks = record.pull([g], (ROWS,))
    for v in range(ROWS):
        for stack, alone in zip(stacks, record.pull([g[v : v + 1]], (1,)), strict=True):
            agree(f"{title}: row {v} alone", alone[0], stack[v], 1e-10, 1e-12)
    if not any(isinstance(x, np.dtype) for x in inputs):  # which decides that of the output
        _check_single(function, given, g, title)


def _check_single(
    function: Callable[..., Array | Tensor], given: Sequence[Array], g: Array, title: str
) -> None:
    """Single precision stays that, and what reaches a complex input is complex."""
    single = [x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) for x in given]
    record = Linearisation(function, single, range(len(single)))
    (output,) = record.outputs
    if output.dtype.itemsize > (8 if output.dtype.kind == "c" else 4):
        raise AssertionError(f"{title}: forward of single precision gives {output.dtype}")
    node = output.node
    if node is None:
        return
    entries = cotangents_of(node, node, g.astype(output.dtype))
    for parent, entry in zip(node.parents, map(entry_value, entries), strict=True):
        if parent is not None and entry is not None and entry.dtype != parent.dtype:
            raise AssertionError(
                f"{title}: the vjp gives an input of {parent.dtype} a stack of {entry.dtype}"
            )
