"""Functions of functions: gradients, Jacobians and products with matrices of derivatives."""

from tracer.api.functional import (
    ggn_vp,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    trace,
    value_and_grad,
    vjp,
)

__all__ = [
    "ggn_vp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "trace",
    "value_and_grad",
    "vjp",
]
