"""How a series is drawn, said once for plots and for the board."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tracer.errors import TracerError

__all__ = ["Chart"]

#: where a chart stands in the cockpit, from its upper left
GROUPS = ("training", "step", "gradients", "curvature", "histograms", "activations", "other")
KINDS = ("line", "histogram", "histogram2d", "image")
SCALES = ("linear", "log", "symlog")


@dataclass(frozen=True, slots=True)
class Chart:
    """How a series is drawn.

    `group` is the part of the cockpit that it stands in, `kind` what is drawn, `scale` that of the
    values. `lines` are values to compare with, each with a word. `about` says in a sentence what a
    reader sees in it. Raises `TracerError` for a group, kind or scale that there is not.
    """

    title: str = ""
    group: str = "other"
    kind: str = "line"
    scale: str = "linear"
    unit: str = ""
    lines: tuple[tuple[float, str], ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        for name, known in (("group", GROUPS), ("kind", KINDS), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise TracerError(
                    f"the {name} of a chart is one of {', '.join(known)}, got "
                    f"{getattr(self, name)!r}"
                )
        lines = tuple((float(value), str(word)) for value, word in self.lines)
        object.__setattr__(self, "lines", lines)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Chart:
        """The chart that `to_dict` gave, of whatever version; what is unknown is left out."""
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{name: value for name, value in saved.items() if name in known})
        except (TracerError, TypeError, ValueError):
            return cls()
