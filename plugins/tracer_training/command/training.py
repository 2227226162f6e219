"""One training of what a file defines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

import tracer
from tracer import registry
from tracer.errors import TracerError
from tracer_training.command.folder import checkpoint_in, keep
from tracer_training.command.settings import Settings, optimizer_of, recorded, schedule_of
from tracer_training.command.tracking import Kept, instruments_of, recording
from tracer_training.data import DataLoader
from tracer_training.kinds import Data, LossFunction, Model, Value
from tracer_training.loop import History, fit
from tracer_training.loop.metrics import Metric


def trained(
    target: tracer.Target, settings: Settings, kept: Kept, workers: int, device: str | None
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
    checkpoint = None if kept.run is None else checkpoint_in(kept.run, kept.resume, settings)
    instruments = instruments_of(kept)
    config = recorded(settings, made, target.text, target.arguments)
    with recording(kept, config, settings.seed) as record:
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
        )
    if kept.run is not None:
        keep(kept.run, history, model)
    return history


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
