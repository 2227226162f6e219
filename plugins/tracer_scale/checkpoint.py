"""The state of a fold in a folder: `manifest.json`, and the file of states that it names.

Both are written beside and renamed, the manifest last: whatever ends the driver, the folder holds
one whole state, the one before or the new one. Nothing is read that could be executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from tracer.errors import TracerError
from tracer.extend import Quantity, read_safetensors, write_safetensors
from tracer_scale.errors import CheckpointError
from tracer_scale.fingerprints import fingerprint
from tracer_scale.folded import Folded
from tracer_scale.merging import Group, Merged, Union
from tracer_scale.shards import Shards
from tracer_scale.states import plain, restored
from tracer_training.checkpoints.packing import pack, unpack

FORMAT = "trace-net fold 1"
MANIFEST = "manifest.json"
#: a checkpoint is written when so many times as long has passed as the last one took, and seconds
RARELY, BETWEEN = 40, 1.0


class Checkpoint:
    """Where a fold of shards is kept. `identity` says of what else it is: name -> text."""

    def __init__(self, folder: str | PathLike[str], identity: Mapping[str, str], shards: Shards):
        self.folder = Path(folder)
        self.identity, self.shards = dict(identity), shards
        self._took, self._written = 0.0, time.monotonic()

    @property
    def manifest(self) -> Path:
        return self.folder / MANIFEST

    def read(self, quantities: Mapping[str, Quantity]) -> Folded | None:
        """What was folded before; None where there is nothing yet.

        Raises `CheckpointError` for what is corrupt, or of something else, and leaves it there.
        """
        if not self.manifest.exists():
            self._refuse_strangers()
            return None
        document = self._document()
        if not isinstance(document["shards"], int) or document["shards"] > len(self.shards):
            raise CheckpointError(
                f"the checkpoint {str(self.folder)!r} is of {document['shards']} shards, and there "
                f"are {len(self.shards)}: give all of them, or another folder"
            )
        for name, text in self._identity_of(document["shards"]).items():
            if document["identity"].get(name) != text:
                raise CheckpointError(
                    f"the checkpoint {str(self.folder)!r} is of another {name} "
                    f"({document['identity'].get(name)} in place of {text}): give another folder, "
                    f"or remove it to begin anew"
                )
        return self._folded(document, quantities)

    def _identity_of(self, count: int) -> dict[str, str]:
        """Of what the first shards are, as it stands in the manifest."""
        return self.identity | {"source of shards": fingerprint(self.shards.source(count))}

    def is_due(self) -> bool:
        """Whether so much time has passed that writing is no matter."""
        return time.monotonic() - self._written > max(BETWEEN, RARELY * self._took)

    def write(self, folded: Folded) -> None:
        """Keep what is folded so far, in place of what was kept before."""
        begun = time.monotonic()
        arrays: dict[str, Any] = {}
        groups = [
            {"level": group.level, "count": group.count, "union": _union(group.union, folded)}
            for group in folded.merged.groups
        ]
        states = f"states-{folded.shards}-{uuid.uuid4().hex[:8]}.safetensors"
        document = {
            "format": FORMAT,
            "shards": folded.shards,
            "samples": folded.samples,
            "identity": self._identity_of(folded.shards),
            "states": states,
            "sha256": "",
            "groups": pack(groups, "groups", arrays),
            "masses": [list(each) for each in folded.masses],
            "absent": folded.absent,
            "matrices": folded.matrices,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_safetensors(self.folder / states, arrays)
            document["sha256"] = _checksum(self.folder / states)
            _write_text(self.manifest, json.dumps(document, indent=1))
        except OSError as error:
            with contextlib.suppress(OSError):
                (self.folder / states).unlink(missing_ok=True)
            raise CheckpointError(
                f"the checkpoint {str(self.folder)!r} cannot be written ({error}); what it held "
                f"before is still there"
            ) from error
        for old in self.folder.glob("states-*.safetensors"):
            if old.name != states:
                old.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._took = self._written - begun

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self.manifest.read_text(encoding="utf-8"))
            known = document["format"] == FORMAT
        except (ValueError, KeyError, TypeError) as error:
            raise self._corrupt(f"its manifest is none ({error})") from error
        if not known:
            raise CheckpointError(
                f"{str(self.manifest)!r} is of the format {document['format']!r}, and {FORMAT!r} "
                f"is known: it was written by another version"
            )
        lacking = {"shards", "identity", "states", "sha256", "groups", "masses"} - document.keys()
        if lacking or not isinstance(document["identity"], dict):
            raise self._corrupt(f"its manifest lacks {sorted(lacking or {'identity'})[0]!r}")
        return document

    def _folded(self, document: dict[str, Any], quantities: Mapping[str, Quantity]) -> Folded:
        path = self.folder / Path(str(document["states"])).name
        try:
            if _checksum(path) != document["sha256"]:
                raise self._corrupt(f"{path.name} is not what its manifest says (sha256)")
            arrays, _ = read_safetensors(path)
            groups = [
                Group(each["level"], each["count"], _of_union(each["union"], quantities))
                for each in unpack(document["groups"], arrays)
            ]
            folded = Folded(Merged(quantities, groups))
            folded.masses = [(int(samples), float(mass)) for samples, mass in document["masses"]]
            folded.absent, folded.matrices = document["absent"], document["matrices"]
        except CheckpointError:
            raise
        except (TracerError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._corrupt(str(error)) from error
        if folded.shards != document["shards"]:
            raise self._corrupt(f"it says {document['shards']} shards, and has {folded.shards}")
        return folded

    def _refuse_strangers(self) -> None:
        """Raise for a folder of something else, or a file."""
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(f"the checkpoint {str(self.folder)!r} is a file: name a folder")
        names = [path.name for path in self.folder.glob("*")]
        ours = tuple(f"{dot}{name}" for dot in ("", ".") for name in ("states-", MANIFEST))
        others = [name for name in names if not name.startswith(ours)]
        if others:
            raise CheckpointError(
                f"the folder {str(self.folder)!r} is no checkpoint, and holds {others[0]!r}: give "
                f"one that is empty or not there yet"
            )

    def _corrupt(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint {str(self.folder)!r} is corrupt: {why}; remove it to begin anew"
        )


def _union(union: Union, folded: Folded) -> Any:
    quantities = folded.merged.quantities
    states = {
        name: {p: plain(kept, quantities[name]) for p, kept in values.items()}
        for name, values in union.states.items()
    }
    return {"samples": union.samples, "mass": union.mass, "reduction": union.reduction,
            "states": states}  # fmt: skip


def _of_union(value: Any, quantities: Mapping[str, Quantity]) -> Union:
    states = {
        name: {p: restored(kept, quantities[name]) for p, kept in values.items()}
        for name, values in value["states"].items()
    }
    return Union(value["samples"], value["mass"], value["reduction"], states)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    """Write beside and rename, and see that it is on the disk."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with beside.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
