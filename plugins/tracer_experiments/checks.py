"""What `trace-net check` does with instruments, sinks and samplers of a plugin."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn
from tracer.errors import TracerError, UndefinedWarning
from tracer.extend import Choices, Instrument, Range, Sampler, Sink
from tracer.testing import Report
from tracer_experiments.instruments import Instruments
from tracer_experiments.instruments.observation import NotMeasured
from tracer_experiments.recorder import Recorder
from tracer_experiments.values import Late
from tracer_training import SGD

#: steps of the training that an instrument is tried on
STEPS = 4
NO_DEFINITION = "what its values are to be, nobody can say here"


def check_instrument(kind: type[Instrument]) -> Report:
    """Train a small network with an instrument, and record what it says.

    Raises `AssertionError` where its values are nothing that a run records, or where it has no
    chart that a plot understands.
    """
    title = f"instrument {kind.name!r}"
    try:
        names = _tried(kind)
    except (NotMeasured, UndefinedWarning) as reason:
        return Report({}, {"values": str(reason)}, is_defined=False)
    except (TracerError, AttributeError, TypeError, ValueError) as error:
        raise AssertionError(f"{title}: {type(error).__name__}: {error}") from error
    missing = {"definition": NO_DEFINITION}
    if not names:
        missing["values"] = f"it has none at {STEPS} steps of a small network"
    elif kind.chart is None:
        missing["chart"] = "it has no chart: plots call it by its name"
    made = {"values": f"recorded at {STEPS} steps of a small network, and read"}
    return Report(made if names else {}, missing, is_defined=False)


def _tried(kind: type[Instrument]) -> list[str]:
    """The names of the series that an instrument records in a short training."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        *(nn.Linear(4, 5, rng=rng), nn.Tanh(), nn.Linear(5, 5, rng=rng), nn.ReLU()),
        nn.Linear(5, 3, rng=rng),
    )
    optimizer = SGD(model.parameters(), lr=0.1)
    instruments = Instruments([kind], layers=True)
    with tempfile.TemporaryDirectory() as folder, Recorder(folder) as recorder:
        run = recorder.run("check")
        instruments.describe(run)
        for step in range(STEPS):
            x, y = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            asked = (*optimizer.quantities, *instruments.quantities(step))
            results = tape.backward(loss, asked, rng=rng)
            with warnings.catch_warnings():
                warnings.simplefilter("error", UndefinedWarning)
                values = instruments.measure(
                    step, results, loss=loss, model=model, optimizer=optimizer
                )
            run.log(step, **values)
            optimizer.step(results)
        return list(run.names())


def check_sink(kind: type[Sink]) -> Report:
    """Record runs of values of every kind into a sink, in a folder of its own.

    Raises `AssertionError` where a method raises, or where it writes beside its folder.
    """
    title = f"sink {kind.name!r}"
    with tempfile.TemporaryDirectory() as place:
        try:
            sink = kind(Path(place) / "sink")
        except TracerError as reason:  # as where a package is not there
            return Report({}, {"all": str(reason)}, is_defined=False)
        with warnings.catch_warnings(), Recorder(Path(place) / "runs", [sink]) as recorder:
            warnings.simplefilter("error")
            for name in ("first", "<b>\n/../second"):
                _recorded(recorder.run(name, {"lr": 0.1, "name": name}), title)
        beside = {path.name for path in Path(place).iterdir()} - {"sink", "runs"}
        if beside:
            raise AssertionError(f"{title} writes beside its folder: {beside}")
    return Report(
        {"values": "numbers, NaN, histograms, late values, images of two runs, written"},
        {"content": "what it is to write, nobody can say here"},
        is_defined=False,
    )


def _recorded(run: Any, title: str) -> None:
    try:
        for step in range(3):
            run.log(step, loss=1 / (step + 1), nan=np.nan, weights=np.arange(5.0))
            run.log(step, late=Late(0.5, step - 1))
        run.image("image", np.zeros((2, 2)), 0)
        run.flush()
        run.finish()
    except Warning as warning:
        raise AssertionError(f"{title}: {warning}") from warning


def check_sampler(kind: type[Sampler]) -> Report:
    """Ask a sampler for trials twice. Raises `AssertionError` where they differ or are outside."""
    title = f"sampler {kind.name!r}"
    space: Mapping[str, Any] = {"optimizer": Choices(("sgd", "adamw")), "lr": Choices(("0.1", "1"))}
    drawn: Mapping[str, Any] = {**space, "momentum": Range(0.0, 0.9)}
    found = []
    for _ in range(2):
        try:
            sampler = _made(kind, drawn, space)
        except TracerError as reason:  # as where a package is not there
            return Report({}, {"all": str(reason)}, is_defined=False)
        found.append(_trials(sampler))
    for trial in found[0]:
        if set(trial) != set(sampler.space):
            raise AssertionError(f"{title} gives {trial}, where {list(sampler.space)} are settings")
        for name, values in space.items():
            if trial[name] not in values.values:
                raise AssertionError(f"{title} gives {name}={trial[name]}, of {values.values}")
    if found[0] != found[1]:
        raise AssertionError(f"{title} gives other trials when it is asked again: {found}")
    return Report(
        {"trials": "four in its space, the same when asked again"},
        {"choice": "whether it chooses well, nobody can say here"},
        is_defined=False,
    )


def _made(kind: type[Sampler], drawn: Mapping[str, Any], space: Mapping[str, Any]) -> Sampler:
    """A sampler of a space with a range, or of one without, where it takes none."""
    try:
        return kind(drawn, 0, 4, True)
    except TracerError:
        return kind(space, 0, 4, True)


def _trials(sampler: Sampler) -> list[dict[str, str]]:
    """The first trials of a sampler, which is told of each."""
    trials = []
    for number in range(4):
        asked = sampler.ask(number)
        if asked is None:
            break
        sampler.tell(number, asked, 1.0 / (number + 1))
        trials.append(asked)
    return trials
