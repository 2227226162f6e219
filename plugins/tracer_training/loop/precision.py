"""Half precision: the forward computation and the sweep in float16, weights in float32.

Micikevicius et al. (2018), "Mixed precision training".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, backend, rebind
from tracer_training.kinds import Results, Saved, StateDict, Value

__all__ = ["LossScale", "half_weights"]


@contextmanager
def half_weights(parameters: Iterable[Tensor]) -> Iterator[None]:
    """In it, parameters of float32 are rounded to float16: what is recorded computes in half.

    Afterwards they are what they were. The sweep belongs into the block, too. It works with the
    values of half precision that were recorded, and its cotangents are of float32, as of all sweeps
    of half precision.
    """
    kept = [(p, p.data) for p in parameters if p.dtype == np.float32]
    try:
        for parameter, array in kept:
            rebind(parameter, array.astype(np.float16))
        yield
    finally:
        for parameter, array in kept:
            rebind(parameter, array)


def half(value: Value) -> Value:
    """An array of floats in float16; anything else as it is."""
    if backend.is_array(value) and value.dtype in (np.float32, np.float64):
        return value.astype(np.float16)
    return value


def single(output: Value) -> Value:
    """Tensors of half precision in float32, in tuples, lists and dicts too: losses are of these."""
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return type(output)(map(single, output))
    if isinstance(output, dict):
        return {key: single(each) for key, each in output.items()}
    return output.astype(np.float32) if isinstance(output, Tensor) else output


class LossScale:
    """The factor of a loss that keeps small gradients above zero where they are of float16.

    The loss times `scale` is swept, and `unscaled` divides the gradient, in float32. Where it is
    not finite, the step is left out, and the scale multiplied by `backoff`; after `interval` steps
    that were finite it is multiplied by `growth`. The defaults are those of PyTorch's `GradScaler`.
    """

    def __init__(
        self,
        scale: float = 2.0**16,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
    ):
        if not (scale > 0 and growth >= 1 and 0 < backoff < 1 and interval >= 1):
            raise TracerError(
                f"LossScale expects scale > 0, growth >= 1, 0 < backoff < 1 and interval >= 1, got "
                f"{scale!r}, {growth!r}, {backoff!r}, {interval!r}"
            )
        self.scale, self.growth, self.backoff, self.interval = scale, growth, backoff, interval
        #: steps since the scale was changed
        self.steps = 0

    def unscaled(self, results: Results) -> bool:
        """Divide `results["grad"]` by the scale, in float32; whether all of it is finite.

        A device is waited for, once. The scale becomes that of the next step.
        """
        values = results["grad"]
        finite: Any = True
        with np.errstate(over="ignore", invalid="ignore"):
            for name, gradient in values.items():
                values[name] = gradient = gradient.astype(np.float32) / self.scale
                finite = finite & all_finite(gradient)
        if not bool(finite):
            self.scale, self.steps = max(self.scale * self.backoff, 1e-30), 0
            return False
        self.steps += 1
        if self.steps == self.interval:
            self.scale, self.steps = self.scale * self.growth, 0
        return True

    def state_dict(self) -> StateDict:
        return {"scale": self.scale, "steps": self.steps}

    def load_state_dict(self, state: Saved) -> None:
        self.scale, self.steps = state["scale"], state["steps"]


def all_finite(array: Array) -> Array:
    """Whether no element is infinite or NaN: an array without axes, where the values are."""
    return np.isfinite(array).all()
