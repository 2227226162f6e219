"""Losses, and distances of vectors."""

from tracer_layers.losses import (
    adaptive_layers,
    classification_layers,
    classification_operations,
    ctc_layers,
    ctc_operations,
    distance_layers,
    embedding_layers,
    embedding_operations,
    linear_layers,
    margin_layers,
    margin_operations,
    probability_layers,
    probability_operations,
    regression_layers,
    regression_operations,
)
from tracer_layers.losses.adaptive_layers import *
from tracer_layers.losses.classification_layers import *
from tracer_layers.losses.ctc_layers import *
from tracer_layers.losses.distance_layers import *
from tracer_layers.losses.embedding_layers import *
from tracer_layers.losses.linear_layers import *
from tracer_layers.losses.margin_layers import *
from tracer_layers.losses.probability_layers import *
from tracer_layers.losses.regression_layers import *

OPERATIONS = (
    classification_operations,
    ctc_operations,
    embedding_operations,
    margin_operations,
    probability_operations,
    regression_operations,
)

__all__: list[str] = []
__all__ += adaptive_layers.__all__
__all__ += classification_layers.__all__
__all__ += ctc_layers.__all__
__all__ += distance_layers.__all__
__all__ += embedding_layers.__all__
__all__ += linear_layers.__all__
__all__ += margin_layers.__all__
__all__ += probability_layers.__all__
__all__ += regression_layers.__all__
