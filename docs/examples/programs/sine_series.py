"""The sine by its power series, whose length is decided while it is summed, and its derivatives.

python docs/examples/programs/sine_series.py
"""

import numpy as np
from descent import show

import tracer


def sine(x):
    """Terms of the series at 0, until one is below rounding."""
    term = total = x
    order = 1
    while np.abs(term) > 1e-16:
        term = -term * x**2 / ((order + 1) * (order + 2))
        total = total + term
        order += 2
    return total


def figures():
    """How far the series and its first two derivatives are from those of the sine."""
    points = np.linspace(-6, 6, 25)
    first = tracer.grad(sine)
    second = tracer.grad(first)

    def distance(function, exact):
        return max(abs(function(x) - exact(x)) for x in points)

    return {
        "sine": distance(sine, np.sin),
        "first": distance(first, np.cos),
        "second": distance(second, lambda x: -np.sin(x)),
    }


if __name__ == "__main__":
    show(figures())
