"""A Gaussian process of the values of another, fitted to a step.

python docs/examples/programs/deep_gaussian_process.py
"""

import numpy as np
from descent import show
from gaussian_process import log_evidence, posterior, unfitted

from tracer.scipy.optimize import minimize


def step(rng):
    """Signs of 20 numbers, with noise."""
    x = np.linspace(-2, 2, 20)
    return x[:, None], np.sign(x) + 0.1 * rng.standard_normal(20)


def loss(deep, x, y):
    """Less the logarithm of the density of hidden values at x, and of y at these."""
    hidden = deep["hidden"]
    return -log_evidence(deep["first"], x, hidden) - log_evidence(
        deep["second"], hidden[:, None], y
    )


def prediction(deep, x, y, at):
    """Means at other points: of the second process, at the means of the first."""
    inner, _ = posterior(deep["first"], x, deep["hidden"], at)
    return posterior(deep["second"], deep["hidden"][:, None], y, inner[:, None])[0]


def figures():
    """The loss before and after, and the prediction on both sides of the step."""
    rng = np.random.default_rng(0)
    x, y = step(rng)
    start = {"first": unfitted(), "second": unfitted(), "hidden": 0.1 * rng.standard_normal(20)}
    found = minimize(loss, start, (x, y), method="CG", options={"maxiter": 30})
    at = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    return {
        "loss": np.array([loss(start, x, y), found.fun]),
        "prediction": prediction(found.x, x, y, at),
    }


if __name__ == "__main__":
    show(figures())
