"""The check of an object of the algebra against the array that it represents."""

from __future__ import annotations

import numpy as np

from tracer.arrays.types import Array
from tracer.cotangents import Cotangent
from tracer.testing.agreement import agree


def check_cotangent(
    cotangent: Cotangent, dense: Array, *, rtol: float = 1e-9, title: str = "the cotangent"
) -> None:
    """Check all contractions of an object of the algebra against the array `[V, N, *p]`."""
    rng = np.random.default_rng(0)
    rows, samples, *shape = dense.shape
    flat = dense.reshape(rows * samples, -1)
    signs, direction = rng.choice([-1.0, 1.0], (rows, samples)), rng.standard_normal(shape)
    signed = signs.reshape(rows, samples, *(1,) * len(shape)) * dense * dense
    picked = rng.permutation(samples)[: max(1, samples - 1)]
    found = {
        "per_sample()": (cotangent.per_sample(), dense),
        "total()": (cotangent.total(), dense.sum(1)),
        "sum_of_squares()": (cotangent.sum_of_squares(), (dense * dense).sum((0, 1))),
        "sum_of_squares(signs)": (cotangent.sum_of_squares(signs), signed.sum((0, 1))),
        "per_sample_squares()": (cotangent.per_sample_squares(), (dense * dense).sum(0)),
        "per_sample_squares(signs)": (cotangent.per_sample_squares(signs), signed.sum(0)),
        "squared_norms()": (cotangent.squared_norms(), (flat * flat).sum(-1)),
        "gram()": (cotangent.gram(), flat @ flat.T),
        "project(direction)": (cotangent.project(direction), flat @ direction.reshape(-1)),
        "select(rows, samples)": (
            cotangent.select(slice(1, None), picked).per_sample(), dense[1:][:, picked],
        ),
        "combine([itself])": (cotangent.combine([cotangent]).per_sample(), 2 * dense),
    }  # fmt: skip
    for name, (got, expected) in found.items():
        if name in ("squared_norms()", "gram()", "project(direction)"):
            expected = expected.reshape(got.shape)
        agree(f"{title}, {name}", got, expected, rtol, 1e-12)
