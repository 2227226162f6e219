"""A function with a rule of its own: log(sum(exp(x))), which must not overflow.

The inside of the function is not recorded, and may be anything. Derivatives of every order come
from the rule, which is written in NumPy's functions.

    python docs/examples/programs/own_rule.py
"""

import numpy as np
from descent import show

import tracer


@tracer.primitive
def log_sum_exp(x):
    """`log(sum(exp(x)))` of all elements."""
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top)))


log_sum_exp.defvjp(lambda g, y, x: g * np.exp(x - y))


def squares(x):
    """A function that uses it."""
    return log_sum_exp(x**2)


def figures():
    """The gradient, far beyond where exp overflows, and a Hessian."""
    x = np.array([30.0, -30.0, 1.0])
    return {
        "gradient": tracer.grad(squares)(x),
        "hessian": tracer.hessian(squares)(np.array([1.0, -1.0])),
    }


if __name__ == "__main__":
    show(figures())
