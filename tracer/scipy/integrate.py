"""`scipy.integrate` for tensors: differential equations, integrals of functions and of samples."""

from tracer.scipy.differential import odeint, solve_ivp
from tracer.scipy.quadrature import quad
from tracer.scipy.sampled import cumulative_trapezoid, simpson, trapezoid

__all__ = ["cumulative_trapezoid", "odeint", "quad", "simpson", "solve_ivp", "trapezoid"]
