"""One step of a training: record, sweep, and let the optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from tracer import Tape, Tensor
from tracer.errors import TracerError
from tracer.extend import Array, raw
from tracer_layers.utils import clip_grad_norm, clip_grad_value
from tracer_training.accumulation import Accumulated
from tracer_training.kinds import Asked, Inputs, LossFunction, Model, Results, Targets, Value
from tracer_training.loop.evaluation import samples_of
from tracer_training.loop.metrics import Metric, measured
from tracer_training.loop.parallel import Parallel, Recorded
from tracer_training.loop.precision import LossScale, half, half_weights, single
from tracer_training.optimizers import Optimizer


@dataclass
class Batch:
    """What this process recorded and swept: `Recorded`, with the outputs that metrics are of."""

    results: Results
    loss: Array
    output: Array
    target: Targets
    samples: int

    def measured(
        self, metrics: Mapping[str, Metric] | None
    ) -> Sequence[tuple[Mapping[str, Value], int]]:
        return [(measured(metrics, self.output, self.target), self.samples)]


@dataclass
class Stepper:
    """How a batch becomes a step: see `fit` for what each option means."""

    model: Model
    loss: LossFunction
    optimizer: Optimizer
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    scale: LossScale | None = None
    parallel: Parallel | None = None
    quantities: Asked = ()
    #: what instruments need of the sweeps of the next step
    watched: Asked = ()
    waiting: Accumulated | None = field(default=None, init=False)
    viewer: Callable[[Tape], None] | None = field(default=None, init=False)
    batches: int = field(default=0, init=False)

    def record(self, inputs: Inputs, target: Targets, quantities: Asked) -> Recorded:
        """What comes of a batch."""
        samples = samples_of(inputs, target)
        if self.parallel is not None:
            return self.parallel.record(self.model, self._record, inputs, target, quantities)
        results, loss, output = self._record(inputs, target, quantities)
        return Batch(results, raw(loss), output, target, samples)

    def _record(
        self, inputs: Inputs, target: Targets, quantities: Asked
    ) -> tuple[Results, Tensor, Array]:
        """Results of a sweep, the loss, and the outputs."""
        if self.scale is not None:
            return self._record_in_half(self.scale, inputs, target, quantities)
        with Tape() as tape:
            output = self.model(*inputs)
            loss = self.loss(output, target)
        results = tape.backward(loss, quantities)
        self._show(tape)
        return results, loss, raw(output)

    def _record_in_half(
        self, scale: LossScale, inputs: Inputs, target: Targets, quantities: Asked
    ) -> tuple[Results, Tensor, Array]:
        # those that are not stepped, too: what is computed with float32 is of float32
        held = self.model.parameters() if hasattr(self.model, "parameters") else ()
        stepped = (p for group in self.optimizer.param_groups for p in group["params"])
        parameters = {id(p): p for p in (*held, *stepped)}.values()
        # what overflows is found in the gradient, and makes the scale smaller
        with half_weights(parameters), np.errstate(over="ignore", invalid="ignore"):
            with Tape() as tape:
                output = single(self.model(*map(half, inputs)))
                loss = self.loss(output, target)
                scaled = loss * scale.scale
            results = tape.backward(scaled, quantities)
            self._show(tape)
            return results, loss, raw(output)

    def _show(self, tape: Tape) -> None:
        """Let whoever wants to see a tape see the next one that was swept."""
        if self.viewer is not None:
            viewer, self.viewer = self.viewer, None
            viewer(tape)

    def asked(self) -> Asked:
        """What the next sweep is asked for: what the optimiser needs, and what else is wanted."""
        return self._wanted() if self.accumulate == 1 else Accumulated(self._wanted()).quantities

    def _wanted(self) -> Asked:
        return (*self.optimizer.quantities, *self.quantities, *self.watched)

    def ready(self, results: Results, samples: int) -> Results | None:
        """What a step is taken with, given the results of so many samples; None if nothing yet.

        That is so while gradients are accumulated, and where those of half precision are not
        finite.
        """
        if self.scale is not None and not self.scale.unscaled(results):
            return None
        if self.accumulate > 1:
            self.waiting = self.waiting or Accumulated(self._wanted())
            self.waiting.add(results, samples=samples)
            self.batches += 1
            if self.batches < self.accumulate:
                return None
            return self.rest()
        return results

    def rest(self) -> Results | None:
        """What has been accumulated, as at the end of an epoch, if anything has."""
        if self.waiting is None:
            return None
        results, self.waiting, self.batches = self.waiting.results(), None, 0
        return results

    def take(self, inputs: Inputs, target: Targets, results: Results) -> None:
        """Bound the gradient and step."""
        self._bound(results)
        with self._stepping():
            self.optimizer.step(results, lambda: self.again(inputs, target))

    def _stepping(self) -> AbstractContextManager[None]:
        return nullcontext() if self.parallel is None else self.parallel.stepping(self.optimizer)

    def again(self, inputs: Inputs, target: Targets) -> Results:
        """Results for the same batch where the parameters are now.

        Their gradient is bounded, too: optimisers take differences of it and the first one.
        """
        results = self.record(inputs, target, self.optimizer.quantities).results
        if "grad" in results:
            self._bound(results)
        return results

    def _bound(self, results: Results) -> None:
        if self.clip_norm is not None:
            clip_grad_norm(results, self.clip_norm)
        if self.clip_value is not None:
            clip_grad_value(results, self.clip_value)

    def check(self) -> None:
        """Raise `TracerError` for options that do not go together."""
        if isinstance(self.loss, type):
            raise TracerError(
                f"loss is a function of outputs and targets, and {self.loss.__name__} is a class: "
                f"give an instance, {self.loss.__name__}()"
            )
        for name, bound in (("clip_norm", self.clip_norm), ("clip_value", self.clip_value)):
            if bound is not None and not bound > 0:
                raise TracerError(f"{name} is a number above 0, got {bound!r}")
        names = [q if isinstance(q, str) else q.name for q in self.asked()]
        if self.scale is not None and names != ["grad"]:
            raise TracerError(
                f"precision='float16' is for optimisers and instruments that need the gradient "
                f"alone, and these need {', '.join(names)}: leave precision out"
            )
        if self.accumulate > 1 and "loss" in names:
            raise TracerError(
                f"accumulate={self.accumulate} is for optimisers that look at one point, and "
                f"{type(self.optimizer).__name__} compares losses: give larger batches"
            )
