"""A noisy quadratic function with eigenvalues as those of deep networks."""

from __future__ import annotations

import numpy as np

import tracer
import tracer_layers as nn
from tracer import Tensor
from tracer.extend import Array, Generator, TensorLike, raw
from tracer_layers import Module
from tracer_training.data import ArrayDataset
from tracer_training.problems.problem import Problem
from tracer_training.problems.sources import SEED, Given, given_or

__all__ = ["quadratic_deep"]

#: how many eigenvalues are drawn from which interval
SPECTRUM = ((90, 0.0, 1.0), (10, 30.0, 60.0))
SAMPLES, DEVIATION = 1000, 0.6


def quadratic_deep(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """`0.5 (theta - x)^T Q (theta - x)` in 100 dimensions, from theta = 1.

    90 eigenvalues of Q are from (0, 1) and 10 from (30, 60), its eigenvectors are a random
    rotation; both belong to the problem and are always the same, drawn as in DeepOBS but not its
    numbers. x is normal with deviation 0.6, 1,000 samples to train on and as many to test with,
    float32 `[100]`. Nothing is random in the initial values: `rng` is not used.

    `data` is a pair of data sets of x alone.
    """
    drawn = np.random.default_rng(SEED)
    root = root_of_hessian(drawn)
    found = given_or(data, None)
    if found is None:
        noise = drawn.normal(0.0, DEVIATION, (2, SAMPLES, len(root))).astype(np.float32)
        found = ArrayDataset(noise[0]), ArrayDataset(noise[1]), "1,000 normal samples"
    train, test, source = found
    return Problem(
        "quadratic_deep",
        Displacement(root.astype(np.float32)),
        half_squared_norm,
        train,
        test,
        batch_size=128,
        epochs=100,
        source=source,
    )


class Displacement(Module):
    """`(theta - x) S` of points `[N, D]`, in coordinates in which `Q = S S^T` is the identity."""

    def __init__(self, root: Array):
        self.theta = tracer.parameter(np.ones(len(root), root.dtype))
        self.register_buffer("root", root)

    def forward(self, x: TensorLike) -> TensorLike:
        return (self.theta - x) @ self.root


def half_squared_norm(output: TensorLike, target: TensorLike) -> Tensor:
    """The mean over samples of half the squared norm of outputs `[N, D]`; targets do not count."""
    return nn.mse_loss(output, np.zeros_like(raw(output))) * (output.shape[1] / 2)


def root_of_hessian(rng: Generator) -> Array:
    """S with `Q = S S^T`, `[D, D]`: the columns of a random rotation times roots of eigenvalues."""
    eigenvalues = np.concatenate([rng.uniform(low, high, n) for n, low, high in SPECTRUM])
    size = len(eigenvalues)
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # with these signs, q is distributed uniformly over the orthogonal matrices (Mezzadri 2007)
    return q * np.sign(r.diagonal()) * np.sqrt(eigenvalues)
