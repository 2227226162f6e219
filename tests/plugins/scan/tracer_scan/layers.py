"""The layer around the scan: step sizes, B and C are linear in the input."""

import numpy as np
import tracer
import tracer_layers as nn

from tracer_scan.operations import SelectiveScan


class SelectiveSSM(nn.Module):
    """A selective state-space model, `[N, T, D]` to the same, with `states` of each channel.

    `delta = softplus(x W + bias)`, `B` and `C` linear in x, `A = -exp(log_a)` and a skip `D x`.
    """

    def __init__(self, channels, states):
        super().__init__()
        self.to_delta = nn.Linear(channels, channels)
        self.to_b = nn.Linear(channels, states, bias=False)
        self.to_c = nn.Linear(channels, states, bias=False)
        decay = np.tile(np.log(np.arange(1.0, states + 1)), (channels, 1))
        self.log_a = tracer.parameter(decay.astype(np.float32))
        self.skip = tracer.parameter(np.ones(channels, np.float32))

    def forward(self, x):
        delta = np.logaddexp(self.to_delta(x), 0)
        a = -np.exp(self.log_a)
        return SelectiveScan(x, delta, a, self.to_b(x), self.to_c(x)) + self.skip * x

    @staticmethod
    def examples(rng):
        tracer.seed(0)
        return [(SelectiveSSM(2, 3), (rng.standard_normal((3, 4, 2)),))]
