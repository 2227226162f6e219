"""The derivative of where an iteration ends, which needs none of its steps.

Newton's iteration for the square root of a: its limit x has x = f(x, a), and so
dx = (1 - df/dx)^-1 (df/da) da.

    python docs/examples/programs/fixed_point.py
"""

from descent import show

import tracer
from tracer import implicit


def towards_the_root(x, a):
    """A step of length 0.1 against x^2 - a."""
    return x - 0.1 * (x**2 - a)


def root(a):
    """The square root of a."""
    return implicit.fixed_point(towards_the_root)(2.0, a)


def figures():
    """The square root of 2, and its first two derivatives."""
    slope = tracer.grad(root)
    return {"root": root(2.0), "first": slope(2.0), "second": tracer.grad(slope)(2.0)}


if __name__ == "__main__":
    show(figures())
