"""A posterior with two tops, approximated by a mixture of Gaussians.

The bound of a mixture is the mean of bounds of its parts, which are weighted by their proportions:
no part is drawn at random (Graves 2016).

    python docs/examples/programs/mixture_inference.py
"""

import numpy as np
from descent import adam, show

import tracer
from tracer.scipy.special import logsumexp
from tracer.scipy.stats import norm

PARTS, SAMPLES = 5, 40


def two_tops(x):
    """Log-densities of `x [..., 2]`: half at (-2, 0), half at (2, 1)."""
    left = norm.logpdf(x[..., 0], -2, 0.5) + norm.logpdf(x[..., 1], 0, 0.5)
    right = norm.logpdf(x[..., 0], 2, 0.5) + norm.logpdf(x[..., 1], 1, 1)
    return np.logaddexp(left, right) - np.log(2)


def log_density(mixture, x):
    """Of a mixture of `PARTS` Gaussians, at `x [..., 2]`."""
    proportions = mixture["logits"] - logsumexp(mixture["logits"])
    deviations = np.exp(mixture["log deviations"])
    parts = np.sum(norm.logpdf(x[..., None, :], mixture["means"], deviations), axis=-1)
    return logsumexp(parts + proportions, axis=-1)


def bound(mixture, noise):
    """The bound for fixed `noise [SAMPLES, PARTS, 2]`, samples of all parts at once."""
    x = mixture["means"] + np.exp(mixture["log deviations"]) * noise
    of_parts = np.mean(two_tops(x) - log_density(mixture, x), axis=0)
    proportions = np.exp(mixture["logits"] - logsumexp(mixture["logits"]))
    return np.sum(proportions * of_parts)


def figures():
    """The bound, 0 at best, before and after; the density on both tops, 0.32 and 0.16 at best."""
    rng = np.random.default_rng(0)
    start = {
        "logits": np.zeros(PARTS),
        "means": rng.standard_normal((PARTS, 2)),
        "log deviations": -1 * np.ones((PARTS, 2)),
    }

    def slopes(mixture, step):
        noise = rng.standard_normal((SAMPLES, PARTS, 2))
        return tracer.grad(lambda mixture: -bound(mixture, noise))(mixture)

    found = adam(slopes, start, 250, 0.05)
    noise = rng.standard_normal((2000, PARTS, 2))
    tops = np.array([[-2.0, 0.0], [2.0, 1.0]])
    return {
        "bounds": np.array([bound(each, noise) for each in (start, found)]),
        "densities": np.exp(log_density(found, tops)),
    }


if __name__ == "__main__":
    show(figures())
