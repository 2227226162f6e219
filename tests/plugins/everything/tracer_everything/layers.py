"""Layers: modules with parameters, of operations."""

import numpy as np
import tracer
import tracer_layers as nn

from tracer_everything.operations import Project, Softsign


class Affine(nn.Module):
    """`softsign(x @ w.T + b)`, `[N, inputs]` to `[N, outputs]`."""

    def __init__(self, inputs, outputs):
        super().__init__()
        rng = np.random.default_rng(0)
        self.weight = tracer.parameter(rng.standard_normal((outputs, inputs)))
        self.bias = tracer.parameter(np.full(outputs, 0.5))

    def forward(self, x):
        return Softsign(Project(x, self.weight) + self.bias)

    @staticmethod
    def examples(rng):
        return [(Affine(3, 2), (rng.standard_normal((4, 3)),))]
