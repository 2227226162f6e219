"""What a check has compared with what, and what it could not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Report(Mapping[str, str]):
    """By the name of a check, what it compared with what.

    `missing` are those that could not be made, with the reason. What was checked is right only if
    it `is_defined`: if its values were compared with a definition, and not only with each other.
    """

    def __init__(self, made: Mapping[str, str], missing: Mapping[str, str], is_defined: bool):
        self.missing = dict(missing)
        self.is_defined = is_defined
        self._made = dict(made)

    def __getitem__(self, name: str) -> str:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)

    def __repr__(self) -> str:
        made = [*self, *(f"not {name}" for name in self.missing)]
        return f"<{'ok' if self.is_defined else 'no definition'}: {', '.join(made)}>"
