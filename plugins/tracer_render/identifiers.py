"""Names of boxes: of letters, digits and underscores, which every format takes."""

from __future__ import annotations

import re


class Identifiers:
    """New names, each taken once."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def new(self, text: object) -> str:
        """A name for something that is called so; what has the same name before gets a number."""
        stem = re.sub(r"\W", "_", str(text), flags=re.ASCII) or "_"
        name, count = stem, self._taken.get(stem, 0)
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken[stem] = count
        self._taken.setdefault(name, 0)
        return name
