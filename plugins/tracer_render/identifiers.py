"""Names of boxes: of letters, digits and underscores, which every format takes."""

from __future__ import annotations

import re


def identifier(text: object) -> str:
    """The name of what is called so, if it is the first."""
    name = str(text)
    if name.isascii() and name.isidentifier():
        return name
    spelled = name.replace(" ", "_").replace(".", "_")  # most paths of modules, and sooner
    if spelled.isascii() and spelled.isidentifier():
        return spelled
    return re.sub(r"\W", "_", name, flags=re.ASCII) or "_"


class Identifiers:
    """New names, each taken once."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def new(self, text: object) -> str:
        """A name for something that is called so; what has the same name before gets a number."""
        stem = identifier(text)
        if stem not in self._taken:
            self._taken[stem] = 0
            return stem
        name, count = stem, self._taken[stem]
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken[stem] = count
        self._taken.setdefault(name, 0)
        return name
