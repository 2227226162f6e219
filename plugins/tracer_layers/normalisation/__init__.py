"""Normalisation over batches, layers, groups, instances, and by the root mean square."""

from tracer_layers.normalisation import functions, layers, lazy_layers, local_response, operations
from tracer_layers.normalisation.functions import *
from tracer_layers.normalisation.layers import *
from tracer_layers.normalisation.lazy_layers import *
from tracer_layers.normalisation.local_response import *

OPERATIONS = (operations,)

__all__: list[str] = []
__all__ += functions.__all__
__all__ += layers.__all__
__all__ += lazy_layers.__all__
__all__ += local_response.__all__
