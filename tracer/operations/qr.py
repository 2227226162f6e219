"""QR decompositions."""

import numpy as np

from tracer.arrays.dtypes import in_single, widened
from tracer.errors import ShapeError, TracingError
from tracer.operations import clusters
from tracer.operations.arguments import raw
from tracer.operations.linalg import (
    Matrix,
    adjoint,
    conjugated,
    hermitian_of,
    largest,
    real_part,
    regular,
    transposed,
    with_diagonal,
)
from tracer.operations.parts import columns_of, matrices, named_tuple, packed, rows_of
from tracer.record.dispatch import implements
from tracer.record.operation import operation


@operation("qr")
class QR(Matrix):
    """Rows of a column of Q and a row of R, min(m, n) of them, of a matrix [m, n]."""

    saves = ("inputs", "output")
    takes_complex = True

    @in_single
    def forward(a):
        q, r = np.linalg.qr(a)
        return packed(transposed(q), r)

    def vjp(node, g):
        """(g_Q + Q S(R g_R^H - g_Q^H Q)) R^-H, where S takes the lower triangle for both.

        Of a wide matrix [X, Y] with R = [R_X, Q^H Y], Y adds Y g_Y^H to g_Q, and has Q g_Y (Liao
        and others 2019; Roberts and Roberts 2020). Of complex numbers this holds for the conjugates
        of cotangents, and for an R whose diagonal is real, as LAPACK's is.
        """
        m, n = node.input_shape(0)[-2:]
        k = min(m, n)
        rows, g = widened(node.output), conjugated(widened(g))
        q, r = transposed(rows[..., :m]), rows[..., m : m + k]
        g_q, g_r, g_y = transposed(g[..., :m]), g[..., m : m + k], g[..., m + k :]
        if n > m:
            g_q = g_q + widened(node.inputs[0])[..., k:] @ adjoint(g_y)
        inner = r @ adjoint(g_r) - adjoint(g_q) @ q
        out = _times_inverse(g_q + q @ hermitian_of(inner), r)
        return (conjugated(np.concatenate([out, q @ g_y], -1) if n > m else out),)

    def jvp(node, tangents):
        """t_Q = t R^-1 - Q (P - W), t_R = (P - W) R with P = Q^H t R^-1.

        W is what of P turns Q: its strict lower triangle L as L - L^H, and the imaginary diagonal.
        Of a wide matrix [X, Y] it holds for X, and t_R goes on with t_Q^H Y + Q^H t_Y.
        """
        m, n = node.input_shape(0)[-2:]
        k = min(m, n)
        rows, t = widened(node.output), widened(tangents[0])
        q, r = transposed(rows[..., :m]), rows[..., m : m + k]
        left = _times_inverse(t[..., :k], adjoint(r))
        inner = adjoint(q) @ left
        strict, diagonal = np.tril(inner, -1), np.diagonal(inner, 0, -2, -1)
        turn = strict - adjoint(strict) + with_diagonal(diagonal - real_part(diagonal))
        t_q, parts = left - q @ (inner - turn), [(inner - turn) @ r]
        if n > m:
            parts.append(adjoint(t_q) @ widened(node.inputs[0])[..., k:] + adjoint(q) @ t[..., k:])
        return packed(transposed(t_q), *parts)

    def examples(rng):
        return [((regular(rng, 3, 3),), {}), ((rng.random((2, 4, 2)),), {}),
                ((rng.random((2, 4)),), {})]  # fmt: skip


def _times_inverse(x, r):
    """`x @ inv(r)^H` for a triangular matrix; `ShapeError` where that is singular."""
    diagonal = abs(np.diagonal(raw(r), axis1=-2, axis2=-1))[..., None, :]
    rounding = clusters.ROUNDING * np.sqrt(r.shape[-1]) * np.finfo(raw(r).dtype).eps
    if (diagonal <= float(rounding) * largest(r, (-2, -1))).any():
        raise ShapeError(
            "QR decompositions have derivatives where the first min(m, n) columns are independent, "
            "and these are not: leave columns out, or add a multiple of the identity"
        )
    wide = np.broadcast_to(r, (*x.shape[:-2], *r.shape[-2:]))
    return adjoint(np.linalg.solve(wide, adjoint(x)))


@implements(np.linalg.qr)
def qr(a, mode="reduced"):
    a = matrices(a, "np.linalg.qr")
    m, n = a.shape[-2:]
    if mode not in ("reduced", "complete", "r") or (mode == "complete" and m > n):
        raise TracingError(
            f"np.linalg.qr of matrices {[m, n]} with mode={mode!r} gives what has no derivative: "
            f"take mode='reduced' or 'r'"
        )
    rows = QR(a)
    r = rows_of(rows, m, rows.shape[-1])
    if mode == "r":
        return r
    return named_tuple(np.linalg.qr, columns_of(rows, 0, m), r)


OPERATIONS = [QR]
