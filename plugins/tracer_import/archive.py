"""The zip that a program is kept in: members by name, checked before anything of them is read.

What PyTorch writes is not compressed, so that nothing in a file is larger than the file.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from tracer_import.errors import ProgramError

#: what a document says in JSON: by name, anything
Document: TypeAlias = Mapping[str, Any]
#: members that an archive has at most
MOST_MEMBERS = 200_000
#: bytes of a JSON document that is read
LONGEST_JSON = 1 << 29
#: bytes of a member's own header, without its name
LOCAL_HEADER = 30
#: what reading a damaged zip or a damaged document raises
OF_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,  # of encrypted members
    RecursionError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block that reads a file: what it raises of damage becomes a `ProgramError`."""
    try:
        yield
    except ProgramError:
        raise
    except OF_DAMAGE as error:
        why = f"{type(error).__name__}: {error}"[:200]
        raise ProgramError(
            f"{str(path)!r} is no whole program of PyTorch's ({why}): write it again with "
            f"torch.export.save(torch.export.export(model, inputs), path)"
        ) from error


class Archive:
    """The members of a zip below its only folder, by their names."""

    def __init__(self, path: Path, file: zipfile.ZipFile):
        self._file = file
        self.path = path
        self.size = path.stat().st_size
        self._members: dict[str, zipfile.ZipInfo] = {}
        found = file.infolist()
        if len(found) > MOST_MEMBERS:
            raise ValueError(f"it has {len(found)} members")
        roots = {member.filename.partition("/")[0] for member in found}
        if len(roots) != 1:
            raise ValueError(f"it has {len(roots)} folders in place of one")
        (root,) = roots
        for member in found:
            self._add(member, member.filename.removeprefix(f"{root}/"))
        self._refuse_overlaps(found)

    def _add(self, member: zipfile.ZipInfo, name: str) -> None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise ValueError(f"a member leaves the archive: {name[:80]!r}")
        if name in self._members:
            raise ValueError(f"{name!r} is there twice")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{name!r} is compressed, and PyTorch compresses nothing")
        if member.flag_bits & 1:
            raise ValueError(f"{name!r} is encrypted")
        self._members[name] = member

    def _refuse_overlaps(self, members: list[zipfile.ZipInfo]) -> None:
        end = 0
        for member in sorted(members, key=lambda each: each.header_offset):
            if member.header_offset < end:
                raise ValueError(f"{member.filename!r} lies over another member")
            end = member.header_offset + LOCAL_HEADER + member.file_size
        if end > self.size:
            raise ValueError(f"its members would have {end} bytes, and the file has {self.size}")

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self, folder: str) -> list[str]:
        """The names of the members in a folder."""
        return [name for name in self._members if name.startswith(folder)]

    def bytes_of(self, name: str) -> int:
        """How many bytes a member has."""
        return self._member(name).file_size

    def read(self, name: str) -> bytes:
        """The bytes of a member."""
        return self._file.read(self._member(name))

    def document(self, name: str) -> Any:
        """What a member says in JSON."""
        if self.bytes_of(name) > LONGEST_JSON:
            raise ValueError(f"{name!r} has {self.bytes_of(name)} bytes")
        return json.loads(self.read(name))

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ValueError(f"it has no {name!r}")
        return self._members[name]


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file. Raises `ProgramError` for one that is damaged, `OSError` for none."""
    with reading(path), zipfile.ZipFile(path) as file:
        yield Archive(path, file)
