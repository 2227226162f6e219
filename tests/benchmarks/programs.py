"""The programs of docs/examples/programs beside the same ones with autograd, in CPU seconds.

The text of a program is the same for both: `programs_autograd` has autograd's functions by the
names that it imports. Both give the same figures. Linear algebra has one thread.
"""

from __future__ import annotations

import builtins
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .measure import Row, at_most, installed, race

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "programs"
#: what is imported by others, and what is of the record of trace-net
NOT_TIMED = ("descent", "drawn_graph", "recorded_operations")
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_TIMED))
REPEATS = 3


class Programs:
    """The modules of the folder, with `others` in the place of modules of these names."""

    def __init__(self, others: Mapping[str, Any] | None = None) -> None:
        self.others = others or {}
        self.loaded: dict[str, ModuleType] = {}

    def load(self, name: str) -> ModuleType:
        """The module of a program, which is run once."""
        if name not in self.loaded:
            path = FOLDER / f"{name}.py"
            module = self.loaded[name] = ModuleType(name)
            vars(module)["__builtins__"] = vars(builtins) | {"__import__": self._import}
            exec(compile(path.read_text(encoding="utf-8"), path, "exec"), vars(module))
        return self.loaded[name]

    def _import(self, name: str, *scope: Any) -> Any:
        if (FOLDER / f"{name}.py").exists():
            return self.load(name)
        if name in self.others:
            return self.others[name]
        return builtins.__import__(name, *scope)

    def figures(self, name: str) -> Callable[[], dict[str, Any]]:
        """The function of a program that gives its figures."""
        return self.load(name).figures


def with_autograd() -> Programs:
    """The programs with autograd."""
    return Programs(importlib.import_module(".programs_autograd", __package__).MODULES)


def agree(ours: Mapping[str, Any], theirs: Mapping[str, Any], rtol: float = 1e-4) -> bool:
    """Whether the figures of two runs are the same."""
    return ours.keys() == theirs.keys() and all(
        np.allclose(np.asarray(ours[key], float), np.asarray(theirs[key], float), rtol, 1e-6)
        for key in ours
    )


def rows() -> Iterator[Row]:
    """A row for each program, whose goal is autograd's time."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn, which programs need

    ours, theirs = Programs(), with_autograd() if installed("autograd") else Programs()
    for name in NAMES:
        runners = {
            "trace-net": partial(ours.figures, name),
            "autograd": partial(theirs.figures, name),
        }
        with threadpool_limits(1):
            seconds = race(runners, REPEATS, clock=time.process_time)
        goals = at_most(1, seconds["autograd"], "autograd")
        yield Row(f"program `{name}`", 1e-3, seconds, goals)
