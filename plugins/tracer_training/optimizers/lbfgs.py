"""The limited-memory quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, Quantity, Shape, rebind
from tracer_training.optimizers.first_order import fitting
from tracer_training.optimizers.groups import Given, Group, State, options
from tracer_training.optimizers.line_search import Point, strong_wolfe
from tracer_training.optimizers.loss import Loss
from tracer_training.optimizers.optimizer import Closure, Optimizer, Results, whole, within

__all__ = ["LBFGS"]

#: a pair of differences is kept if their product is above this
LEAST_CURVATURE = 1e-10


class LBFGS(Optimizer):
    """L-BFGS (Nocedal and Wright 2006, algorithm 7.5), for the loss of all data.

    A step is up to `max_iter` iterations, each along `-H g`, where `H` is made of the last
    `history_size` differences of parameters and gradients; it is of length `lr`, or found by a line
    search with `line_search_fn="strong_wolfe"`. It ends before where no element of the gradient is
    above `tolerance_grad`, or nothing changes by `tolerance_change`, or the loss was asked for
    `max_eval` times (5/4 of `max_iter` by default).

    `step(results, closure)` needs the closure, which records and sweeps again. It reads losses and
    products, for which a device is waited for. Mirrors `torch.optim.LBFGS`.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": most_evaluations(max_iter, max_eval),
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise TracerError("LBFGS has one group of parameters: options are of all of them")

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        return ("grad", Loss())

    def check(self, o: SimpleNamespace) -> None:
        within(self._kind, "lr", o.lr, 0)
        for name in ("history_size", "max_iter", "max_eval"):
            whole(self._kind, name, getattr(o, name), 1)
        for name in ("tolerance_grad", "tolerance_change"):
            within(self._kind, name, getattr(o, name), 0)
        if o.line_search_fn not in (None, "strong_wolfe"):
            raise TracerError(
                f'LBFGS expects line_search_fn as "strong_wolfe" or None, got {o.line_search_fn!r}'
            )

    @property
    def _parameters(self) -> list[Tensor]:
        return self.param_groups[0]["params"]

    def state_shape(self, parameter: Tensor) -> Shape:
        return (sum(p.size for p in self._parameters),)

    def _loaded(self, parameter: Tensor, state: State, group: Group) -> State:
        """A saved state; PyTorch's has a list besides, which is for one iteration."""
        kept = {key: value for key, value in state.items() if key != "al"}
        return super()._loaded(parameter, kept, group)

    def step(self, results: Results, closure: Closure | None = None) -> None:
        if closure is None:
            raise TracerError(
                "LBFGS looks at several points: step(results, closure), where closure() records "
                "and sweeps again and returns tape.backward(loss, optimizer.quantities)"
            )
        o = options(self.param_groups[0])
        state = self.state[self._parameters[0]]
        if not state:
            state.update(n_iter=0, func_evals=0, d=None, t=None, old_dirs=[], old_stps=[], ro=[])
            state.update(H_diag=1.0, prev_flat_grad=None)
        loss, g = self._read(results)
        evaluations = 1
        state["func_evals"] += 1
        if _largest(g) <= o.tolerance_grad:
            return
        for iteration in range(1, o.max_iter + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                state["d"], t = -g, min(1.0, 1.0 / float(abs(g).sum())) * o.lr
            else:
                remember(state, g, o.history_size)
                state["d"], t = direction(state, g), o.lr
            state["prev_flat_grad"], before = g, loss
            slope = float(g @ state["d"])
            state["t"] = t
            if slope > -o.tolerance_change:
                return
            start = self._values()
            if o.line_search_fn is not None:
                found, count = strong_wolfe(
                    self._along(start, state["d"], closure),
                    Point(0.0, loss, g, slope),
                    t,
                    _largest(state["d"]),
                    o.tolerance_change,
                )
                t, loss, g = found.t, found.loss, found.gradient
                self._assign(start + t * state["d"])
            else:
                count = 0
                self._assign(start + t * state["d"])
                if iteration < o.max_iter:
                    (loss, g), count = self._read(closure()), 1
            state["t"] = t
            evaluations += count
            state["func_evals"] += count
            still = _largest(state["d"]) * abs(t) <= o.tolerance_change
            if (
                evaluations >= o.max_eval
                or _largest(g) <= o.tolerance_grad
                or still
                or abs(loss - before) < o.tolerance_change
            ):
                return

    def _along(self, start: Array, direction: Array, closure: Closure) -> Callable[[float], Point]:
        def at(t: float) -> Point:
            self._assign(start + t * direction)
            loss, g = self._read(closure())
            return Point(t, loss, g, float(g @ direction))

        return at

    # -- all parameters as one vector -----------------------------------------------------------

    def _read(self, results: Results) -> tuple[float, Array]:
        """The loss, and the gradient as one vector; zero where there is none."""
        loss = float(self.value(results, "loss"))
        found = {id(p): fitting(value, p) for _, p, value in self.given(results)}
        parts = [found.get(id(p)) for p in self._parameters]
        flat = [
            np.zeros_like(p.data).reshape(-1) if part is None else part.reshape(-1)
            for p, part in zip(self._parameters, parts, strict=True)
        ]
        return loss, np.concatenate(flat)

    def _values(self) -> Array:
        return np.concatenate([p.data.reshape(-1) for p in self._parameters])

    def _assign(self, vector: Array) -> None:
        start = 0
        for p in self._parameters:
            part = vector[start : start + p.size].reshape(p.shape)
            rebind(p, part.astype(p.dtype))
            start += p.size


def most_evaluations(max_iter: int, max_eval: int | None) -> int:
    """How often the loss is asked for in a step, 5/4 of the iterations where it is not given."""
    return whole("LBFGS", "max_iter", max_iter, 1) * 5 // 4 if max_eval is None else max_eval


def remember(state: State, g: Array, most: int) -> None:
    """Keep the last differences `y` of gradients and `s` of parameters, if they curve upwards."""
    y, s = g - state["prev_flat_grad"], state["t"] * state["d"]
    curvature = float(y @ s)
    if curvature <= LEAST_CURVATURE:
        return
    for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1 / curvature)):
        if len(state[name]) == most:
            state[name].pop(0)
        state[name].append(value)
    state["H_diag"] = curvature / float(y @ y)


def direction(state: State, g: Array) -> Array:
    """`-H g` by two loops over the differences."""
    pairs = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
    q = -g
    factors = []
    for y, s, inverse in reversed(pairs):
        factors.append(float(s @ q) * inverse)
        q -= factors[-1] * y
    q *= state["H_diag"]
    for (y, s, inverse), factor in zip(pairs, reversed(factors), strict=True):
        q += s * (factor - float(y @ q) * inverse)
    return q


def _largest(vector: Array) -> float:
    return float(abs(vector).max()) if vector.size else 0.0
