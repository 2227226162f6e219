"""Checkpoints of a training: see `checkpoint`."""

from tracer_training.checkpoints import checkpoint
from tracer_training.checkpoints.checkpoint import *

__all__: list[str] = []
__all__ += checkpoint.__all__
