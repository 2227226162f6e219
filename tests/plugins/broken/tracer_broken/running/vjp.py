"""the vjp of

$ trace-net quantities vjp.py
"""

import numpy as np
from tracer.extend import Elementwise, hookimpl, operation


@operation("broken_vjp")
class Sine(Elementwise):
    saves = ("inputs",)

    def forward(x):
        return np.sin(x)

    def vjp(node, g):
        raise ValueError("no slope")  # named


@hookimpl
def register_operations():
    return [Sine]
