"""Operators of imported programs, each family in a file; `table` has them all."""

from tracer_import.operators import (
    activations,
    attention,
    convolution,
    creation,
    elementwise,
    further,
    indexing,
    linear,
    losses,
    matrices,
    normalisation,
    numbers,
    onnx,
    pooling,
    recurrent,
    reductions,
    resampling,
    scans,
    shapes,
    spectral,
    strided,
)
from tracer_import.operators.aliases import add_aliases
from tracer_import.operators.table import OPERATORS, operator

__all__ = ["FAMILIES", "OPERATORS", "operator"]

FAMILIES = (
    activations,
    attention,
    convolution,
    creation,
    elementwise,
    further,
    indexing,
    linear,
    losses,
    matrices,
    normalisation,
    numbers,
    onnx,
    pooling,
    recurrent,
    reductions,
    resampling,
    scans,
    shapes,
    spectral,
    strided,
)

add_aliases()
