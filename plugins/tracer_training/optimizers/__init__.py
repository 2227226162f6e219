"""Optimisers that mirror `torch.optim`: each is one rule; `FirstOrder` applies it."""

from tracer_training.optimizers import (
    adafactor,
    adagrad,
    adam,
    averaged,
    lbfgs,
    loss,
    muon,
    optimizer,
    rmsprop,
    rprop,
    sgd,
)
from tracer_training.optimizers.adafactor import *
from tracer_training.optimizers.adagrad import *
from tracer_training.optimizers.adam import *
from tracer_training.optimizers.averaged import *
from tracer_training.optimizers.lbfgs import *
from tracer_training.optimizers.loss import *
from tracer_training.optimizers.muon import *
from tracer_training.optimizers.optimizer import *
from tracer_training.optimizers.rmsprop import *
from tracer_training.optimizers.rprop import *
from tracer_training.optimizers.sgd import *

__all__: list[str] = []
__all__ += adafactor.__all__
__all__ += adagrad.__all__
__all__ += adam.__all__
__all__ += averaged.__all__
__all__ += lbfgs.__all__
__all__ += loss.__all__
__all__ += muon.__all__
__all__ += optimizer.__all__
__all__ += rmsprop.__all__
__all__ += rprop.__all__
__all__ += sgd.__all__
