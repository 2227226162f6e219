"""`AdaptiveLogSoftmaxWithLoss`: many classes, of which rare ones have small maps of their own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, TensorLike, operand
from tracer_layers.activations.functions import log_softmax
from tracer_layers.linear_maps.layers import Linear
from tracer_layers.losses.classification_layers import cross_entropy
from tracer_layers.module.arguments import at_least
from tracer_layers.module.containers import ModuleList, Sequential
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class Judged(NamedTuple):
    """The log-probability of each target's class, `[N]`, and the mean loss."""

    output: TensorLike
    loss: TensorLike


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of `n_classes` classes, sorted by how often they occur (Grave et al. 2017).

    Those before the first of `cutoffs` are in the `head`, beside a class for each cluster of
    others; a cluster's map goes through `in_features / div_value^(i + 1)` features. A call gives
    the target's log-probabilities and the loss, whose likelihood is categorical.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        at_least("AdaptiveLogSoftmaxWithLoss", 1, in_features=in_features, n_classes=n_classes)
        bounds = [0, *cutoffs, n_classes]
        if len(bounds) < 3 or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise TracerError(
                f"AdaptiveLogSoftmaxWithLoss expects cutoffs that rise from 1 to at most "
                f"{n_classes - 1}, got {list(cutoffs)}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, dtype=dtype, rng=rng)
        self.tail = ModuleList()
        for i, (start, stop) in enumerate(itertools.pairwise(self.cutoffs)):
            width = int(in_features // div_value ** (i + 1))
            down = Linear(in_features, width, bias=False, dtype=dtype, rng=rng)
            up = Linear(width, stop - start, bias=False, dtype=dtype, rng=rng)
            self.tail.append(Sequential(down, up))

    def forward(self, input_: TensorLike, target_: TensorLike) -> Judged:
        input, target = input_, operand(target_)
        if input.ndim != target.ndim + 1 or target.ndim > 1 or input.shape[:-1] != target.shape:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss expects inputs [N, {self.in_features}] and class "
                f"indices [N], or one sample without N, got {list(input.shape)} and "
                f"{list(target.shape)}"
            )
        log_probs = self.log_prob(input)
        loss = cross_entropy(log_probs, target)  # they are logits of themselves
        picked = np.take_along_axis(log_probs, raw(target)[..., None], -1)
        return Judged(picked[..., 0], loss)

    def log_prob(self, input: TensorLike) -> TensorLike:
        """Log-probabilities of all classes: `[..., in_features]` gives `[..., n_classes]`."""
        head = log_softmax(self.head(input), -1)
        parts = [head[..., : self.shortlist_size]]
        for i, tail in enumerate(self.tail, self.shortlist_size):
            parts.append(log_softmax(tail(input), -1) + head[..., i : i + 1])
        return np.concatenate(parts, axis=-1)

    def predict(self, input: TensorLike) -> Array:
        """The most likely class of each sample, `[N]`."""
        return np.argmax(self.log_prob(input), axis=-1)
