"""States of models in files: written as safetensors, read in the formats that there are."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, is_safetensors, read_safetensors, write_safetensors
from tracer_layers.module.pytorch_files import read_pytorch, state_in

#: what the metadata of a file say
FORMAT = "trace-net state"
#: what begins the names of a model's arrays in a checkpoint of `tracer_training`
IN_CHECKPOINT = "model."
#: the first bytes of a zip archive, of one that is empty, and of a pickle
ZIPS, PICKLE = (b"PK\x03\x04", b"PK\x05\x06"), b"\x80"


def write_state(path: str | PathLike[str], state: Mapping[str, Array]) -> None:
    """Write the state of a model as safetensors."""
    write_safetensors(path, state, {"format": FORMAT, "version": "1"})


def read_state(path: str | PathLike[str]) -> Mapping[str, np.ndarray]:
    """The state that a file has, by what it contains, whatever it is called."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(ZIPS):
        return _of_zip(path)
    if is_safetensors(start):
        arrays, metadata = read_safetensors(path)
        if "checkpoint" not in metadata.get("format", ""):
            return arrays
        cut = len(IN_CHECKPOINT)
        return {k[cut:]: v for k, v in arrays.items() if k.startswith(IN_CHECKPOINT)}
    if start.startswith(PICKLE):
        raise TracerError(
            f"{str(path)!r} is a pickle, or a file of an old PyTorch, which would be executed "
            f"to be read: load it with PyTorch, and torch.save(model.state_dict(), path) again"
        )
    raise TracerError(
        f"{str(path)!r} is neither safetensors, nor a file of torch.save, nor one of numpy.savez: "
        f"it begins with {start[:8]!r}"
    )


def _of_zip(path: Path) -> Mapping[str, np.ndarray]:
    """The state in a zip archive, PyTorch's or NumPy's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise TracerError(f"{str(path)!r} is a truncated or corrupt archive: {error}") from error
    if names and all(name.endswith(".npy") for name in names):
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise TracerError(f"{str(path)!r} cannot be read: {error}") from error
    return state_in(path, read_pytorch(path))
