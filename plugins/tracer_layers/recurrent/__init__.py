"""Recurrent layers, their cells, and sequences of different lengths."""

from tracer_layers.recurrent import cells, layers, sequences, steps, unrolled_layer
from tracer_layers.recurrent.cells import *
from tracer_layers.recurrent.layers import *
from tracer_layers.recurrent.sequences import *
from tracer_layers.recurrent.unrolled_layer import *

OPERATIONS = (steps,)

__all__: list[str] = []
__all__ += cells.__all__
__all__ += layers.__all__
__all__ += sequences.__all__
__all__ += unrolled_layer.__all__
