"""Eigenvalues and singular values that coincide: where derivatives exist, and where they do not.

The vectors of a cluster of equal values are one basis of many for the space that they span. A
function that is smooth there does not depend on which: it takes the values of the cluster alike, or
the space as a whole, as `V @ V.T` does. Its derivative has no term that turns the vectors of the
cluster into each other. Where such a term arrives, the derivative does not exist. Where both values
and vectors of a cluster are used, as in `V @ np.diag(h(w)) @ V.T`, that term is 0/0, and what
arrives does not tell its limit. Both give NaN, and a warning.

One cotangent does not tell all. At the identity `np.sum(V * np.diag(d))`, which has no derivative,
and `np.sum((V @ V.T) * np.diag(d)) / 2`, which is constant, give V the same one: it turns no vector
into another, at this basis. Such a term has the derivative 0, as the second function.

That takes knowing what is used and what is not, not only whether its cotangent is zero. Where
nothing arrives, entries are -0.0, which changes no sum that it is added to.
"""

import numpy as np

from tracer.arrays import backend
from tracer.operations.arguments import raw
from tracer.operations.linalg import largest
from tracer.record.frames import warn_at

#: differences of computed values that are rounding, in units of eps * sqrt(n) * the largest
ROUNDING = 16
UNREACHED = -0.0

ADVICE = (
    "sums over all values of a cluster, and the projector on the space of its vectors, have "
    "derivatives if they are used without each other; tracer.scipy.linalg has matrix functions"
)


def smallest(values, size):
    """Up to which difference values `[..., k]` of matrices of `size` rows are equal, `[..., 1]`."""
    return largest(values) * float(ROUNDING * np.sqrt(size) * np.finfo(raw(values).dtype).eps)


def coinciding(values, tolerance):
    """Which pairs of values `[..., k]` are equal up to rounding, `[..., k, k]`."""
    values = raw(values)
    return abs(values[..., None, :] - values[..., None]) <= tolerance[..., None]


def inverse_gaps(values, same):
    """`1 / (values[j] - values[i])` at `[..., i, j]`, zero for pairs that are the `same`."""
    gaps = values[..., None, :] - values[..., None]
    return np.where(same, 0, 1 / np.where(same, 1, gaps))


def reached(g):
    """Where anything arrived at entries of a cotangent, be it zero."""
    g = raw(g)
    return (g != 0) | ~np.signbit(g.real)


def off_diagonal(same):
    """The pairs without those of a value with itself."""
    return same & backend.of(same).from_host(~np.eye(same.shape[-1], dtype=bool))


def nonzero(values, scale):
    """Which values are not zero up to rounding, where others are as large as `scale`."""
    values, most = raw(values), largest(scale, (-2, -1))
    return ~(abs(values) <= float(np.sqrt(np.finfo(values.dtype).eps)) * most)


def any_of(same, which):
    """For each value whether `which` `[..., k]` holds of any of its cluster, `[..., k, 1]`."""
    return (same & which[..., None, :]).any(-1)[..., None]


def unresolved(same, slopes, by_vectors, turns, scale):
    """The pairs of clusters at which a derivative does not exist, or cannot be told.

    `slopes [V, ..., k]` is the cotangent of the values, each of `by_vectors` says which vectors
    anything arrived at, and `turns [V, ..., k, k]` is what turns vectors into each other, `scale`
    being what it was made of.
    """
    by_values = any_of(same, reached(slopes))
    slopes = raw(slopes)
    uneven = nonzero(slopes[..., None, :] - slopes[..., None], slopes[..., None])
    wrong = (by_values & uneven) | nonzero(turns, scale)
    for which in by_vectors:
        by_some = any_of(same, which)
        wrong = wrong | (by_some & (by_values | any_of(same, ~which)))
    return off_diagonal(same) & wrong


def undefined_at(wrong, inner, node, what):
    """`inner`, NaN where it is undefined, with a warning at the user's line."""
    if not wrong.any():
        return inner
    warn_at(
        node,
        f"NaN in the derivative of {node.op.name}: {what}, where what is made of it has no "
        f"derivative, or none that can be told: {ADVICE}",
    )
    return inner * np.where(wrong, np.nan, 1).astype(inner.dtype)  # and so are its tangents
