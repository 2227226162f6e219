"""Runs as one file for other programs: CSV, JSON lines or NumPy's `.npz`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from tracer.errors import UsageError
from tracer_experiments import printing
from tracer_experiments.commands.fields import Listed
from tracer_experiments.sinks.json_lines import json_able
from tracer_experiments.store.reading import Columns
from tracer_experiments.store.schema import RecordError
from tracer_experiments.stored_run import StoredRun
from tracer_experiments.values import Histogram

Data = TypeVar("Data")


def exported(runs: Sequence[StoredRun], suffix: str) -> bytes:
    """The bytes of a file of runs; `UsageError` for a format that there is not."""
    if suffix not in WRITERS:
        raise UsageError(
            f"runs are exported as {', '.join(WRITERS)}, got {suffix or 'no suffix'!r}",
            "name the file so, as in -o runs.csv, or give --format",
        )
    return WRITERS[suffix](runs)


def as_csv(runs: Sequence[StoredRun]) -> bytes:
    """A line for each step of each run; a column for each series of numbers."""
    kept = [(run, numbers(run)) for run in runs]
    names = list(dict.fromkeys(name for _, series in kept for name in series))
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(["run", "name", "group", "step", "seconds", *names])
    for run, series in kept:
        rows: dict[int, list[float | None]] = {}
        for column, name in enumerate(names, start=1):
            if name in series:
                for step, seconds, value in zip(*map(np.ndarray.tolist, series[name]), strict=True):
                    row = rows.setdefault(step, [seconds, *[None] * len(names)])
                    row[column] = value
        for step in sorted(rows):
            written = ["" if value is None else repr(value) for value in rows[step]]
            lines.writerow([run.id, run.name, run.group, step, *written])
    return text.getvalue().encode()


def as_json_lines(runs: Sequence[StoredRun]) -> bytes:
    """A line for each run, and after it one for each of its series of numbers and histograms."""
    lines = [
        json.dumps(json_able(document), allow_nan=False)
        for run in runs
        for document in documents(run)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def documents(run: StoredRun) -> Iterator[dict[str, object]]:
    """A run and its series, for JSON."""
    yield {"kind": "run", **summary(run)}
    for name, columns in numbers(run).items():
        yield {
            "kind": "number",
            "run": run.id,
            "name": name,
            "steps": columns.steps.tolist(),
            "seconds": columns.times.tolist(),
            "values": columns.numbers.tolist(),
        }
    for name, kept in histograms(run).items():
        yield {
            "kind": "histogram",
            "run": run.id,
            "name": name,
            "steps": [step for step, _ in kept],
            "counts": [np.asarray(histogram).tolist() for _, histogram in kept],
            "edges": [[e.tolist() for e in _edges(histogram.edges)] for _, histogram in kept],
        }


def as_npz(runs: Sequence[StoredRun]) -> bytes:
    """Arrays `ID/NAME/steps`, `/seconds` and `/values`, of histograms `/counts` and `/edges`.

    `runs` is a text: what the runs are, as JSON. Histograms of a series whose bins change are one
    array each, `/counts/0`, `/counts/1`, ...; edges of two axes are `/edges_of_axis_0` and `_1`.
    """
    about = json.dumps(json_able([summary(run) for run in runs]))
    arrays: dict[str, np.ndarray] = {"runs": np.array(about)}
    for run in runs:
        for name, columns in numbers(run).items():
            at = f"{run.id}/{name}"
            arrays |= {
                f"{at}/steps": columns.steps,
                f"{at}/seconds": columns.times,
                f"{at}/values": columns.numbers,
            }
        for name, kept in histograms(run).items():
            at = f"{run.id}/{name}"
            arrays[f"{at}/steps"] = np.array([step for step, _ in kept], np.int64)
            arrays |= _stacked(f"{at}/counts", [np.asarray(h) for _, h in kept])
            for axis in range(kept[0][1].ndim if kept else 0):
                label = f"{at}/edges" if kept[0][1].ndim == 1 else f"{at}/edges_of_axis_{axis}"
                arrays |= _stacked(label, [_edges(h.edges)[axis] for _, h in kept])
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # of names, as it documents
    return file.getvalue()


def _stacked(name: str, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    if len({array.shape for array in arrays}) == 1:
        return {name: np.stack(arrays)}
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def _edges(edges: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return edges if isinstance(edges, tuple) else (edges,)


def numbers(run: StoredRun) -> dict[str, Columns]:
    """A run's series of numbers that can be read."""
    return _series(run, "number", run.columns)


def histograms(run: StoredRun) -> dict[str, list[tuple[int, Histogram]]]:
    """A run's series of histograms that can be read."""
    return _series(run, "histogram", run.histograms)


def _series(run: StoredRun, kind: str, read: Callable[[str], Data]) -> dict[str, Data]:
    names = [name for name, info in Listed(run).series.items() if info.kind == kind]
    found = {name: readable(run, name, read) for name in names}
    return {name: data for name, data in found.items() if data is not None}


def readable(run: StoredRun, name: str, read: Callable[[str], Data]) -> Data | None:
    """A series, or None where it is damaged, which is told."""
    try:
        return read(name)
    except RecordError as error:
        printing.note(f"{name!r} of run {run.id} cannot be read: {error}")
        return None


def summary(run: StoredRun) -> dict[str, object]:
    """What a run is, for JSON."""
    return {
        "id": run.id,
        "name": run.name,
        "group": run.group,
        "status": run.status,
        "error": run.error,
        "begun": run.begun,
        "ended": run.ended,
        "seconds": run.seconds,
        "config": run.config,
        "environment": run.environment,
    }


#: what writes a format, by the suffix of its file
WRITERS: dict[str, Callable[[Sequence[StoredRun]], bytes]] = {
    "csv": as_csv,
    "jsonl": as_json_lines,
    "npz": as_npz,
}


def written(path: str, data: bytes) -> None:
    """Write a file, whole or not at all; `-` is stdout."""
    if path == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    place = Path(path)
    beside = place.with_name(f".trace-net-{os.urandom(6).hex()}.tmp")
    try:
        if place.exists() and not place.is_file():
            if place.is_dir():
                raise IsADirectoryError(0, "it is a folder")
            place.write_bytes(data)  # a pipe or a device, which cannot be replaced
            return
        beside.write_bytes(data)
        os.replace(beside, place)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}",
            "choose another file with -o, in a folder that exists and is writable",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
