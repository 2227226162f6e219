"""The Transformer, and the positions that its sequences are given."""

from tracer_layers.transformer import layers, positions
from tracer_layers.transformer.layers import *
from tracer_layers.transformer.positions import *

OPERATIONS = (positions,)

__all__: list[str] = []
__all__ += layers.__all__
__all__ += positions.__all__
