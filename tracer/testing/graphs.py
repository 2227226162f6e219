"""The check of all quantities on graphs around an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer import registry
from tracer.api.tape import Tape
from tracer.arrays.types import Array
from tracer.record.leaves import batch, parameter
from tracer.testing.cases import ROWS, Case
from tracer.testing.definitions import (
    COMPARED,
    DEFINITIONS,
    brute_force,
    flattened,
    itself,
    of_parameters,
)
from tracer.testing.samples import markings


def check_quantities(case: Case, rtol: float, atol: float) -> None:
    """Quantities of inputs, of what scales the samples of inputs, and of inputs of inputs."""
    seen = set()
    for axes, axis, _ in markings(case):
        batched = tuple(a is not None for a in axes)
        if batched not in seen:
            seen.add(batched)
            _check_graph(case, *parameters_beside_samples(case, axes, axis), rtol, atol)
    if not case.op.loss and case.op.name != "batch":
        _check_graph(case, *_parameters_before_samples(case), rtol, atol)


def parameters_beside_samples(
    case: Case, axes: Sequence[int | None], axis: int
) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Unbatched inputs are parameters, batched ones are data times parameters.

    Of a loss the prediction alone depends on parameters.
    """
    slots = [slot for slot in case.slots if slot == 0 or not case.op.loss]
    arrays = [
        x if axes[slot] is None
        else np.ones([1 if i == axes[slot] else n for i, n in enumerate(x.shape)])
        for slot, x in ((slot, case.inputs[slot]) for slot in slots)
    ]  # fmt: skip

    def output(parameters: Sequence[Any]) -> Any:
        inputs = [
            x if a is None else batch(x, axis=a) for x, a in zip(case.inputs, axes, strict=True)
        ]
        for slot, p in zip(slots, parameters, strict=True):
            inputs[slot] = p if axes[slot] is None else inputs[slot] * p
        return np.moveaxis(case.op(*inputs, **case.params), axis, 0)

    return arrays, output


def _parameters_before_samples(case: Case) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The operation acts on parameters alone, and samples use its output."""
    scales = case.rng.uniform(0.5, 1.5, (ROWS, *(1,) * case.output.ndim))
    return case.floats, lambda parameters: batch(scales) * case.call(*parameters)


def _check_graph(
    case: Case,
    arrays: list[Array],
    output: Callable[[Sequence[Any]], Any],
    rtol: float,
    atol: float,
) -> None:
    """All quantities of a weighted sum of squares of `output(parameters)`, `[N, ...]`."""
    with Tape() as tape:
        f = output([parameter(x, name=str(i)) for i, x in enumerate(arrays)])
        if f.node is None or not f.node.wants:
            return
        weights = case.rng.uniform(0.5, 1.5, f.shape)
        loss = np.sum(np.square(f) * weights)
    names = [name for name in of_parameters() if registry.quantities[name].rows is not None]
    weights = flattened(weights)
    results = tape.backward(loss, quantities=names, outputs=f)
    for i, x in enumerate(arrays):

        def of_one(x: Any, i: int = i) -> Any:
            f = output([*arrays[:i], x, *arrays[i + 1 :]])
            return np.reshape(f, (len(f), -1))

        def losses(x: Any, of_one: Callable[[Any], Any] = of_one) -> Any:
            return np.sum(np.square(of_one(x)) * weights, axis=1)

        slope, root = 2 * weights * flattened(f.data), np.sqrt(2 * weights)
        derivatives = brute_force(of_one, slope, root, losses, x)
        for name in names:
            compared = COMPARED.get(name, itself)
            expected = compared(DEFINITIONS[name](derivatives))
            what = f"{name} of parameter {i}"
            case.agree(what, compared(results[name][str(i)]), expected, rtol, atol)
