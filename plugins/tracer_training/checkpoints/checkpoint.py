"""Checkpoints: all that a training needs to go on to the same bits, in one file.

The file is safetensors, with a JSON document among its metadata, and no pickle. It is written
beside and renamed: whatever ends the program, there is the last one or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tracer.errors import TracerError
from tracer.extend import generator, read_safetensors, write_safetensors
from tracer_training.checkpoints.packing import (
    generators_of,
    pack,
    python_state,
    set_python_state,
    set_state,
    state_of,
    unpack,
)
from tracer_training.kinds import Results, Saved, StateDict

__all__ = ["load_checkpoint", "save_checkpoint"]

#: what the metadata of a checkpoint say that it is
FORMAT, VERSION = "trace-net checkpoint", 1


class Stateful(Protocol):
    """What has a state: models, optimisers, schedules, loaders, averages of weights."""

    def state_dict(self) -> Results: ...

    def load_state_dict(self, state_dict: Any, /) -> object: ...


def save_checkpoint(
    path: str | PathLike[str], *, extra: Mapping[str, Any] | None = None, **parts: Stateful | None
) -> None:
    """Write the states of `parts` (`model=`, `optimizer=`, `schedule=`, `loader=`, ...).

    Besides, the states of the shared random generators (`tracer.seed`, NumPy's, Python's) and of
    those that the model's modules have, and `extra`, of numbers, texts and arrays. What is there
    under the path is replaced when the new file is whole.
    """
    for name, part in parts.items():
        if part is not None and not hasattr(part, "state_dict"):
            raise TracerError(
                f"save_checkpoint(..., {name}=) expects what has a state_dict(), as the "
                f"{name} itself, got a {type(part).__name__}: further values go into extra="
            )
    arrays: StateDict = {}
    states = {
        name: pack(part.state_dict(), name, arrays)
        for name, part in parts.items()
        if part is not None
    }
    document = {
        "states": states,
        "generators": pack(_generators(parts.get("model")), "generators", arrays),
        "extra": pack(dict(extra or {}), "extra", arrays),
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "document": json.dumps(document)}
    write_safetensors(path, arrays, metadata)


def load_checkpoint(path: str | PathLike[str], **parts: Stateful | None) -> StateDict:
    """Load what `save_checkpoint` wrote into the same parts, and the generators; gives `extra`.

    Raises `TracerError` for a file that is corrupt, truncated or no checkpoint, lacks a part, or is
    of another model: nothing is changed then.
    """
    document, arrays = _read(Path(path))
    states = document["states"]
    wanted = {name: part for name, part in parts.items() if part is not None}
    lacking = wanted.keys() - states.keys()
    if lacking:
        raise TracerError(
            f"the checkpoint {str(path)!r} has no {sorted(lacking)[0]}: it holds "
            f"{', '.join(states)}"
        )
    before = {name: part.state_dict() for name, part in wanted.items()}
    drawn = _generators(parts.get("model"))
    done: list[str] = []
    try:
        for name, part in wanted.items():
            done.append(name)
            part.load_state_dict(unpack(states[name], arrays))
        done.append("generators")
        _restore(unpack(document["generators"], arrays), parts.get("model"))
        done.append("extra")
        return unpack(document["extra"], arrays)
    except Exception as error:
        _restore(drawn, parts.get("model"))
        for name in before.keys() & set(done):
            wanted[name].load_state_dict(before[name])
        raise TracerError(
            f"the checkpoint {str(path)!r} does not fit the {done[-1]}: {error}"
        ) from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document and the arrays of a checkpoint."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != FORMAT:
        raise TracerError(
            f"{str(path)!r} is no checkpoint, but a file of arrays: load it with model.load(path)"
        )
    if metadata.get("version") != str(VERSION):
        raise TracerError(
            f"the checkpoint {str(path)!r} is of version {metadata.get('version')}, and version "
            f"{VERSION} is known: it was written by another trace-net"
        )
    try:
        document = json.loads(metadata["document"])
        for key in ("states", "generators", "extra"):
            document[key]
    except (KeyError, TypeError, ValueError) as error:
        raise TracerError(f"the checkpoint {str(path)!r} is corrupt: {error}") from error
    return document, arrays


def _generators(model: object) -> StateDict:
    """The states of the random generators that a training draws from."""
    return {
        "tracer": generator().bit_generator.state,
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
        "python": python_state(),
        "modules": {key: state_of(rng) for key, rng in generators_of(model).items()},
    }


def _restore(states: Saved, model: object) -> None:
    of_modules = generators_of(model)
    missing = states["modules"].keys() ^ of_modules.keys()
    if missing:
        raise TracerError(f"its modules have other generators: {sorted(missing)[0]!r}")
    generator().bit_generator.state = states["tracer"]
    np.random.set_state(states["numpy"])  # noqa: NPY002
    set_python_state(states["python"])
    for key, rng in of_modules.items():
        set_state(rng, states["modules"][key])
