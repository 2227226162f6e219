"""Descent in a space of functions: the gradient by a function is a function.

In the space of a kernel k, f(x) is the product of f and k(x, .), and so its derivative by f is
k(x, .). Of f = sum_i c_i k(x_i, .) that is a unit vector of c, where the gradient by the numbers c
would be k(x, x_i). `values` has the rule of the space.

    python docs/examples/programs/function_space.py
"""

import numpy as np
from descent import show

import tracer

POINTS = np.arange(5.0)
WANTED = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
KERNEL = np.exp(-((POINTS[:, None] - POINTS) ** 2))


@tracer.primitive
def values(function):
    """The values at the points of a function, which is given by its coefficients."""
    return KERNEL @ function


values.defvjp(lambda g, y, function: g)


def loss(function):
    """The sum of squared distances to what is wanted."""
    return np.sum((values(function) - WANTED) ** 2)


def figures():
    """The loss after 100 steps of length 0.1, and the values."""
    function = np.zeros(5)
    for _ in range(100):
        function = function - 0.1 * tracer.grad(loss)(function)
    return {"loss": loss(function), "values": values(function)}


if __name__ == "__main__":
    show(figures())
