"""`scipy.integrate` for tensors: differential equations, integrals of functions and of samples."""

from tracer.record import hints
from tracer.scipy.differential import odeint, solve_ivp
from tracer.scipy.quadrature import quad
from tracer.scipy.sampled import cumulative_trapezoid, simpson, trapezoid

__all__ = ["cumulative_trapezoid", "odeint", "quad", "simpson", "solve_ivp", "trapezoid"]


def __getattr__(name):
    way = None if name.startswith("_") else "scipy.integrate has it for arrays"
    raise hints.missing("module 'tracer.scipy.integrate'", name, way, __all__)
