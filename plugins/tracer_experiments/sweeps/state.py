"""What a sweep was begun with, and the settings that were chosen: `sweep.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracer.errors import UsageError
from tracer.extend import Sweep, Training

FILE = "sweep.json"
SCHEMA_VERSION = 1


class State:
    """The settings of the trials of a sweep, kept in its folder as they are chosen."""

    def __init__(self, folder: Path, begun_with: Mapping[str, Any], trials: list[dict[str, str]]):
        self.path, self.begun_with, self.trials = folder / FILE, begun_with, trials

    def add(self, settings: dict[str, str]) -> None:
        """A trial is begun."""
        self.trials.append(settings)
        self.write()

    def write(self) -> None:
        document = {
            "schema_version": SCHEMA_VERSION,
            "begun_with": self.begun_with,
            "trials": self.trials,
        }
        beside = self.path.with_suffix(".json.tmp")
        beside.write_text(json.dumps(document, indent=1) + "\n")
        os.replace(beside, self.path)


def state_of(sweep: Sweep, training: Training) -> State:
    """The state of a new sweep, or of the one in its folder; `UsageError` where these differ."""
    begun_with = {
        "grid": list(sweep.grid),
        "sampler": sweep.sampler,
        "trials": sweep.trials,
        "seed": sweep.seed,
        "seeds": sweep.seeds,
        "group": sweep.group,
        "objective": sweep.objective,
        "command": training.arguments({}, sweep.seed, Path()),
    }
    path = sweep.folder / FILE
    if not path.exists():
        state = State(sweep.folder, begun_with, [])
        state.write()
        return state
    if not sweep.resume:
        raise UsageError(
            f"there is a sweep in {str(sweep.folder)!r} already",
            "--resume goes on with it; give another folder to begin anew",
        )
    try:
        document = json.loads(path.read_text())
        before, trials = document["begun_with"], document["trials"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{str(path)!r} cannot be read as a sweep: {error}", "begin anew in another folder"
        ) from error
    for name, value in begun_with.items():
        if before.get(name) != value:
            raise UsageError(
                f"the sweep in {str(sweep.folder)!r} has {name} = {_shown(before.get(name))}, and "
                f"now it is {_shown(value)}",
                "give what it was begun with, or another folder",
            )
    return State(sweep.folder, begun_with, trials)


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else repr(value)
