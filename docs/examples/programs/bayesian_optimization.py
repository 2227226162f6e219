"""The maximum of a costly function, by a Gaussian process of what was measured of it.

Each next point has the largest expected improvement, found from many starts by its gradient.

    python docs/examples/programs/bayesian_optimization.py
"""

import numpy as np
from descent import show
from gaussian_process import fitted, posterior, unfitted

from tracer.scipy.optimize import minimize
from tracer.scipy.stats import norm


def costly(x):
    """On [0, 1.1] it has its largest value, 0.896, at 0.810."""
    return x * np.sin(10 * x) + x - 0.7


def expected_improvement(scales, x, y, at):
    """How much larger than the largest of y the value at a point is, on average."""
    mean, covariance = posterior(scales, x, y, at)
    deviation = np.sqrt(covariance[0, 0] + 1e-9)
    score = (mean[0] - np.max(y)) / deviation
    return deviation * (score * norm.cdf(score) + norm.pdf(score))


def next_point(scales, x, y, starts):
    """The best of the maxima that are reached from several points."""

    def loss(at):
        return -expected_improvement(scales, x, y, at.reshape(1, 1))

    ends = [
        minimize(loss, start, method="L-BFGS-B", bounds=[(0, 1.1)], options={"maxiter": 10})
        for start in starts
    ]
    return min(ends, key=lambda end: end.fun).x


def figures(rounds=9):
    """The best point and value, and how often the function was evaluated."""
    rng = np.random.default_rng(0)
    x = np.array([[0.1], [0.5], [1.0]])
    y = costly(x[:, 0])
    scales = unfitted() | {"noise": np.array(-8.0), "length": np.array([-1.5])}
    for _ in range(rounds):
        scales = fitted(scales, x, y)
        point = next_point(scales, x, y, rng.uniform(0, 1.1, (5, 1)))
        x, y = np.concatenate([x, point[None]]), np.concatenate([y, costly(point)])
    return {"best": np.array([x[np.argmax(y), 0], np.max(y)]), "evaluations": len(y)}


if __name__ == "__main__":
    show(figures())
