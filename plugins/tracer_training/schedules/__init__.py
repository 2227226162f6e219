"""Schedules of learning rates that mirror `torch.optim.lr_scheduler`."""

from tracer_training.schedules import combined, cosine, cyclic, factors, plateau, schedule
from tracer_training.schedules.combined import *
from tracer_training.schedules.cosine import *
from tracer_training.schedules.cyclic import *
from tracer_training.schedules.factors import *
from tracer_training.schedules.plateau import *
from tracer_training.schedules.schedule import *

__all__: list[str] = []
__all__ += combined.__all__
__all__ += cosine.__all__
__all__ += cyclic.__all__
__all__ += factors.__all__
__all__ += plateau.__all__
__all__ += schedule.__all__
