"""A polynomial fitted to points by least squares: gradient descent, and one Gauss-Newton step.

The model is linear in its coefficients, so that the Gauss-Newton step lands on the solution at
once. Gradient descent creeps there.

    python docs/examples/polynomial.py
"""

import numpy as np

import tracer

DEGREE = 3
rng = np.random.default_rng(0)
x = np.linspace(-1, 1, 50)
y = np.sin(3 * x) + 0.1 * rng.standard_normal(50)


def model(coefficients):
    """Values of the polynomial at `x`, the highest power first."""
    value = np.zeros_like(x)
    for i in range(DEGREE + 1):
        value = value * x + coefficients[i]
    return value


def misfit(values):
    """Half the mean squared distance to the points."""
    return 0.5 * np.mean((values - y) ** 2)


def loss(coefficients):
    return misfit(model(coefficients))


def gradient_descent(coefficients, steps=2000, learning_rate=0.5):
    """The coefficients after a number of steps along the negative gradient."""
    gradient = tracer.grad(loss)
    for _ in range(steps):
        coefficients = coefficients - learning_rate * gradient(coefficients)
    return coefficients


def gauss_newton_step(coefficients):
    """`c - G^-1 g`, with a column of the Gauss-Newton matrix G from each unit vector."""
    product = tracer.ggn_vp(model, misfit)
    matrix = np.stack([product(coefficients, unit) for unit in np.eye(DEGREE + 1)], axis=1)
    return coefficients - np.linalg.solve(matrix, tracer.grad(loss)(coefficients))


if __name__ == "__main__":
    start = np.zeros(DEGREE + 1)
    print("gradient descent ", gradient_descent(start).round(4))
    print("Gauss-Newton step", gauss_newton_step(start).round(4))
    print("np.polyfit       ", np.polyfit(x, y, DEGREE).round(4))
