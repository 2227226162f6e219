"""Layers: modules with parameters, written in NumPy functions and operations."""

import numpy as np
import tracer
import tracer_layers as nn


class SoftClipLayer(nn.Module):
    """`s * x / (1 + |s * x|)` with a scale s per feature, `[N, features]` to the same."""

    def __init__(self, features):
        super().__init__()
        self.scale = tracer.parameter(np.ones(features))

    def forward(self, x):
        scaled = self.scale * x
        return scaled / (1 + np.abs(scaled))

    @staticmethod
    def examples(rng):
        """(layer, inputs) at which it is checked."""
        return [(SoftClipLayer(3), (rng.uniform(0.2, 1.0, (4, 3)),))]
