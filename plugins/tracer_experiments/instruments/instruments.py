"""Instruments of a training: what its sweeps are asked for, and what is made of the results."""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np

from tracer import Tensor, registry
from tracer.errors import TracerError, UndefinedWarning, suggestion
from tracer.extend import (
    Instrument,
    Overlay,
    Quantity,
    Work,
    begin_work,
    end_work,
    is_users,
    raw,
)
from tracer_experiments.charts import Chart
from tracer_experiments.instruments.activations import Activations
from tracer_experiments.instruments.by_parameter import ByParameter, make_ahead, visit_ahead
from tracer_experiments.instruments.following import Following, followed
from tracer_experiments.instruments.observation import NotMeasured, Observation, parameters_of
from tracer_experiments.instruments.presets import PRESETS
from tracer_experiments.instruments.registered import VALUES, OfOverlay, OfQuantity, Recorded
from tracer_experiments.instruments.sample_gradients import SampleGradients
from tracer_experiments.instruments.steps import rates_of

__all__ = ["Instruments"]

#: what instruments are made of, by name
_KNOWN = (registry.instruments, registry.quantities, registry.overlays)
#: what quantities are called in a sweep that an optimiser may ask for the same
PREFIX = "instruments: "


class Instruments:
    """Measures a training at its steps, in the sweeps of its gradients.

    ```python
    instruments = experiments.Instruments("economy")
    results = tape.backward(loss, (*optimizer.quantities, *instruments.quantities(step)))
    values = instruments.measure(step, results, loss=loss, model=model, optimizer=optimizer)
    run.log(step, **values)
    optimizer.step(results)
    ```

    `which` is a preset ("economy", "business", "full", "all"), or a list of names of instruments,
    of registered quantities and overlays, and of such objects themselves. They measure at every
    step that is a multiple of `every`, or for which that function of the step is true; those that
    are known one step late need the step after it, too. With `layers=True` there is a value of each
    parameter besides, named as "GradNorm/0.weight". `curvature` is the quantity of HessTrace and
    the TICs, by default "diag_ggn_mc" and, in "all", "diag_h". Whether the objective is a mean over
    samples or a sum is what its record shows, unless `mean` says so.

    What cannot be measured, as what is of single samples where batch normalisation mixes them, or
    where nothing tells a mean from a sum, is left out with one warning. Raises `TracerError` for
    what is no instrument.
    """

    def __init__(
        self,
        which: str | Iterable[Any] = "economy",
        every: int | Callable[[int], bool] = 1,
        *,
        layers: bool = False,
        curvature: Any = None,
        mean: bool | None = None,
    ):
        if not callable(every) and (isinstance(every, bool) or not every >= 1):
            raise TracerError(f"every is a number of steps from 1, or a function, got {every!r}")
        if curvature is None:
            curvature = "diag_h" if which == "all" else "diag_ggn_mc"
        self.every, self.layers, self.mean = every, layers, mean
        self._shared: dict[type, Any] = {}
        self.instruments: dict[str, Instrument] = {}
        for each in _listed(which):
            instrument = self._made(each, curvature)
            if instrument.name in self.instruments:
                raise TracerError(f"the instrument {instrument.name!r} is asked for twice")
            self.instruments[instrument.name] = instrument
        self._told: set[tuple[str, str]] = set()
        #: runs that are told how series are drawn, and of which they were told
        self._runs: list[tuple[Any, set[str]]] = []
        self._asked: tuple[int, dict[str, Quantity]] | None = None
        self._trainings: list[Following] = []
        #: whether the loop asks for the gradient itself, as far as was seen
        self._has_gradient = True

    def __repr__(self) -> str:
        return f"Instruments([{', '.join(map(repr, self.instruments))}])"

    def _made(self, given: Any, curvature: Any) -> Instrument:
        """An instrument from its name, class or itself."""
        if isinstance(given, Quantity) or (isinstance(given, type) and issubclass(given, Quantity)):
            return OfQuantity(given)
        if isinstance(given, Overlay):
            return OfOverlay(given)
        if isinstance(given, str) and given not in registry.instruments:
            if given in registry.quantities:
                return OfQuantity(given)
            if given in registry.overlays:
                return OfOverlay(given)
            registry.instruments[given]  # raises, with what is known
        kind = registry.instruments[given] if isinstance(given, str) else given
        if isinstance(kind, type) and issubclass(kind, Instrument):
            takes = inspect.signature(kind).parameters
            options = {"curvature": curvature} if "curvature" in takes else {}
            if "spectrum" in takes and (shared := getattr(kind, "shares", None)) is not None:
                options["spectrum"] = self._shared.setdefault(shared, shared())
            return kind(**options)
        if not isinstance(kind, Instrument):
            raise TracerError(
                f"an instrument is a name, as 'GradNorm', a registered quantity, or an Instrument, "
                f"got {given!r}"
            )
        return kind

    # -- when ----------------------------------------------------------------------------------

    def is_due(self, step: int) -> bool:
        """Whether instruments measure this step."""
        return bool(self.every(step)) if callable(self.every) else step % self.every == 0

    def _due(self, step: int) -> list[Instrument]:
        """The instruments that look at a step: for itself, or as the end of the one before."""
        here, ends = self.is_due(step), step > 0 and self.is_due(step - 1)
        return [i for i in self.instruments.values() if here or (ends and i.late)]

    # -- a step --------------------------------------------------------------------------------

    def quantities(self, step: int) -> tuple[Quantity, ...]:
        """What the sweep of a step is asked for besides what the optimiser needs."""
        asked: dict[str, Quantity] = {}
        for instrument in self._due(step):
            for each in instrument.quantities(step):
                quantity = _quantity(each)
                if quantity.name not in asked:
                    asked[quantity.name] = quantity
        if self._has_gradient:
            asked.pop("grad", None)
        for name, quantity in asked.items():
            asked[name] = quantity = copy.copy(quantity)
            quantity.name, quantity.dispensable = PREFIX + name, True
        if SampleGradients.name in asked:
            asked[SampleGradients.name].renew()  # type: ignore[attr-defined]
        self._asked = (step, asked)
        return tuple(asked.values())

    def measure(
        self,
        step: int,
        results: Mapping[str, Any],
        *,
        loss: Tensor,
        model: Any = None,
        optimizer: Any = None,
    ) -> dict[str, Any]:
        """What the instruments say, by name, for `run.log(step, **values)`.

        To be called before the optimiser steps. `results` are those of a sweep that was asked for
        `quantities(step)`. `Late` values belong to the step before.
        """
        self._has_gradient = "grad" in results
        due = self._due(step)
        self._runs = [each for each in self._runs if getattr(each[0], "ended", None) is None]
        if not due:
            for each in self._trainings:
                each.before, each.at_step = None, None
            return {}
        asked = self._asked[1] if self._asked is not None and self._asked[0] == step else {}
        samples = asked.get(SampleGradients.name)
        observation = Observation(
            step,
            results,
            loss,
            model,
            optimizer,
            names={name: quantity.name for name, quantity in asked.items()},
            losses=getattr(samples, "losses", None),
            tape=getattr(asked.get(Recorded.name), "tape", None),
            work=getattr(samples, "work", None),
            activations=getattr(asked.get(Activations.name), "found", None),
            is_mean=self.mean,
            layers=self.layers,
        )
        training = followed(self._trainings, observation.parameters)
        if any(i.needs_initial for i in due):
            training.note_initial(observation.parameters)
        observation.follow(
            training.step_before(step),
            training.initial if self.is_due(step) else {},
            training.memory,
            training.is_mean,
            training.spare if self._is_kept(step) else None,
        )
        with _at(observation.work):
            values = self._values(due, observation)
        if observation.tells_mean and _is_known(observation):
            training.is_mean = observation.is_mean
        training.before = self._kept(step, observation, training)
        return values

    def _values(self, due: Iterable[Instrument], observation: Observation) -> dict[str, Any]:
        values: dict[str, Any] = {}
        missing: dict[str, list[str]] = {}
        here = self.is_due(observation.step)
        has_before = observation.before is not None or observation.step == 0
        due = [i for i in due if (has_before if i.late else here)]
        self._make_ahead(due, observation)
        for instrument in due:
            try:
                with np.errstate(all="ignore"):  # what is not finite is a value like others
                    found = instrument.measure(observation)
            except (NotMeasured, TracerError) as reason:
                missing.setdefault(str(reason), []).append(instrument.name)
                continue
            except Exception as error:  # a training does not stop for what looks at it
                missing.setdefault(_raised(error), []).append(instrument.name)
                continue
            values |= self._named(instrument, found)
        self._tell(missing)
        return values

    def _make_ahead(self, due: Iterable[Instrument], observation: Observation) -> None:
        """Make what instruments read of each parameter, where that is for several threads.

        It is beside convolutions, which blocks on our threads go with. Elsewhere those of linear
        algebra go on spinning after products, and a second one of ours would wait for them.
        """
        if observation.work is None:
            return
        tables: dict[int, ByParameter[Any]] = {}
        for instrument in due:
            with contextlib.suppress(Exception):  # which measuring tells
                tables |= {id(table): table for table in instrument.of_each(observation)}
        samples = observation.samples if observation.has_samples else {}
        with np.errstate(all="ignore"):
            if observation.work.blocks:
                arrays = {name: raw(p) for name, p in observation.parameters.items()}
                make_ahead(list(tables.values()), arrays, samples)
            else:
                visit_ahead(list(tables.values()), samples)

    def _is_kept(self, step: int) -> bool:
        """Whether the next step looks back at this one."""
        return self.is_due(step) and any(i.late for i in self.instruments.values())

    def _kept(self, step: int, observation: Observation, training: Following) -> Observation | None:
        """What the next step needs of this one."""
        if not self._is_kept(step):
            return None
        late = [i for i in self.instruments.values() if i.late]
        samples = any(i.needs_samples_before for i in late) and _is_known(observation)
        training.spare = {} if observation.before is None else observation.before.arrays
        rates = rates_of(observation.optimizer)
        return observation.keep(samples and observation.has_samples, rates)

    def _named(self, instrument: Instrument, found: Any) -> dict[str, Any]:
        """Values by the names of series."""
        if found is None:
            return {}
        values = found if isinstance(found, dict) else {"": found}
        named = {
            f"{instrument.name}/{key}" if key else instrument.name: value
            for key, value in values.items()
        }
        for run, known in self._runs:
            for name in named.keys() - known:
                run.describe(name, chart_of(instrument, name))
                known.add(name)
        return named

    def _tell(self, missing: Mapping[str, list[str]]) -> None:
        """Warn of what is not measured, once."""
        for reason, names in missing.items():
            new = [name for name in names if (name, reason) not in self._told]
            self._told |= {(name, reason) for name in new}
            if new:
                verb = "is" if len(new) == 1 else "are"
                message = f"{', '.join(new)} {verb} not measured: {reason}"
                warnings.warn(message, UndefinedWarning, stacklevel=_users_level())

    # -- a training that goes on ---------------------------------------------------------------

    def state_dict(self, model: Any = None, optimizer: Any = None) -> dict[str, Any]:
        """What a training is resumed with: its parameters where they were first seen."""
        training = followed(self._trainings, parameters_of(model, optimizer, None))
        return {"initial": dict(training.initial)}

    def load_state_dict(
        self, state: Mapping[str, Any], model: Any = None, optimizer: Any = None
    ) -> None:
        """Go on with a training from what `state_dict` gave."""
        parameters = parameters_of(model, optimizer, None)
        followed(self._trainings, parameters).go_on(state["initial"], parameters)

    def describe(self, run: Any) -> None:
        """Tell a run how its series are drawn, those of single parameters as they come."""
        self._runs = [(each, known) for each, known in self._runs if each is not run]
        self._runs.append((run, set(self.instruments)))
        for name, instrument in self.instruments.items():
            run.describe(name, chart_of(instrument, name))


