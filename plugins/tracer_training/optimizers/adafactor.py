"""Adafactor: second moments by the means of rows and columns."""

from __future__ import annotations

import numpy as np

from tracer_training.optimizers.first_order import FirstOrder, lerp
from tracer_training.optimizers.groups import Given
from tracer_training.optimizers.optimizer import several, within

__all__ = ["Adafactor"]


class Adafactor(FirstOrder):
    """Adafactor (Shazeer and Stern 2018), which keeps `O + I` numbers for a weight `[O, I]`.

    With `w = t^beta2_decay`, running means `r` of the squared gradient's rows and `c` of its
    columns, each moved by `w` towards the new ones, and `V = r c / mean(r)`:

        U = g / sqrt(V),  p = p - a U / max(1, rms(U) / d)
        a = max(eps2, rms(p)) min(lr, 1 / sqrt(t))

    `p` is shrunk by `1 - lr weight_decay` before. A vector keeps `V` itself. `eps` is
    `(eps1, eps2)`; eps1, a bound of `V`'s root, is that of the dtype by default. Mirrors
    `torch.optim.Adafactor`.
    """

    elementwise = False

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, o):
        within(self._kind, "lr", o.lr, 0)
        within(self._kind, "-beta2_decay", -o.beta2_decay, 0)
        first, second = several(self._kind, "eps", o.eps, 2)
        within(self._kind, "eps[1]", second, 0)
        within(self._kind, "d", o.d, 1)
        within(self._kind, "weight_decay", o.weight_decay, 0)
        if first is not None:
            within(self._kind, "eps[0]", first, 0)

    def initial(self, p, o):
        if p.ndim < 2:
            return {"step": 0, "variance": np.zeros_like(p)}
        rows, columns = (p.mean(axis, keepdims=True) for axis in (-1, -2))
        return {"step": 0, "row_var": np.zeros_like(rows), "col_var": np.zeros_like(columns)}

    def begin(self, state, p, o):
        at = super().begin(state, p, o)
        at.weight = state["step"] ** o.beta2_decay
        at.rate = min(o.lr, 1 / state["step"] ** 0.5)
        return at

    def update(self, p, g, s, o, at):
        least = np.finfo(p.dtype).eps.item() if o.eps[0] is None else o.eps[0]
        length = np.maximum(np.sqrt(np.mean(p * p)), o.eps[1]) * at.rate
        if o.weight_decay:
            p *= 1 - o.lr * o.weight_decay
        square = g * g
        if p.ndim < 2:
            lerp(s["variance"], square, at.weight)
            variance = s["variance"]
        else:
            rows, columns = s["row_var"], s["col_var"]
            lerp(rows, square.mean(-1, keepdims=True), at.weight)
            lerp(columns, square.mean(-2, keepdims=True), at.weight)
            variance = rows * columns / np.maximum(rows.mean(-2, keepdims=True), least)
        update = g / np.sqrt(np.maximum(variance, least * least))
        size = np.maximum(np.sqrt(np.mean(update * update)) / o.d, 1)
        p -= length / size * update
