"""Muon: momentum, made orthogonal."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array
from tracer_training.optimizers.first_order import FirstOrder, lerp
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import several, whole, within

__all__ = ["Muon"]

#: how the rate depends on a weight's shape `[O, I]`
ADJUSTMENTS = (None, "original", "match_rms_adamw")


class Muon(FirstOrder):
    """Muon (Jordan et al. 2024), for weights `[O, I]`: other parameters want another optimiser.

        b = momentum b + (1 - momentum) g,  p = (1 - lr weight_decay) p - a lr orthogonal(b)

    `orthogonal` is Newton and Schulz's quintic iteration, in the dtype of the weight (PyTorch's is
    in bfloat16); with `nesterov` it is of `momentum b + (1 - momentum) g`. The factor `a` is
    `sqrt(max(1, O / I))`, or `0.2 sqrt(max(O, I))` with `adjust_lr_fn="match_rms_adamw"`. Mirrors
    `torch.optim.Muon`.
    """

    elementwise = False

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "maximize": False,
        }
        super().__init__(params, defaults)

    def add_param_group(self, group):
        super().add_param_group(group)
        for parameter in self.param_groups[-1]["params"]:
            if parameter.ndim != 2:
                self.param_groups.pop()
                raise ShapeError(
                    f"Muon is of weights with two axes, got a parameter {list(parameter.shape)}: "
                    f"give vectors and other parameters to AdamW"
                )

    def check(self, o):
        for name in ("lr", "weight_decay", "momentum", "eps"):
            within(self._kind, name, getattr(o, name), 0)
        several(self._kind, "ns_coefficients", o.ns_coefficients, 3)
        whole(self._kind, "ns_steps", o.ns_steps, 0)
        if o.adjust_lr_fn not in ADJUSTMENTS:
            raise TracerError(
                f"{self._kind} expects adjust_lr_fn as one of {ADJUSTMENTS}, got {o.adjust_lr_fn!r}"
            )

    def initial(self, p, o):
        return {"momentum_buffer": np.zeros_like(p)}

    def begin(self, state, p, o):
        return None

    def update(self, p, g, s, o, at):
        b = s["momentum_buffer"]
        lerp(b, g, 1 - o.momentum)
        direction = g + o.momentum * (b - g) if o.nesterov else b
        direction = orthogonal(direction, o.ns_coefficients, o.ns_steps, o.eps)
        rows, columns = p.shape
        factor = math.sqrt(max(1, rows / columns))
        if o.adjust_lr_fn == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(rows, columns))
        p *= 1 - o.lr * o.weight_decay
        p -= o.lr * factor * direction


def orthogonal(
    matrix: Array, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Array:
    """The matrix `[O, I]` with its singular values moved towards 1, by Newton and Schulz.

    Each step is `X = a X + (b A + c A A) X`, `A = X X^T`, from `X / max(|X|, eps)`.
    """
    a, b, c = coefficients
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / np.maximum(np.sqrt(np.sum(x * x)), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if len(matrix) > matrix.shape[1] else x
