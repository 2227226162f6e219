"""The settings of a training as they are typed: optimiser, its options, schedule."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

from tracer.errors import suggestion
from tracer_training import curvature, optimizers, schedules
from tracer_training.kinds import StateDict, Value
from tracer_training.optimizers import Optimizer

#: what `--optimizer` takes, in lower case
OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): kind
    for room in (optimizers, curvature)
    for name in room.__all__
    if isinstance(kind := getattr(room, name), type)
    and issubclass(kind, Optimizer)
    and kind is not Optimizer
}
#: what `--schedule` takes
SCHEDULES = ("constant", "cosine", "linear", "one-cycle")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a training is begun with, and goes on with."""

    epochs: int
    optimizer: str
    lr: float | None
    option: tuple[str, ...]
    batch_size: int
    schedule: str
    clip_norm: float | None
    precision: str
    seed: int
    #: of each batch, where several processes train together
    parts: int | None = None

    def config(self) -> StateDict:
        """The settings for JSON; `parts` only where there are."""
        found = asdict(self) | {"option": list(self.option)}
        return {key: value for key, value in found.items() if key != "parts" or value is not None}


def known_optimizer(name: str) -> type[Optimizer]:
    """An optimiser's class by its name in any case."""
    known = OPTIMIZERS.get(name.lower())
    if known is None:
        raise typer.BadParameter(
            f"{name!r} is no optimizer.{suggestion(name.lower(), OPTIMIZERS)} "
            f"There are: {', '.join(OPTIMIZERS)}",
            param_hint="--optimizer",
        )
    return known


def options_of(known: type[Optimizer], lr: float | None, given: Sequence[str]) -> StateDict:
    """The arguments of an optimiser, from `name=value`."""
    options: StateDict = {} if lr is None else {"lr": lr}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--option")
        options[key.strip().replace("-", "_")] = value_of(value)
    takes = [key for key in inspect.signature(known).parameters if key != "params"]
    for key in options:
        if key not in takes:
            raise typer.BadParameter(
                f"{known.__name__} has no option {key!r}.{suggestion(key, takes)} "
                f"It has: {', '.join(takes)}",
                param_hint="--option",
            )
    return options


def optimizer_of(
    name: str, parameters: Iterable[Any], lr: float | None, given: Sequence[str]
) -> Optimizer:
    """An optimiser by its name in any case, with options `name=value`."""
    known = known_optimizer(name)
    return known(parameters, **options_of(known, lr, given))


def value_of(text: str) -> Value:
    """A number, a boolean, None, or several with commas between, as in Python; else the text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text.strip()


def check_schedule(name: str) -> None:
    """Raise for a schedule that there is not."""
    if name not in SCHEDULES:
        raise typer.BadParameter(
            f"{name!r} is no schedule: {', '.join(SCHEDULES)}", param_hint="--schedule"
        )


def schedule_of(name: str, optimizer: Optimizer, steps: int) -> Value:
    """A schedule by name, over all steps."""
    check_schedule(name)
    if name == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=steps)
    if name == "linear":
        return schedules.PolynomialLR(optimizer, total_iters=steps)
    if name == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        momentum = any(key in optimizer.defaults for key in ("momentum", "betas"))
        return schedules.OneCycleLR(optimizer, highest, steps, cycle_momentum=momentum)
    return None


def recorded(
    settings: Settings, optimizer: Optimizer, text: str, arguments: Mapping[str, object]
) -> StateDict:
    """The configuration of a recorded run: what was typed, and the options of the optimiser.

    Arguments of the factory in TARGET, whose text is `text`, are named `model.NAME`.
    """
    options = {
        name: value
        for name, value in optimizer.param_groups[0].items()
        if isinstance(value, bool | int | float | str | tuple)
    }
    typed = settings.config()
    del typed["option"], typed["lr"]
    of_model = {f"model.{name}": value for name, value in arguments.items()}
    return {"target": text, **of_model, "optimizer": typed.pop("optimizer"), **options, **typed}
