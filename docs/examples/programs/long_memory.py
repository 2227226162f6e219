"""The same verse by an LSTM, whose cells keep what they are told to.

python docs/examples/programs/long_memory.py
"""

import numpy as np
from descent import adam, show
from recurrent_net import HIDDEN, linear, loss, weights, windows

import tracer
from tracer.scipy.special import expit


def hidden_of(state):
    """The hidden values: the first half of a state. The other half are the cells."""
    return state[:, :HIDDEN]


def gated(parameters, seen, state):
    """A step of an LSTM: what is forgotten, written and shown is decided by gates."""
    hidden, cells = state[:, :HIDDEN], state[:, HIDDEN:]
    gates = linear(parameters["step"], seen, hidden)
    forget, write, shown = (expit(gates[:, i * HIDDEN :][:, :HIDDEN]) for i in range(3))
    cells = forget * cells + write * np.tanh(gates[:, 3 * HIDDEN :])
    hidden = shown * np.tanh(cells)
    return hidden, np.concatenate([hidden, cells], axis=1)


def figures(steps=150):
    """The loss before and after 150 steps of Adam, in nats per character."""
    codes = windows()
    start = weights(np.random.default_rng(0), gates=4)
    start["first"] = start["first"][:, : 2 * HIDDEN]

    def nats(parameters):
        return loss(parameters, codes, gated, hidden_of)

    found = adam(lambda p, step: tracer.grad(nats)(p), start, steps, 0.02)
    return {"loss": np.array([nats(each) for each in (start, found)])}


if __name__ == "__main__":
    show(figures())