def _is_known(observation: Observation) -> bool:
    """Whether it is known if the objective is a mean over samples or a sum."""
    try:
        _ = observation.is_mean
    except TracerError:
        return False
    return True


@contextlib.contextmanager
def _at(work: Work | None) -> Iterator[None]:
    """Go on with the work of a sweep, whose threads then multiply as they did in it."""
    if work is None:
        yield
        return
    before = begin_work(work)
    try:
        yield
    finally:
        end_work(before)


def _users_level() -> int:
    """The `stacklevel` with which the caller of this function warns at the user's line."""
    frame: Any = sys._getframe(1)
    level = 1
    while frame.f_back is not None and (_is_bundled(frame) or not is_users(frame)):
        frame, level = frame.f_back, level + 1
    return level


def _is_bundled(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return package in ("tracer_experiments", "tracer_training")


def _raised(error: Exception) -> str:
    """What an instrument raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"it raised {type(error).__name__}: {error} ({frames[-1].filename}:{frames[-1].lineno})"


def chart_of(instrument: Instrument, name: str) -> Chart:
    """The chart of a series of an instrument."""
    chart = instrument.chart
    if chart is None:
        chart = Chart(title=instrument.name)
    elif isinstance(chart, Mapping):
        chart = Chart.from_dict(chart)
    _, _, parameter = name.partition("/")
    if not parameter:
        return chart
    changed = {"title": f"{chart.title or instrument.name}, {parameter}"}
    if parameter == VALUES:
        changed |= {"kind": "histogram", "title": f"Values of {instrument.name}"}
    return Chart(**{**chart.to_dict(), **changed})


def _listed(which: str | Iterable[Any]) -> list[Any]:
    if isinstance(which, str):
        if which in PRESETS:
            return list(PRESETS[which])
        if any(which in known for known in _KNOWN):
            return [which]
        raise TracerError(
            f"instruments are a preset ({', '.join(map(repr, PRESETS))}) or a list of names, got "
            f"{which!r}.{suggestion(which, [*PRESETS, *(name for k in _KNOWN for name in k)])}"
        )
    return list(which)


def _quantity(given: Any) -> Quantity:
    """A quantity from its name, class or itself."""
    kind = registry.quantities[given] if isinstance(given, str) else given
    made: Quantity = kind() if isinstance(kind, type) else kind
    return made
