"""Operations: elementwise, with a parameter, a loss; and a function composed of others."""

import math

import numpy as np
from tracer.extend import (
    UNKNOWN,
    Elementwise,
    Operation,
    Outer,
    backend,
    implements,
    operation,
    samples_first,
)


@operation("everything_softsign")
class Softsign(Elementwise):
    """`x / (1 + |x|)`: between -1 and 1."""

    saves = ("inputs",)

    def forward(x):
        return x / (1 + np.abs(x))

    def vjp(node, g):
        """g_x[v] = g[v] / (1 + |x|)^2."""
        return (g / np.square(1 + np.abs(node.inputs[0])),)

    def jvp(node, tangents):
        return tangents[0] / np.square(1 + np.abs(node.inputs[0]))

    def examples(rng):
        x = rng.uniform(0.2, 1.0, (2, 3))
        return [((x,), {}), ((-x[0],), {})]


@operation("everything_project")
class Project(Operation):
    """`x @ w.T` for `x [N, I]` and `w [O, I]`."""

    saves = ("inputs",)

    def forward(x, w):
        return x @ w.T

    def vjp(node, g):
        """g_x[v,n,i] = sum_o g[v,n,o] w[o,i]; g_w[v,o,i] = sum_n g[v,n,o] x[n,i]."""
        x, w = node.inputs
        return lambda: g @ w, lambda: np.swapaxes(g, -1, -2) @ x

    def batch_axis(node, axes):
        return 0 if tuple(axes) == (0, None) else UNKNOWN

    def parameter_cotangent(node, slot, g):
        """U_w[v,n,o,i] = g[v,n,o] x[n,i]: one use and one group."""
        x, w = node.inputs
        right = samples_first(g, node.batch_axis, lead=1)
        return Outer(x[:, None, None], right[:, :, None, None], w.shape)

    def flops(node):
        return 2 * node.inputs[0].shape[0] * node.inputs[1].size

    def examples(rng):
        return [((rng.random((3, 4)), rng.random((2, 4))), {})]


@operation("everything_log_cosh")
class LogCosh(Operation):
    """`sum_c log cosh(f_nc - y_nc)`, `[N]`: a loss, square near its minimum and linear far off."""

    saves = ("inputs",)
    loss = True

    def forward(f, y):
        return np.sum(np.logaddexp(f - y, y - f) - math.log(2), axis=-1)

    def vjp(node, g):
        """g_f[v,n,c] = g[v,n] tanh(f - y)[n,c]; g_y = -g_f."""
        f, y = node.inputs
        slope = g[..., None] * np.tanh(f - y)
        return slope, -slope

    def batch_axis(node, axes):
        return 0

    def sqrt_hessian(node, weight):
        """S_c = sqrt(w_n) / cosh(f - y)[n,c] e_c, a row for each output c."""
        f, y = node.inputs
        each = np.stack([np.eye(f.shape[1])] * len(f), axis=1)
        return backend.of(f).from_host(each) * (np.sqrt(weight)[:, None] / np.cosh(f - y))

    def examples(rng):
        return [((rng.random((3, 2)), rng.random((3, 2))), {})]


@implements(np.logspace)
def logspace(start, stop, num=50, base=10.0):
    """Numbers `[num]` from `base**start` to `base**stop`, in functions that have rules."""
    return base ** (start + (stop - start) * np.arange(num) / (num - 1))
