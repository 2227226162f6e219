"""Phases of complex eigenvectors and singular vectors: which of them a decomposition gives.

A complex vector is one of a circle, v exp(i t). LAPACK picks the one of which some component is
real. What is made of vectors is mostly the same for all of the circle, as `abs(v)` and `v @ v^H`
are; where it is not, its derivative is along vectors whose component stays real.
"""

import numpy as np

from tracer.operations.arguments import raw
from tracer.operations.linalg import largest
from tracer.record.frames import warn_at


def first_row(vectors, row):
    """Where vectors `[..., n, k]` have the component in a row, if it is real in all: a mask."""
    v = raw(vectors)
    mask = np.zeros_like(v, dtype=bool)
    if v.dtype.kind == "c" and v.size:
        rounding = 64 * float(np.finfo(v.dtype).eps)
        real = (abs(v.imag[..., row, :]) <= rounding).all(-1)[..., None]
        mask[..., row, :] = real & (v.real[..., row, :] != 0)
    return mask


def longest(vectors):
    """Where the longest real component of each vector is: a mask."""
    v = raw(vectors)
    mask = np.zeros_like(v, dtype=bool)
    if v.dtype.kind == "c" and v.size:
        size = np.where(v.imag == 0, abs(v.real), 0)
        first = np.argmax(size, axis=-2)[..., None, :]
        np.put_along_axis(mask, first, np.take_along_axis(size, first, -2) > 0, -2)
    return mask


def in_phase(vectors, g, anchor, node):
    """Cotangents, conjugated, of vectors whose component at `anchor` stays real.

    A turn of v_j by exp(i t) has the slope t Im(v_j^H g_j), and keeping component k real takes
    t = -Im(dv_kj) / v_kj: that slope is taken from g_kj. NaN, with a warning, where there is such a
    slope and no component that is real.
    """
    if vectors.dtype.kind != "c":
        return g
    slope = np.imag(np.sum(np.conj(vectors) * g, axis=-2))
    at = np.sum(np.where(anchor, np.real(vectors), 0), axis=-2)
    free = raw(at) == 0
    moved = np.where(free, 0, slope / np.where(free, 1, at))[..., None, :]
    g = g - 1j * np.where(anchor, moved, 0)
    size = largest(abs(raw(g)), (-2, -1))[..., 0]
    wrong = free & (abs(raw(slope)) > np.sqrt(np.finfo(raw(slope).dtype).eps) * size)
    if not wrong.any():
        return g
    warn_at(
        node,
        f"NaN in the derivative of {node.op.name}: what is made of its vectors depends on their "
        f"phase, which is arbitrary here: take abs(v), or v @ np.conj(v.T)",
    )
    return g * np.where(wrong, np.nan, 1)[..., None, :].astype(vectors.dtype)
