"""The natural gradient beside Adam, for a Gaussian that approximates a posterior.

The Fisher matrix of a Gaussian with independent coordinates is diagonal: 1 / deviation^2 for means,
2 for logarithms of deviations. Its inverse makes steps as long as the density allows.

    python docs/examples/programs/natural_gradient.py
"""

import numpy as np
from descent import over, show
from variational_inference import bound, inferred

import tracer
from tracer.scipy.stats import norm

SIZE, STEPS, RATE = 10, 60, 0.25


def posterior(measured):
    """The log-density of places and logarithms of scales, in one vector, given a measurement."""

    def log_density(x):
        place, log_scale = x[:, :SIZE], x[:, SIZE:]
        prior = np.sum(norm.logpdf(log_scale, 0, 1.35), axis=1)
        return prior + np.sum(norm.logpdf(measured, place, np.exp(log_scale)), axis=1)

    return log_density


def by_natural_gradient(log_density, gaussian, rng):
    """Steps along the gradient, divided by the Fisher matrix."""
    for _ in range(STEPS):
        noise = rng.standard_normal((200, 2 * SIZE))
        slopes = tracer.grad(bound)(gaussian, log_density, noise)
        fisher = {
            "mean": np.exp(-2 * gaussian["log deviation"]),
            "log deviation": 2 * np.ones(2 * SIZE),
        }
        gaussian = over(lambda p, g, f: p + RATE * g / f, gaussian, slopes, fisher)
    return gaussian


def figures():
    """The bound at the start, after 60 steps of Adam, and after as many natural ones."""
    rng = np.random.default_rng(0)
    log_density = posterior(3 * rng.standard_normal(SIZE))
    start = {"mean": -np.ones(2 * SIZE), "log deviation": -5 * np.ones(2 * SIZE)}
    by_adam = inferred(log_density, start, 200, STEPS, RATE, rng)
    natural = by_natural_gradient(log_density, start, rng)
    noise = rng.standard_normal((2000, 2 * SIZE))
    return {"bounds": np.array([bound(g, log_density, noise) for g in (start, by_adam, natural)])}


if __name__ == "__main__":
    show(figures())
