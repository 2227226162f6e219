"""What plugins provide to watch a training: instruments, and sinks of what is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracer.blame import place
from tracer.errors import PluginError

#: a step, seconds since the run began, a name, and a number or an array
Point = tuple[int, float, str, Any]


class Instrument:
    """Something that is measured at steps of a training, in the sweep of the gradient.

    `chart` says how it is drawn, as `tracer_experiments.Chart` does. `replaces` is the name, if
    another plugin has it and this one is to stand in its place. An instrument is made without
    arguments where its name is asked for; it may keep what it needs from one step to the next.
    """

    name: str
    replaces: str | tuple[str, ...] = ()
    chart: Any = None
    #: whether it measures the step before, of which its observation then has `before`
    late = False
    #: of a late one, whether it needs the samples' gradients of the step before
    needs_samples_before = False
    #: whether it needs the parameters as they were at the first step, `observation.initial`
    needs_initial = False

    def quantities(self, step: int) -> Sequence[Any]:
        """What the sweep of a step has to compute: names of quantities, or configured ones."""
        return ()

    def of_each(self, observation: Any) -> Sequence[Any]:
        """Tables of the observation's that it reads: these are made first, on several threads."""
        return ()

    def measure(self, observation: Any) -> Any:
        """The value at a step, from a `tracer_experiments.Observation`.

        A number, a `Late` one, a `Histogram`, or several of these in a dictionary, by what they are
        of; None where there is none at this step.
        """
        raise NotImplementedError("an instrument defines measure")


class Sink:
    """Where runs are written to besides the database of a recorder, beside which `folder` is.

    Called by the thread that writes, with what was logged since it wrote last. `replaces` is the
    name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()

    def __init__(self, folder: Path):
        self.folder = folder

    def begin(self, run: Mapping[str, Any]) -> None:
        """A run begins: its `id`, `name`, `group`, `config` and `environment`."""

    def write(self, run: int, points: Sequence[Point]) -> None:
        """Write points of a run, in the order in which they were logged."""
        raise NotImplementedError("a sink defines write")

    def finish(self, run: int, status: str) -> None:
        """A run ends: "finished", "failed", ..."""

    def close(self) -> None:
        """Nothing more is written."""


def check_instrument(kind: type[Instrument]) -> None:
    """Raise `PluginError` for an instrument that measures nothing."""
    if kind.measure is Instrument.measure:
        raise PluginError(
            f"the instrument {kind.name!r} does not define measure(observation) ({place(kind)})"
        )


def check_sink(kind: type[Sink]) -> None:
    """Raise `PluginError` for a sink that writes nothing."""
    if kind.write is Sink.write:
        raise PluginError(
            f"the sink {kind.name!r} does not define write(run, points) ({place(kind)})"
        )
