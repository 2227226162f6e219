"""Instruments: what is measured at steps of a training, in the sweep of its gradient."""

import numpy as np
from tracer.extend import Instrument


class SoftClipInstrument(Instrument):
    """The largest magnitude in the gradients of all parameters."""

    name = "softclip"
    chart = {"title": "Largest gradient", "group": "gradients", "scale": "log"}

    def quantities(self, step):
        return ("grad",)

    def measure(self, observation):
        return max(float(np.abs(g).max()) for g in observation.gradients.values())
