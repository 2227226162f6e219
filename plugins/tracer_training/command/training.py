"""One training of what a file defines."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import typer

import tracer
from tracer import registry
from tracer.errors import TracerError
from tracer_training.command.folder import CHECKPOINT, checkpoint_in, keep, parts_in
from tracer_training.command.settings import Settings, optimizer_of, recorded, schedule_of
from tracer_training.command.tracking import Kept, instruments_of, recording
from tracer_training.data import DataLoader
from tracer_training.kinds import Data, LossFunction, Model, Value
from tracer_training.loop import Checkpoint, History, fit
from tracer_training.loop.metrics import Metric
from tracer_training.loop.parallel import Parallel


def trained_together(
    team: Parallel,
    target: tracer.Target,
    settings: Settings,
    kept: Kept,
    workers: int,
    device: str | None,
) -> History:
    """Train in all processes of a team, of which the first one alone keeps anything.

    Batches are cut into the parts that are given, or those of a run that goes on, or one for each
    process.
    """
    with team.together():
        begun = team.first(lambda: parts_in(kept.run) if kept.resume else None)
        settings = replace(settings, parts=settings.parts or begun or team.size)
        team.parts = settings.parts
        return trained(target, settings, kept, workers, device, team)


def trained(
    target: tracer.Target,
    settings: Settings,
    kept: Kept,
    workers: int,
    device: str | None,
    team: Parallel | None = None,
) -> History:
    """Train, and write what is kept: the records of the epochs."""
    loss = check_target(target)
    model: Model = target.model
    train_set, test_set = data_of(target.defined("datasets"))
    if device is not None:
        model.to(device)
    tracer.seed(settings.seed)
    loader = loader_of(
        train_set,
        batch_size=settings.batch_size,
        shuffle=True,
        rng=settings.seed,
        num_workers=workers,
        device=device,
    )
    made = optimizer_of(settings.optimizer, model.parameters(), settings.lr, settings.option)
    schedule = schedule_of(settings.schedule, made, settings.epochs * len(loader))
    is_first = team is None or team.is_first
    checkpoint = _checkpoint(settings, kept, team)
    instruments = instruments_of(kept)
    config = recorded(settings, made, target.text, target.arguments)
    with recording(kept, config, settings.seed) if is_first else nullcontext() as record:
        history = fit(
            model,
            loss,
            loader,
            None if test_set is None else loader_of(test_set, batch_size=256, device=device),
            optimizer=made,
            schedule=schedule,
            epochs=settings.epochs,
            metrics=metrics_of(target),
            clip_norm=settings.clip_norm,
            precision=settings.precision,
            recorder=record,
            instruments=instruments,
            checkpoint=checkpoint,
            resume=kept.resume,
            parallel=team,
        )
    if kept.run is not None and is_first:
        keep(kept.run, history, model)
    return history


def _checkpoint(settings: Settings, kept: Kept, team: Parallel | None) -> Checkpoint | None:
    """That of the run, if one is kept; of a team, the first process checks and begins it."""
    run = kept.run
    if run is None:
        return None
    if team is None:
        return checkpoint_in(run, kept.resume, settings)
    team.first(lambda: checkpoint_in(run, kept.resume, settings) and None)
    return Checkpoint(run / CHECKPOINT)


def check_target(target: tracer.Target, is_factory: bool = False) -> LossFunction:
    """The loss; `TracerError` for a file that cannot be trained. A factory makes a model later."""
    if target.loss is None:
        raise TracerError("the file defines no `loss(output, target)`, which training needs")
    if not is_factory and not hasattr(target.model, "parameters"):
        raise TracerError("training needs a module with parameters(), as those of tracer_layers")
    return target.loss


def metrics_of(target: tracer.Target) -> Mapping[str, Metric] | None:
    """The metrics that the file defines; None for the usual ones."""
    found = target.defined("metrics")
    if found is None or isinstance(found, Mapping):
        return found
    raise TracerError(
        f"metrics is a dict of names and functions of outputs and targets, got a "
        f"{type(found).__name__}"
    )


def check_device(device: str) -> None:
    """Raise for a device that nothing here computes on."""
    known = [library.device for library in registry.backends.values()]
    if device.partition(":")[0] not in known:
        raise typer.BadParameter(
            f"a device is one of {', '.join(known)}, got {device!r}", param_hint="--device"
        )


def loader_of(data: Data, **options: Value) -> DataLoader:
    """A loader of a data set; one that the file made is taken as it is, but for the device."""
    if not isinstance(data, DataLoader):
        return DataLoader(data, **options)
    data.device = options.get("device") or data.device
    return data


def data_of(datasets: Data) -> tuple[Any, Any]:
    """The data to train on and to test with, None if there are none."""
    if datasets is None:
        raise TracerError(
            "the file defines no `datasets()`: a function that returns train and test, as "
            "training.datasets.digits does"
        )
    found = datasets() if callable(datasets) else datasets
    if isinstance(found, tuple | list) and len(found) == 2:
        return found[0], found[1]
    if isinstance(found, tuple | list):
        raise TracerError(f"datasets() returns train and test, got {len(found)} things")
    return found, None
