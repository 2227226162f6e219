"""A polynomial fitted to points by least squares: gradient descent, and one Gauss-Newton step.

The model is linear in its coefficients, so that the Gauss-Newton step lands on the solution at
once. Gradient descent creeps there.

    python docs/examples/polynomial.py
"""

from functools import partial

import numpy as np

import tracer

DEGREE = 3


def polynomial(coefficients, x):
    """Its values at `x`, the coefficient of the highest power first."""
    value = np.zeros_like(x)
    for i in range(DEGREE + 1):
        value = value * x + coefficients[i]
    return value


def misfit(values, y):
    """Half the mean squared distance to the points."""
    return 0.5 * np.mean((values - y) ** 2)


def loss(coefficients, x, y):
    return misfit(polynomial(coefficients, x), y)


def gradient_descent(coefficients, x, y, steps=2000, learning_rate=0.5):
    """The coefficients after a number of steps along the negative gradient."""
    gradient = tracer.grad(loss)
    for _ in range(steps):
        coefficients = coefficients - learning_rate * gradient(coefficients, x, y)
    return coefficients


def gauss_newton_step(coefficients, x, y):
    """`c - G^-1 g`, with a column of the Gauss-Newton matrix G from each unit vector."""
    product = tracer.ggn_vp(partial(polynomial, x=x), partial(misfit, y=y))
    units = np.diag(np.ones_like(coefficients))
    matrix = np.stack([product(coefficients, unit) for unit in units], axis=1)
    return coefficients - np.linalg.solve(matrix, tracer.grad(loss)(coefficients, x, y))


def points(rng):
    """Fifty noisy values of a sine."""
    x = np.linspace(-1, 1, 50)
    return x, np.sin(3 * x) + 0.1 * rng.standard_normal(50)


if __name__ == "__main__":
    start, data = np.zeros(DEGREE + 1), points(np.random.default_rng(0))
    print("gradient descent ", gradient_descent(start, *data).round(4))
    print("Gauss-Newton step", gauss_newton_step(start, *data).round(4))
    print("np.polyfit       ", np.polyfit(*data, DEGREE).round(4))
