"""The valley of Rosenbrock, walked down with exact gradients.

python docs/examples/programs/rosenbrock.py
"""

import numpy as np
from descent import show

from tracer.scipy.optimize import minimize


def valley(x):
    """Rosenbrock's function in any number of dimensions; its minimum is 0, where x is all ones."""
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def figures():
    """Where conjugate gradients and Newton's method end."""
    start = np.zeros(4)
    return {
        "CG": minimize(valley, start, method="CG").x,
        "Newton-CG": minimize(valley, start, method="Newton-CG").x,
    }


if __name__ == "__main__":
    show(figures())
