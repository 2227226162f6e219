"""K-FAC: Kronecker-factored curvature with running averages, momentum and adapted damping."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, Quantity, Value, narrowed, rebind, widened
from tracer_training.curvature.damped import Asked
from tracer_training.curvature.levenberg_marquardt import adapted, reduction_ratio
from tracer_training.curvature.quantity import Curvature, check_count, check_share
from tracer_training.curvature.second_order import Blocks, SecondOrder, averaged
from tracer_training.curvature.whole_vector import WholeVector
from tracer_training.optimizers.first_order import decayed, fitting
from tracer_training.optimizers.groups import Given, State, options
from tracer_training.optimizers.loss import Loss
from tracer_training.optimizers.optimizer import Closure, Results, within

__all__ = ["KFAC"]

#: damping is multiplied, or divided, by this to the power of the steps between two changes
PER_STEP = 19 / 20


class Step:
    """What one step makes for a parameter, before any is changed."""

    def __init__(self, parameter: Tensor, o: SimpleNamespace, p: Array, g: Array, kept: State):
        self.parameter, self.options = parameter, o
        #: the parameter and the gradient of the objective with its penalty, in a working dtype
        self.p, self.g = p, g
        self.kept = kept
        #: the preconditioned gradient, and by what the parameter changes
        self.direction = self.change = g


class KFAC(SecondOrder):
    """Kronecker-factored approximate curvature (Martens and Grosse 2015; Grosse and Martens 2016).

        v = (F + (damping + weight_decay) I)^-1 (g + weight_decay p)
        d = momentum d - lr c v;  p = p + d

    - F has the Kronecker factors of `curvature`, "kfac", "kflr" or a configured quantity, averaged
      factor by factor: at the t-th time, those before weigh `min(1 - 1/t, factor_decay)`. They are
      asked for at every `factor_every`-th step, and damped and decomposed at every
      `inverse_every`-th, as in `DampedNewton`. Parameters without factors have the diagonal.
    - `c = min(1, sqrt(norm_constraint / (lr^2 v^T F v)))` over all parameters, where `F v` is the
      gradient (Ba, Grosse and Martens 2017); 1 with None.
    - With `adapt_damping`, at every `adapt_every`-th step the change of the objective is compared
      with that of the model `M(d) = g^T d + d^T G d / 2`, G being the batch's exact Gauss-Newton
      matrix. Where the ratio is above 3/4, the damping is multiplied by `(19/20)^adapt_every`;
      below 1/4, or where M does not fall, it is divided by it, from `min_damping` to `max_damping`.
      The penalty of `weight_decay` counts in both; *the damping itself does not count in M*, as in
      kfac-jax, where Martens and Grosse count it.
      It needs `step(results, closure)`. While a step asks its closure, `quantities` is the loss
      alone, which is not swept for; a device is waited for then. The closure is to compute what
      the results are of: draws of dropout differ.
    - In the first `burn_in` steps, curvature is averaged, and no parameter changes.

    `damping` is adapted in `param_groups`. Raises as `DampedNewton` does.
    """

    def __init__(
        self,
        params: Given,
        lr: float = 1e-2,
        damping: float = 1e-2,
        weight_decay: float = 0.0,
        *,
        curvature: Curvature = "kfac",
        factor_decay: float = 0.95,
        factor_every: int = 1,
        inverse_every: int = 5,
        momentum: float = 0.9,
        norm_constraint: float | None = None,
        adapt_damping: bool = True,
        adapt_every: int = 5,
        min_damping: float = 1e-8,
        max_damping: float = 1e8,
        burn_in: int = 0,
    ):
        for name, count in (
            ("factor_every", factor_every),
            ("inverse_every", inverse_every),
            ("adapt_every", adapt_every),
        ):
            check_count(self._kind, name, count)
        within(self._kind, "burn_in", burn_in, 0)
        check_share(self._kind, "factor_decay", factor_decay)
        within(self._kind, "min_damping", min_damping, 0, max_damping)
        if norm_constraint is not None:
            within(self._kind, "norm_constraint", norm_constraint, 0)
        self.factor_decay, self.factor_every = factor_decay, factor_every
        self.inverse_every, self.norm_constraint = inverse_every, norm_constraint
        self.adapt_damping, self.adapt_every = adapt_damping, adapt_every
        self.min_damping, self.max_damping, self.burn_in = min_damping, max_damping, burn_in
        self._asks_closure = False
        defaults = {
            "lr": lr,
            "damping": damping,
            "weight_decay": weight_decay,
            "momentum": momentum,
        }
        super().__init__(params, defaults, curvature)

    def check(self, o: SimpleNamespace) -> None:
        for name in ("lr", "damping", "weight_decay"):
            within(self._kind, name, getattr(o, name), 0)
        within(self._kind, "momentum", o.momentum, 0, 1)

    # -- when what is due ----------------------------------------------------------------------

    @property
    def quantities(self) -> tuple[str | Quantity, ...]:
        if self._asks_closure:
            return (Loss(),)
        found: list[str | Quantity] = ["grad"]
        if self._factors_are_due:
            found += self.asked_curvature
        if self.adapt_damping:
            found.append(Loss())
        if self._adapting_is_due:
            found.append("ggn")
        return tuple(found)

    @property
    def _burns_in(self) -> bool:
        return self.shared["step"] < self.burn_in

    @property
    def _factors_are_due(self) -> bool:
        return self._burns_in or self.is_due(self.factor_every)

    @property
    def _inverse_is_due(self) -> bool:
        first = self.shared["step"] == self.burn_in
        return not self._burns_in and (first or self.is_due(self.inverse_every))

    @property
    def _adapting_is_due(self) -> bool:
        last = (self.shared["step"] + 1) % self.adapt_every == 0
        return self.adapt_damping and last and not self._burns_in

    # -- a step --------------------------------------------------------------------------------

    def step(self, results: Results, closure: Closure | None = None) -> None:
        if self.adapt_damping and closure is None:
            raise TracerError(
                "KFAC adapts its damping to how the loss changes: step(results, closure), where "
                "closure() records again and returns tape.backward(loss, optimizer.quantities), "
                "or KFAC(..., adapt_damping=False)"
            )
        self.learn_names(results)
        blocks = self.blocks(results) if self._factors_are_due else None
        steps = [
            self._made(parameter, options(group), gradient, blocks)
            for group, parameter, gradient in self.given(results)
        ]
        if not self._burns_in:
            self._precondition(steps)
            self._bound_and_add_momentum(steps)
        predicted = self._predicted(results, steps) if self._adapting_is_due else None
        for step in steps:
            self.state[step.parameter].update(step.kept)
            if not self._burns_in:
                rebind(step.parameter, narrowed(step.p + step.change, step.parameter.dtype))
        self.shared["step"] += 1
        if predicted is not None and closure is not None:
            self._adapt(results, closure, steps, predicted)

    def _made(
        self, parameter: Tensor, o: SimpleNamespace, gradient: object, blocks: Blocks | None
    ) -> Step:
        """What a step needs of one parameter: its averages, and the gradient."""
        state, kept = self.state[parameter], State()
        if blocks is not None:
            _, kept = averaged(state, self.block(blocks, parameter), self.factor_decay)
        p = widened(parameter.data)
        g = decayed(widened(fitting(gradient, parameter)), p, o.weight_decay)
        return Step(parameter, o, p, g, kept)

    def _precondition(self, steps: list[Step]) -> None:
        """Solve with the averages as they are now, or were at an earlier step."""
        due = [s for s in steps if self._inverse_is_due or not self._has_solver(s.parameter)]
        solvers = self.decompose([self._asked(step) for step in due])
        for step, solver in zip(due, solvers, strict=True):
            step.kept.update(solver.saved())
        for step in steps:
            state = {**self.state[step.parameter], **step.kept}
            step.direction = self.kept_solver(state, step.parameter).solve(step.g)

    def _has_solver(self, parameter: Tensor) -> bool:
        return self.state[parameter].get("solver") is not None

    def _asked(self, step: Step) -> Asked:
        block = self.kept_block({**self.state[step.parameter], **step.kept}, step.parameter)
        damping = step.options.damping + step.options.weight_decay
        return Asked(block, damping, self.name_of(step.parameter))

    def _bound_and_add_momentum(self, steps: list[Step]) -> None:
        """Complete the changes: the norm constraint, and momentum."""
        bound = self._bound(steps)
        for step in steps:
            o = step.options
            scale = -o.lr if bound is None else -o.lr * bound.astype(step.g.dtype)
            step.change = scale * step.direction
            before = self.state[step.parameter].get("momentum")
            if before is not None:
                step.change = step.change + o.momentum * before
            step.kept["momentum"] = step.change

    def _bound(self, steps: list[Step]) -> Array | None:
        """The factor c of all directions; None for 1."""
        if self.norm_constraint is None:
            return None
        products = [step.options.lr**2 * (step.direction * step.g).sum() for step in steps]
        squared = np.maximum(np.stack(products).sum(), np.finfo(np.float32).tiny)
        return np.minimum(np.sqrt(self.norm_constraint / squared), 1)

    # -- damping -------------------------------------------------------------------------------

    def _predicted(self, results: Results, steps: list[Step]) -> float:
        """The change that the model predicts, `g^T d + d^T (G + weight_decay I) d / 2`."""
        operator = self.value(results, "ggn")
        found = ((parameter, name) for _, parameter, name, _ in self.named(results))
        whole = WholeVector(operator, found)
        d = whole.vector(step.change for step in steps)
        slope = sum((step.g * step.change).sum() for step in steps)
        bend = d @ whole.product(d)
        bend = bend + sum(s.options.weight_decay * (s.change**2).sum() for s in steps)
        return float(slope + bend / 2)

    def _adapt(
        self, results: Results, closure: Closure, steps: list[Step], predicted: float
    ) -> None:
        """Change the damping of all groups, now that the parameters are where the step led."""
        self._asks_closure = True
        try:
            after = float(self.value(closure(), "loss"))
        finally:
            self._asks_closure = False
        change = after - float(self.value(results, "loss"))
        for s in steps:
            if s.options.weight_decay:
                moved = (s.p * s.change).sum() + (s.change**2).sum() / 2
                change += s.options.weight_decay * float(moved)
        ratio = reduction_ratio(change, predicted)
        factor = PER_STEP**self.adapt_every
        for group in self.param_groups:
            group["damping"] = adapted(
                group["damping"], ratio, factor, self.min_damping, self.max_damping
            )

    def _fitted(self, key: str, value: Value, parameter: Tensor, expected: State) -> Value:
        like = {"momentum": widened(parameter.data)} if key == "momentum" else expected
        return super()._fitted(key, value, parameter, like)
