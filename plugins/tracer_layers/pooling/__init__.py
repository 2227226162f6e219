"""Maxima, means and norms of windows, and maxima put back."""

from tracer_layers.pooling import (
    adaptive_layers,
    fractional_layers,
    functions,
    layers,
    lp_layers,
    maximum,
    mean,
    spreading,
    unpooling_layers,
)
from tracer_layers.pooling.adaptive_layers import *
from tracer_layers.pooling.fractional_layers import *
from tracer_layers.pooling.functions import *
from tracer_layers.pooling.layers import *
from tracer_layers.pooling.lp_layers import *
from tracer_layers.pooling.unpooling_layers import *

OPERATIONS = (maximum, mean, spreading)

__all__: list[str] = []
__all__ += adaptive_layers.__all__
__all__ += fractional_layers.__all__
__all__ += functions.__all__
__all__ += layers.__all__
__all__ += lp_layers.__all__
__all__ += unpooling_layers.__all__
