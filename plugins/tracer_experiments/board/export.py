"""The page with what it shows inside: one file that is looked at without a server."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Overlay
from tracer_experiments.board import histograms, pictures
from tracer_experiments.board.curves import AXES, curves, packed_curves
from tracer_experiments.board.overview import Overview
from tracer_experiments.board.page import document

if TYPE_CHECKING:
    from tracer_experiments.recorder import Reader
    from tracer_experiments.store.reading import SeriesInfo
    from tracer_experiments.stored_run import StoredRun

__all__ = ["report"]

#: of what takes room, as much as a report holds of a series: bars, images and overlays at steps
BARS, PAIRS, IMAGES, PICTURES = 24, 8, 24, 5
#: graphs are compared in a report of up to this many runs
COMPARED = 4


def report(
    reader: Reader, runs: Sequence[StoredRun], title: str, tell: Callable[[str], None] = print
) -> str:
    """The page of some runs. `tell` is called with what is being done."""
    held: dict[str, Any] = {"overview": _overview(runs), "curves": {}}
    for of in ("heat", "bars", "images", "graphs", "layers", "pictures", "differences"):
        held[of] = {}
    tell(f"reading {len(runs)} runs")
    _add_curves(held, reader, runs)
    for run in runs:
        for name, info in _names(run).items():
            try:
                _add_objects(held, run, name, info.kind)
            except TracerError as error:  # a damaged one does not hide the others
                tell(f"{name} of {run.name} is left out: {error}")
    _add_graphs(held, runs, tell)
    return document(title, held)


def _names(run: StoredRun) -> dict[str, SeriesInfo]:
    try:
        return run.names()
    except TracerError:  # the table of runs says so
        return {}


def _add_objects(held: dict[str, Any], run: StoredRun, name: str, kind: str) -> None:
    """The histograms or images of a series."""
    if kind == "histogram":
        heat, bars = histograms.over_time(run, name), _bars(run, name)
        held["heat"][f"{run.id}|{name}"], held["bars"][f"{run.id}|{name}"] = heat, bars
    elif kind == "image":
        held["images"][f"{run.id}|{name}"] = [
            [step, base64.b64encode(data).decode()]
            for step, data in spread(run.images(name), IMAGES)
        ]


def _overview(runs: Sequence[StoredRun]) -> dict[str, Any]:
    overview = Overview()
    overview.take(list(runs))
    return {**overview.since(0), "clock": time.time()}


def _add_curves(held: dict[str, Any], reader: Reader, runs: Sequence[StoredRun]) -> None:
    most = 400 if len(runs) <= 10 else 200 if len(runs) <= 100 else 100
    names = [name for name, kind in held["overview"]["series"] if kind == "number"]
    for name in names:
        found = dict(curves(reader, name, [run.id for run in runs], AXES, most))
        held["curves"][name] = base64.b64encode(packed_curves(found, "<f4")).decode()


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread, the first and the last among them."""
    if not items:
        return []
    places = np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))
    return [items[place] for place in places]


def _bars(run: StoredRun, name: str) -> list[Any]:
    kept = run.histograms(name)
    most = PAIRS if kept and kept[0][1].ndim > 1 else BARS
    return [histograms.told(step, histogram) for step, histogram in spread(kept, most)]


def _add_graphs(
    held: dict[str, Any], runs: Sequence[StoredRun], tell: Callable[[str], None]
) -> None:
    """Pictures of the graphs with their overlays at some steps, and of pairs of few runs."""
    graphs = {}
    for run in runs:
        if any(info.kind == "graph" for info in _names(run).values()):
            tell(f"drawing the graph of {run.name}")
            try:
                graphs[run.id] = pictures.graph_of(run)
                _add_pictures(held, run, graphs[run.id])
            except TracerError as error:
                tell(f"{run.name} has no picture: {error}")
    if len(runs) > COMPARED:
        return
    for first, second in permutations(graphs, 2):
        found, both = pictures.difference(graphs[first], graphs[second])
        if any(found["counts"].values()):
            try:
                found["picture"] = _svg(both)
            except TracerError as error:
                tell(f"runs {first} and {second} have no picture: {error}")
        held["differences"][f"{first}|{second}"] = found


def _add_pictures(held: dict[str, Any], run: StoredRun, graph: Any) -> None:
    overlays = pictures.overlays(run, graph)
    steps = {
        overlay: spread(sorted({int(at) for each in parameters for at in
                                run.series(f"{overlay}/{each}")[0]}), PICTURES)
        for overlay, parameters in overlays.items()
    }  # fmt: skip
    held["graphs"][str(run.id)] = {"overlays": overlays, "steps": steps}
    held["pictures"][f"{run.id}|"] = {0: _svg(graph, title=run.name)}
    for overlay, parameters in overlays.items():
        held["layers"][f"{run.id}|{overlay}"] = {
            step: pictures.values_at(run, overlay, parameters, step) for step in steps[overlay]
        }
        over = {step: pictures.laid_over(run, graph, overlay, step) for step in steps[overlay]}
        held["pictures"][f"{run.id}|{overlay}"] = {
            step: _svg(graph, title=pictures.titled(run, each), overlay=each)
            for step, each in over.items()
        }


def _svg(graph: Any, title: str = "", overlay: Overlay | None = None) -> str:
    return pictures.picture(graph, title=title, overlay=overlay)[0].decode()
