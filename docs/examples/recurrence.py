"""Backpropagation through time, written out by hand for a plain recurrence, beside the tape's.

    h_t = tanh(x_t A + h_{t-1} W),    logits = h_T V

`by_hand` is what any textbook does. The tape records the loop, and its sweep does the same.

    trace-net visualize docs/examples/recurrence.py --time folded -o recurrence.svg
    python docs/examples/recurrence.py
"""

from functools import partial

import numpy as np

import tracer
from tracer_layers import cross_entropy

INPUTS, HIDDEN, CLASSES = 3, 4, 3

rng = np.random.default_rng(0)
A = tracer.parameter(rng.standard_normal((INPUTS, HIDDEN)), name="A")
W = tracer.parameter(rng.standard_normal((HIDDEN, HIDDEN)) / 2, name="W")
V = tracer.parameter(rng.standard_normal((HIDDEN, CLASSES)), name="V")


def read(parameters, x):
    """Logits `[N, CLASSES]` after reading sequences `x [N, T, INPUTS]`."""
    a, w, v = parameters
    h = np.zeros_like(x, shape=(len(x), HIDDEN))
    for t in tracer.steps(x.shape[1]):
        h = np.tanh(x[:, t] @ a + h @ w)
    return h @ v


model = partial(read, (A, W, V))


def by_hand(x, labels):
    """What the loss's gradient by W is made of, and the gradient `[HIDDEN, HIDDEN]`.

    `before [N, T, HIDDEN]` is the state that each step starts from, `delta` of the same shape the
    cotangent of what goes into its tanh.
    """
    a, w, v = A.data, W.data, V.data
    states = [np.zeros((len(x), HIDDEN))]
    for t in range(x.shape[1]):
        states.append(np.tanh(x[:, t] @ a + states[t] @ w))

    p = np.exp(states[-1] @ v)
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(x)), labels] -= 1
    cotangent = p / len(x) @ v.T  # of the last state

    deltas = []
    for state in states[:0:-1]:
        deltas.append(cotangent * (1 - state**2))
        cotangent = deltas[-1] @ w.T  # of the state before
    before, delta = np.stack(states[:-1], axis=1), np.stack(deltas[::-1], axis=1)
    return before, delta, np.einsum("nti,nto->io", before, delta)


def by_tape(x, labels, quantities=("grad",)):
    """The same of all parameters, and further quantities, from one sweep."""
    with tracer.Tape() as tape:
        objective = cross_entropy(model(tracer.batch(x)), labels)
    return tape.backward(objective, quantities)


def three_speeds(x):
    """Sums of three linear recurrences, an orthogonal matrix times 0.8, 1 and 1.25, as logits."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((INPUTS, INPUTS)))[0]
    logits = 0
    for name, factor in (("shrinks", 0.8), ("holds", 1.0), ("grows", 1.25)):
        weight = tracer.parameter(factor * turn, name=name)
        with tracer.scope(name):
            h = np.zeros_like(x, shape=(len(x), INPUTS))
            for t in tracer.steps(x.shape[1]):
                h = x[:, t] + h @ weight
        logits = logits + h
    return logits


def example_inputs():
    """Five random sequences of six steps."""
    return np.random.default_rng(2).standard_normal((5, 6, INPUTS))


def targets():
    """A class for each of the example inputs."""
    return np.array([0, 1, 2, 0, 1])


loss = cross_entropy

if __name__ == "__main__":
    *_, gradient = by_hand(example_inputs(), targets())
    difference = gradient - by_tape(example_inputs(), targets())["grad"]["W"]
    print(f"largest difference of the two gradients: {np.abs(difference).max():.0e}")
