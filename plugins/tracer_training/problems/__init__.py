"""Test problems: networks with their initial values, data and settings, as DeepOBS has them."""

from tracer_training.problems import images, problem, quadratic, sequences, vae
from tracer_training.problems.images import *
from tracer_training.problems.problem import *
from tracer_training.problems.quadratic import *
from tracer_training.problems.sequences import *
from tracer_training.problems.vae import *

__all__: list[str] = []
__all__ += images.__all__
__all__ += problem.__all__
__all__ += quadratic.__all__
__all__ += sequences.__all__
__all__ += vae.__all__
