"""Runs as event files of TensorBoard, written by tensorboardX."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracer.extend import Sink
from tracer_experiments.sinks.naming import file_name
from tracer_experiments.store.schema import RecordError
from tracer_experiments.store.writing import Packed
from tracer_experiments.values import Histogram, Logged


class TensorBoard(Sink):
    """A folder of events `ID-NAME` for each run: `tensorboard --logdir runs/tensorboard`.

    Numbers are scalars, histograms of one axis are histograms, images are images; graphs and
    histograms of two axes are left out. A run that goes on hides what was written of its steps.
    Raises `RecordError` where tensorboardX is not installed.
    """

    name = "tensorboard"

    def __init__(self, folder: Path):
        super().__init__(folder)
        try:
            import tensorboardX
        except ImportError as error:
            raise RecordError(
                "the sink 'tensorboard' needs tensorboardX: pip install 'trace-net[tensorboard]'"
            ) from error
        self._make = tensorboardX.SummaryWriter
        self._runs: dict[int, Mapping[str, Any]] = {}
        self._writers: dict[int, Any] = {}
        self._origins: dict[int, float] = {}

    def begin(self, run: Mapping[str, Any]) -> None:
        self._runs[run["id"]] = run

    def write(self, run: int, points: Sequence[tuple[int, float, str, Logged]]) -> None:
        if not points:
            return
        step, seconds, *_ = points[0]
        if run not in self._writers:
            self._writers[run] = self._opened(run, step)
            self._origins[run] = time.time() - seconds
        writer, origin = self._writers[run], self._origins[run]
        for step, seconds, name, value in points:
            if isinstance(value, float):
                writer.add_scalar(name, float(value), step, origin + seconds)
            elif isinstance(value, Histogram) and value.ndim == 1:
                _add_histogram(writer, name, value, step, origin + seconds)
            elif isinstance(value, Packed) and value.kind == "image":
                _add_image(writer, name, value.data, step, origin + seconds)
        writer.flush()

    def finish(self, run: int, status: str) -> None:
        self._runs.pop(run)
        if run in self._writers:
            self._writers.pop(run).close()

    def close(self) -> None:
        for run in list(self._runs):
            self.finish(run, "finished")

    def _opened(self, run: int, step: int) -> Any:
        """What writes the events of a run from a step on; those that follow it are hidden."""
        told = self._runs[run]
        folder = self.folder / file_name(told)
        goes_on = folder.exists()
        writer = self._make(str(folder), purge_step=step if goes_on else None)
        if not goes_on:
            config = json.dumps(told["config"], indent=1)
            writer.add_text(
                "configuration", "\n".join(f"    {line}" for line in config.split("\n"))
            )
        return writer


def _add_histogram(writer: Any, name: str, histogram: Histogram, step: int, seconds: float) -> None:
    """A histogram as its counts and the upper edges of its bins."""
    counts, edges = np.asarray(histogram), histogram.edges
    middles = (edges[1:] + edges[:-1]) / 2
    writer.add_histogram_raw(
        name,
        min=float(edges[0]),
        max=float(edges[-1]),
        num=float(counts.sum()),
        sum=float(counts @ middles),
        sum_squares=float(counts @ middles**2),
        bucket_limits=edges[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
        walltime=seconds,
    )


def _add_image(writer: Any, name: str, png: bytes, step: int, seconds: float) -> None:
    """A picture as the PNG file that it is; its size stands in bytes 16 to 24."""
    from tensorboardX.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])
    channels = {0: 1, 2: 3, 6: 4}[png[25]]
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png)
    summary = Summary(value=[Summary.Value(tag=name, image=image)])
    writer._get_file_writer().add_summary(summary, step, seconds)
