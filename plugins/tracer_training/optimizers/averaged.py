"""Averaged stochastic gradient descent."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tracer_training.optimizers.first_order import FirstOrder, decayed
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, within

__all__ = ["ASGD"]


class ASGD(FirstOrder):
    """Averaged stochastic gradient descent (Polyak and Juditsky 1992); the average is `ax`.

        p = (1 - lambd eta) p - eta g,  eta = lr / (1 + lambd lr t)^alpha
        ax = ax + mu (p - ax),  mu = 1 / max(1, t - t0)

    `eta` and `mu` are those of the step before. Mirrors `torch.optim.ASGD`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        within(self._kind, "lr", o.lr, 0)
        for name in ("weight_decay", "lambd", "alpha", "t0"):
            within(self._kind, name, getattr(o, name), 0)

    def initial(self, p, o):
        return {"step": 0, "eta": o.lr, "mu": 1.0, "ax": np.zeros_like(p)}

    def begin(self, state, p, o):
        at = SimpleNamespace(eta=state["eta"], mu=state["mu"])
        t = state["step"] = state["step"] + 1
        state["eta"] = o.lr / (1 + o.lambd * o.lr * t) ** o.alpha
        state["mu"] = 1 / max(1, t - o.t0)
        return at

    def update(self, p, g, s, o, at):
        g = decayed(g, p, o.weight_decay)
        p *= 1 - o.lambd * at.eta
        p -= at.eta * g
        if at.mu == 1:
            s["ax"][...] = p
        else:
            s["ax"] += at.mu * (p - s["ax"])
