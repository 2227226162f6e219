"""Networks that tell classes of images apart, with DeepOBS's sizes and initial values.

Schneider, Balles and Hennig 2019.
"""

from __future__ import annotations

import numpy as np

import tracer_layers as nn
from tracer.extend import Generator, TensorLike
from tracer_layers import Module
from tracer_training.data.splits import generator_of
from tracer_training.loop.metrics import accuracy
from tracer_training.problems.initial_values import (
    fill,
    truncated_normal,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from tracer_training.problems.problem import Problem
from tracer_training.problems.same_padding import SameConv2d, SameMaxPool2d
from tracer_training.problems.sources import Given, Source, images_28, images_32

__all__ = ["cifar10_3c3d", "cifar100_allcnnc", "fmnist_2c2d", "mnist_logreg", "mnist_mlp"]


def mnist_logreg(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """Logistic regression of images `[1, 28, 28]`, from zeros: `rng` is not used.

    `data` is a folder with MNIST's files, or a pair of data sets (train, test); without it, the
    5,000 digits of `datasets.mnist_5k` are taken, or enlarged ones of `datasets.digits`.
    """
    draw = generator_of(rng)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10, rng=draw))
    return _classes("mnist_logreg", fill(model, zeros, 0.0, draw), images_28(data, "MNIST"), 50)


def mnist_mlp(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """784-1000-500-100-10 with ReLU, weights truncated normal 0.03, biases 0.

    Data as in `mnist_logreg`.
    """
    draw = generator_of(rng)
    model = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 1000, rng=draw), nn.ReLU()),
        *(nn.Linear(1000, 500, rng=draw), nn.ReLU()),
        *(nn.Linear(500, 100, rng=draw), nn.ReLU()),
        nn.Linear(100, 10, rng=draw),
    )
    fill(model, truncated_normal(0.03), 0.0, draw)
    return _classes("mnist_mlp", model, images_28(data, "MNIST"), 100)


def fmnist_2c2d(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """Two convolutions 5x5 and two maps, weights truncated normal 0.05, biases 0.05.

    3,274,634 parameters. Data as in `mnist_logreg`: Fashion-MNIST's files have MNIST's names.
    """
    draw = generator_of(rng)
    model = nn.Sequential(
        *(SameConv2d(1, 32, 5, rng=draw), nn.ReLU(), SameMaxPool2d(2, 2)),
        *(SameConv2d(32, 64, 5, rng=draw), nn.ReLU(), SameMaxPool2d(2, 2)),
        *(nn.Flatten(), nn.Linear(3136, 1024, rng=draw), nn.ReLU()),
        nn.Linear(1024, 10, rng=draw),
    )
    fill(model, truncated_normal(0.05), 0.05, draw)
    return _classes("fmnist_2c2d", model, images_28(data, "Fashion-MNIST"), 100)


def cifar10_3c3d(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """Three convolutions and three maps: 895,210 parameters, weight decay 0.002.

    Xavier's initial values, normal for convolutions and uniform for maps, biases 0. `data` is a
    pair of data sets of images `[3, 32, 32]`; without it, synthetic images are taken.
    """
    draw = generator_of(rng)
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 5, rng=draw), nn.ReLU(), SameMaxPool2d(3, 2)),
        *(nn.Conv2d(64, 96, 3, rng=draw), nn.ReLU(), SameMaxPool2d(3, 2)),
        *(SameConv2d(96, 128, 3, rng=draw), nn.ReLU(), SameMaxPool2d(3, 2)),
        *(nn.Flatten(), nn.Linear(1152, 512, rng=draw), nn.ReLU()),
        *(nn.Linear(512, 256, rng=draw), nn.ReLU(), nn.Linear(256, 10, rng=draw)),
    )
    fill(model, xavier_normal, 0.0, draw, linear=xavier_uniform)
    return _classes("cifar10_3c3d", model, images_32(data, 10, "CIFAR-10"), 100, 0.002)


def cifar100_allcnnc(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """All-CNN-C (Springenberg et al. 2015): 1,387,108 parameters, weight decay 0.0005.

    Dropout 0.2, 0.5 and 0.5; a ReLU after the last convolution, too; Xavier's normal initial
    values, biases 0.1. Data as in `cifar10_3c3d`, of 100 classes.
    """
    draw = generator_of(rng)
    model = nn.Sequential(
        nn.Dropout(0.2),
        *(SameConv2d(3, 96, 3, rng=draw), nn.ReLU()),
        *(SameConv2d(96, 96, 3, rng=draw), nn.ReLU()),
        *(SameConv2d(96, 96, 3, 2, rng=draw), nn.ReLU(), nn.Dropout(0.5)),
        *(SameConv2d(96, 192, 3, rng=draw), nn.ReLU()),
        *(SameConv2d(192, 192, 3, rng=draw), nn.ReLU()),
        *(SameConv2d(192, 192, 3, 2, rng=draw), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(192, 192, 3, rng=draw), nn.ReLU()),
        *(nn.Conv2d(192, 192, 1, rng=draw), nn.ReLU()),
        *(nn.Conv2d(192, 100, 1, rng=draw), nn.ReLU(), MeanOverPlaces()),
    )
    fill(model, xavier_normal, 0.1, draw)
    source = images_32(data, 100, "CIFAR-100")
    return _classes("cifar100_allcnnc", model, source, 350, 5e-4, batch_size=256)


class MeanOverPlaces(Module):
    """The mean over the spatial axes, `[N, C, H, W]` to `[N, C]`."""

    def forward(self, input: TensorLike) -> TensorLike:
        return np.mean(input, axis=(2, 3))


def _classes(
    name: str,
    model: Module,
    source: Source,
    epochs: int,
    weight_decay: float = 0.0,
    batch_size: int = 128,
) -> Problem:
    """A problem with classes: cross-entropy, and accuracy."""
    train, test, words = source
    return Problem(
        name,
        model,
        nn.cross_entropy,
        train,
        test,
        batch_size=batch_size,
        epochs=epochs,
        weight_decay=weight_decay,
        metrics={"accuracy": accuracy},
        source=words,
    )
