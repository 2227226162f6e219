"""The network of digits_mlp.py in bare NumPy functions, which are traced as they are.

`predict` and `loss` know nothing of trace-net: given arrays they compute arrays. `tracer.grad`
differentiates them by their parameters, a list of pairs of arrays.

    trace-net visualize docs/examples/plain_numpy.py -o plain_numpy.svg
    python docs/examples/plain_numpy.py
"""

from functools import partial
from itertools import pairwise

import numpy as np
from digits_mlp import BATCH_SIZE, EPOCHS, LEARNING_RATE, digits, example_inputs, targets

import tracer

__all__ = ["build_model", "example_inputs", "loss", "targets"]  # what trace-net looks for


def predict(parameters, images):
    """Logits `[N, 10]` of images `[N, 64]`; `parameters` are pairs of a weight and a bias."""
    *hidden, (last_weight, last_bias) = parameters
    x = images
    for weight, bias in hidden:
        x = np.maximum(x @ weight.T + bias, 0)
    return x @ last_weight.T + last_bias


def loss(logits, labels):
    """Cross-entropy, averaged over the images."""
    logits = logits - np.max(logits, axis=1, keepdims=True)
    normaliser = np.log(np.sum(np.exp(logits), axis=1))
    return np.mean(normaliser - np.take_along_axis(logits, labels[:, None], axis=1)[:, 0])


def objective(parameters, images, labels):
    """The loss as a function of the parameters."""
    return loss(predict(parameters, images), labels)


def initial(rng, sizes=(64, 32, 32, 10)):
    """Random weights and biases."""
    pairs = []
    for inputs, outputs in pairwise(sizes):
        bound = 1 / np.sqrt(inputs)
        weight = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        bias = rng.uniform(-bound, bound, outputs).astype(np.float32)
        pairs.append((weight, bias))
    return pairs


def train(parameters, rng, epochs=EPOCHS):
    """The parameters after a number of epochs of plain SGD."""
    images, labels, _, _ = digits()
    gradient = tracer.grad(objective)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            slopes = gradient(parameters, images[chosen], labels[chosen])
            parameters = [
                (weight - LEARNING_RATE * by_weight, bias - LEARNING_RATE * by_bias)
                for (weight, bias), (by_weight, by_bias) in zip(parameters, slopes, strict=True)
            ]
    return parameters


def trained(epochs=EPOCHS):
    """Parameters that read digits, from a fixed seed."""
    rng = np.random.default_rng(0)
    return train(initial(rng), rng, epochs)


def build_model():
    """`predict` at trained parameters, which are named for the picture."""
    named = [
        (tracer.parameter(weight, f"weight {i}"), tracer.parameter(bias, f"bias {i}"))
        for i, (weight, bias) in enumerate(trained())
    ]
    return partial(predict, named)


def accuracy(parameters):
    """The fraction of test images that are read right."""
    _, _, images, labels = digits()
    return float(np.mean(predict(parameters, images).argmax(axis=1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {accuracy(trained()):.1%}")
