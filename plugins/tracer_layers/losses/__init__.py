"""Losses, and distances of vectors."""

from tracer_layers.losses import (
    classification_layers,
    classification_operations,
    distance_layers,
    regression_layers,
    regression_operations,
)
from tracer_layers.losses.classification_layers import *
from tracer_layers.losses.distance_layers import *
from tracer_layers.losses.regression_layers import *

OPERATIONS = (classification_operations, regression_operations)

__all__: list[str] = []
__all__ += classification_layers.__all__
__all__ += distance_layers.__all__
__all__ += regression_layers.__all__
