"""Activations, and dropout: elementwise, almost all without parameters."""

from tracer_layers.activations import categorical, dropout_layers, functions, layers, operations
from tracer_layers.activations.categorical import *
from tracer_layers.activations.dropout_layers import *
from tracer_layers.activations.functions import *
from tracer_layers.activations.layers import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += categorical.__all__
__all__ += dropout_layers.__all__
__all__ += functions.__all__
__all__ += layers.__all__
