"""Data: data sets, loaders of batches, transforms of images, and sets to learn with."""

from tracer_training.data import dataset, datasets, loader, splits, transforms
from tracer_training.data.dataset import *
from tracer_training.data.loader import *
from tracer_training.data.splits import *

__all__ = ["datasets", "transforms"]
__all__ += dataset.__all__
__all__ += loader.__all__
__all__ += splits.__all__
