"""Maxima, means and norms of windows."""

from tracer_layers.pooling import adaptive_layers, functions, layers, lp_layers, operations
from tracer_layers.pooling.adaptive_layers import *
from tracer_layers.pooling.functions import *
from tracer_layers.pooling.layers import *
from tracer_layers.pooling.lp_layers import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += adaptive_layers.__all__
__all__ += functions.__all__
__all__ += layers.__all__
__all__ += lp_layers.__all__
