"""The selective scan (Gu and Dao 2023, "Mamba", algorithm 2, S6) as one operation.

Composed of NumPy's functions it is recorded step by step: some six nodes for each. Here it is one
node, whose rules are recurrences of their own: the adjoint runs backward in time, the tangent
forward.
"""

import numpy as np
from tracer.extend import UNKNOWN, Operation, Summed, operation

from tracer_scan.recurrence import earlier, reverse_scan, scan

X, DELTA, A, B, C = range(5)


@operation("selective_scan")
class SelectiveScan(Operation):
    """`y_t = h_t C_t` with `h_t = exp(delta_t A) h_{t-1} + delta_t x_t B_t`, `[N, T, D]`.

    `x [N, T, D]`, step sizes `delta [N, T, D]`, `a [D, S]`, `b [N, T, S]` and `c [N, T, S]`, for N
    samples of T steps with D channels, each of S states. The states `h [N, T, D, S]` are kept for
    the sweep that follows, and worked out again in later ones.
    """

    saves = ("inputs",)

    def forward_keeping(x, delta, a, b, c):
        factors, states = _states(x, delta, a, b)
        return _read(states, c), (factors, states)

    def vjp(node, g):
        """With l_t = exp(delta_{t+1} A) l_{t+1} + g_t C_t, the cotangents of the states:

        g_x[v,n,t,d] = delta sum_s l B, g_B[v,n,t,s] = sum_d l delta x, g_C[v,n,t,s] = sum_d g h,
        g_delta[v,n,t,d] = sum_s (l x B + e A), g_A[v,d,s] = sum_nt e delta, with
        e[v,n,t,d,s] = l_t exp(delta_t A) h_{t-1}, the cotangents of the exponents.
        """
        x, delta, a, b, c = node.inputs
        factors, states = node.kept or _states(x, delta, a, b)
        adjoint = reverse_scan(factors, g[..., None] * c[:, :, None, :])
        exponents = adjoint * factors * earlier(states)
        driven = np.sum(adjoint * b[:, :, None, :], axis=-1)
        return (
            lambda: driven * delta,
            lambda: driven * x + np.sum(exponents * a, axis=-1),
            lambda: np.sum(exponents * delta[..., None], axis=(-4, -3)),
            lambda: np.sum(adjoint * (delta * x)[..., None], axis=-2),
            lambda: np.sum(g[..., None] * states, axis=-2),
        )

    def jvp(node, tangents):
        """dy_t = dh_t C_t + h_t dC_t; dh is a scan, too, of what the tangents put into each step.

        dh_t = exp(delta_t A) (dh_{t-1} + d(delta_t A) h_{t-1}) + d(delta_t x_t B_t).
        """
        x, delta, a, b, c = node.inputs
        factors, states = node.kept or _states(x, delta, a, b)
        before = factors * earlier(states)
        dx, ddelta, da, db, dc = tangents
        inputs = []
        if dx is not None:
            inputs.append((delta * dx)[..., None] * b[:, :, None, :])
        if ddelta is not None:
            inputs.append(ddelta[..., None] * (before * a + x[..., None] * b[:, :, None, :]))
        if da is not None:
            inputs.append(da[:, None, None] * delta[..., None] * before)
        if db is not None:
            inputs.append((delta * x)[..., None] * db[..., None, :])
        moved = _read(scan(factors, sum(inputs)), c) if inputs else 0
        return moved if dc is None else moved + _read(states, dc)

    def batch_axis(node, axes):
        """Samples lie first in the output if they do wherever they are, and `a` is of none."""
        of_data = [axis for slot, axis in enumerate(axes) if slot != A]
        apart = axes[A] is None and all(axis is None or axis == 0 for axis in of_data)
        return 0 if apart else UNKNOWN

    def parameter_cotangent(node, slot, g):
        """U_A[v,n,d,s] = sum_t e[v,n,t,d,s] delta[n,t,d]: each step is one use.

        None for other inputs, as a `b` that has no samples: the engine takes it from `vjp`.
        """
        if slot != A:
            return None
        x, delta, a, b, c = node.inputs
        factors, states = node.kept or _states(x, delta, a, b)
        adjoint = reverse_scan(factors, g[..., None] * c[:, :, None, :])
        return Summed(adjoint * factors * earlier(states) * delta[..., None])

    def flops(node):
        """Six for each state and step: two products and a sum forward, the input and the output."""
        samples, steps, channels = node.inputs[X].shape
        return 6 * samples * steps * channels * node.inputs[A].shape[1]

    def examples(rng):
        def example(n, t, d, s):
            x, delta = rng.standard_normal((n, t, d)), rng.uniform(0.2, 1.0, (n, t, d))
            b, c = rng.standard_normal((2, n, t, s))
            return (x, delta, -rng.uniform(0.5, 1.5, (d, s)), b, c), {}

        return [example(2, 3, 2, 2), example(1, 1, 1, 2)]


def _states(x, delta, a, b):
    """The factors `exp(delta_t A)` and the states, both `[N, T, D, S]`."""
    factors = np.exp(delta[..., None] * a)
    return factors, scan(factors, (delta * x)[..., None] * b[:, :, None, :])


def _read(states, c):
    """`y[..., d] = sum_s h[..., d, s] c[..., s]`."""
    return np.sum(states * c[..., None, :], axis=-1)
