"""A run that was recorded: what it was set up with, and its series."""

from __future__ import annotations

import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import suggestion
from tracer_experiments.store.reading import (
    Columns,
    Database,
    Points,
    RunRow,
    SeriesInfo,
    bucketed,
    damage_named,
)
from tracer_experiments.store.schema import RecordError
from tracer_experiments.values import Histogram

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["StoredRun"]

#: seconds without a sign of life after which a run counts as killed
SILENCE = 30.0


class StoredRun:
    """A run as it was when it was read; `reload()` reads it again.

    `id`, `name`, `group`, `config`, `environment` and `error` are what was recorded; `begun`,
    `ended` (None while it runs) and `seen` are seconds since 1970.
    """

    def __init__(self, database: Database, row: RunRow):
        self._database, self._row = database, row

    def _reading(self) -> Database:
        """The database, with everything that was logged in it."""
        return self._database

    def reload(self) -> None:
        self._row = self._reading().run(self._row.id)

    @property
    def id(self) -> int:
        return self._row.id

    @property
    def name(self) -> str:
        return self._row.name

    @property
    def group(self) -> str:
        return self._row.group

    @property
    def config(self) -> dict[str, Any]:
        return self._row.config

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, program, revision of git and machine, and `seed`."""
        return self._row.environment

    @property
    def status(self) -> str:
        """How it stands: "running", "finished", "failed", "interrupted" by the user, or "killed".

        That is one that was running, and has been silent for 30 s.
        """
        if self._row.status == "running" and time.time() - self._row.seen > SILENCE:
            return "killed"
        return self._row.status

    @property
    def error(self) -> str:
        return self._row.error

    @property
    def begun(self) -> float:
        return self._row.begun

    @property
    def seen(self) -> float:
        return self._row.seen

    @property
    def ended(self) -> float | None:
        return self._row.ended

    @property
    def seconds(self) -> float:
        """How long it took, or has taken until it was seen last."""
        last = self._row.seen if self._row.ended is None else self._row.ended
        return max(0.0, last - self._row.begun)  # a clock may have been set back

    # -- series --------------------------------------------------------------------------------

    def names(self) -> dict[str, SeriesInfo]:
        """What is known of each series, by name."""
        return {name: info for name, (_, info) in self._reading().series(self.id).items()}

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps `[n]` int64, ascending, and values `[n]` float64; of histograms `[n, bins]` counts.

        Of a step that was logged more than once, the last value counts. Raises `RecordError` for a
        name that there is not, and for images and graphs.
        """
        identity, info = self._found(name, "number", "histogram")
        if info.kind == "histogram":
            kept = self._database.histograms(identity)
            if len({histogram.shape for _, _, histogram in kept}) > 1:
                raise RecordError(
                    f"the histograms of {name!r} have different bins: take histograms({name!r})"
                )
            counts = np.array([np.asarray(histogram) for _, _, histogram in kept])
            return np.array([step for step, _, _ in kept], np.int64), counts
        columns = self._database.columns(identity)
        return columns.steps, columns.numbers

    def columns(self, name: str) -> Columns:
        """Steps, seconds since the run began, and values of a series of numbers, each `[n]`."""
        return self._database.columns(self._found(name, "number")[0])

    def times(self, name: str) -> np.ndarray:
        """Seconds since the run began, `[n]` float64, of the points of `series`."""
        return self.columns(name).times

    def points(self, name: str, most: int = 500) -> Points:
        """A series of numbers as it is drawn, in at most so many buckets."""
        return bucketed(self.columns(name), most)

    def histograms(self, name: str) -> list[tuple[int, Histogram]]:
        """Steps and histograms."""
        identity, _ = self._found(name, "histogram")
        return [(step, histogram) for step, _, histogram in self._database.histograms(identity)]

    def images(self, name: str) -> list[tuple[int, bytes]]:
        """Steps and images, as the bytes of PNG files."""
        identity, _ = self._found(name, "image")
        return [(step, data) for step, _, data in self._database.objects(identity)]

    def graphs(self, name: str = "graph") -> list[tuple[int, nx.MultiDiGraph]]:
        """Steps and graphs of tapes."""
        documents = self.graph_documents(name)
        with damage_named(self._database.file):
            return [(step, _graph(document)) for step, document in documents]

    def graph_documents(self, name: str = "graph") -> list[tuple[int, bytes]]:
        """The same as the bytes of the JSON that `trace-net visualize -o FILE.json` writes."""
        identity, _ = self._found(name, "graph")
        kept = self._database.objects(identity)
        with damage_named(self._database.file):
            return [(step, zlib.decompress(data)) for step, _, data in kept]

    def _found(self, name: str, *kinds: str) -> tuple[int, SeriesInfo]:
        known = self._reading().series(self.id)
        if name not in known:
            raise RecordError(
                f"the run {self.name!r} has no series {name!r}.{suggestion(name, known)} "
                f"It has: {', '.join(known) or 'nothing yet'}"
            )
        identity, info = known[name]
        if info.kind not in kinds:
            reader = {"image": "images", "graph": "graphs", "histogram": "histograms"}
            raise RecordError(
                f"{name!r} is a series of kind {info.kind}: take "
                f"{reader.get(info.kind, 'series')}({name!r})"
            )
        return identity, info

    def __repr__(self) -> str:
        return f"<run {self.id} {self.name!r}, {self.status}>"


def _graph(document: bytes) -> nx.MultiDiGraph:
    import networkx as nx

    kept = json.loads(document)
    if not isinstance(kept, dict):
        raise ValueError("a graph is kept as an object of JSON")
    return nx.node_link_graph(kept, edges="edges", multigraph=True, directed=True)
