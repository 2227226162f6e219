"""The core's own operations, rows and array libraries.

This module is the first plugin that loads, and has no privilege over others.
"""

from tracer.arrays import backend, backend_cupy, sampled
from tracer.curvature import rows
from tracer.operations import (
    arguments,
    arithmetic,
    flat,
    indexing,
    linalg,
    marks,
    products,
    reductions,
    shapes,
    sorting,
)
from tracer.plugins.hookspecs import hookimpl
from tracer.record.frames import INTERNAL_FILES

from tracer.operations import inplace  # isort: skip  (of the operators that those bind)

FAMILIES = (marks, arithmetic, reductions, shapes, indexing, sorting, products, linalg, flat)
INTERNAL_FILES.update(str(m.__file__) for m in (arguments, inplace, sampled, *FAMILIES))


@hookimpl
def register_operations():
    return [op for family in FAMILIES for op in family.OPERATIONS]


@hookimpl
def register_rows():
    return rows.BUNDLED


@hookimpl
def register_backends():
    return [backend.NUMPY, backend_cupy.CUPY]
