"""Linear and bilinear maps, and the identity."""

from tracer_layers.linear_maps import layers, lazy_layers, operations
from tracer_layers.linear_maps.layers import *
from tracer_layers.linear_maps.lazy_layers import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += layers.__all__
__all__ += lazy_layers.__all__
