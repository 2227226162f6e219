"""A recurrent network learns a verse by heart, character by character.

python docs/examples/programs/recurrent_net.py
"""

import numpy as np
from descent import adam, show

import tracer
from tracer.scipy.special import logsumexp

VERSE = """Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date."""
ALPHABET = sorted(set(VERSE))
LENGTH, HIDDEN = 20, 24


def windows():
    """Characters as indices `[LENGTH, N]`: all pieces of the verse that begin at every fourth."""
    codes = np.array([ALPHABET.index(character) for character in VERSE])
    starts = np.arange(0, len(codes) - LENGTH, 4)
    return codes[starts + np.arange(LENGTH)[:, None]]


def weights(rng, gates=1):
    """Of the step in time, for `gates` values of each unit, and of the prediction."""
    shape = (len(ALPHABET) + HIDDEN + 1, gates * HIDDEN)
    return {
        "step": 0.1 * rng.standard_normal(shape),
        "predict": 0.1 * rng.standard_normal((HIDDEN + 1, len(ALPHABET))),
        "first": 0.1 * rng.standard_normal((1, gates * HIDDEN)),
    }


def linear(matrix, *parts):
    """The parts side by side, and a one, times a matrix."""
    return np.concatenate([*parts, np.ones((len(parts[0]), 1))], axis=1) @ matrix


def plain(parameters, seen, state):
    """The step of a plain recurrence: hidden values, which are also its state."""
    hidden = np.tanh(linear(parameters["step"], seen, state))
    return hidden, hidden


def loss(parameters, codes, step=plain, hidden_of=lambda state: state):
    """Nats per character: each is predicted from those before."""
    one_of = np.eye(len(ALPHABET))
    state = np.repeat(parameters["first"], codes.shape[1], axis=0)
    hidden, total = hidden_of(state), 0.0
    for characters in codes:
        logits = linear(parameters["predict"], hidden)
        right = logits[np.arange(len(characters)), characters]
        total = total - np.mean(right - logsumexp(logits, axis=1))
        hidden, state = step(parameters, one_of[characters], state)
    return total / len(codes)


def figures(steps=150):
    """The loss before and after 150 steps of Adam, in nats per character."""
    codes = windows()
    start = weights(np.random.default_rng(0))
    found = adam(lambda p, step: tracer.grad(loss)(p, codes), start, steps, 0.02)
    return {"loss": np.array([loss(each, codes) for each in (start, found)])}


if __name__ == "__main__":
    show(figures())
