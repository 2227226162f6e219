"""Convolutions, their transposes, and the windows that they slide."""

from tracer_layers.convolution import (
    folding_layers,
    layers,
    lazy_layers,
    operations,
    transposed_layers,
    windows,
)
from tracer_layers.convolution.folding_layers import *
from tracer_layers.convolution.layers import *
from tracer_layers.convolution.lazy_layers import *
from tracer_layers.convolution.transposed_layers import *

OPERATIONS = (operations, windows)

__all__: list[str] = []
__all__ += folding_layers.__all__
__all__ += layers.__all__
__all__ += lazy_layers.__all__
__all__ += transposed_layers.__all__
