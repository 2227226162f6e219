"""The folder of a training: its checkpoint, settings, history and trained model."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from tracer.errors import TracerError
from tracer_training.command.settings import Settings
from tracer_training.kinds import Model, Record
from tracer_training.loop import Checkpoint, History

#: the files in the folder of a run
CHECKPOINT, HISTORY, CONFIG, MODEL = (
    "checkpoint.safetensors",
    "history.json",
    "config.json",
    "model.safetensors",
)


def checkpoint_in(run: Path, resume: bool, settings: Settings) -> Checkpoint:
    """The checkpoint of a run, whose settings are kept beside it and are those of before."""
    if run.exists() and not run.is_dir():
        raise typer.BadParameter(f"{str(run)!r} is a file, and no folder", param_hint="--run")
    run.mkdir(parents=True, exist_ok=True)
    file, config = run / CONFIG, settings.config()
    if resume and file.exists():
        before = json.loads(file.read_text())
        free = {"epochs"} if settings.schedule == "constant" else set()
        changed = [
            key
            for key in (config.keys() | before.keys()) - free
            if before.get(key) != config.get(key)
        ]
        if "epochs" in changed:
            raise TracerError(
                f"the run in {str(run)!r} is over {before.get('epochs')} epochs, along which its "
                f"schedule {settings.schedule} goes, and now it is {settings.epochs}: give what "
                f"it was begun with, or another folder"
            )
        if changed:
            key = sorted(changed)[0]
            raise TracerError(
                f"the run in {str(run)!r} has {key} = {before.get(key)!r}, and now it is "
                f"{config.get(key)!r}: give what it was begun with, or another folder"
            )
    elif (run / CHECKPOINT).exists() and not resume:
        raise TracerError(
            f"there is a run in {str(run)!r} already: --resume goes on with it; give another "
            f"folder to begin anew"
        )
    file.write_text(json.dumps(config, indent=1) + "\n")
    return Checkpoint(run / CHECKPOINT)


def parts_in(run: Path | None) -> int | None:
    """Into how many parts the batches of a run are cut; None where none was begun by several."""
    try:
        return None if run is None else json.loads((run / CONFIG).read_text()).get("parts")
    except (OSError, ValueError):
        return None


def keep(run: Path, history: History, model: Model) -> None:
    """Write the history and, last, the trained model."""
    (run / HISTORY).write_text(json.dumps(list(history), indent=1) + "\n")
    model.save(run / MODEL)


def outcome_in(run: Path) -> Record | None:
    """The record of the last epoch of a training that is over; None of any other."""
    if not (run / MODEL).is_file():
        return None
    try:
        return json.loads((run / HISTORY).read_text())[-1]
    except (OSError, ValueError, IndexError):
        return None
