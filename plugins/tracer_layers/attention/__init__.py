"""Attention, its masks, and its heads."""

from tracer_layers.attention import functions, layers, operations
from tracer_layers.attention.functions import *
from tracer_layers.attention.layers import *
from tracer_layers.attention.operations import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += functions.__all__
__all__ += layers.__all__
__all__ += operations.__all__
