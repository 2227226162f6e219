"""Stochastic gradient descent."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tracer.errors import TracerError
from tracer_training.optimizers.first_order import FirstOrder, decayed
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, within

__all__ = ["SGD"]


class SGD(FirstOrder):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's.

        b = momentum b + (1 - dampening) g   (the first b is g)
        p = p - lr b, or, with Nesterov's, p - lr (g + momentum b)

    Mirrors `torch.optim.SGD`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        accept(self._kind, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        within(self._kind, "lr", o.lr, 0)
        within(self._kind, "momentum", o.momentum, 0)
        within(self._kind, "weight_decay", o.weight_decay, 0)
        if o.nesterov and (o.momentum <= 0 or o.dampening != 0):
            raise TracerError(
                f"{self._kind}(nesterov=True) expects a momentum above 0 and no dampening, got "
                f"momentum={o.momentum!r}, dampening={o.dampening!r}"
            )

    def begin(self, state, p, o):
        first = bool(o.momentum) and state.get("momentum_buffer") is None
        if first:
            state["momentum_buffer"] = np.zeros_like(p)
        return SimpleNamespace(first=first)

    def update(self, p, g, s, o, at):
        g = decayed(g, p, o.weight_decay)
        if o.momentum:
            b = s["momentum_buffer"]
            b *= o.momentum
            b += g if at.first else (1 - o.dampening) * g
            g = g + o.momentum * b if o.nesterov else b
        p -= o.lr * g
