"""Other shapes of the same elements: flattened, padded, shuffled, resampled, and read by a grid."""

from tracer_layers.shape import flattening, grids, padding, resampling, shuffling, upsampling
from tracer_layers.shape.flattening import *
from tracer_layers.shape.grids import *
from tracer_layers.shape.padding import *
from tracer_layers.shape.shuffling import *
from tracer_layers.shape.upsampling import *

OPERATIONS = (resampling,)

__all__: list[str] = []
__all__ += flattening.__all__
__all__ += grids.__all__
__all__ += padding.__all__
__all__ += shuffling.__all__
__all__ += upsampling.__all__
