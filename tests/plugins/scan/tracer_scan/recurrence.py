"""Linear recurrences over time, forward and backward, of arrays or of tensors.

Time is axis -3 of what is scanned, `[..., T, D, S]`: D channels with S states each.
"""

import numpy as np


def scan(factors, inputs):
    """The states `h_t = factors_t h_{t-1} + inputs_t`, with `h_{-1} = 0`, `[..., T, D, S]`."""
    states, state = [], None
    for t in range(inputs.shape[-3]):
        state = _at(inputs, t) + (0 if state is None else _at(factors, t) * state)
        states.append(state)
    return np.stack(states, axis=-3)


def reverse_scan(factors, inputs):
    """The adjoint of `scan`: `l_t = factors_{t+1} l_{t+1} + inputs_t`, with `l_T = 0`."""
    steps = inputs.shape[-3]
    states, state = [], None
    for t in reversed(range(steps)):
        state = _at(inputs, t) + (0 if state is None else _at(factors, t + 1) * state)
        states.append(state)
    return np.stack(states[::-1], axis=-3)


def earlier(states):
    """`h_{t-1}` in place of `h_t`, zeros before the first."""
    first = np.zeros_like(states[..., :1, :, :])
    return np.concatenate([first, states[..., :-1, :, :]], axis=-3)


def _at(values, t):
    return values[..., t, :, :]
