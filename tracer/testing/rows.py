"""The check of a kind of rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracer.api.tape import Tape
from tracer.arrays.types import Array
from tracer.cotangents import Cotangent
from tracer.curvature.quantity import Context, Quantity, State
from tracer.curvature.rows import Rows
from tracer.record.leaves import batch, parameter
from tracer.testing.agreement import agree
from tracer.testing.networks import SquaredError
from tracer.testing.report import Report

#: sweeps over sampled rows, and by how many standard errors their mean may be off
DRAWS, SIGMAS = 2000, 6
SAMPLES, OUTPUTS = 3, 2


class _Seeds(Quantity):
    """The rows themselves: `[R, N, *p]` of a parameter that is added to the prediction."""

    name = "testing_seeds"

    def __init__(self, rows: Rows):
        self.rows = rows

    def extract(self, cotangent: Cotangent, context: Context) -> State:
        return cotangent.per_sample()

    def join(self, first: State, second: State) -> State:
        return np.concatenate([first, second])


def check_rows(rows: Rows) -> Report:
    """Check where rows start: at a squared error, whose Hessian by its prediction is known.

    Rows `of_gauss_newton` are square roots of that Hessian, for sampled ones in expectation; others
    have no definition that is known here. In chunks they are the same.
    """
    title = f"rows {getattr(rows, 'name', rows)!r}"
    if not isinstance(rows, Rows):
        raise AssertionError(f"{title} is a {type(rows).__name__}, not an instance of Rows")
    found = _started(rows, None, 0)
    if found.shape[1:] != (SAMPLES, OUTPUTS):
        raise AssertionError(
            f"{title} start as {list(found.shape)}, not [R, *prediction] = "
            f"[R, {SAMPLES}, {OUTPUTS}]"
        )
    agree(f"{title}, in chunks", _started(rows, 1, 0), found, 1e-12, 1e-12)
    made = {"chunks": "rows under a memory budget of one byte with those at once"}
    if not rows.of_gauss_newton:
        missing = {"definition": "they are not of_gauss_newton, and nothing else is known here"}
        return Report(made, missing, is_defined=False)
    exact = 2 * np.stack([np.eye(OUTPUTS)] * SAMPLES)
    if not rows.samples:
        agree(f"{title}: the sum of their outer products", _squares(found), exact, 1e-10, 1e-12)
        made["definition"] = "sums of outer products with the Hessian of a loss"
    else:
        drawn = np.stack([_squares(_started(rows, None, seed)) for seed in range(DRAWS)])
        error = SIGMAS * drawn.std(0).max() / math.sqrt(DRAWS)
        agree(f"{title}: the mean of their outer products", drawn.mean(0), exact, 0, error)
        made["definition"] = f"means of {DRAWS:,} draws with the Hessian of a loss"
    return Report(made, {}, is_defined=True)


def _started(rows: Rows, budget: int | None, seed: int) -> Array:
    rng = np.random.default_rng(3)
    with Tape() as tape:
        p = parameter(np.zeros(OUTPUTS), name="p")
        prediction: Any = batch(rng.standard_normal((SAMPLES, OUTPUTS))) + p
        losses: Any = SquaredError(prediction, np.zeros((SAMPLES, OUTPUTS)))
        loss = np.sum(losses)
    quantity = _Seeds(rows)
    found = tape.backward(loss, (quantity,), memory_budget=budget, rng=np.random.default_rng(seed))
    return found[quantity.name]["p"]


def _squares(rows: Array) -> Array:
    """`[N, C, C]`."""
    return np.einsum("rnc,rnd->ncd", rows, rows)
