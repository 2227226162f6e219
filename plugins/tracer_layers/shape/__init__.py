"""Other shapes of the same elements: flattened, padded, shuffled, and resampled."""

from tracer_layers.shape import flattening, padding, resampling, shuffling, upsampling
from tracer_layers.shape.flattening import *
from tracer_layers.shape.padding import *
from tracer_layers.shape.shuffling import *
from tracer_layers.shape.upsampling import *

OPERATIONS = (resampling,)

__all__: list[str] = []
__all__ += flattening.__all__
__all__ += padding.__all__
__all__ += shuffling.__all__
__all__ += upsampling.__all__
