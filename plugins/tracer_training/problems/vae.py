"""A variational autoencoder of images."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

import tracer_layers as nn
from tracer import Tensor
from tracer.extend import Array, Generator, TensorLike, drawn, generator, raw
from tracer_layers import Module
from tracer_training.data import Dataset
from tracer_training.data.splits import generator_of
from tracer_training.kinds import Data
from tracer_training.problems.initial_values import fill, xavier_uniform
from tracer_training.problems.problem import Problem
from tracer_training.problems.same_padding import SameConv2d, SameConvTranspose2d
from tracer_training.problems.sources import Given, images_28

__all__ = ["fmnist_vae"]

LATENT, CHANNELS, SLOPE, DROPPED = 8, 64, 0.3, 0.2
#: images, means, and logarithms of deviations
Coded: TypeAlias = "tuple[TensorLike, TensorLike, TensorLike]"


def fmnist_vae(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """A variational autoencoder with 8 latent variables (Kingma and Welling 2014).

    Xavier's uniform initial values, biases 0. Data as in `mnist_logreg`, without their classes.
    """
    train, test, source = images_28(data, "Fashion-MNIST")
    return Problem(
        "fmnist_vae",
        Autoencoder(generator_of(rng)),
        bound,
        ImagesAlone(train),
        ImagesAlone(test),
        batch_size=64,
        epochs=100,
        source=source,
    )


class Autoencoder(Module):
    """Takes images `[N, 1, 28, 28]`; gives (images, means `[N, 8]`, log deviations `[N, 8]`).

    What is decoded is drawn, `mean + deviation * normal`, also in evaluation, as in DeepOBS.
    """

    def __init__(self, rng: Generator):
        c = CHANNELS
        self.encoder = nn.Sequential(
            *(SameConv2d(1, c, 4, 2, rng=rng), nn.LeakyReLU(SLOPE), nn.Dropout(DROPPED)),
            *(SameConv2d(c, c, 4, 2, rng=rng), nn.LeakyReLU(SLOPE), nn.Dropout(DROPPED)),
            *(SameConv2d(c, c, 4, 1, rng=rng), nn.LeakyReLU(SLOPE), nn.Dropout(DROPPED)),
            nn.Flatten(),
        )
        self.mean = nn.Linear(49 * c, LATENT, rng=rng)
        self.deviation = nn.Linear(49 * c, LATENT, rng=rng)
        self.decoder = nn.Sequential(
            *(nn.Linear(LATENT, 24, rng=rng), nn.LeakyReLU(SLOPE)),
            *(nn.Linear(24, 49, rng=rng), nn.LeakyReLU(SLOPE), nn.Unflatten(1, (1, 7, 7))),
            *(SameConvTranspose2d(1, c, 4, 2, rng=rng), nn.ReLU(), nn.Dropout(DROPPED)),
            *(SameConvTranspose2d(c, c, 4, 1, rng=rng), nn.ReLU(), nn.Dropout(DROPPED)),
            *(SameConvTranspose2d(c, c, 4, 1, rng=rng), nn.ReLU(), nn.Dropout(DROPPED)),
            *(nn.Flatten(), nn.Linear(196 * c, 784, rng=rng), nn.Sigmoid()),
            nn.Unflatten(1, (1, 28, 28)),
        )
        fill(self, xavier_uniform, 0.0, rng)

    def forward(self, images: TensorLike) -> Coded:
        features = self.encoder(images)
        mean, log_deviation = self.mean(features), 0.5 * self.deviation(features)
        noise = generator().standard_normal(mean.shape, dtype=np.float32)
        code = mean + drawn(noise, raw(mean)) * np.exp(log_deviation)
        return self.decoder(code), mean, log_deviation


def bound(output: Coded, target: TensorLike) -> Tensor:
    """The mean over samples of the squared error of an image, and of the divergence from N(0, 1).

    The sum over the latent variables of `KL = (m^2 + s^2 - 1) / 2 - log s`.
    """
    images, mean, log_deviation = output
    error = nn.mse_loss(images, target) * np.prod(images.shape[1:]).item()
    divergence = (mean**2 + np.exp(2 * log_deviation) - 1) / 2 - log_deviation
    return error + np.mean(np.sum(divergence, axis=1))


class ImagesAlone(Dataset):
    """The first arrays of a data set, without the classes: each is input and target."""

    def __init__(self, images: Data):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        return (self.images[indices][0],)
