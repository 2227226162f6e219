"""Names of boxes: of letters, digits and underscores, which every format takes."""

from __future__ import annotations

import re


def identifier(text: object) -> str:
    """The name of what is called so, if it is the first."""
    name = str(text)
    if name.isascii() and name.isidentifier():
        return name
    return re.sub(r"\W", "_", name, flags=re.ASCII) or "_"


class Identifiers:
    """New names, each taken once."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def new(self, text: object) -> str:
        """A name for something that is called so; what has the same name before gets a number."""
        stem = identifier(text)
        name, count = stem, self._taken.get(stem, 0)
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken[stem] = count
        self._taken.setdefault(name, 0)
        return name
