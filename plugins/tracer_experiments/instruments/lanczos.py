"""The Lanczos iteration: extreme eigenvalues and spectral densities from matrix-vector products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tracer.extend import Array

#: how far a start goes from the last vector, so that no eigenvector is missed for ever
NOISE = 0.05
#: elements of a vector that are worked on together, 128 kB of float32
BLOCK = 1 << 15


class Krylov:
    """An orthonormal basis `[m, P]` of the Krylov space of a symmetric operator and a vector.

    Each vector is made orthogonal to all before it, twice, so that no eigenvalue shows up again
    (Golub and Van Loan 2013, section 10.3). Vectors are of the operator's library; the tridiagonal
    matrix is on the host.
    """

    def __init__(self, operator: Any, start: Array):
        self.operator = operator
        self.basis: list[Array] = [start / norm(start)]
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.is_whole = False

    def grow(self) -> None:
        """One more product with the operator."""
        v = self.basis[-1]
        w = self.operator.matvec(v)
        self.diagonal.append(float(_host(w @ v)))
        for _ in range(2):
            w = _without(w, self.basis)
        size = norm(w)
        scale = max(map(abs, [*self.diagonal, *self.beside]), default=0.0)
        eps = float(np.finfo(v.dtype).eps)
        self.is_whole = not size > 10 * eps * scale or len(self.basis) >= len(v)
        self.beside.append(size)
        if not self.is_whole:
            self.basis.append(w / size)

    def ritz(self) -> Ritz:
        """Ritz values in ascending order, their vectors in the basis, and their residuals."""
        size = len(self.diagonal)
        matrix = np.diag(self.diagonal) + np.diag(self.beside[: size - 1], 1)
        matrix += np.diag(self.beside[: size - 1], -1)
        values, vectors = np.linalg.eigh(matrix)
        last = 0.0 if self.is_whole else self.beside[-1]
        return Ritz(values, vectors, np.abs(last * vectors[-1]))

    def vector(self, coefficients: np.ndarray) -> Array:
        """The combination of the basis."""
        made = float(coefficients[0]) * self.basis[0]
        for c, u in zip(coefficients[1:], self.basis[1:], strict=False):
            made += float(c) * u
        return made


def _without(w: Array, basis: Sequence[Array]) -> Array:
    """A vector less its part in the span of an orthonormal basis, in blocks that stay in a cache.

    By classical Gram and Schmidt, which twice is as good as the modified one (Giraud, Langou and
    Rozloznik 2005), and reads the vector once for all of the basis.
    """
    parts = [u @ w for u in basis]
    if type(w) is not np.ndarray:
        for part, u in zip(parts, basis, strict=True):
            w = w - part * u
        return w
    left, room = np.empty_like(w), np.empty_like(w, shape=min(BLOCK, len(w)))
    for start in range(0, len(w), BLOCK):
        some = slice(start, start + BLOCK)
        rest, taken = left[some], room[: len(w) - start]
        rest[...] = w[some]
        for part, u in zip(parts, basis, strict=True):
            rest -= np.multiply(u[some], part, out=taken)
    return left


class Ritz(NamedTuple):
    """Approximate eigenvalues `[m]`, their vectors `[m, m]` as columns, and their residuals."""

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray

    def error(self, i: int) -> float:
        """An estimate of the error of an outer value: its residual, which bounds it, or less.

        That is ten times the residual's square over the gap to the next, which is not known itself.
        """
        residual = float(self.residuals[i])
        others = np.abs(np.delete(self.values, i) - self.values[i])
        gap = float(others.min()) if len(others) else 0.0
        return min(residual, 10 * residual**2 / gap) if gap else residual


class Extremes(NamedTuple):
    """The largest and the smallest eigenvalue, and what to start from the next time."""

    largest: float
    smallest: float
    start: Array


def extremes(
    operator: Any, start: Array, both: bool, tolerance: float = 1e-3, most: int = 100
) -> Extremes:
    """The largest eigenvalue of a symmetric operator and, if `both` are asked for, the smallest.

    To a relative `tolerance` of the one that is larger in magnitude (the largest, unless both are
    asked for), by the usual bounds; at most so many products.
    """
    krylov = Krylov(operator, start)
    while True:
        krylov.grow()
        found = krylov.ritz()
        scale = max(abs(found.values[-1]), abs(found.values[0])) if both else abs(found.values[-1])
        if krylov.is_whole or len(krylov.diagonal) >= most:
            break
        wanted = (-1, 0) if both and abs(found.values[0]) > 0.3 * abs(found.values[-1]) else (-1,)
        errors = [found.error(i % len(found.values)) for i in wanted]
        if len(found.values) > 2 and max(errors) <= tolerance * scale:
            break
    vector = krylov.vector(found.vectors[:, -1])
    if both:
        vector = vector + krylov.vector(found.vectors[:, 0])
    return Extremes(float(found.values[-1]), float(found.values[0]), vector)


def density(operator: Any, starts: Array, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the spectral density of a symmetric operator, by Lanczos quadrature.

    Each of the `starts [K, P]` gives `steps` nodes; the weights sum to 1 (Ubaru, Chen and Saad
    2017). Nodes are eigenvalues where these are few.
    """
    nodes, weights = [], []
    for start in starts:
        krylov = Krylov(operator, start)
        while len(krylov.diagonal) < steps and not krylov.is_whole:
            krylov.grow()
        found = krylov.ritz()
        nodes.append(found.values)
        weights.append(found.vectors[0] ** 2 / len(starts))
    return np.concatenate(nodes), np.concatenate(weights)


def norm(vector: Array) -> float:
    return float(np.sqrt(_host(vector @ vector)))


def _host(value: Any) -> float:
    return float(value)
