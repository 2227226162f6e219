"""Resilient backpropagation."""

from __future__ import annotations

import numpy as np

from tracer.errors import TracerError
from tracer_training.optimizers.first_order import FirstOrder
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import accept, several, within

__all__ = ["Rprop"]


class Rprop(FirstOrder):
    """Resilient backpropagation (Riedmiller and Braun 1993): only signs of full gradients count.

    Each element's step grows by `etas[1]` where its gradient keeps its sign, and shrinks by
    `etas[0]`, without being taken, where that flips; it stays within `step_sizes`. Mirrors
    `torch.optim.Rprop`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        accept(self._kind, capturable=capturable, differentiable=differentiable)
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        within(self._kind, "lr", o.lr, 0)
        for name in ("etas", "step_sizes"):
            for i, value in enumerate(several(self._kind, name, getattr(o, name), 2)):
                within(self._kind, f"{name}[{i}]", value, 0)
        if not 0 < o.etas[0] < 1 < o.etas[1]:
            raise TracerError(f"{self._kind} expects 0 < etas[0] < 1 < etas[1], got {o.etas!r}")
        if o.step_sizes[0] > o.step_sizes[1]:
            raise TracerError(
                f"{self._kind} expects step_sizes as the least and the largest, got "
                f"{o.step_sizes!r}"
            )

    def initial(self, p, o):
        return {"step": 0, "prev": np.zeros_like(p), "step_size": np.full_like(p, o.lr)}

    def update(self, p, g, s, o, at):
        agreement = g * s["prev"]
        size = s["step_size"]
        size *= np.where(agreement > 0, o.etas[1], np.where(agreement < 0, o.etas[0], 1.0))
        np.clip(size, *o.step_sizes, out=size)
        taken = np.where(agreement < 0, 0, g)
        p -= np.sign(taken) * size
        s["prev"][...] = taken
