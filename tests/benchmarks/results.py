"""What one run measured, and where: kept as JSON, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .curvature import Cell
from .environment import Environment
from .floors import Rates
from .growth import Growth
from .measure import Goal, Row
from .processes import Memory


@dataclass
class Results:
    """All measurements of a run, by what they are of, and where it was.

    `rows` are by group. `limit` is the most seconds that a library had in a cell.
    """

    environment: Environment
    limit: float
    rates: Rates | None = None
    rows: dict[str, list[Row]] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    scaling: list[Growth] = field(default_factory=list)

    def text(self) -> str:
        """JSON: times in seconds, memory in bytes, and ratios for those who read it."""
        everything = asdict(self)
        for cell, saved in zip(self.cells, everything["cells"], strict=True):
            saved |= {
                "ratio": cell.ratio,
                "above_floor": cell.above_floor,
                "memory_ratio": cell.memory_ratio,
                "growth_ratio": cell.growth_ratio,
            }
        for name in ("growth", "scaling"):
            for line, saved in zip(getattr(self, name), everything[name], strict=True):
                saved["exponent"] = line.exponent
        return json.dumps(everything, indent=1)


def read(path: Path) -> Results:
    """Results from a file that `Results.text` was written to."""
    saved = json.loads(path.read_text())
    saved["environment"] = _made(Environment, saved["environment"])
    saved["rates"] = _made(Rates, saved["rates"])
    saved["rows"] = {group: list(map(_row, rows)) for group, rows in saved["rows"].items()}
    saved["cells"] = list(map(_cell, saved["cells"]))
    for name in ("growth", "scaling"):
        saved[name] = list(map(_growth, saved[name]))
    return Results(**saved)


def _made(kind: Callable[..., Any], saved: dict[str, Any] | None) -> Any:
    """A dataclass from its fields; what was derived from them is left out."""
    if saved is None:
        return None
    return kind(**{each.name: saved[each.name] for each in fields(kind)})


def _row(saved: dict[str, Any]) -> Row:
    return _made(Row, saved | {"goals": tuple(_made(Goal, goal) for goal in saved["goals"])})


def _cell(saved: dict[str, Any]) -> Cell:
    memory = {name: _made(Memory, saved[name]) for name in ("our_memory", "peer_memory")}
    return _made(Cell, saved | memory)


def _growth(saved: dict[str, Any]) -> Growth:
    seconds = {int(size): seconds for size, seconds in saved["seconds"].items()}
    return _made(Growth, saved | {"seconds": seconds})
