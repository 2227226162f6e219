"""The first derivatives of the hyperbolic tangent, each the gradient of the one before.

An elementwise function has a diagonal Jacobian. The gradient of its sum is that diagonal.

    python docs/examples/programs/derivatives.py
"""

import numpy as np
from descent import show

import tracer

POINTS = np.linspace(-7, 7, 7001)


def hyperbolic(x):
    """The hyperbolic tangent, of exponentials."""
    growth = np.exp(-2 * x)
    return (1 - growth) / (1 + growth)


def slope(function):
    """The derivative of an elementwise function."""
    return tracer.grad(lambda x: np.sum(function(x)))


def figures():
    """The derivatives of order 0 to 4 in the middle, and the largest of each."""
    function, middle, largest = hyperbolic, [], []
    for _ in range(5):
        values = function(POINTS)
        middle.append(values[len(POINTS) // 2])
        largest.append(np.max(np.abs(values)))
        function = slope(function)
    return {"at 0": np.array(middle), "largest": np.array(largest)}


if __name__ == "__main__":
    show(figures())
