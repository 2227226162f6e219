"""Eigenvalues of symmetric matrices: factors, Kronecker blocks and linear operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trace_net.values import to_host
from tracer.extend import backend

#: The largest matrix that is decomposed: a few seconds.
LARGEST = 2048

#: The largest operator that is multiplied out.
LARGEST_DENSE = 256


@dataclass(frozen=True)
class Spectrum:
    """Of a symmetric `[size, size]` matrix: the eigenvalues of largest and smallest magnitude.

    `rank` counts the eigenvalues that are not zero to the precision of the array.
    """

    size: int
    trace: float
    largest: float
    smallest: float
    rank: int

    @property
    def condition(self) -> float:
        """The ratio of the magnitudes; infinite for a singular matrix."""
        return abs(self.largest / self.smallest) if self.smallest else np.inf


def of_eigenvalues(values: np.ndarray) -> Spectrum:
    """The spectrum of a matrix with these eigenvalues, at least one."""
    flat = values.reshape(-1)
    order = abs(flat)
    finite = bool(np.isfinite(order).all())
    return Spectrum(
        size=flat.size,
        trace=float(flat.sum()),
        largest=float(flat[order.argmax()]) if finite else np.nan,
        smallest=float(flat[order.argmin()]) if finite else np.nan,
        rank=int(np.count_nonzero(flat)) if finite else 0,
    )


def eigenvalues(matrix: Any) -> np.ndarray | None:
    """Eigenvalues in float64, those below rounding as zero; NaN where an entry is not finite.

    None for an empty matrix and for one of more than `LARGEST` rows.
    """
    array = to_host(matrix)
    if not 0 < len(array) <= LARGEST:
        return None
    if not np.isfinite(array).all():
        return np.full(len(array), np.nan)
    found = np.linalg.eigvalsh(array.astype(np.float64))
    precision = np.finfo(array.dtype).eps * len(array) * abs(found).max()
    return np.where(abs(found) > precision, found, 0.0)


def block_eigenvalues(factors: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Eigenvalues of a Kronecker block from those of its factors, pair after pair.

    A single factor is the block. None if those of a factor are not known.
    """
    known = [values for values in factors if values is not None]
    if len(known) < len(factors):
        return None
    if len(known) == 1:
        return known[0]
    pairs = zip(known[::2], known[1::2], strict=True)
    return np.concatenate([np.outer(output, input).reshape(-1) for output, input in pairs])


def dense(operator: Any) -> np.ndarray | None:
    """The matrix of an operator, from one product; None if it is empty or large."""
    size = operator.shape[0]
    if not 0 < size <= LARGEST_DENSE:
        return None
    return product(operator, np.eye(size, dtype=operator.dtype))


def product(operator: Any, columns: np.ndarray) -> np.ndarray:
    """An operator times columns of the host, wherever its own vectors are."""
    library = getattr(operator, "backend", backend.NUMPY)
    return to_host(operator.matmat(library.from_host(columns)))


def extreme_eigenvalue(operator: Any) -> float | None:
    """The eigenvalue of largest magnitude to about one percent, by a few Lanczos steps.

    None where they do not converge, or what they find is not finite.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    size = operator.shape[0]
    on_host = LinearOperator(
        operator.shape,
        dtype=operator.dtype,
        matvec=lambda vector: product(operator, vector.reshape(-1, 1))[:, 0],
    )
    start = np.random.default_rng(0).standard_normal(size).astype(operator.dtype)
    try:
        (found,) = eigsh(
            on_host, k=1, v0=start, ncv=12, maxiter=8, tol=1e-2, return_eigenvectors=False
        )
    except ArpackError:
        return None
    return float(found) if np.isfinite(found) else None
