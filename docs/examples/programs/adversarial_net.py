"""Two networks against each other: one makes digits, the other tells them from true ones.

One gradient by the parameters of both serves both; they step in opposite directions.

    python docs/examples/programs/adversarial_net.py
"""

import numpy as np
from descent import adam, digits, network, outputs, show

import tracer
from tracer.scipy.special import expit

NOISE = 8


def rectified(x):
    """The activation."""
    return np.maximum(x, 0)


def made(generator, noise):
    """Images in [0, 1] of rows of random numbers."""
    return expit(outputs(generator, noise, rectified))


def game(generator, judge, images, noise):
    """What the judge gains: the mean log-chances of true images, and of made ones, to be right."""
    of_true = outputs(judge, images, rectified)
    of_made = outputs(judge, made(generator, noise), rectified)
    return np.mean(-np.logaddexp(0, -of_true)) + np.mean(-np.logaddexp(0, of_made))


def figures(steps=200, size=64):
    """How far the mean of made images is from that of true ones, and the last value of the game."""
    rng = np.random.default_rng(0)
    images, labels, _, _ = digits()
    images = images[labels < 2]
    start = (network(rng, NOISE, 32, 64), network(rng, 64, 32, 1))

    def slopes(players, step):
        batch = images[rng.integers(len(images), size=size)]
        noise = rng.standard_normal((size, NOISE))
        by_generator, by_judge = tracer.grad(game, (0, 1))(*players, batch, noise)
        return by_generator, [(-weight, -bias) for weight, bias in by_judge]

    players = adam(slopes, start, steps, 0.005, decays=(0.5, 0.999))
    noise = rng.standard_normal((500, NOISE))
    middle = np.mean(images, axis=0)

    def distance(generator):
        return np.linalg.norm(np.mean(made(generator, noise), axis=0) - middle)

    return {
        "distance": np.array([distance(each[0]) for each in (start, players)]),
        "game": game(*players, images[:200], noise),
    }


if __name__ == "__main__":
    show(figures())
