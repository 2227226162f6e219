"""What several of the programs share: Adam for nested parameters, networks, and handwritten digits.

from descent import adam
"""

from functools import cache
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits


def over(function, *trees):
    """`function` of the arrays of trees of one structure: dicts, lists and tuples of arrays."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: over(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, list | tuple):
        return type(first)([over(function, *parts) for parts in zip(*trees, strict=True)])
    return function(*trees)


def adam(gradient, parameters, steps, rate=0.01, decays=(0.9, 0.999)):
    """The parameters after steps of Adam (Kingma and Ba 2015); `gradient(parameters, step)`."""
    mean = square = over(np.zeros_like, parameters)
    for step in range(steps):
        slopes = gradient(parameters, step)
        mean = over(lambda m, g: decays[0] * m + (1 - decays[0]) * g, mean, slopes)
        square = over(lambda s, g: decays[1] * s + (1 - decays[1]) * g * g, square, slopes)
        shrink, grow = (1 - decay ** (step + 1) for decay in decays)

        def moved(p, m, s, shrink=shrink, grow=grow):
            return p - rate * (m / shrink) / (np.sqrt(s / grow) + 1e-8)

        parameters = over(moved, parameters, mean, square)
    return parameters


def network(rng, *sizes, scale=0.1):
    """Weights `[inputs, outputs]` and biases, a pair for each layer."""
    return [
        (scale * rng.standard_normal((m, n)), scale * rng.standard_normal(n))
        for m, n in pairwise(sizes)
    ]


def outputs(layers, x, activation=np.tanh):
    """What a network makes of rows `x`."""
    for weight, bias in layers[:-1]:
        x = activation(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


@cache
def digits():
    """Images `[1797, 64]` in [0, 1] and their labels; every fourth is kept for the test."""
    images, labels = load_digits(return_X_y=True)
    test = np.arange(len(images)) % 4 == 0
    return images[~test] / 16, labels[~test], images[test] / 16, labels[test]


def show(figures):
    """One line for each figure of a program."""
    for name, value in figures.items():
        print(f"{name}: {np.array2string(np.asarray(value), precision=4)}")
