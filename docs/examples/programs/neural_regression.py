"""A small network follows a cosine, with a normal density of errors and of weights.

python docs/examples/programs/neural_regression.py
"""

import numpy as np
from descent import adam, network, outputs, show

import tracer
from tracer.scipy.stats import norm

NOISE = 0.1


def waves(rng, points=80):
    """Inputs `[N, 1]` about zero, in two pieces, and noisy cosines."""
    x = np.concatenate([np.linspace(0, 3, points // 2), np.linspace(6, 8, points // 2)])[:, None]
    return (x - 4) / 2, np.cos(x) + NOISE * rng.standard_normal(x.shape)


def loss(layers, x, y):
    """Less the log-density of the data and of the weights."""
    prior = sum(np.sum(norm.logpdf(part, 0, 3)) for layer in layers for part in layer)
    return -np.sum(norm.logpdf(outputs(layers, x), y, NOISE)) - prior


def figures():
    """The mean squared error before and after 400 steps of Adam; the noise alone has 0.01."""
    rng = np.random.default_rng(0)
    x, y = waves(rng)
    start = network(rng, 1, 8, 8, 1, scale=0.5)
    found = adam(lambda layers, step: tracer.grad(loss)(layers, x, y), start, 400, 0.02)
    return {"error": np.array([np.mean((outputs(each, x) - y) ** 2) for each in (start, found)])}


if __name__ == "__main__":
    show(figures())
