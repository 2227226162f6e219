"""RMSprop."""

from __future__ import annotations

import numpy as np

from tracer_training.optimizers.first_order import FirstOrder, decayed, lerp
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, within

__all__ = ["RMSprop"]


class RMSprop(FirstOrder):
    """RMSprop (Tieleman and Hinton 2012); `centered` as in Graves (2013).

        v = alpha v + (1 - alpha) g^2,  p = p - lr g / (sqrt(v) + eps)

    Centered, `v` less the square of the gradient's average is taken. With momentum, steps along
    `b = momentum b + g / (sqrt(v) + eps)`. Mirrors `torch.optim.RMSprop`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        for name in ("lr", "eps", "momentum", "weight_decay", "alpha"):
            within(self._kind, name, getattr(o, name), 0)

    def initial(self, p, o):
        return {"step": 0, "square_avg": np.zeros_like(p)}

    def averages(self, o):
        return ("momentum_buffer",) * (o.momentum > 0) + ("grad_avg",) * bool(o.centered)

    def update(self, p, g, s, o, at):
        g = decayed(g, p, o.weight_decay)
        v = s["square_avg"]
        v *= o.alpha
        v += (1 - o.alpha) * g * g
        if o.centered:
            lerp(s["grad_avg"], g, 1 - o.alpha)
            v = v - s["grad_avg"] * s["grad_avg"]
        step = g / (np.sqrt(v) + o.eps)
        if o.momentum > 0:
            b = s["momentum_buffer"]
            b *= o.momentum
            b += step
            step = b
        p -= o.lr * step
