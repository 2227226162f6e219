"""One number per parameter, from whatever a quantity's value is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trace_net import spectra
from trace_net.values import arrays, form, kind, to_host

#: The name of a scalar -> how the legend of a picture calls it.
SCALARS = {
    "norm": "norm",
    "max": "maximum",
    "min": "minimum",
    "mean": "mean",
    "trace": "trace",
    "condition": "condition number",
}


def scalars(
    quantity: str,
    scalar: str,
    values: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
) -> dict[str, float]:
    """`scalar` of each value of one quantity, by parameter.

    `shapes` are those of the parameters. `norm`, `max`, `min` and `mean` are over the elements of
    an array or of a Kronecker block. `trace` and `condition` are of matrices: Kronecker blocks,
    `[N, N]` arrays, and diagonals, which are the quantities called `diag_...`. A parameter for
    which the scalar is not defined is left out.
    """
    of_array = _array_scalars(quantity, form(values, shapes)).get(scalar)
    rules = {"kronecker": _OF_BLOCK[scalar], "array": of_array}
    found = {}
    for name, value in values.items():
        rule = rules.get(kind(value))
        number = rule(value) if rule is not None else None
        if number is not None:
            found[name] = float(number)
    return found


def norm(value: Any) -> float:
    """Euclidean norm of an array, Frobenius norm of a Kronecker product with one or more blocks."""
    if kind(value) == "kronecker":
        return math.hypot(*(_norm(b) * (1.0 if a is None else _norm(a)) for b, a in value.pairs))
    return math.hypot(*map(_norm, arrays(value).values()))


def _norm(array: Any) -> float:
    return float(np.linalg.norm(to_host(array).ravel()))


def _array_scalars(quantity: str, shaped: str) -> dict[str, Callable[[Any], float | None]]:
    """The rules for arrays that `quantity` has values of."""
    rules: dict[str, Callable[[Any], float | None]] = {
        "norm": norm,
        "max": lambda value: _over(np.max, value),
        "min": lambda value: _over(np.min, value),
        "mean": lambda value: _over(np.mean, value),
    }
    if quantity.startswith("diag_") and shaped == "elements":
        rules["trace"] = lambda value: _wide(value).sum()
        rules["condition"] = lambda value: _condition(_wide(value))
    elif shaped == "pairs":
        rules["trace"] = lambda value: np.trace(_wide(value))
        rules["condition"] = lambda value: _condition(spectra.eigenvalues(value))
    return rules


def _over(reduce: Callable[[Any], Any], value: Any) -> float | None:
    """Over all elements of all arrays in the value; None where there are none."""
    flat = np.concatenate([_wide(array).reshape(-1) for array in arrays(value).values()])
    return reduce(flat) if flat.size else None


def _wide(array: Any) -> np.ndarray:
    return to_host(array).astype(np.float64)


def _condition(values: np.ndarray | None) -> float | None:
    return spectra.of_eigenvalues(values).condition if values is not None and values.size else None


def _ends(block: Any) -> list[float]:
    """Numbers among which are the largest and the smallest element of the block."""
    ends = [0.0] if len(block.pairs) > 1 else []  # between groups
    for output, input in block.pairs:
        b = _wide(output)
        a = np.ones(1) if input is None else _wide(input)
        ends += [float(x * y) for x in (b.min(), b.max()) for y in (a.min(), a.max())]
    return ends


def _block_mean(block: Any) -> float:
    total, size = 0.0, 0
    for output, input in block.pairs:
        total += _wide(output).sum() * (1.0 if input is None else _wide(input).sum())
        size += len(output) * (1 if input is None else len(input))
    return total / size**2


def _block_trace(block: Any) -> float:
    return sum(
        np.trace(_wide(output)) * (1.0 if input is None else np.trace(_wide(input)))
        for output, input in block.pairs
    )


def _block_condition(block: Any) -> float | None:
    return _condition(spectra.block_eigenvalues([spectra.eigenvalues(f) for f in block.factors]))


_OF_BLOCK: dict[str, Callable[[Any], float | None]] = {
    "norm": norm,
    "max": lambda block: max(_ends(block)),
    "min": lambda block: min(_ends(block)),
    "mean": _block_mean,
    "trace": _block_trace,
    "condition": _block_condition,
}
