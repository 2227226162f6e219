"""A network that knows where it knows nothing: a Gaussian over all its weights.

python docs/examples/programs/bayesian_neural_net.py
"""

from itertools import pairwise

import numpy as np
from descent import show
from variational_inference import bound, drawn, inferred

SIZES = (1, 10, 10, 1)
WEIGHTS = sum((m + 1) * n for m, n in pairwise(SIZES))


def bump(x):
    """The activation, which is zero far away."""
    return np.exp(-(x**2))


def functions(weights, x):
    """Outputs `[S, N]` at `x [N, 1]` of S networks, whose weights are rows of `[S, WEIGHTS]`."""
    values = x[None]
    for layer, (m, n) in enumerate(pairwise(SIZES)):
        matrix, bias = weights[:, : m * n], weights[:, m * n :][:, :n]
        weights = weights[:, (m + 1) * n :]
        values = values @ matrix.reshape(-1, m, n) + bias[:, None]
        if layer < len(SIZES) - 2:
            values = bump(values)
    return values[:, :, 0]


def figures():
    """The bound before and after; the spread of functions where there are data, and far from it."""
    rng = np.random.default_rng(0)
    x = np.concatenate([np.linspace(-1, -0.5, 20), np.linspace(0.5, 1, 20)])[:, None]
    y = np.cos(4 * x[:, 0]) + 0.1 * rng.standard_normal(len(x))

    def log_posterior(weights):
        errors = np.sum((functions(weights, x) - y) ** 2, axis=1)
        return -50 * errors - 0.5 * np.sum(weights**2, axis=1)

    start = {"mean": rng.standard_normal(WEIGHTS), "log deviation": -5 * np.ones(WEIGHTS)}
    found = inferred(log_posterior, start, samples=10, steps=400, rate=0.03, rng=rng)
    noise = rng.standard_normal((200, WEIGHTS))
    at = np.concatenate([x, [[2.5]]])
    spread = np.std(functions(drawn(found, noise), at), axis=0)
    return {
        "bounds": np.array([bound(each, log_posterior, noise) for each in (start, found)]),
        "spread": np.array([np.mean(spread[:-1]), spread[-1]]),
    }


if __name__ == "__main__":
    show(figures())
