"""Random models: steps that bend, branch, share parameters and mix positions, one after another."""

import numpy as np
from brute_force import Problem
from hypothesis import strategies as st

import tracer
import tracer_layers as nn

#: a step makes a tensor `[N, 2]` of the last one, `h`, and the one before, `old`
STEPS = {
    "linear": lambda p, h, old: h @ p["w"],
    "affine": lambda p, h, old: h @ p["u"] + p["b"],
    "the same weight transposed": lambda p, h, old: h @ p["w"].T,
    "weight-normalised": lambda p, h, old: h @ (p["u"] / np.sqrt(np.sum(p["u"] ** 2, axis=0))),
    "scaled": lambda p, h, old: h * p["g"] + p["b"],
    "tanh": lambda p, h, old: np.tanh(h),
    "sine": lambda p, h, old: np.sin(h),
    "relu": lambda p, h, old: np.maximum(h, 0.05),
    "branches multiplied": lambda p, h, old: h * np.cos(old),
    "branches divided": lambda p, h, old: h / (2 + np.sin(old)),
    "residual": lambda p, h, old: old + np.tanh(h),
    "joined": lambda p, h, old: np.concatenate([h, old], axis=-1) @ p["j"],
    "softmax": lambda p, h, old: nn.functional.softmax(h, -1),
    "logsumexp": lambda p, h, old: h - tracer.logsumexp(h, axis=-1, keepdims=True),
    "normalised": lambda p, h, old: (
        (h - np.mean(h, axis=-1, keepdims=True)) / np.sqrt(np.var(h, axis=-1, keepdims=True) + 0.3)
    ),
    "attention": lambda p, h, old: (
        nn.functional.softmax(h[:, :, None] * (old @ p["u"])[:, None, :], -1) @ old[:, :, None]
    )[..., 0],
    "a function of parameters": lambda p, h, old: h @ (p["w"] * np.exp(0.3 * p["u"])),
    "recurrent": lambda p, h, old: np.tanh(np.tanh(h @ p["w"] + old) @ p["w"] + old),
}
SHAPES = {"w": (2, 2), "u": (2, 2), "b": (2,), "g": (2,), "j": (4, 2)}


@st.composite
def random_problems(draw):
    """A `Problem` of one to five steps after a linear one, with either loss."""
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=5))
    kind = draw(st.sampled_from(["squared", "cross_entropy"]))
    rng = np.random.default_rng(draw(st.integers(0, 100)))

    def model(p, inputs):
        h, old = inputs[0] @ p["w"], inputs[0]
        for step in steps:
            h, old = STEPS[step](p, h, old), h
        return h

    parameters = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    return Problem(model, parameters, [rng.standard_normal((3, 2))], kind=kind)
