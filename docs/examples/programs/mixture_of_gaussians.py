"""A mixture of Gaussians, fitted by Newton's method with products with the Hessian.

The points lie on arms of a wheel. Covariances are given by their roots, proportions by their
logarithms, so that every number is allowed.

    python docs/examples/programs/mixture_of_gaussians.py
"""

import numpy as np
from descent import show

from tracer.scipy.optimize import minimize
from tracer.scipy.special import logsumexp
from tracer.scipy.stats import multivariate_normal


def wheel(rng, arms=3, points=60, bend=0.4):
    """Points `[arms * points, 2]` on bent arms."""
    along = 1 + 0.3 * rng.standard_normal((arms, points))
    across = 0.05 * rng.standard_normal((arms, points))
    angle = 2 * np.pi * np.arange(arms)[:, None] / arms + bend * np.exp(along)
    x = along * np.cos(angle) - across * np.sin(angle)
    y = along * np.sin(angle) + across * np.cos(angle)
    return np.stack([x.ravel(), y.ravel()], 1)


def log_likelihood(mixture, points):
    """Of points, by a mixture's logits `[K]`, means `[K, D]` and roots of covariances."""
    proportions = mixture["logits"] - logsumexp(mixture["logits"])
    parts = [
        proportions[k] + multivariate_normal.logpdf(points, mean, root.T @ root)
        for k, (mean, root) in enumerate(zip(mixture["means"], mixture["roots"], strict=True))
    ]
    return np.sum(logsumexp(np.stack(parts), axis=0))


def start(rng, components=5):
    """A mixture near the middle."""
    return {
        "logits": 0.1 * rng.standard_normal(components),
        "means": 0.1 * rng.standard_normal((components, 2)),
        "roots": np.stack([np.eye(2)] * components),
    }


def figures():
    """The mean log-likelihood of a point at the start and at the end."""
    rng = np.random.default_rng(0)
    points = wheel(rng)
    mixture = start(rng)

    def loss(mixture):
        return -log_likelihood(mixture, points) / len(points)

    found = minimize(loss, mixture, method="Newton-CG", options={"maxiter": 25})
    return {"at the start": -loss(mixture), "at the end": -found.fun}


if __name__ == "__main__":
    show(figures())
