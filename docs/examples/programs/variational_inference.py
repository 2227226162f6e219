"""A posterior density approximated by a Gaussian one, with nothing known but its logarithm.

The samples are means plus deviations times fixed random numbers, so that the bound has a gradient
by both (Ranganath and others 2014; Kingma and Welling 2014).

    python docs/examples/programs/variational_inference.py
"""

import numpy as np
from descent import adam, show

import tracer
from tracer.scipy.stats import norm

ENTROPY = 0.5 * (1 + np.log(2 * np.pi))


def funnel(x):
    """Unnormalised log-densities of `x [N, 2]`: the first deviates by exp of the second."""
    place, log_scale = x[:, 0], x[:, 1]
    return norm.logpdf(log_scale, 0, 1.35) + norm.logpdf(place, 0, np.exp(log_scale))


def drawn(gaussian, noise):
    """Samples of a Gaussian with independent coordinates."""
    return gaussian["mean"] + np.exp(gaussian["log deviation"]) * noise


def bound(gaussian, log_density, noise):
    """A lower bound of the logarithm of the density's integral, estimated from samples."""
    entropy = np.sum(gaussian["log deviation"] + ENTROPY)
    return entropy + np.mean(log_density(drawn(gaussian, noise)))


def inferred(log_density, start, samples, steps, rate, rng):
    """The Gaussian of the largest bound, by Adam with new samples at each step."""

    def slopes(gaussian, step):
        noise = rng.standard_normal((samples, len(start["mean"])))
        return tracer.grad(lambda gaussian: -bound(gaussian, log_density, noise))(gaussian)

    return adam(slopes, start, steps, rate)


def figures():
    """The bound at the start and at the end; the mean and deviations."""
    rng = np.random.default_rng(0)
    start = {"mean": -np.ones(2), "log deviation": -5 * np.ones(2)}
    found = inferred(funnel, start, samples=200, steps=300, rate=0.1, rng=rng)
    noise = rng.standard_normal((5000, 2))
    return {
        "bounds": np.array([bound(each, funnel, noise) for each in (start, found)]),
        "mean": found["mean"],
        "deviation": np.exp(found["log deviation"]),
    }


if __name__ == "__main__":
    show(figures())
