"""Values of quantities: what kind each is, and the arrays in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trace_net import streams
from tracer.extend import backend


def by_parameter(results: Mapping[str, Any], quantity: str) -> Mapping[str, Any]:
    """A quantity's values by parameter or layer; under an empty name arrays of all of them.

    Empty for operators, and what else is of the objective as a whole.
    """
    values = results.get(quantity)
    if isinstance(values, Mapping):
        return values
    return {"": values} if kind(values) in ("array", "kronecker") else {}


def kind(value: Any) -> str:
    """`array`, `kronecker`, `operator` (over all parameters) or `function`; else `object`."""
    if hasattr(value, "pairs") and hasattr(value, "factors"):
        return "kronecker"
    if arrays(value):
        return "array"
    if hasattr(value, "matmat"):
        return "operator"
    return "function" if callable(value) else "object"


def arrays(value: Any) -> dict[str, np.ndarray]:
    """Host arrays in a value by suffix: `""` for an array, `factor0` ... for what has factors.

    Values of other types have none.
    """
    factors = getattr(value, "factors", None)
    if factors is not None:
        return {f"factor{i}": to_host(factor) for i, factor in enumerate(factors)}
    if isinstance(value, tuple | list):
        return {f"{i}": to_host(part) for i, part in enumerate(value)}
    if hasattr(value, "dtype") and hasattr(value, "shape") and not hasattr(value, "matmat"):
        return {"": to_host(value)}
    return {}


def to_host(array: Any) -> np.ndarray:
    """A NumPy array from one of any library."""
    return backend.to_host(array)


def form(values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> str:
    """What one quantity's arrays are, by their shapes and those of the parameters.

    `elements`: one number per element of the parameter; `samples`: one per sample, `[N]`;
    `pairs`: one per pair of samples, `[N, N]`; `stack`: arrays of the parameter's shape behind
    further axes, of which the last is the batch; `""`: something else.
    """
    found = {name: tuple(value.shape) for name, value in values.items() if kind(value) == "array"}
    own = {name: tuple(shapes[name]) for name in found if name in shapes}
    if not found or own.keys() != found.keys():
        return ""
    if found == own:
        return "elements"
    alike = set(found.values())
    if len(alike) == 1:
        (shape,) = alike
        if len(shape) == 1:
            return "samples"
        if len(shape) == 2 and shape[0] == shape[1]:
            return "pairs"
    deeper = (
        len(shape) > len(own[name]) and shape[len(shape) - len(own[name]) :] == own[name]
        for name, shape in found.items()
    )
    return "stack" if all(deeper) else ""


def elide(name: str, length: int = 26) -> str:
    """A name on one printable line, with its middle left out where it is long."""
    text = streams.one_line(name)
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-length // 2 :]}"
