"""Runs as JSON lines, for programs: a file for each run, a line for each value."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from tracer.extend import Sink
from tracer_experiments.sinks.naming import file_name
from tracer_experiments.values import Histogram, Logged


class JSONLines(Sink):
    """`ID-NAME.jsonl` for each run: first the run, then a line for each value, last its status.

    A line is `{"step", "seconds", "name", "value"}`, or of a histogram with `counts` and `edges`
    in place of `value`. Numbers that JSON has no form for are "NaN", "Infinity" and "-Infinity".
    Images and graphs are left out. A run that goes on appends; of a step that is there twice the
    later line counts.
    """

    name = "jsonl"

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._files: dict[int, TextIO] = {}

    def begin(self, run: Mapping[str, object]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        identity = run["id"]
        assert isinstance(identity, int)
        path = self.folder / f"{file_name(run)}.jsonl"
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        file = self._files[identity] = path.open("a", encoding="utf-8")
        if not whole:  # it was killed within a line
            file.write("\n")
        _line(file, run)

    def write(self, run: int, points: Sequence[tuple[int, float, str, Logged]]) -> None:
        file = self._files[run]
        for step, seconds, name, value in points:
            if (written := _value(value)) is not None:
                _line(file, {"step": step, "seconds": seconds, "name": name} | written)
        file.flush()

    def finish(self, run: int, status: str) -> None:
        file = self._files.pop(run)
        _line(file, {"status": status})
        file.close()

    def close(self) -> None:
        for run in list(self._files):
            self.finish(run, "finished")


def _value(value: Logged) -> dict[str, object] | None:
    """The part of a line that holds a value; None of a kind that is left out."""
    if isinstance(value, float):
        return {"value": float(value)}
    if isinstance(value, Histogram):
        several = isinstance(value.edges, tuple)
        edges = [np.asarray(e).tolist() for e in value.edges] if several else value.edges.tolist()
        return {"counts": np.asarray(value).tolist(), "edges": edges}
    return None


def _line(file: TextIO, document: Mapping[str, object]) -> None:
    file.write(json.dumps(json_able(document), allow_nan=False) + "\n")


def json_able(value: object) -> object:
    """A value with the floats that JSON has no form for as texts."""
    if isinstance(value, Mapping):
        return {str(key): json_able(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
