"""Operations: a forward function, and beside it its rules."""

import numpy as np
from tracer.extend import Elementwise, operation


@operation("softclip")
class SoftClip(Elementwise):
    """`x / (1 + |x|)`: between -1 and 1."""

    saves = ("inputs",)

    def forward(x):
        return x / (1 + np.abs(x))

    def vjp(node, g):
        """g_x[v] = g[v] / (1 + |x|)^2, for a stack of rows `[V, *x.shape]`."""
        return (g / (1 + np.abs(node.inputs[0])) ** 2,)

    def examples(rng):
        """(inputs, params) at which the rules are checked, away from the kink at 0."""
        x = rng.uniform(0.2, 1.0, (2, 3))
        return [((x,), {}), ((-x[0],), {})]
