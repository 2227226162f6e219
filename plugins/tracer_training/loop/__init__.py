"""The loop over epochs and batches: `fit`, and what it is made of."""

from tracer_training.loop import (
    callbacks,
    early_stopping,
    errors,
    evaluation,
    fitting,
    history,
    metrics,
    precision,
    run,
    saving,
)
from tracer_training.loop.callbacks import *
from tracer_training.loop.early_stopping import *
from tracer_training.loop.errors import *
from tracer_training.loop.evaluation import *
from tracer_training.loop.fitting import *
from tracer_training.loop.history import *
from tracer_training.loop.metrics import *
from tracer_training.loop.precision import *
from tracer_training.loop.run import *
from tracer_training.loop.saving import *

__all__: list[str] = []
__all__ += callbacks.__all__
__all__ += early_stopping.__all__
__all__ += errors.__all__
__all__ += evaluation.__all__
__all__ += fitting.__all__
__all__ += history.__all__
__all__ += metrics.__all__
__all__ += precision.__all__
__all__ += run.__all__
__all__ += saving.__all__
