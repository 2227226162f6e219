"""What instruments look at: one step, its results, and what several of them need of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from tracer import Tensor
from tracer.extend import Array, compiled, raw, widened
from tracer_experiments.instruments.by_parameter import ByParameter, OfSamples
from tracer_experiments.instruments.reading import Dots, SquaredNorms, SumsOfSquares
from tracer_experiments.instruments.sample_gradients import OfParameter, SampleGradients, on_host
from tracer_experiments.instruments.travel import (
    Trace,
    Travelled,
    factor_of_gradient,
    factor_of_trace,
    travelled,
)

#: elements from which on a kernel's threads pay
MANY = 1 << 16


class NotMeasured(Exception):
    """Why an instrument has no value, in a sentence. It is told once, and the others go on."""


class Observation:
    """One step of a training, before the optimiser has taken it.

    `results` are those of the sweep by the names of quantities, `loss` a tensor, `parameters` maps
    names to those tensors that want a gradient. `before` is the observation of the step before, if
    there was one, `initial` the parameters at the first step that was seen.

    Of samples, as Cockpit has them (Schneider, Dangel and Hennig 2021): the objective is the mean
    of B losses l_n, `g_n` is the gradient of l_n (no 1/B), and `g` the mean of the `g_n`. A penalty
    on parameters is in `gradient`, and not in these.
    """

    def __init__(
        self,
        step: int,
        results: Mapping[str, Any],
        loss: Tensor,
        model: Any,
        optimizer: Any,
        *,
        names: Mapping[str, str] | None = None,
        losses: list[Any] | None = None,
        activations: Mapping[str, tuple[str, Array]] | None = None,
        is_mean: bool | None = None,
        tape: Any = None,
        work: Any = None,
        layers: bool = False,
    ):
        self.step, self.loss, self.model, self.optimizer = step, loss, model, optimizer
        self.results, self.layers = results, layers
        self._names, self._losses, self._is_mean = names or {}, losses or [], is_mean
        self.parameters = parameters_of(model, optimizer, self._any_values())
        self.before: Observation | None = None
        self.initial: Mapping[str, Array] = {}
        #: what an instrument keeps of this training from one step to the next, by its name
        self.memory: dict[str, Any] = {}
        self._was_mean = True
        self._spare: Mapping[str, Array] | None = None
        #: path of a module -> its kind and what it gave, of activations that the record has
        self.activations = activations or {}
        #: the tape of the sweep, where an instrument asked for it
        self.tape = tape
        #: what the sweep was part of, if it is known: it tells whose threads multiply
        self.work = work
        #: tables that instruments have made, by their names
        self.tables: dict[str, ByParameter[Any]] = {}
        #: the parameters' arrays now, of a step that is kept
        self.arrays: dict[str, Array] = {}
        #: what the gradients of samples add up to, of a step that is kept
        self.traces: dict[str, Trace] = {}

    def follow(
        self,
        before: Observation | None,
        initial: Mapping[str, Array],
        memory: dict[str, Any],
        was_mean: bool,
        spare: Mapping[str, Array] | None = None,
    ) -> None:
        """Take in what was kept of the training until now.

        `spare` arrays are written into, if the next step needs what this one is; else it is None.
        """
        self.before, self.initial, self.memory = before, initial, memory
        self._was_mean, self._spare = was_mean, spare

    # -- values of quantities ------------------------------------------------------------------

    def _any_values(self) -> Any:
        return next((v for v in self.results.values() if hasattr(v, "knows_tensors")), None)

    def value(self, quantity: str) -> Any:
        """What the sweep gave for a quantity. Raises `NotMeasured` where it was left out."""
        for name in (quantity, self._names.get(quantity, quantity)):
            if name not in self.results:
                continue
            found = self.results[name]
            if not found and getattr(found, "absent", None):
                why = next(iter(found.absent.values()))
                said = "the gradient of a sample" if quantity == SampleGradients.name else quantity
                raise NotMeasured(why.replace(name, said))
            return found
        raise NotMeasured(
            f"the results lack {quantity!r}: ask the sweep for instruments.quantities"
        )

    def by_parameter(self, quantity: str) -> dict[str, Any]:
        """A quantity's values by the names of `parameters`, of those that have one."""
        values = self.value(quantity)
        found = {}
        for name, tensor in self.parameters.items():
            value = values.get(tensor) if getattr(values, "knows_tensors", False) else None
            value = values.get(name) if value is None else value
            if value is not None:
                found[name] = value
        return found

    @cached_property
    def gradients(self) -> dict[str, Array]:
        """The gradient of the objective by each parameter."""
        if "grad" in self.results or "grad" in self._names:
            return self.by_parameter("grad")
        return {name: of.gradient() for name, of in self.samples.items()}

    @cached_property
    def gradient_squares(self) -> ByParameter[float]:
        """The squared norm of the gradient by each parameter."""
        gradients = self.gradients
        return ByParameter(gradients, lambda name: squared_norm(gradients[name]))

    def gradient(self, name: str) -> Array:
        """The gradient of the objective by a parameter."""
        return self.gradients[name]

    # -- single samples ------------------------------------------------------------------------

    @cached_property
    def samples(self) -> dict[str, OfParameter]:
        """The samples' gradients by each parameter, which `scale` makes `g_n`."""
        return self.by_parameter(SampleGradients.name)

    @cached_property
    def count(self) -> int:
        """The number of samples, B."""
        return next((of.samples for of in self.samples.values()), 0)

    @property
    def has_samples(self) -> bool:
        """Whether samples have gradients of their own here, and the sweep was asked for them."""
        try:
            return bool(self.samples)
        except NotMeasured:
            return False

    def require_samples(self, least: int = 1) -> None:
        """Raise `NotMeasured` where there are fewer samples."""
        if self.count < least:
            raise NotMeasured(f"it is of {least} samples or more, and the batch has {self.count}")

    @cached_property
    def is_mean(self) -> bool:
        """Whether the objective is a mean over samples, and no sum.

        Where the losses do not tell, it is what it was when they last did.
        """
        if self._is_mean is not None:
            return self._is_mean
        if not self.tells_mean:
            return self._was_mean
        return not on_host(self._known_losses[-1].sums).any()

    @cached_property
    def tells_mean(self) -> bool:
        """Whether the losses tell a mean from a sum.

        A single one that is not zero, as where targets of all others are ignored, has the weight 1
        in both.
        """
        known = self._known_losses
        return bool(known) and int(np.count_nonzero(on_host(known[-1].shares))) > 1

    @property
    def _known_losses(self) -> list[Any]:
        return [losses for losses in self._losses if losses is not None]

    @cached_property
    def scale(self) -> float:
        """`g_n` over the sample's share of the gradient: B of a mean, 1 of a sum."""
        return float(self.count) if self.is_mean else 1.0

    @cached_property
    def share(self) -> float:
        """The mean of the losses over the objective: 1 of a mean, 1 / B of a sum."""
        return 1.0 if self.is_mean else 1 / max(1, self.count)

    @cached_property
    def mean_loss(self) -> float:
        """The mean of the samples' losses."""
        return float(on_host(raw(self.loss))) * self.share

    @cached_property
    def losses(self) -> np.ndarray | None:
        """`[B]`, the losses `l_n`; None where they are not known."""
        if not self._losses or any(losses is None for losses in self._losses):
            return None
        found = [on_host(losses.shares) for losses in self._losses]
        return np.concatenate([each * (len(each) if self.is_mean else 1) for each in found])

    @cached_property
    def gradients_of_samples(self) -> dict[str, Array]:
        """The gradients that are sums over samples alone, without a penalty."""
        if "samples" not in vars(self):
            return {}
        return {
            name: self.gradients[name]
            for name, of in self.samples.items()
            if not of.has_penalty and name in self.gradients
        }

    @cached_property
    def totals(self) -> ByParameter[Array]:
        """`sum_n` of the samples' shares, in the order of their elements."""
        known, samples = self.gradients_of_samples, self.samples

        def total_of(name: str) -> Array:
            of = samples[name]
            return of.stored(known[name]) if name in known else of.total()

        return ByParameter(samples, total_of)

    @cached_property
    def squared_norms(self) -> ByParameter[np.ndarray]:
        """`[B]`, `|g_n|^2` by each parameter."""
        samples, scale = self.samples, self.scale**2
        return OfSamples(
            samples,
            lambda name: on_host(samples[name].squared_norms()) * scale,
            lambda _: SquaredNorms,
            lambda parts: np.concatenate(parts, dtype=np.float64) * scale,
        )

    @cached_property
    def mean_squares(self) -> ByParameter[float]:
        """`|g|^2` by each parameter."""
        known, share = self.gradients_of_samples, self.share**2
        squares, totals = self.gradient_squares, self.totals

        def mean_square(name: str) -> float:
            return (squares[name] if name in known else squared_norm(totals[name])) * share

        return ByParameter(self.samples, mean_square)

    @cached_property
    def dots(self) -> ByParameter[np.ndarray]:
        """`[B]`, `<g_n, g>` by each parameter."""
        samples, totals, scale = self.samples, self.totals, self.scale * self.share
        return OfSamples(
            samples,
            lambda name: on_host(samples[name].dots_with_total(totals[name])) * scale,
            lambda name: partial(Dots, totals[name].reshape(-1)),
            lambda parts: np.concatenate(parts, dtype=np.float64) * scale,
        )

    @cached_property
    def array_squares(self) -> OfSamples[Array, Array]:
        """`[P]`, `sum_n` of the squared shares, of samples that have arrays, in their order."""
        samples = self.samples
        return OfSamples(
            samples,
            lambda name: samples[name].sum_of_squares(),
            lambda _: SumsOfSquares,
            lambda parts: sum(parts[1:], parts[0]),
            [name for name, of in samples.items() if of.array is not None],
        )

    @cached_property
    def sums_of_squares(self) -> ByParameter[Array]:
        """`sum_n g_n^2`, element by element, in the order of `totals`."""
        samples, known, scale = self.samples, self.array_squares, self.scale**2

        def squares_of(name: str) -> Array:
            return (known[name] if name in known else samples[name].sum_of_squares()) * scale

        return ByParameter(samples, squares_of)

    # -- the step before -----------------------------------------------------------------------

    @cached_property
    def travelled(self) -> ByParameter[Travelled]:
        """How far each parameter has come. Those that the next step needs are copied with it."""
        before = self.before.arrays if self.before is not None else {}

        def travelled_by(name: str) -> Travelled:
            array = raw(self.parameters[name])
            copy = self._room(name, array)
            if copy is not None:
                self.arrays[name] = copy
            return travelled(array, before.get(name), self.initial.get(name), copy)

        return ByParameter(self.parameters, travelled_by)

    def _room(self, name: str, array: Array) -> Array | None:
        """Where a parameter is copied to on the host."""
        if self._spare is None or type(array) is not np.ndarray:
            return None
        there = self._spare.get(name)
        if there is None or there.shape != array.shape or there.dtype != array.dtype:
            there = np.empty(array.shape, array.dtype)
        return there

    def update(self, name: str) -> Array:
        """What the step before added to a parameter."""
        assert self.before is not None
        return widened(raw(self.parameters[name])) - widened(self.before.arrays[name])

    @cached_property
    def update_squares(self) -> ByParameter[float]:
        """The squared norm of what the step before added to each parameter that it knew."""
        known = self.before.arrays if self.before is not None else {}
        names = [name for name in self.parameters if name in known]
        travelled = self.travelled
        return ByParameter(names, lambda name: travelled[name].update)

    @cached_property
    def along_gradient(self) -> ByParameter[float | None]:
        """c of each parameter to which the step before added `c g`, g its mean gradient, else None.

        Of plain gradient descent, and where the gradient has not been clipped or scaled in place.
        """
        before, squares = self.before, self.update_squares

        def factor_of(name: str) -> float | None:
            assert before is not None
            trace = before.traces.get(name)
            if trace is None:
                return None
            now, was = raw(self.parameters[name]), before.arrays[name]
            factor = factor_of_trace(now, was, squares[name], trace)
            if factor is None and trace.factor is None:
                factor = factor_of_gradient(now, was, before.gradients[name], trace)
            return None if factor is None else factor / before.share

        return ByParameter(squares, factor_of)

    @cached_property
    def slopes_before(self) -> ByParameter[np.ndarray]:
        """`[B]`, `g_n . s` where the step s before began."""
        before, along = self.before, self.along_gradient
        assert before is not None
        samples, dots, scale = before.samples, before.dots, before.scale

        def slopes_of(name: str) -> np.ndarray:
            factor = along[name]
            if factor is not None:
                return factor * dots[name]
            of = samples[name]
            return on_host(of.dots(of.stored(self.update(name)))) * scale

        return ByParameter([name for name in samples if name in along], slopes_of)

    @cached_property
    def slopes(self) -> ByParameter[np.ndarray]:
        """`[B]`, `g_n . s` where the step s before ended."""
        before, along = self.before, self.along_gradient
        assert before is not None
        was, scale, share = before.samples, self.scale, before.share
        is_kept = self._spare is not None  # and then the next step begins here
        samples = {name: of for name, of in self.samples.items() if name in along}

        def slopes_of(name: str) -> np.ndarray:
            of, factor = samples[name], along[name]
            if factor is not None and name in was:
                pairs = of.dots_with_total_of(was[name], with_own=is_kept)
                if pairs is not None:
                    return on_host(pairs) * (factor * scale * share)
            return on_host(of.dots(of.stored(self.update(name)))) * scale

        return OfSamples(
            samples,
            slopes_of,
            lambda name: partial(Dots, samples[name].stored(self.update(name)).reshape(-1)),
            lambda parts: np.concatenate(parts, dtype=np.float64) * scale,
        )

    def keep(self, needs_samples: bool, rates: Mapping[int, float]) -> Observation:
        """What the next step needs of this one.

        `rates` are those of plain gradient descent, by the identity of tensors.
        """
        for name, p in self.parameters.items():
            if name not in self.arrays:
                self.arrays[name] = raw(p).copy()
        if needs_samples:
            _ = self.mean_loss  # before gradients are clipped
            for name, gradient in self.gradients_of_samples.items():
                rate = rates.get(id(self.parameters[name]))
                squares = self.mean_squares[name] / self.share**2
                self.traces[name] = Trace.of(gradient, squares, None if rate is None else -rate)
            self.samples = {name: of.kept() for name, of in self.samples.items()}
        else:
            self.__dict__.pop("samples", None)
        for table in ("travelled", "update_squares", "along_gradient", "slopes_before", "slopes"):
            self.__dict__.pop(table, None)  # they hold the step before
        for table in ("array_squares", "sums_of_squares"):
            self.__dict__.pop(table, None)  # they are as large as the parameters
        self.results, self.before, self.model, self.tape = {}, None, None, None
        self.work = None
        # what holds the model: a training that is over lets it go
        self.loss, self.optimizer, self.parameters = None, None, {}  # type: ignore[assignment]
        self.activations, self.memory, self._spare, self.tables = {}, {}, None, {}
        return self


