"""Hessian-free optimisation: Newton steps by conjugate gradients on products with the curvature."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, Quantity, narrowed, rebind, widened
from tracer_training.curvature.conjugate_gradients import Iterate, Solution, conjugate_gradients
from tracer_training.curvature.levenberg_marquardt import adapted, reduction_ratio
from tracer_training.curvature.quantity import check_count, check_share
from tracer_training.curvature.whole_vector import WholeVector
from tracer_training.optimizers.first_order import fitting
from tracer_training.optimizers.groups import Given, Group, State, options
from tracer_training.optimizers.loss import Loss
from tracer_training.optimizers.optimizer import Closure, Optimizer, Results, within

__all__ = ["HessianFree"]

#: damping is multiplied by this after a good step, and divided after a poor one
FACTOR = 2 / 3
#: bounds of what damping is adapted to
LEAST, MOST = 1e-12, 1e12
#: the line search: the part of what the slope promises, by what a step is shortened, how often
SUFFICIENT, SHORTER, TRIES = 1e-2, 0.8, 30


class HessianFree(Optimizer):
    """Hessian-free optimisation (Martens 2010): the curvature is only multiplied by vectors.

    A step minimises `q(d) = g^T d + d^T (G + (damping + weight_decay) I) d / 2` by conjugate
    gradients, G being the matrix `curvature` of the batch, "ggn" or "hessian".

    - They begin at `cg_decay` times where the last step's ended, and end after `cg_iterations`, or
      where q has settled to `cg_tolerance` (section 4.4 there).
    - Of the iterates, those before the last are tried as long as the loss falls (section 4.6), and
      the step is then shortened until the loss falls by 1/100 of what the slope promises; if it
      does not, no step is taken. `lr` is the length that is tried first.
    - Damping is adapted by the rule of Levenberg and Marquardt: times 2/3 where the loss has
      changed by more than 3/4 of `q(d)`, times 3/2 below 1/4. *The damping does not count in this
      q(d)*, the penalty of `weight_decay` does. `adapt_damping=False` keeps it.
    - With "hessian", curvature may be negative along a direction: iterations end there with what
      they have, or with `-g`, damping is multiplied by 3/2, and the line search takes care of the
      length. "ggn" has none for convex losses.

    `step(results, closure)` needs the closure: while a step asks it, `quantities` is the loss
    alone, which is not swept for. The closure is to compute what the results are of: the same
    batch, and no dropout. There is one group of parameters. A device is waited for at every
    iteration, and vectors stay there.
    """

    def __init__(
        self,
        params: Given,
        curvature: str = "ggn",
        lr: float = 1.0,
        damping: float = 1.0,
        weight_decay: float = 0.0,
        *,
        cg_iterations: int = 250,
        cg_tolerance: float = 5e-4,
        cg_decay: float = 0.95,
        adapt_damping: bool = True,
    ):
        if curvature not in ("ggn", "hessian"):
            raise TracerError(
                f'HessianFree expects curvature as "ggn" or "hessian", whose products it takes, '
                f"got {curvature!r}"
            )
        check_count(self._kind, "cg_iterations", cg_iterations)
        self.curvature, self.adapt_damping = curvature, adapt_damping
        self._asks_closure = False
        defaults = {
            "lr": lr,
            "damping": damping,
            "weight_decay": weight_decay,
            "cg_iterations": cg_iterations,
            "cg_tolerance": cg_tolerance,
            "cg_decay": cg_decay,
        }
        super().__init__(params, defaults)

    def add_param_group(self, group: Group) -> None:  # type: ignore[override]
        if self.param_groups:
            raise TracerError("HessianFree has one group of parameters: options are of all of them")
        super().add_param_group(group)

    def check(self, o: SimpleNamespace) -> None:
        for name in ("lr", "damping", "weight_decay", "cg_tolerance"):
            within(self._kind, name, getattr(o, name), 0)
        check_share(self._kind, "cg_decay", o.cg_decay)

    def initial(self, p: Array, o: SimpleNamespace) -> State:
        return {"direction": np.zeros_like(widened(p))}

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        return (Loss(),) if self._asks_closure else ("grad", Loss(), self.curvature)

    # -- a step --------------------------------------------------------------------------------

    def step(self, results: Results, closure: Closure | None = None) -> None:
        if closure is None:
            raise TracerError(
                "HessianFree looks at several points: step(results, closure), where closure() "
                "records again and returns tape.backward(loss, optimizer.quantities)"
            )
        o = options(self.param_groups[0])
        found = [(parameter, name, g) for _, parameter, name, g in self.named(results)]
        operator = self.value(results, self.curvature)
        whole = WholeVector(operator, ((parameter, name) for parameter, name, _ in found))
        start = whole.vector(widened(p.data) for p, _, _ in found)
        gradient = (
            whole.vector(widened(fitting(g, p)) for p, _, g in found) + o.weight_decay * start
        )
        line = Line(self, whole, start, closure, o.weight_decay)
        loss = line.objective(float(self.value(results, "loss")), start)
        if not math.isfinite(loss + float(gradient @ gradient)):
            raise TracerError(
                f"the loss, {loss}, or its gradient is not finite, and HessianFree takes no step "
                f"from there: take a lower lr, or go back to a checkpoint"
            )
        solution = self._solve(whole, gradient, o)
        best, value = backtracked(solution.iterates, line)
        length = line.shortened(best.solution, value, loss, float(gradient @ best.solution), o.lr)
        if length:
            line.go(length * best.solution)
        else:
            line.back()
        for parameter, part in whole.parts(solution.iterates[-1].solution):
            self.state[parameter]["direction"] = part.copy()
        if self.adapt_damping:
            self._adapt(solution, best, value - loss, o)

    def _solve(self, whole: WholeVector, gradient: Array, o: SimpleNamespace) -> Solution:
        added = o.damping + o.weight_decay
        start = None
        if o.cg_decay and all("direction" in self.state[p] for p, _ in whole.places):
            before = (self.state[p]["direction"] for p, _ in whole.places)
            start = o.cg_decay * whole.vector(before)
        return conjugate_gradients(
            lambda v: whole.product(v) + added * v,
            gradient,
            start,
            o.cg_iterations,
            o.cg_tolerance,
        )

    def _adapt(self, solution: Solution, best: Iterate, change: float, o: SimpleNamespace) -> None:
        d = best.solution
        predicted = best.value - o.damping * float(d @ d) / 2
        ratio = -math.inf if solution.negative else reduction_ratio(change, predicted)
        self.param_groups[0]["damping"] = adapted(o.damping, ratio, FACTOR, LEAST, MOST)

    def loss_of(self, closure: Closure) -> float:
        """The loss where the parameters are now; infinite if it is none."""
        self._asks_closure = True
        try:
            loss = float(self.value(closure(), "loss"))
        finally:
            self._asks_closure = False
        return loss if math.isfinite(loss) else math.inf


class Line:
    """The objective at `start + d`, by asking a closure there."""

    def __init__(
        self,
        optimizer: HessianFree,
        whole: WholeVector,
        start: Array,
        closure: Closure,
        weight_decay: float,
    ):
        self.optimizer, self.whole, self.start = optimizer, whole, start
        self.closure, self.weight_decay = closure, weight_decay
        self.before: list[tuple[Tensor, Array]] = [(p, p.data) for p, _ in whole.places]

    def objective(self, loss: float, vector: Array) -> float:
        """A loss and the penalty of the parameters."""
        if not self.weight_decay:
            return loss
        return loss + self.weight_decay / 2 * float(vector @ vector)

    def go(self, d: Array) -> None:
        """Give the parameters the values at `start + d`."""
        steps = self.whole.parts(d)
        for (parameter, old), (_, step) in zip(self.before, steps, strict=True):
            new = (widened(old) + step).astype(widened(old).dtype)
            rebind(parameter, narrowed(new, old.dtype))

    def back(self) -> None:
        """Give the parameters what they had."""
        for parameter, old in self.before:
            rebind(parameter, old)

    def at(self, d: Array) -> float:
        """The objective there."""
        self.go(d)
        try:
            return self.objective(self.optimizer.loss_of(self.closure), self.start + d)
        except BaseException:
            self.back()
            raise

    def shortened(
        self, direction: Array, value: float, loss: float, slope: float, lr: float
    ) -> float:
        """How far along a direction the objective falls enough; 0 if nowhere.

        `value` is the objective at its end.
        """
        length = lr
        for _ in range(TRIES):
            if length != 1:
                value = self.at(length * direction)
            if value <= loss + SUFFICIENT * length * slope:
                return length
            length *= SHORTER
        return 0.0


def backtracked(iterates: list[Iterate], line: Line) -> tuple[Iterate, float]:
    """The last iterate, or one before, as long as the objective falls, and the objective there."""
    best, value = iterates[-1], line.at(iterates[-1].solution)
    for earlier in reversed(iterates[:-1]):
        tried = line.at(earlier.solution)
        if not tried < value:
            break
        best, value = earlier, tried
    return best, value
