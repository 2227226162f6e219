"""Optimisers that use curvature: damped Newton steps, K-FAC, Sophia, Hessian-free steps."""

from tracer_training.curvature import damped_newton, hessian_free, kfac, sophia
from tracer_training.curvature.damped_newton import *
from tracer_training.curvature.hessian_free import *
from tracer_training.curvature.kfac import *
from tracer_training.curvature.sophia import *

__all__: list[str] = []
__all__ += damped_newton.__all__
__all__ += hessian_free.__all__
__all__ += kfac.__all__
__all__ += sophia.__all__