def parameters_of(model: Any, optimizer: Any, values: Any) -> dict[str, Tensor]:
    """The parameters that want a gradient by name, each once: the model's, else the optimiser's."""
    named = getattr(model, "named_parameters", None)
    if named is not None:
        found = dict(named())
    else:
        found = {}
        for group in getattr(optimizer, "param_groups", ()):
            names = group.get("param_names") or [p.name for p in group["params"]]
            for name, parameter in zip(names, group["params"], strict=True):
                found[name or f"parameter {len(found)}"] = parameter
    if not found and values is not None:
        found = {name: leaf for name, leaf in values.items() if isinstance(leaf, Tensor)}
    wanted = {}
    for name, parameter in found.items():
        if getattr(parameter, "requires_grad", True):
            wanted[name] = parameter
    return wanted


def squared_norm(array: Array) -> float:
    """The squared Euclidean norm of an array."""
    flat = widened(array).reshape(-1)
    found = compiled().visit(flat[None]) if flat.size >= MANY else None
    return float(on_host(flat @ flat) if found is None else found.norms[0])


def total(values: Mapping[str, Any]) -> Any:
    """The sum over parameters."""
    return sum(values.values())


def over_layers(
    observation: Observation, values: Mapping[str, Any], combine: Callable[[Mapping[str, Any]], Any]
) -> Any:
    """The value of all parameters together and, with `layers=True`, that of each."""
    whole = combine(values)
    if not observation.layers:
        return whole
    return {"": whole, **{name: combine({name: value}) for name, value in values.items()}}


def root(values: Mapping[str, float]) -> float:
    """The square root of the sum over parameters."""
    return math.sqrt(total(values))


def ratio_root(above: float, below: float) -> float:
    """`sqrt(above / below)`; rounding makes nothing negative, and zero over zero is NaN."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.maximum(np.float64(above), 0) / np.float64(below)))
