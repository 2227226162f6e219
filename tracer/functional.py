"""Functions of functions: gradients, Jacobians and products with matrices of derivatives."""

from tracer.api.functional import (
    ggn_vp,
    grad,
    hessian,
    holomorphic_grad,
    hvp,
    jacobian,
    jvp,
    trace,
    value_and_grad,
    value_and_jacobian,
    vjp,
)
from tracer.api.linear_map import linearize

__all__ = [
    "ggn_vp",
    "grad",
    "hessian",
    "holomorphic_grad",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "trace",
    "value_and_grad",
    "value_and_jacobian",
    "vjp",
]
