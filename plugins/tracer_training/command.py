"""`trace-net train TARGET`: train what a file defines, and keep what came of it."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import tracer
from tracer import registry
from tracer.errors import TracerError, suggestion
from tracer_training import curvature, optimizers, schedules
from tracer_training.data import DataLoader
from tracer_training.kinds import Data, Model, StateDict, Value
from tracer_training.loop import Checkpoint, History, fit
from tracer_training.loop.history import line_of
from tracer_training.loop.metrics import Metric
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
#: the files in the folder of a run
CHECKPOINT, HISTORY, CONFIG, MODEL = (
    "checkpoint.safetensors",
    "history.json",
    "config.json",
    "model.safetensors",
)


def train(
    target: tracer.Target,
    epochs: Annotated[int, typer.Option(min=1, help="Times through the data.")] = 10,
    optimizer: Annotated[str, typer.Option(help="adamw, sgd, rmsprop, kfac, ...")] = "adamw",
    lr: Annotated[float | None, typer.Option(help="Learning rate; else the optimizer's.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Another option of the optimizer, as momentum=0.9; again for more."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of a batch.")] = 64,
    schedule: Annotated[
        str, typer.Option(help=f"How the rate changes: {', '.join(SCHEDULES)}.")
    ] = "constant",
    clip_norm: Annotated[float | None, typer.Option(help="Bound of the gradient's norm.")] = None,
    precision: Annotated[str, typer.Option(help="float32 or float16.")] = "float32",
    workers: Annotated[int, typer.Option(min=0, help="Threads that fetch batches.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the order of samples, and of dropout.")] = 0,
    device: Annotated[str | None, typer.Option(help="Where to train, as cuda.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints, the history and the trained model."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where the run in --run stopped.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the history as JSON on stdout.")
    ] = False,
) -> None:
    """Train the model of a file on its data, and report each epoch.

    The file defines datasets(), which gives train and test (or train alone), and loss(output,
    target) besides the model. With --run, a checkpoint is written after each epoch, and --resume
    goes on from it to the same numbers.
    """
    model: Model = target.model
    if resume and run is None:
        raise typer.BadParameter("what is gone on with is the run in --run", param_hint="--resume")
    if device is not None:
        check_device(device)
    if target.loss is None:
        raise TracerError("the file defines no `loss(output, target)`, which training needs")
    if not hasattr(model, "parameters"):
        raise TracerError("training needs a module with parameters(), as those of tracer_layers")
    train_set, test_set = data_of(target.defined("datasets"))
    if device is not None:
        model.to(device)
    tracer.seed(seed)
    loader = loader_of(
        train_set, batch_size=batch_size, shuffle=True, rng=seed, num_workers=workers, device=device
    )
    made = optimizer_of(optimizer, model.parameters(), lr, option or [])
    history = fit(
        model,
        target.loss,
        loader,
        None if test_set is None else loader_of(test_set, batch_size=256, device=device),
        optimizer=made,
        schedule=schedule_of(schedule, made, epochs * len(loader)),
        epochs=epochs,
        metrics=metrics_of(target),
        clip_norm=clip_norm,
        precision=precision,
        checkpoint=None
        if run is None
        else checkpoint_in(
            run,
            resume,
            {
                "epochs": epochs,
                "optimizer": optimizer,
                "lr": lr,
                "option": option or [],
                "batch_size": batch_size,
                "schedule": schedule,
                "clip_norm": clip_norm,
                "precision": precision,
                "seed": seed,
            },
        ),
        resume=resume,
    )
    if run is not None:
        keep(run, history, model)
    if as_json:
        json.dump({"schema_version": 1, "epochs": list(history)}, sys.stdout)
        print()
    elif history:
        print(line_of(history[-1], epochs))


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


def optimizer_of(
    name: str, parameters: Iterable[Any], lr: float | None, given: list[str]
) -> Optimizer:
    """An optimiser by its name in any case, with options `name=value`."""
    known = OPTIMIZERS.get(name.lower())
    if known is None:
        raise typer.BadParameter(
            f"{name!r} is no optimizer.{suggestion(name.lower(), OPTIMIZERS)} "
            f"There are: {', '.join(OPTIMIZERS)}",
            param_hint="--optimizer",
        )
    options: StateDict = {} if lr is None else {"lr": lr}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"expected name=value, got {text!r}", param_hint="--option")
        options[key.strip().replace("-", "_")] = _value(value)
    takes = [key for key in inspect.signature(known).parameters if key != "params"]
    for key in options:
        if key not in takes:
            raise typer.BadParameter(
                f"{known.__name__} has no option {key!r}.{suggestion(key, takes)} "
                f"It has: {', '.join(takes)}",
                param_hint="--option",
            )
    return known(parameters, **options)


def _value(text: str) -> Value:
    """A number, a boolean, None, or several with commas between, as in Python; else the text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text.strip()


def schedule_of(name: str, optimizer: Optimizer, steps: int) -> Value:
    """A schedule by name, over all steps."""
    if name not in SCHEDULES:
        raise typer.BadParameter(
            f"{name!r} is no schedule: {', '.join(SCHEDULES)}", param_hint="--schedule"
        )
    if name == "cosine":
        return schedules.CosineAnnealingLR(optimizer, T_max=steps)
    if name == "linear":
        return schedules.PolynomialLR(optimizer, total_iters=steps)
    if name == "one-cycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        momentum = any(key in optimizer.defaults for key in ("momentum", "betas"))
        return schedules.OneCycleLR(optimizer, highest, steps, cycle_momentum=momentum)
    return None


def checkpoint_in(run: Path, resume: bool, config: StateDict) -> Checkpoint:
    """The checkpoint of a run, whose settings are kept beside it and are those of before."""
    if run.exists() and not run.is_dir():
        raise typer.BadParameter(f"{str(run)!r} is a file, and no folder", param_hint="--run")
    run.mkdir(parents=True, exist_ok=True)
    file = run / CONFIG
    if resume and file.exists():
        before = json.loads(file.read_text())
        free = {"epochs"} if config["schedule"] == "constant" else set()
        changed = [key for key in config.keys() - free if before.get(key) != config[key]]
        if "epochs" in changed:
            raise TracerError(
                f"the run in {str(run)!r} is over {before.get('epochs')} epochs, along which its "
                f"schedule {config['schedule']} goes, and now it is {config['epochs']}: give what "
                f"it was begun with, or another folder"
            )
        if changed:
            key = sorted(changed)[0]
            raise TracerError(
                f"the run in {str(run)!r} has {key} = {before.get(key)!r}, and now it is "
                f"{config[key]!r}: give what it was begun with, or another folder"
            )
    elif (run / CHECKPOINT).exists() and not resume:
        raise TracerError(
            f"there is a run in {str(run)!r} already: --resume goes on with it; give another "
            f"folder to begin anew"
        )
    file.write_text(json.dumps(config, indent=1) + "\n")
    return Checkpoint(run / CHECKPOINT)


def keep(run: Path, history: History, model: Model) -> None:
    """Write the history and the trained model."""
    (run / HISTORY).write_text(json.dumps(list(history), indent=1) + "\n")
    model.save(run / MODEL)
