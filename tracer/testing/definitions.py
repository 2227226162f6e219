"""Quantities by their definitions, from each sample's derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tracer.api.functional import jacobian
from tracer.arrays.types import Array


class BruteForce(NamedTuple):
    """Derivatives of a parameter, sample by sample, that quantities are defined by.

    `gradients [N, *p]`; `roots [R, N, *p]`, whose squares are the Gauss-Newton matrix;
    `hessians [N, *p]`, the diagonals of the samples' Hessians.
    """

    gradients: Array
    roots: Array
    hessians: Array


def brute_force(
    output: Callable[[Array], Array],
    slope: Array,
    root: Array,
    losses: Callable[[Array], Array],
    x: Array,
) -> BruteForce:
    """From the output `[N, C]` as a function of one parameter, and the losses' `[N]`.

    `slope [N, C]` are the derivatives of the losses by the output, `root [N, C]` the square roots
    of their second derivatives.
    """
    by_output = jacobian(output)(x)
    second = jacobian(jacobian(losses))(x)
    diagonals = np.einsum("npp->np", second.reshape(len(second), x.size, x.size))
    return BruteForce(
        np.einsum("nc,nc...->n...", slope, by_output),
        np.einsum("nc,nc...->cn...", root, by_output),
        diagonals.reshape(len(second), *x.shape),
    )


def flattened(rows: Array) -> Array:
    """`[N, ...]` as `[N, P]`."""
    return rows.reshape(len(rows), -1)


#: quantity -> its value
DEFINITIONS: dict[str, Callable[[BruteForce], Array]] = {
    "grad": lambda d: d.gradients.sum(0),
    "grad_batch": lambda d: d.gradients,
    "batch_l2": lambda d: np.square(flattened(d.gradients)).sum(1),
    "batch_dot": lambda d: flattened(d.gradients) @ flattened(d.gradients).T,
    "sum_grad_squared": lambda d: np.square(d.gradients).sum(0),
    "variance": lambda d: d.gradients.var(0),
    "sqrt_ggn_exact": lambda d: d.roots,
    "diag_ggn_exact": lambda d: np.square(d.roots).sum((0, 1)),
    "diag_ggn_exact_batch": lambda d: np.square(d.roots).sum(0),
    "diag_h": lambda d: d.hessians.sum(0),
    "diag_h_batch": lambda d: d.hessians,
}


def _of_each_sample(rows: Array) -> Array:
    """A sample's share of a matrix, `[N, P, P]`, from one of its square roots `[R, N, *p]`."""
    flat = rows.reshape(*rows.shape[:2], -1)
    return np.einsum("rnp,rnq->npq", flat, flat)


#: values that are defined up to a transformation, and what of them is compared
COMPARED = {"sqrt_ggn_exact": _of_each_sample}


def itself(value: Any) -> Any:
    return value
