"""A hidden Markov model by expectation and maximisation, where expectations are a gradient.

The derivative of log Z by the logarithm of a parameter is how often that is used, on average: no
backward recursion is written (Eisner 2016).

    python docs/examples/programs/hidden_markov.py
"""

import numpy as np
from descent import over, show

import tracer
from tracer.scipy.special import logsumexp

STATES, SYMBOLS = 3, 6


def log_chance(logs, symbols):
    """Of sequences of symbols `[T, N]`, summed over all paths of states: the forward recursion."""
    forward = logs["start"][:, None] + logs["emit"][:, symbols[0]]
    for row in symbols[1:]:
        forward = logsumexp(forward[:, None] + logs["move"][:, :, None], axis=0)
        forward = forward + logs["emit"][:, row]
    return np.sum(logsumexp(forward, axis=0))


def normal(counts):
    """Chances, of counts."""
    return counts / np.sum(counts, axis=-1, keepdims=True)


def sample(rng, length=30, sequences=40):
    """A model that stays in its states for long, and symbols `[T, N]` of it."""
    chances = {
        "start": np.ones(STATES) / STATES,
        "move": 0.85 * np.eye(STATES) + 0.05,
        "emit": np.repeat(0.4 * np.eye(STATES), 2, axis=1) + 0.2 / SYMBOLS,
    }
    chances = over(normal, chances)
    symbols = np.zeros((length, sequences), int)
    for n in range(sequences):
        state = rng.integers(STATES)
        for step in range(length):
            symbols[step, n] = rng.choice(SYMBOLS, p=chances["emit"][state])
            state = rng.choice(STATES, p=chances["move"][state])
    return chances, symbols


def figures(rounds=40):
    """Log-chances: at the start, at the end, by the true model; the chance to stay in a state."""
    rng = np.random.default_rng(1)
    true, symbols = sample(rng)
    shapes = {"start": (STATES,), "move": (STATES, STATES), "emit": (STATES, SYMBOLS)}
    chances = {key: normal(1 + 0.5 * rng.random(shape)) for key, shape in shapes.items()}
    values = []
    for _ in range(rounds):
        value, counts = tracer.value_and_grad(log_chance)(over(np.log, chances), symbols)
        values.append(value)
        chances = over(normal, counts)
    return {
        "log chances": np.array([values[0], values[-1], log_chance(over(np.log, true), symbols)]),
        "never falls": bool(np.all(np.diff(values) > -1e-9)),
        "stay": np.sort(np.diag(chances["move"])),
    }


if __name__ == "__main__":
    show(figures())
