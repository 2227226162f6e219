"""Rows of a table, one by one and in bags."""

from tracer_layers.embeddings import bag_layers, layers, operations
from tracer_layers.embeddings.bag_layers import *
from tracer_layers.embeddings.layers import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += bag_layers.__all__
__all__ += layers.__all__
