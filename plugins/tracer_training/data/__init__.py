"""Data: data sets, loaders of batches, transforms of images, and sets to learn with."""

from tracer_training.data import dataset, datasets, loader, transforms
from tracer_training.data.dataset import *
from tracer_training.data.loader import *

__all__ = ["datasets", "transforms"]
__all__ += dataset.__all__
__all__ += loader.__all__
