"""A network as the right side of a differential equation, fitted to a path.

python docs/examples/programs/neural_ode.py
"""

import numpy as np
from descent import adam, network, outputs, show

import tracer
from tracer.scipy.integrate import odeint

TIMES = np.linspace(0, 1.5, 16)
START = np.array([2.0, 0.0])
TRUE = np.array([[-0.1, 2.0], [-2.0, -0.1]])


def spiral(y, t, matrix):
    """The damped oscillator, of cubes, whose path is fitted."""
    return y**3 @ matrix


def learned(y, t, layers):
    """The same by a network, of cubes too."""
    return outputs(layers, (y**3)[None])[0]


def loss(layers, path):
    """The mean distance to the path."""
    return np.mean(np.abs(odeint(learned, START, TIMES, (layers,), rtol=1e-3, atol=1e-3) - path))


def figures(steps=60):
    """The loss before and after 60 steps of Adam."""
    path = odeint(spiral, START, TIMES, (TRUE,))
    start = network(np.random.default_rng(0), 2, 16, 2)
    found = adam(lambda layers, step: tracer.grad(loss)(layers, path), start, steps, 0.03)
    return {"loss": np.array([loss(start, path), loss(found, path)])}


if __name__ == "__main__":
    show(figures())
