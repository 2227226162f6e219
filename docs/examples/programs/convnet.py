"""A convolutional network in functions of arrays reads handwritten digits.

python docs/examples/programs/convnet.py
"""

import numpy as np
from descent import adam, digits, show

import tracer
from tracer.scipy.special import logsumexp
from tracer_layers.functional import conv2d, max_pool2d


def weights(rng):
    """Of two convolutions and a linear map."""
    return {
        "first": 0.3 * rng.standard_normal((8, 1, 3, 3)),
        "second": 0.1 * rng.standard_normal((16, 8, 2, 2)),
        "linear": 0.1 * rng.standard_normal((64, 10)),
        "bias": np.zeros(10),
    }


def log_chances(p, images):
    """Of the ten digits, for images `[N, 64]`."""
    x = images.reshape(-1, 1, 8, 8)
    x = max_pool2d(np.tanh(conv2d(x, p["first"])), 2)
    x = np.tanh(conv2d(x, p["second"]))
    logits = x.reshape(len(images), -1) @ p["linear"] + p["bias"]
    return logits - logsumexp(logits, axis=1, keepdims=True)


def loss(p, images, labels):
    """The mean cross-entropy, and a little of the weights' squares."""
    right = log_chances(p, images)[np.arange(len(labels)), labels]
    return -np.mean(right) + 1e-4 * sum(np.sum(part**2) for part in p.values())


def figures(steps=120, size=64):
    """The test accuracy before and after 120 steps of Adam."""
    rng = np.random.default_rng(0)
    images, labels, test_images, test_labels = digits()
    start = weights(rng)

    def slopes(p, step):
        chosen = rng.integers(len(images), size=size)
        return tracer.grad(loss)(p, images[chosen], labels[chosen])

    def accuracy(p):
        read = np.argmax(log_chances(p, test_images), axis=1)
        return float(np.mean(read == test_labels))

    found = adam(slopes, start, steps, 0.02)
    return {"accuracy": np.array([accuracy(start), accuracy(found)])}


if __name__ == "__main__":
    show(figures())
