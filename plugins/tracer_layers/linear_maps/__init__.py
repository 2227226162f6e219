"""Linear and bilinear maps, and the identity."""

from tracer_layers.linear_maps import layers, operations
from tracer_layers.linear_maps.layers import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += layers.__all__
