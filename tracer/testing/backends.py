"""The check of an array library's backend."""

from __future__ import annotations

import numpy as np

from tracer import registry
from tracer.arrays.backend import Backend
from tracer.testing.agreement import agree
from tracer.testing.operations import check_operation
from tracer.testing.report import Report

#: operations that together use what backends are asked for
OPERATIONS = ("add", "multiply", "matmul", "tanh", "sum", "getitem", "max", "where", "concatenate")


def check_backend(backend: Backend) -> Report:
    """Check a backend against NumPy: moving there and back, its helpers, and rules on its arrays.

    Where the library cannot be used here, the report says why, and nothing was checked.
    """
    title = f"backend {getattr(backend, 'name', backend)!r}"
    if not isinstance(backend, Backend):
        raise AssertionError(f"{title} is a {type(backend).__name__}, not an instance of Backend")
    problem = backend.problem()
    if problem is not None:
        return Report({}, {"arrays": f"not here: {problem}"}, is_defined=False)
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.int64, np.bool_):
        given = (3 * rng.standard_normal((3, 4))).astype(dtype)
        there = backend.from_host(given)
        if not backend.matches(type(there)):
            raise AssertionError(
                f"{title}: matches({type(there).__name__}) is False, of an array of from_host"
            )
        if there.dtype != dtype:
            raise AssertionError(f"{title}: from_host makes {there.dtype} of {np.dtype(dtype)}")
        back = backend.to_host(there).astype(np.float64)
        agree(f"{title}: to_host(from_host(x))", back, given.astype(np.float64), 0, 0)
    _check_helpers(title, backend, rng)
    made = {
        "arrays": "arrays of four dtypes, there and back, with what they were",
        "helpers": "scatter_add, take_rows, special and a generator's shapes with NumPy's",
    }
    if backend.matches(np.ndarray):
        missing = {"operations": "its arrays are those that others are compared with"}
        return Report(made, missing, is_defined=True)
    names = [name for name in OPERATIONS if name in registry.operations]
    for name in names:
        check_operation(registry.operations[name], backend=backend.from_host)
    made["operations"] = f"rules of {', '.join(names)} with those on NumPy's arrays"
    return Report(made, {}, is_defined=True)


def _check_helpers(title: str, backend: Backend, rng: np.random.Generator) -> None:
    values, positions = rng.standard_normal((2, 5)), np.array([0, 2, 2, 1, 0])
    added = np.zeros((2, 4))
    for row, by in zip(added, values, strict=True):
        np.add.at(row, positions, by)
    found = backend.scatter_add(backend.from_host(values), backend.from_host(positions), 4)
    agree(f"{title}: scatter_add", backend.to_host(found), added, 1e-12, 1e-12)
    table = rng.standard_normal((4, 3))
    rows = backend.take_rows(backend.from_host(table), backend.from_host(positions))
    agree(f"{title}: take_rows", backend.to_host(rows), table[positions], 0, 0)
    x = rng.uniform(0.5, 2, 5)
    expected = registry.backends["numpy"].special("gammaln")(x)
    found = backend.special("gammaln")(backend.from_host(x))
    agree(f"{title}: special('gammaln')", backend.to_host(found), expected, 1e-10, 1e-12)
    drawn = backend.generator(0).standard_normal((2, 3))
    if not backend.matches(type(drawn)) or drawn.shape != (2, 3):
        raise AssertionError(
            f"{title}: a generator's standard_normal((2, 3)) is {type(drawn).__name__} "
            f"{list(drawn.shape)}"
        )
