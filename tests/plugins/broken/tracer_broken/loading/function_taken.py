"""takes numpy.sin on tensors for 'broken_function_taken'"""

import numpy as np
from tracer.extend import Elementwise, hookimpl, operation


@operation("broken_function_taken", numpy=np.sin)  # named
class Sine(Elementwise):
    saves = ("inputs",)

    def forward(x):
        return np.sin(x)

    def vjp(node, g):
        return (g * np.cos(node.inputs[0]),)


@hookimpl
def register_operations():
    return [Sine]
