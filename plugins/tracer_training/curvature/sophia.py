"""Sophia: momentum over a diagonal curvature, each element's step bounded."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, Quantity, widened
from tracer_training.curvature.quantity import Curvature, OrDiagonal, check_count, curvature_of
from tracer_training.optimizers.first_order import FirstOrder, fitting, lerp
from tracer_training.optimizers.groups import Given, State, options
from tracer_training.optimizers.optimizer import Closure, Results, several, within

__all__ = ["Sophia"]

#: what is added to the curvature
LEAST = 1e-15


class Sophia(FirstOrder):
    """Sophia-G (Liu et al. 2023, algorithm 3).

        m = beta1 m + (1 - beta1) g
        h = beta2 h + (1 - beta2) curvature          at every update_every-th step
        p = p (1 - lr weight_decay) - lr sign(m) min(|m| / (rho h + 1e-15), 1)

    The curvature is `diag_ggn_mc` of the mean loss: at labels sampled from the model, the paper
    takes B times the squared gradient of B samples, which has the same expectation, and more
    variance. "diag_ggn_exact" or another diagonal may be given; a negative element counts as zero,
    as the paper's do, so that it steps by the sign. Both averages begin at zero. `quantities` has
    the curvature at the first step and every `update_every`-th from there.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.965, 0.99),
        rho: float = 0.04,
        weight_decay: float = 0.1,
        *,
        curvature: Curvature = "diag_ggn_mc",
        update_every: int = 10,
        maximize: bool = False,
    ):
        check_count(self._kind, "update_every", update_every)
        self.update_every = update_every
        self.curvature = curvature_of(self._kind, curvature)
        if isinstance(self.curvature, OrDiagonal):
            raise TracerError(
                f'Sophia expects a diagonal as its curvature, as "diag_ggn_mc", got '
                f"{self.curvature.name!r}: DampedNewton takes Kronecker factors"
            )
        defaults = {
            "lr": lr,
            "betas": betas,
            "rho": rho,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o: SimpleNamespace) -> None:
        for name in ("lr", "rho", "weight_decay"):
            within(self._kind, name, getattr(o, name), 0)
        for i, beta in enumerate(several(self._kind, "betas", o.betas, 2)):
            within(self._kind, f"betas[{i}]", beta, 0, 1)

    def initial_shared(self) -> dict[str, float]:
        return {"step": 0}

    def initial(self, p: Array, o: SimpleNamespace) -> State:
        return {"step": 0, "m": np.zeros_like(p), "h": np.zeros_like(p)}

    @property
    def _is_due(self) -> bool:
        return self.shared["step"] % self.update_every == 0

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        return ("grad", self.curvature) if self._is_due else ("grad",)

    def step(self, results: Results, closure: Closure | None = None) -> None:
        if self._is_due:
            self.value(results, "grad")
            for group, parameter, curvature in self.given(results, self.curvature.name):
                state, o = self.state[parameter], options(group)
                if not state:
                    state.update(self.initial(widened(parameter.data), o))
                lerp(state["h"], fitting(curvature, parameter), 1 - o.betas[1])
        super().step(results, closure)
        self.shared["step"] += 1

    def update(
        self, p: Array, g: Array, s: dict[str, Array], o: SimpleNamespace, at: object
    ) -> None:
        m, h = s["m"], s["h"]
        lerp(m, g, 1 - o.betas[0])
        p *= 1 - o.lr * o.weight_decay
        bounded = np.minimum(abs(m) / (np.maximum(o.rho * h, 0) + LEAST), 1)
        p -= o.lr * np.sign(m) * bounded
