"""`fit`: the loop over epochs and batches, with metrics, progress, records and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from tracer.errors import TracerError
from tracer.extend import backend, describe
from tracer_training.kinds import Data, LossFunction, Model, StateDict
from tracer_training.loop.callbacks import Audience
from tracer_training.loop.evaluation import batches, check_data, check_loss
from tracer_training.loop.history import History
from tracer_training.loop.metrics import RECORDED, Metric, check_metrics
from tracer_training.loop.parallel import Parallel
from tracer_training.loop.precision import LossScale
from tracer_training.loop.recording import Recording
from tracer_training.loop.reporting import Reporter
from tracer_training.loop.run import Run
from tracer_training.loop.saving import Checkpoint
from tracer_training.loop.steps import Stepper
from tracer_training.optimizers import Optimizer

__all__ = ["fit"]


def fit(
    model: Model,
    loss: LossFunction,
    train: Data,
    test: Data = None,
    *,
    optimizer: Optimizer,
    schedule: Any = None,
    epochs: int,
    batch_size: int = 64,
    rng: Any = None,
    schedule_every: str | None = None,
    metrics: Mapping[str, Metric] | None = None,
    accumulate: int = 1,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    precision: str | None = None,
    recorder: Any = None,
    instruments: Any = None,
    checkpoint: Checkpoint | str | PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    progress: bool = True,
    parallel: Parallel | None = None,
) -> History:
    """Train a model: for each batch record, sweep and step; for each epoch report and save.

    `train` and `test` are loaders or data sets; of a data set, `batch_size` samples at a time are
    taken in an order drawn from `rng`. The last array of a batch is the target, the others are
    what the model is called with. `loss(output, target)` is a mean over the batch.

    `schedule` is stepped after each step, or with `schedule_every="epoch"` after each epoch, as is
    one that follows a metric. `metrics` maps names to functions of outputs and targets (arrays);
    by default it is the accuracy where targets are classes. `accumulate` batches make one step;
    `clip_norm` and `clip_value` bound its gradient. `precision="float16"` computes and sweeps in
    half precision, with a scale of the loss (`LossScale`, which may be given as `precision`) and
    weights of float32. `recorder` and `instruments` record steps. `checkpoint`, a path or a
    `Checkpoint`, is written after each epoch (of a model that is a function, with the parameters
    that the optimiser steps); with `resume=True` the training goes on where that
    was written, to the same bits, and what a run that is given as `recorder` has of later steps is
    removed; options of the optimiser are those of the checkpoint then, and a
    schedule with others is refused. `callbacks` are told of it (`Callback`). `progress` writes
    lines to stderr. With `parallel`, a `tracer_scale.Ranks`, several processes that call `fit`
    alike take each step together; the first one alone records, saves and tells.

    Returns a record for each epoch. Raises `NonFiniteError` where a loss is not finite, before it
    reaches the parameters (on a device within 50 steps), and `TracerError` for arguments that do
    not go together.
    """
    scale = _loss_scale(precision)
    _check_schedule(schedule, optimizer)
    stepper = Stepper(
        model,
        loss,
        _checked_optimizer(optimizer, model),
        clip_norm,
        clip_value,
        _at_least_one("accumulate", accumulate),
        scale,
        parallel,
    )
    check_loss(loss)
    stepper.check()
    _at_least_one("epochs", epochs)
    if scale is not None and instruments is not None:
        raise TracerError("instruments measure in float32: leave precision out")
    if hasattr(test, "__len__") and not len(test):
        raise TracerError("the test data have no samples: leave test out, or give some")
    check_data(train)
    if test is not None:
        check_data(test)
    _check_is_no_target(train, test)
    _check_can_be_read_again(train, test, epochs)
    if metrics is not None:
        check_metrics(metrics, RECORDED)
    is_first = parallel is None or parallel.is_first
    run = Run(
        stepper,
        batches(train, batch_size, shuffle=True, rng=rng),
        test,
        schedule=schedule,
        schedule_every=_when(schedule, schedule_every),
        epochs=epochs,
        metrics=metrics,
        audience=Audience(callbacks),
        recording=Recording(
            recorder if is_first else None,
            instruments,
            _configuration(optimizer, epochs, batch_size),
        ),
        checkpoint=_checkpoint(checkpoint),
        reporter=Reporter(progress and is_first),
    )
    _begin(run, resume)
    if parallel is not None:
        begun = [run.parts()[name] for name in ("model", "optimizer", "loader")]
        stand = (run.epoch, run.batch, run.step)
        parallel.begin(model, loss, [part for part in begun if part is not None], stand)
        if not is_first:
            run.checkpoint = None
    return run.go()


def _begin(run: Run, resume: bool) -> None:
    """Go on from a checkpoint, if that is wanted and there is one."""
    if run.checkpoint is None:
        if resume:
            raise TracerError("resume=True goes on from a checkpoint: give checkpoint=path")
        return
    run.checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
    if not resume:
        if run.checkpoint.path.exists():
            raise TracerError(
                f"there is a checkpoint {str(run.checkpoint.path)!r} already: resume=True goes on "
                f"from it; remove it, or give another path, to begin anew"
            )
        return
    run.is_resumed = True
    if run.checkpoint.load(run):
        at = f"epoch {run.epoch}, batch {run.batch}, step {run.step}"
        if run.stopped:
            run.reporter.note(f"the training was stopped after {at}: nothing is left to be done")
        elif run.epoch >= run.epochs:
            run.reporter.note(f"all {run.epochs} epochs are done: give more to go on after {at}")
        else:
            run.reporter.note(f"going on after {at}")
            if run.recording.begins_anew:
                run.reporter.note(
                    f"the checkpoint was written without instruments: distances are from step "
                    f"{run.step} on"
                )


def _check_is_no_target(train: Data, test: Data) -> None:
    """Raise `TracerError` for an array of targets where the test data go, as Keras has it."""
    if not (backend.is_array(train) and backend.is_array(test)):
        return
    if train.ndim != test.ndim or (len(train) == len(test) and train.shape != test.shape):
        raise TracerError(
            f"train and test have samples of one shape, got {describe(train)}, {describe(test)}: "
            f"write tracer_training.ArrayDataset(x, y) for inputs and targets"
        )


def _check_can_be_read_again(train: Data, test: Data, epochs: int) -> None:
    """Raise `TracerError` for data that are gone after the first of several epochs."""
    for name, data in (("train", train), ("test", test)):
        if epochs > 1 and hasattr(data, "__next__"):
            raise TracerError(
                f"{name} is read in each of {epochs} epochs, and a {type(data).__name__} can be "
                f"read once: give a DataLoader, or a list of batches"
            )


def _check_schedule(schedule: object, optimizer: Optimizer) -> None:
    """Raise `TracerError` for a schedule that moves the rates of another optimiser."""
    if schedule is None:
        return
    if not hasattr(schedule, "step") or not hasattr(schedule, "state_dict"):
        raise TracerError(
            f"fit expects a schedule, as training.CosineAnnealingLR(optimizer, T_max=1000), got "
            f"{schedule!r}"
        )
    if getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise TracerError(
            f"{type(schedule).__name__} is of another optimizer than the one that is stepped: make "
            f"it of that one"
        )


def _loss_scale(precision: object) -> LossScale | None:
    if precision is None or precision == "float32":
        return None
    if isinstance(precision, LossScale):
        return precision
    if precision == "float16":
        return LossScale()
    raise TracerError(f'precision is None, "float32", "float16" or a LossScale, got {precision!r}')


def _checked_optimizer(optimizer: object, model: Model) -> Optimizer:
    """An optimiser that has parameters of the model."""
    if not isinstance(optimizer, Optimizer):
        raise TracerError(
            f"fit expects an optimizer, as training.AdamW(model.parameters()), got {optimizer!r}"
        )
    if hasattr(model, "parameters"):
        held = {id(p) for p in model.parameters()}
        given = [p for group in optimizer.param_groups for p in group["params"]]
        foreign = [p for p in given if id(p) not in held]
        if foreign:
            raise TracerError(
                f"the optimizer has {len(foreign)} of {len(given)} parameters that are not the "
                f"model's: make it of model.parameters(), of the model that is trained"
            )
    return optimizer


def _at_least_one(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TracerError(f"{name} is a whole number from 1, got {value!r}")
    return value


def _when(schedule: Any, schedule_every: str | None) -> str:
    """When a schedule is stepped."""
    if schedule_every not in (None, "step", "epoch"):
        raise TracerError(f'schedule_every is "step" or "epoch", got {schedule_every!r}')
    follows = getattr(schedule, "follows_a_metric", False)
    if follows and schedule_every == "step":
        raise TracerError("a schedule that follows a metric is stepped after each epoch")
    return schedule_every or ("epoch" if follows else "step")


def _checkpoint(given: Any) -> Checkpoint | None:
    return given if given is None or isinstance(given, Checkpoint) else Checkpoint(given)


def _configuration(optimizer: Optimizer, epochs: int, batch_size: int) -> StateDict:
    """What a recorder keeps of how the training was set up."""
    options = {
        name: value
        for name, value in optimizer.param_groups[0].items()
        if isinstance(value, bool | int | float | str | tuple)
    }
    named = {"optimizer": type(optimizer).__name__, "epochs": epochs, "batch_size": batch_size}
    return named | options
