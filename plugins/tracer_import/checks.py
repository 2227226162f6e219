"""What `trace-net check` does with imported operators of a plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tracer
from tracer.extend import ImportedOperator, Importer
from tracer.testing import Report

#: steps of central differences
STEP = 1e-6
NO_EXAMPLES = "it has no examples: a function examples(rng) that gives (arguments, keywords)"


def check_operator(operator: ImportedOperator) -> Report:
    """Compare an operator's derivatives with central differences at its examples, in float64.

    Raises `AssertionError` where they differ. That its values are those of the other library,
    nobody can say here.
    """
    if operator.examples is None:
        return Report({}, {"derivatives": NO_EXAMPLES}, is_defined=False)
    for number, example in enumerate(operator.examples(np.random.default_rng(0))):
        title = f"imported operator {operator.name!r}, example {number}"
        try:
            arguments, keywords = example
            _compare(title, operator, list(arguments), dict(keywords))
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error
    missing = {"values": "those of the library that it is of, nobody can compute here"}
    return Report({"derivatives": "central differences"}, missing, is_defined=True)


def check_importer(importer: Importer) -> Report:
    """Say what an importer opens; whether it does, only a file of it or an object tells."""
    files = ", ".join(importer.suffixes) or "no files"
    missing = {"models": f"it opens {files}, and there is none here to be opened"}
    return Report({}, missing, is_defined=False)


def _compare(
    title: str, operator: ImportedOperator, arguments: list[Any], keywords: dict[str, Any]
) -> None:
    places = [i for i, value in enumerate(arguments) if _is_float(value)]
    if not places:
        raise AssertionError(f"{title}: it has no array of floats among its arguments")
    points = [np.asarray(arguments[i], np.float64) for i in places]

    def total(*given: Any) -> Any:
        every = list(arguments)
        for i, value in zip(places, given, strict=True):
            every[i] = value
        result = operator.function(*every, **keywords)
        results = result if isinstance(result, tuple | list) else (result,)
        floats = [r for r in results if hasattr(r, "dtype") and r.dtype.kind == "f"]
        if not floats:
            raise AssertionError(f"{title}: it gives no array of floats")
        return _sum([np.sum(np.sin(each)) for each in floats])

    found = tracer.grad(total, tuple(range(len(points))))(*points)
    rng = np.random.default_rng(1)
    for place, point, gradient in zip(places, points, found, strict=True):
        direction = rng.standard_normal(point.shape)
        others = [*points]

        def at(step: float) -> float:
            others[places.index(place)] = point + step * direction  # noqa: B023
            return float(total(*others))  # noqa: B023

        numerical = (at(STEP) - at(-STEP)) / (2 * STEP)
        analytic = float(np.sum(gradient * direction))
        if not np.isclose(numerical, analytic, rtol=1e-5, atol=1e-7):
            raise AssertionError(
                f"{title}: the derivative by argument {place} is {analytic:.8g} in a direction, "
                f"and {numerical:.8g} by central differences"
            )


def _is_float(value: Any) -> bool:
    return hasattr(value, "dtype") and value.dtype.kind == "f"


def _sum(values: Sequence[Any]) -> Any:
    total = values[0]
    for each in values[1:]:
        total = total + each
    return total
