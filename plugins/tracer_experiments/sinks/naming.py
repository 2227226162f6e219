"""What the files of a run are called."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: letters of a run's name that a file's name keeps
LONGEST = 80


def file_name(run: Mapping[str, object]) -> str:
    """`12-lr_0.1`: the id of a run, and of its name what any file system takes."""
    return f"{run['id']}-{plain(str(run['name']))}"


def plain(name: str) -> str:
    """A name with letters, digits and `.,=+-` alone, shortened."""
    return re.sub(r"[^\w.,=+-]+", "_", name)[:LONGEST]
