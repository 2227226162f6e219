"""Results of a sweep in numbers: a row for each array, factor, block, operator and function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trace_net import spectra
from trace_net.scalars import norm
from trace_net.values import arrays, by_parameter, kind

Row = dict[str, Any]


def rows(results: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> Iterator[Row]:
    """Rows with the keys `quantity`, `parameter`, `part`, `kind`, `shape` and the row's numbers.

    `kind` is `array`, `factor`, `block`, `operator` or `function`. `parameter` is a layer's path
    for values of layers, and empty for those of the model. `shapes` are those of the parameters. A
    number that is not known is None.
    """
    for quantity, values in results.items():
        if kind(values) == "operator":
            yield _operator(quantity, values)
            continue
        for parameter, value in by_parameter(results, quantity).items():
            start = {"quantity": quantity, "parameter": parameter}
            if kind(value) == "kronecker":
                yield from _kronecker(start, value)
            elif kind(value) == "array":
                for part, array in arrays(value).items():
                    shape = list(array.shape)
                    yield {
                        **start, "part": part, "kind": "array", "shape": shape, **elements(array)
                    }  # fmt: skip
            elif kind(value) == "function":
                shape = list(shapes.get(parameter, ()))
                yield {**start, "part": "", "kind": "function", "shape": shape}


def elements(array: np.ndarray) -> dict[str, float]:
    """Norm, minimum, maximum and mean; NaN for what an empty array does not have."""
    if array.size == 0:
        return {"norm": 0.0, "min": np.nan, "max": np.nan, "mean": np.nan}
    wide = array.astype(np.float64)
    return {
        "norm": float(np.linalg.norm(wide)),
        "min": float(wide.min()),
        "max": float(wide.max()),
        "mean": float(wide.mean()),
    }


def _kronecker(start: Row, block: Any) -> Iterator[Row]:
    """A row for each factor, and one for the block where it has several."""
    known = []
    for part, factor in arrays(block).items():
        values = spectra.eigenvalues(factor)
        known.append(values)
        yield {
            **start,
            "part": part,
            "kind": "factor",
            "shape": list(factor.shape),
            **elements(factor),
            **_spectrum(values),
        }
    if len(known) > 1:
        size = sum(len(b) * len(a) for b, a in block.pairs)
        yield {
            **start,
            "part": "block",
            "kind": "block",
            "shape": [size, size],
            "norm": norm(block),
            **_spectrum(spectra.block_eigenvalues(known)),
        }


def _operator(quantity: str, operator: Any) -> Row:
    """A row for a matrix over all parameters; all its eigenvalues where it is small."""
    start = {
        "quantity": quantity,
        "parameter": "",
        "part": "",
        "kind": "operator",
        "shape": list(operator.shape),
    }
    if not operator.shape[0]:
        return {**start, **_spectrum(None)}
    matrix = spectra.dense(operator)
    if matrix is not None:
        return {**start, **_spectrum(spectra.eigenvalues(matrix))}
    return {**start, **_spectrum(None), "largest": spectra.extreme_eigenvalue(operator)}


def _spectrum(values: np.ndarray | None) -> Row:
    keys = ("trace", "largest", "smallest", "rank", "condition")
    if values is None:
        return dict.fromkeys(keys)
    spectrum = spectra.of_eigenvalues(values)
    return {key: getattr(spectrum, key) for key in keys}
