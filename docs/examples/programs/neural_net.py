"""A network with a prior on its weights reads handwritten digits: one with layers is digits_mlp.py.

python docs/examples/programs/neural_net.py
"""

import numpy as np
from descent import adam, digits, network, outputs, show

import tracer
from tracer.scipy.special import logsumexp


def log_posterior(layers, images, labels, strength=0.01):
    """The log-likelihood of labels, and that of normal weights."""
    logits = outputs(layers, images)
    right = logits[np.arange(len(labels)), labels]
    prior = sum(np.sum(weight**2) + np.sum(bias**2) for weight, bias in layers)
    return np.sum(right - logsumexp(logits, axis=1)) - strength * prior


def figures(steps=150, size=128):
    """The test accuracy before and after 150 steps of Adam on batches."""
    rng = np.random.default_rng(0)
    images, labels, test_images, test_labels = digits()
    start = network(rng, 64, 64, 32, 10)

    def slopes(layers, step):
        chosen = rng.integers(len(images), size=size)
        return tracer.grad(lambda p: -log_posterior(p, images[chosen], labels[chosen]))(layers)

    def accuracy(layers):
        return np.mean(np.argmax(outputs(layers, test_images), axis=1) == test_labels)

    found = adam(slopes, start, steps, 0.01)
    return {"accuracy": np.array([accuracy(start), accuracy(found)])}


if __name__ == "__main__":
    show(figures())
