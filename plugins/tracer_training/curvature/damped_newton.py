"""Newton's method, its curvature damped: the rule of BackPACK's experiments."""

from __future__ import annotations

from types import SimpleNamespace

from tracer import Tensor
from tracer.extend import Array, Quantity, narrowed, rebind, widened
from tracer_training.curvature.damped import Asked, Solver
from tracer_training.curvature.quantity import Curvature, check_count, check_share
from tracer_training.curvature.second_order import Blocks, SecondOrder, averaged
from tracer_training.optimizers.first_order import decayed, fitting
from tracer_training.optimizers.groups import Given, State, options
from tracer_training.optimizers.optimizer import Closure, Results, within

__all__ = ["DampedNewton"]


class DampedNewton(SecondOrder):
    """Newton steps whose curvature is damped (Dangel, Kunstner and Hennig 2020, appendix C).

        p = p - lr (G + (damping + weight_decay) I)^-1 (g + weight_decay p)

    What is damped is the curvature, by a multiple of the identity; the length of the step is `lr`.
    `weight_decay` is the factor of a penalty `weight_decay / 2 |p|^2`.

    G is `curvature`, by the name of a quantity or as a configured one: "diag_ggn_exact",
    "diag_ggn_mc", "diag_h" (its elements by magnitude, since they may be negative), or Kronecker
    factors, "kfac", "kflr", "kfra", damped as in Martens and Grosse (2015, section 6.3): for
    `l = damping + weight_decay` a block `B (x) A` becomes

        (B + sqrt(l) / pi I) (x) (A + pi sqrt(l) I),  pi^2 = (tr A / dim A) / (tr B / dim B)

    and that of a bias `B + l I`. Parameters without Kronecker factors are stepped with the diagonal
    of the same rows (of "diag_ggn_exact" for "kfra"), of which a warning tells once.

    `quantities` has the curvature at every `update_every`-th step; between, the last one is used.
    With `average`, G is a running mean of all curvatures so far: that of those before weighs
    `min(1 - 1/t, average)` at the t-th, so that 1 is their plain mean, and 0.95 forgets. (The
    experiments of BackPACK take the plain mean, but weigh the first curvature 0.9.)

    Raises `TracerError` where the curvature is not finite or, damped, singular to rounding; on
    devices, which would have to be waited for, such a step gives what is not finite.
    """

    def __init__(
        self,
        params: Given,
        curvature: Curvature = "diag_ggn_mc",
        lr: float = 1e-2,
        damping: float = 1e-2,
        weight_decay: float = 0.0,
        *,
        update_every: int = 1,
        average: float | None = None,
    ):
        check_count(self._kind, "update_every", update_every)
        if average is not None:
            check_share(self._kind, "average", average)
        self.update_every, self.average = update_every, average
        defaults = {"lr": lr, "damping": damping, "weight_decay": weight_decay}
        super().__init__(params, defaults, curvature)

    def check(self, o: SimpleNamespace) -> None:
        within(self._kind, "lr", o.lr, 0)
        within(self._kind, "damping", o.damping, 0)
        within(self._kind, "weight_decay", o.weight_decay, 0)

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        due = self.is_due(self.update_every)
        return ("grad", *self.asked_curvature) if due else ("grad",)

    def step(self, results: Results, closure: Closure | None = None) -> None:
        self.learn_names(results)
        blocks = self.blocks(results) if self.is_due(self.update_every) else None
        given = [(options(group), p, gradient) for group, p, gradient in self.given(results)]
        solvers = self._solvers([(o, parameter) for o, parameter, _ in given], blocks)
        stepped: list[tuple[Tensor, Array, State]] = []
        for (o, parameter, gradient), (solver, kept) in zip(given, solvers, strict=True):
            p = widened(parameter.data)
            g = decayed(widened(fitting(gradient, parameter)), p, o.weight_decay)
            new = narrowed(p - o.lr * solver.solve(g), parameter.dtype)
            stepped.append((parameter, new, kept))
        for parameter, new, kept in stepped:
            rebind(parameter, new)
            if kept:
                self.state[parameter].update(kept)
        self.shared["step"] += 1

    def _solvers(
        self, stepped: list[tuple[SimpleNamespace, Tensor]], blocks: Blocks | None
    ) -> list[tuple[Solver, State]]:
        """The damped blocks of parameters, with their options, and what their states keep."""
        if blocks is None:
            return [(self.kept_solver(self.state[p], p), State()) for _, p in stepped]
        asked, kept = [], []
        for o, parameter in stepped:
            block, state = self.block(blocks, parameter), State()
            if self.average is not None:
                block, state = averaged(self.state[parameter], block, self.average)
            asked.append(Asked(block, o.damping + o.weight_decay, self.name_of(parameter)))
            kept.append(state)
        solvers = self.decompose(asked)
        if self.update_every > 1:
            for state, solver in zip(kept, solvers, strict=True):
                state.update(solver.saved())
        return list(zip(solvers, kept, strict=True))
