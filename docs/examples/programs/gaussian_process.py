"""Regression by a Gaussian process, whose scales maximise the evidence of the data.

python docs/examples/programs/gaussian_process.py
"""

import numpy as np
from descent import show

from tracer.scipy.optimize import minimize
from tracer.scipy.stats import multivariate_normal


def kernel(scales, x, z):
    """Covariances `[N, M]` of values at x `[N, D]` and z `[M, D]`: exponentials of squares."""
    length = np.exp(scales["length"])
    apart = (x[:, None] - z[None]) / length
    return np.exp(scales["height"]) * np.exp(-0.5 * np.sum(apart**2, axis=2))


def noisy(scales, x):
    """Covariances of what is measured at x."""
    return kernel(scales, x, x) + (np.exp(scales["noise"]) + 1e-4) * np.eye(len(x))


def log_evidence(scales, x, y):
    """The logarithm of the density of values y at x."""
    return multivariate_normal.logpdf(y, scales["mean"] * np.ones(len(x)), noisy(scales, x))


def posterior(scales, x, y, at):
    """Mean and covariance of values at other points, given those at x."""
    between = kernel(scales, x, at)
    weights = np.linalg.solve(noisy(scales, x), between).T
    mean = scales["mean"] + weights @ (y - scales["mean"])
    return mean, kernel(scales, at, at) - weights @ between


def unfitted(dimensions=1):
    """Logarithms of scales that are all one, and a mean of zero."""
    zero = np.array(0.0)
    return {"mean": zero, "noise": zero, "height": zero, "length": np.zeros(dimensions)}


def fitted(scales, x, y):
    """The scales of the largest evidence."""
    return minimize(lambda scales: -log_evidence(scales, x, y), scales, method="CG").x


def two_pieces(rng):
    """A cosine with noise, measured on two intervals."""
    x = np.concatenate([np.linspace(0, 3, 10), np.linspace(6, 8, 10)])[:, None]
    return x, np.cos(x[:, 0]) + 0.1 * rng.standard_normal(len(x))


def figures():
    """The evidence before and after, and the posterior where there are data, and where not."""
    x, y = two_pieces(np.random.default_rng(0))
    scales = fitted(unfitted(), x, y)
    mean, covariance = posterior(scales, x, y, np.array([[1.5], [4.5], [20.0]]))
    return {
        "log evidence": np.array([log_evidence(s, x, y) for s in (unfitted(), scales)]),
        "mean": mean,
        "deviation": np.sqrt(np.diag(covariance)),
    }


if __name__ == "__main__":
    show(figures())
