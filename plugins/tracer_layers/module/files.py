"""Files that states are kept in: safetensors, NumPy's `.npz`, and PyTorch's `.pt`."""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, is_safetensors, read_safetensors, write_safetensors
from tracer_layers.module.pt_files import corrupt, is_pt, read_pt

#: what the metadata of a file say that it is
FORMAT, VERSION = "trace-net state", "1"
#: what the metadata say of a file of a whole training, and where its model is among the arrays
CHECKPOINT, IN_CHECKPOINT = "checkpoint", "model."
#: what files begin with that `torch.save` wrote before PyTorch 1.6: a pickle
PICKLE = b"\x80"
#: what `zipfile` raises of corrupt files, and of what is encrypted or of other versions
OF_ZIPS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    MemoryError,
    OSError,
)


def write_state(path: str | PathLike[str], state: Mapping[str, Array]) -> None:
    """Write a state as safetensors; see `Module.save`."""
    write_safetensors(path, state, {"format": FORMAT, "version": VERSION})


def read_state(path: str | PathLike[str]) -> Mapping[str, np.ndarray]:
    """The state in a file, whose format is found out from what is in it; see `Module.load`."""
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        return _of_zip(path)
    if is_safetensors(start):
        return _of_safetensors(path)
    if start.startswith(PICKLE):
        raise TracerError(
            f"{str(path)!r} is a pickle, as torch.save wrote before PyTorch 1.6, which is not "
            f"read: convert it with torch.save(torch.load(path), path) of a newer PyTorch"
        )
    raise TracerError(
        f"{str(path)!r} is no file of a state: neither safetensors, nor NumPy's .npz, nor a .pt "
        f"of torch.save, or it is truncated"
    )


def _of_safetensors(path: Path) -> Mapping[str, np.ndarray]:
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") == FORMAT and metadata.get("version") != VERSION:
        raise TracerError(
            f"{str(path)!r} is a state of version {metadata.get('version')}, and version {VERSION} "
            f"is known: it was written by a newer trace-net"
        )
    if CHECKPOINT not in metadata.get("format", ""):
        return arrays
    return {
        name.removeprefix(IN_CHECKPOINT): array
        for name, array in arrays.items()
        if name.startswith(IN_CHECKPOINT)
    }


def _of_zip(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as file:
            of_pytorch, names = is_pt(file), file.namelist()
        if of_pytorch:
            return read_pt(path)
        if names and all(name.endswith(".npy") for name in names):
            return dict(_of_npz(path))
    except TracerError:
        raise
    except OF_ZIPS as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of a disk, and not of a place before the file's beginning
        raise corrupt(path, str(error)) from error
    raise TracerError(
        f"{str(path)!r} is a zip, and neither one of np.savez nor of torch.save(state_dict, path)"
    )


def _of_npz(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays:
            try:
                yield name, arrays[name]
            except (ValueError, MemoryError) as error:
                raise TracerError(f"{str(path)!r}: {name!r} is not read: {error}") from error
