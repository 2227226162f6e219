"""A multilayer perceptron that reads handwritten digits, trained by plain SGD.

The digits are the 1,797 images of 8 x 8 pixels that come with scikit-learn. Every fourth is kept
for the test.

    trace-net visualize docs/examples/digits_mlp.py -o digits.svg
    python docs/examples/digits_mlp.py
"""

from functools import cache

import numpy as np
from sklearn.datasets import load_digits

import tracer
from tracer_layers import Linear, ReLU, Sequential, cross_entropy

EPOCHS = 25
BATCH_SIZE = 64
LEARNING_RATE = 0.3


@cache
def digits():
    """Training images `[N, 64]` in [0, 1], their labels `[N]`, test images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.float32) / 16
    test = np.arange(len(images)) % 4 == 0
    return images[~test], labels[~test], images[test], labels[test]


def build_model(epochs=EPOCHS):
    """The network, trained for a number of epochs. All of them take less than a second."""
    tracer.seed(0)
    model = Sequential(Linear(64, 32), ReLU(), Linear(32, 32), ReLU(), Linear(32, 10))
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        train_epoch(model, rng)
    return model


def train_epoch(model, rng):
    """One pass over the training images in random order, in whole batches."""
    images, labels, _, _ = digits()
    order = rng.permutation(len(images))
    for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        with tracer.Tape() as tape:
            objective = loss(model(images[chosen]), labels[chosen])
        gradient = tape.backward(objective)["grad"]
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data - LEARNING_RATE * gradient[name]


def example_inputs():
    """What `trace-net` runs the model on: one batch of test images."""
    return digits()[2][:BATCH_SIZE]


def targets():
    """The labels of the example inputs."""
    return digits()[3][:BATCH_SIZE]


loss = cross_entropy


def accuracy(model):
    """The fraction of test images that are read right."""
    _, _, images, labels = digits()
    return float(np.mean(model(images).argmax(axis=1) == labels))


if __name__ == "__main__":
    print(f"test accuracy {accuracy(build_model()):.1%}")
