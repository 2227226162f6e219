"""`trace-net train TARGET`: train what a file defines, and keep what came of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

import tracer
from tracer.errors import UsageError
from tracer.extend import Sweep
from tracer_training.command.repeated import Repeated
from tracer_training.command.settings import SCHEDULES, Settings
from tracer_training.command.team import team
from tracer_training.command.tracking import Kept, instruments_of, tracker
from tracer_training.command.training import (
    check_device,
    check_target,
    trained,
    trained_together,
)
from tracer_training.loop.history import line_of


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
    seed: Annotated[
        int, typer.Option(help="Of initial values, the order of samples, and dropout.")
    ] = 0,
    device: Annotated[str | None, typer.Option(help="Where to train, as cuda.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder for checkpoints, the history, the trained model and the record."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where the run in --run stopped.")] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="Folder or .db file to record in, in place of the one of --run."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of what is recorded; else that of the folder of --run.")
    ] = None,
    group: Annotated[str, typer.Option(help="What is recorded is one of this group.")] = "",
    sink: Annotated[
        list[str] | None,
        typer.Option(help="Record there, too: csv, jsonl, tensorboard; again for more."),
    ] = None,
    instruments: Annotated[
        str | None, typer.Option(help="What to measure: economy, business, full, all, or names.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between two measurements.")] = 1,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Train with each of these, as lr=0.1,0.01; again for all combinations."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each combination.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings of a sweep at once.")] = 1,
    sampler: Annotated[
        str, typer.Option(help="What chooses combinations: grid, random, optuna.")
    ] = "grid",
    trials: Annotated[int | None, typer.Option(min=1, help="Combinations to choose.")] = None,
    objective: Annotated[
        str, typer.Option(help="What combinations are compared by; else test_loss, or loss.")
    ] = "",
    parallel: Annotated[
        bool, typer.Option("--parallel", help="Train together with the processes of mpirun.")
    ] = False,
    parts: Annotated[
        int | None,
        typer.Option(min=1, help="Of a batch, with --parallel; else one for each process."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the history, or the sweep, as JSON on stdout.")
    ] = False,
) -> None:
    """Train the model of a file on its data, and report each epoch.

    The file defines datasets(), which gives train and test (or train alone), and loss(output,
    target) besides the model. With --run, a checkpoint is written after each epoch, and --resume
    goes on from it to the same numbers. With --grid or --seeds there are many trainings, below the
    folder of --run. With --parallel, `mpirun -n 4 trace-net train TARGET --parallel` trains one
    model in four processes.
    """
    if parts is not None and not parallel:
        raise UsageError("--parts is of batches that are divided", "give --parallel")
    settings = Settings(
        epochs,
        optimizer,
        lr,
        tuple(option or ()),
        batch_size,
        schedule,
        clip_norm,
        precision,
        seed,
        parts,
    )
    if resume and run is None:
        raise typer.BadParameter("what is gone on with is the run in --run", param_hint="--resume")
    if device is not None:
        check_device(device)
    kept = Kept(run, resume, record, name, group, tuple(sink or ()), instruments, every)
    kept.check()
    if parallel and (grid or seeds > 1):
        raise UsageError("--parallel is of one training, and this is a sweep", "give --jobs")
    if grid or seeds > 1:
        instruments_of(kept)  # which are asked for in vain once, and not in each training
        asked = Sweep(
            folder=kept.folder_of_sweep(),
            grid=tuple(grid or ()),
            sampler=sampler,
            trials=trials,
            seed=seed,
            seeds=seeds,
            jobs=jobs,
            objective=objective,
            group=group,
            resume=resume,
            json=as_json,
        )
        repeated = Repeated(target, settings, kept, workers, device)
        check_target(target, repeated.is_of_factory(asked.grid))
        repeated.check_objective(objective)
        raise typer.Exit(tracker("--grid").sweep(asked, repeated))
    if trials is not None or jobs > 1 or sampler != "grid" or objective:
        raise UsageError(
            "--trials, --jobs, --sampler and --objective are of a sweep", "give --grid or --seeds"
        )
    if parallel:
        joined = team()
        history = trained_together(joined, target, settings, kept, workers, device)
        if not joined.is_first:
            return
    else:
        history = trained(target, settings, kept, workers, device)
    if as_json:
        json.dump({"schema_version": 1, "epochs": list(history)}, sys.stdout)
        print()
    elif history:
        print(line_of(history[-1], epochs))
