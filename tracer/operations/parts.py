"""Operations of which each gives several arrays: one array of rows, and its parts.

A row holds the i-th value and its vector (w_i, v_i), the i-th value and both vectors
(s_i, u_i, v_i), or the i-th column of Q and the i-th row of R. Parts of it are what NumPy's
functions give. So a rule has the cotangents of all parts together.
"""

import numpy as np

from tracer.errors import ShapeError
from tracer.operations import clusters
from tracer.operations.arguments import operand, raw
from tracer.operations.linalg import real_part, transposed
from tracer.operations.shapes import Linear
from tracer.record.axes import UNKNOWN
from tracer.record.operation import operation
from tracer.sweep.slopes import by_stacks

VALUES, COLUMNS, ROWS = "values", "columns", "rows"


@operation("part")
class Part(Linear):
    """Entries `start` to `stop` of each row: as they are, as columns, or one of each as values."""

    marks_unreached = True
    takes_complex = True
    jvp = by_stacks

    def forward(packed, *, start, stop, form):
        part = packed[..., start:stop]
        if form == VALUES:
            part = part[..., 0]
        elif form == COLUMNS:
            part = transposed(part)
        return part.copy()

    def vjp(node, g):
        """g at the entries of the part, and -0.0 at the others, where nothing arrives from here."""
        start, stop, form = (node.params[key] for key in ("start", "stop", "form"))
        if form == VALUES:
            g = g[..., None]
        elif form == COLUMNS:
            g = transposed(g)
        width = node.input_shape(0)[-1]
        none = np.full_like(raw(g), clusters.UNREACHED, shape=(*g.shape[:-1], width - stop + start))
        return (np.concatenate([none[..., :start], g, none[..., start:]], -1),)

    def batch_axis(node, axes):
        return axes[0] if axes[0] < len(node.input_shape(0)) - 2 else UNKNOWN

    def examples(rng):
        x = rng.random((2, 3, 4))
        return [((x,), {"start": 0, "stop": 1, "form": VALUES}),
                ((x,), {"start": 1, "stop": 3, "form": COLUMNS}),
                ((x,), {"start": 1, "stop": 4, "form": ROWS})]  # fmt: skip


def values_of(packed):
    return Part(packed, start=0, stop=1, form=VALUES)


def real_values_of(packed):
    """The same of values that are real, also where vectors beside them are complex."""
    return real_part(values_of(packed))


def columns_of(packed, start, stop):
    return Part(packed, start=start, stop=stop, form=COLUMNS)


def rows_of(packed, start, stop):
    return Part(packed, start=start, stop=stop, form=ROWS)


def packed(*parts):
    return np.concatenate(parts, axis=-1)


def diagonal_of(inner):
    """The diagonals of matrices, as a column."""
    return np.diagonal(inner, 0, -2, -1)[..., None]


def named_tuple(function, *parts):
    """What NumPy's function gives: a tuple with names."""
    return type(function(np.eye(1)))(*parts)


def square(a, name):
    """A tensor or array of square matrices; `ShapeError` for anything else."""
    a = matrices(a, name)
    if a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{name} takes square matrices, got {list(a.shape)}")
    return a


def matrices(a, name):
    """A tensor or array of matrices of floats or complex numbers; `ShapeError` for others."""
    a = operand(a)
    if a.ndim < 2:
        raise ShapeError(f"{name} takes matrices, got {list(a.shape)}")
    return a if a.dtype.kind in "fc" else a.astype(np.float64)


OPERATIONS = [Part]
