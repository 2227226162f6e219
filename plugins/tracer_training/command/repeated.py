"""The command as a sweep calls it: with other settings each time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer

import tracer
from tracer.errors import TracerError, UsageError, suggestion
from tracer_training.command import folder
from tracer_training.command.settings import (
    Settings,
    check_schedule,
    known_optimizer,
    optimizer_of,
    options_of,
    value_of,
)
from tracer_training.command.tracking import Kept
from tracer_training.command.training import data_of, metrics_of
from tracer_training.kinds import Record, StateDict, Value
from tracer_training.loop.metrics import RECORDED

#: settings of a sweep that are options of the command, and their types
OPTIONS = {
    "epochs": int,
    "optimizer": str,
    "lr": float,
    "batch_size": int,
    "schedule": str,
    "clip_norm": float,
    "precision": str,
}
PRECISIONS = ("float32", "float16")
FORM = "as in --grid lr=0.1,0.01"
#: what begins the name of an argument of the factory in TARGET
OF_MODEL = "model."


class Repeated:
    """The training of a TARGET with settings that a sweep changes: `tracer.extend.Training`.

    Each is made by the command itself, with the same `kept`, `workers` and `device`.
    """

    def __init__(
        self,
        target: tracer.Target,
        settings: Settings,
        kept: Kept,
        workers: int,
        device: str | None,
    ):
        self.target, self.settings = target, settings
        self.rest = [*kept.arguments(), "--workers", str(workers)]
        if device is not None:
            self.rest += ["--device", device]

    def is_of_factory(self, grid: Sequence[str]) -> bool:
        """Whether the model is made with arguments that the sweep gives."""
        return any(text.strip().startswith(OF_MODEL) for text in grid)

    def check(self, settings: Mapping[str, str]) -> None:
        """Raise for names that neither command, nor optimiser, nor factory has, and bad values."""
        made = self._changed(settings)
        check_schedule(made.schedule)
        if made.precision not in PRECISIONS:
            raise UsageError(
                f"{made.precision!r} is no precision", f"there are {', '.join(PRECISIONS)}"
            )
        known = known_optimizer(made.optimizer)
        of_command = [name.replace("_", "-") for name in OPTIONS]
        for name in settings:
            if name == "seed":
                raise UsageError("a sweep counts its seeds", "give --seeds 3 for three of them")
            if name.startswith(OF_MODEL) or _plain(name) in OPTIONS:
                continue
            try:
                options_of(known, None, [f"{name}=0"])
            except typer.BadParameter as error:
                raise UsageError(
                    f"--grid names {name!r}, which is no option of {known.__name__}."
                    f"{suggestion(name, of_command)}",
                    f"there are {', '.join(of_command)}, {OF_MODEL}NAME for an argument of the "
                    f"model's factory, and the options of the optimizer",
                ) from error
        self._text(settings)
        _check_values(made, settings)

    def check_objective(self, name: str) -> None:
        """Raise `UsageError` for what the records of epochs will not have, as far as is known."""
        if not name:
            return
        given, targets = metrics_of(self.target), self.target.targets
        kinds = {getattr(getattr(each, "dtype", None), "kind", "i") for each in targets}
        metrics = list(given) if given is not None else ["accuracy"] * (kinds != {"f"})
        known = [*RECORDED, *metrics]
        if data_of(self.target.defined("datasets"))[1] is not None:
            known += [f"test_{each}" for each in ("loss", *metrics)]
        if name not in known:
            raise UsageError(
                f"--objective names {name!r}, which a training does not have."
                f"{suggestion(name, known)}",
                f"there are {', '.join(known)}",
            )

    def arguments(self, settings: Mapping[str, str], seed: int, folder: Path) -> list[str]:
        """The arguments of `trace-net` for one training."""
        made = replace(self._changed(settings), seed=seed).config()
        found = ["train", self._text(settings), "--run", str(folder), "--resume", *self.rest]
        for option in made.pop("option"):
            found += ["--option", option]
        for name, value in made.items():
            if value is not None:
                found += [f"--{name.replace('_', '-')}", str(value)]
        return found

    def outcome(self, folder_of_run: Path) -> Record | None:
        """The record of the last epoch of a training that is over."""
        return folder.outcome_in(folder_of_run)

    def _changed(self, settings: Mapping[str, str]) -> Settings:
        """The settings of the command with these in their place."""
        changes: StateDict = {}
        for name, text in settings.items():
            key = _plain(name)
            if key in OPTIONS:
                changes[key] = _typed(name, text, OPTIONS[key])
        own = {_plain(name): f"{_plain(name)}={text}" for name, text in settings.items()
               if not name.startswith(OF_MODEL) and _plain(name) not in OPTIONS}  # fmt: skip
        before = [o for o in self.settings.option if _plain(o.partition("=")[0]) not in own]
        return replace(self.settings, option=(*before, *own.values()), **changes)

    def _text(self, settings: Mapping[str, str]) -> str:
        """The TARGET, with the arguments of its factory."""
        given = {
            name.removeprefix(OF_MODEL): value_of(text)
            for name, text in settings.items()
            if name.startswith(OF_MODEL)
        }
        return self.target.with_arguments(given) if given else self.target.text


def _check_values(made: Settings, settings: Mapping[str, str]) -> None:
    """Raise `UsageError` for values that no training could be begun with."""
    for name, value in (("epochs", made.epochs), ("batch-size", made.batch_size)):
        if value < 1:
            raise UsageError(f"{name} is a whole number from 1, got {value}", FORM)
    if made.clip_norm is not None and not made.clip_norm > 0:
        raise UsageError(f"clip-norm is a number above 0, got {made.clip_norm}", FORM)
    try:
        some = tracer.parameter(np.zeros((2, 2), np.float32), "p")
        optimizer_of(made.optimizer, [some], made.lr, made.option)
    except TracerError as error:
        typed = " ".join(f"{name}={text}" for name, text in settings.items())
        raise UsageError(f"{typed}: {error}" if typed else str(error), FORM) from error


def _plain(name: str) -> str:
    return name.strip().replace("-", "_")


def _typed(name: str, text: str, kind: type) -> Value:
    """What an option of the command takes, of a text."""
    try:
        value = kind(text)
        if kind is not float or math.isfinite(value):
            return value
    except ValueError:
        pass
    what = "a whole number" if kind is int else "a number"
    raise UsageError(f"{name} is {what}, got {text!r}", FORM)
