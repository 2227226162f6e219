"""The check of an operation on another library's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracer import registry
from tracer.api.functional import grad
from tracer.api.tape import Tape
from tracer.arrays.types import Array
from tracer.record.leaves import parameter
from tracer.sweep.tangents import push
from tracer.testing.cases import ROWS, Case
from tracer.testing.definitions import itself
from tracer.testing.derivatives import along
from tracer.testing.graphs import parameters_beside_samples
from tracer.testing.networks import SquaredError
from tracer.testing.samples import markings

#: quantities that together use all contractions
PORTABLE = ("grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "diag_ggn_exact_batch")


def check_on_arrays(case: Case, wrap: Callable[[Array], Array], rtol: float, atol: float) -> None:
    """Forward, `vjp`, `jvp` and second derivatives on another library's arrays, as on NumPy's."""
    params = {key: _wrapped(value, wrap) for key, value in case.params.items()}
    inputs = [_wrapped(x, wrap) for x in case.inputs]
    there = Case.__new__(Case)
    there.op, there.params, there.title, there.slots = case.op, params, case.title, case.slots
    there.inputs, there.floats = inputs, [inputs[i] for i in case.slots]
    kind = type(wrap(np.zeros(1)))

    def same(what: str, got: Array, expected: Array) -> None:
        if type(got) is not kind:
            raise AssertionError(
                f"{case.title}: {what} on {kind.__name__} gives {type(got).__name__}"
            )
        case.agree(f"{what} on {kind.__name__}", got, expected, rtol, atol)

    _check_sweeps_on_backend(case, there, wrap, rtol, atol)
    same("forward", case.op.forward(*inputs, **params), case.output)
    node, g = there.record(inputs), case.random(ROWS)
    for got, expected in zip(there.pull(node, wrap(g)), case.pull(case.node, g), strict=True):
        same("vjp", got, expected)
    tangents = [case.random(2, like=x) for x in case.floats]
    moved = []
    for each, place in ((node, wrap), (case.node, itself)):
        stacks = {
            each.parents[slot]: place(t) for slot, t in zip(case.slots, tangents, strict=True)
        }
        push([each], stacks, recorded=False)
        moved.append(stacks[each])
    same("jvp", *moved)
    weights, numbers = case.random(), tuple(range(len(case.slots)))
    second = []
    for at, place in ((there, wrap), (case, itself)):
        slope = along(at.weighted(place(weights)), numbers, [place(t[0]) for t in tangents])
        second.append(grad(slope, numbers)(*at.floats))
    for got, expected in zip(*second, strict=True):
        same("the second derivative", got, expected)


def _check_sweeps_on_backend(
    case: Case, there: Case, wrap: Callable[[Array], Array], rtol: float, atol: float
) -> None:
    """Quantities of graphs around the operation, which use all contractions of its cotangents."""
    seen = set()
    for axes, axis, _ in markings(case):
        batched = tuple(a is not None for a in axes)
        if batched in seen:
            continue
        seen.add(batched)
        results = []
        for at, place in ((there, wrap), (case, itself)):
            arrays = parameters_beside_samples(case, axes, axis)[0]
            output = parameters_beside_samples(at, axes, axis)[1]
            with Tape() as tape:
                f = output([parameter(place(x), name=str(i)) for i, x in enumerate(arrays)])
                if f.node is None or not f.node.wants:
                    break
                flat: Any = np.reshape(f, (len(f), -1))
                losses: Any = SquaredError(flat, np.zeros_like(flat.data))
                loss: Any = np.sum(losses)
            names = [name for name in PORTABLE if name in registry.quantities]
            results.append(tape.backward(loss, quantities=names))
        for name in results[1] if len(results) == 2 else ():
            for key, expected in results[1][name].items():
                what = f"{name} of parameter {key} on {type(results[0][name][key]).__name__}"
                case.agree(what, results[0][name][key], expected, rtol, atol)


def _wrapped(value: Any, wrap: Callable[[Array], Array]) -> Any:
    if isinstance(value, tuple):
        return tuple(_wrapped(item, wrap) for item in value)
    return wrap(value) if isinstance(value, np.ndarray) else value
