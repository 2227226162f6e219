"""Instruments: what is measured at steps of a training."""

import numpy as np
from tracer.extend import Instrument


class LargestGradient(Instrument):
    """The sum of the magnitudes of the samples' gradients, by a quantity of this plugin."""

    name = "everything_largest"
    chart = {"title": "Sum of |gradient|", "group": "gradients", "scale": "log"}

    def quantities(self, step):
        return ("everything_l1",)

    def measure(self, observation):
        return float(sum(np.sum(v) for v in observation.by_parameter("everything_l1").values()))
