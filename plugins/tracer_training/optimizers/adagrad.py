"""Optimisers that divide by the gradients so far: Adagrad and Adadelta."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tracer_training.optimizers.first_order import FirstOrder, decayed
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, within

__all__ = ["Adadelta", "Adagrad"]


class Adagrad(FirstOrder):
    """Adagrad (Duchi, Hazan and Singer 2011).

        s = s + g^2,  p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Mirrors `torch.optim.Adagrad`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        accept(self._kind, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        for name in ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            within(self._kind, name, getattr(o, name), 0)

    def initial(self, p, o):
        return {"step": 0, "sum": np.full_like(p, o.initial_accumulator_value)}

    def begin(self, state, p, o):
        state["step"] += 1
        return SimpleNamespace(rate=o.lr / (1 + (state["step"] - 1) * o.lr_decay))

    def update(self, p, g, s, o, at):
        g = decayed(g, p, o.weight_decay)
        s["sum"] += g * g
        p -= at.rate * g / (np.sqrt(s["sum"]) + o.eps)


class Adadelta(FirstOrder):
    """Adadelta (Zeiler 2012): steps in the units of the parameters.

        v = rho v + (1 - rho) g^2,  d = sqrt(u + eps) / sqrt(v + eps) g
        u = rho u + (1 - rho) d^2,  p = p - lr d

    Mirrors `torch.optim.Adadelta`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        for name in ("lr", "eps", "weight_decay"):
            within(self._kind, name, getattr(o, name), 0)
        within(self._kind, "rho", o.rho, 0, 1 + 1e-12)

    def initial(self, p, o):
        return {"step": 0, "square_avg": np.zeros_like(p), "acc_delta": np.zeros_like(p)}

    def update(self, p, g, s, o, at):
        g = decayed(g, p, o.weight_decay)
        v, u = s["square_avg"], s["acc_delta"]
        v *= o.rho
        v += (1 - o.rho) * g * g
        delta = np.sqrt(u + o.eps) / np.sqrt(v + o.eps) * g
        u *= o.rho
        u += (1 - o.rho) * delta * delta
        p -= o.lr * delta
