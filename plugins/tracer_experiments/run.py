"""A run that is being recorded."""

from __future__ import annotations

import json
import math
import operator
import struct
import time
import traceback
import warnings
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from tracer import Tape, Tensor
from tracer.extend import is_users, raw
from tracer_experiments.charts import Chart
from tracer_experiments.store.reading import Database, RunRow
from tracer_experiments.store.schema import RecordError
from tracer_experiments.store.writing import Entry, Packed, Writer
from tracer_experiments.stored_run import StoredRun
from tracer_experiments.values import BINS, Histogram, Late, Logged, host

__all__ = ["RecordWarning", "Run"]


#: steps that the file can hold
FIRST, LAST = -(2**63), 2**63 - 1


class RecordWarning(UserWarning):
    """Something that was logged is not recorded, or not yet."""


class Run(StoredRun):
    """A run that is written, and can be read as any other meanwhile.

    `log` only puts values into a queue; a thread writes them within half a second, so that a
    program that is killed loses no more. Where they cannot be written, as on a full disk, they
    wait, and a `RecordWarning` says so: a training is never stopped by its record. As a context it
    finishes at its end, as failed where an error leaves it.
    """

    def __init__(self, writer: Writer, database: Database, row: RunRow):
        super().__init__(database, row)
        self._writer = writer
        #: what `time.perf_counter` said when the run began
        self._origin = time.perf_counter() - (time.time() - row.begun)
        self._is_over = False

    def _reading(self) -> Database:
        if not self._is_over and self._writer.is_active(self.id):
            self.flush()
        return self._database

    # -- what is logged ------------------------------------------------------------------------

    def log(self, step: int, **values: Logged) -> None:
        """Record values of a step.

        A value is a number (of Python, NumPy or a device, a tensor without axes, `Late`), a
        `Histogram`, or another array, whose values are counted in `BINS` equal bins. NaN and
        infinities are kept. Raises `RecordError` for anything else.
        """
        for name, value in values.items():
            if type(value) is not float:
                values[name] = _loggable(name, value)
            if not name.isascii():
                text("the name of a series", name)
        self._add(_whole(step), values)

    def histogram(self, name: str, array: Logged, step: int, bins: int = BINS) -> None:
        """Count the values of an array of any shape, or record a `Histogram` as it is."""
        made = array if isinstance(array, Histogram) else Histogram.of(array, bins)
        self._add(_whole(step), {text("the name of a series", name): made})

    def image(self, name: str, array: Logged, step: int) -> None:
        """Record a picture: `[H, W]`, `[H, W, 3]` or `[H, W, 4]`, uint8 or floats in [0, 1]."""
        name = text("the name of a series", name)
        self._add(_whole(step), {name: Packed("image", png(name, host(array)))})

    def graph(self, tape: Tape, step: int = 0, name: str = "graph") -> None:
        """Record the graph of a tape: of both directions once it was swept."""
        document = tape.draw(depth="all").render("json")
        name = text("the name of a series", name)
        self._add(_whole(step), {name: Packed("graph", zlib.compress(document))})

    def describe(self, name: str, chart: Chart) -> None:
        """Say how a series is drawn."""
        self._check_open()
        self._writer.describe(self.id, name, json.dumps(chart.to_dict()))

    def rewind(self, step: int) -> None:
        """Remove what was logged of `step` and later ones, as where a training goes on from it."""
        self._check_open()
        self._writer.rewind(self.id, _whole(step))

    def note(self, **config: Any) -> None:
        """Add to the configuration."""
        self._check_open()
        self._row = self._row._replace(config=self._row.config | config)
        self._writer.configure(self.id, configuration(self._row.config))

    # -- its end -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was logged now."""
        self._check_open()
        self._writer.flush()
        self._complain()

    def finish(self, status: str = "finished", error: str = "") -> None:
        """Write what was logged, and that the run is over. A second call does nothing."""
        if self._is_over:
            return
        if self._writer.is_foreign or self._writer.is_active(self.id):
            self._check_open()
            self._writer.finish(self.id, status, error)
        self._is_over = True
        self._row = self._row._replace(status=status, error=error, ended=time.time())
        self._complain()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            interrupted = isinstance(error, KeyboardInterrupt)
            self.finish("interrupted" if interrupted else "failed", described(error))

    def _add(self, step: int, values: Mapping[str, Logged]) -> None:
        if self._is_over or self._writer.is_foreign or not self._writer.is_active(self.id):
            self._check_open()
        self._writer.add(Entry(self.id, step, time.perf_counter() - self._origin, values))
        if self._writer.trouble:
            self._complain()

    def _check_open(self) -> None:
        if self._writer.is_foreign:
            raise RecordError(
                f"the run {self.name!r} is recorded by the parent process: make a Recorder in this "
                f"one"
            )
        if self._is_over or not self._writer.is_active(self.id):
            raise RecordError(f"the run {self.name!r} is finished: begin another one")

    def __reduce__(self) -> Any:
        raise RecordError(
            f"the run {self.name!r} is recorded by this process: make a Recorder in the other one"
        )

    def _complain(self) -> None:
        trouble, self._writer.trouble = self._writer.trouble, ""
        if trouble:
            warnings.warn(trouble, RecordWarning, stacklevel=4)


def configuration(config: Mapping[str, Any] | None) -> str:
    """A configuration as JSON; what JSON has no form for is kept as its text."""
    if config is None:
        return "{}"
    if not isinstance(config, Mapping):
        raise RecordError(f"the configuration of a run is a dict, got {config!r}")
    try:
        return json.dumps(plain(config))
    except RecursionError:
        raise RecordError("the configuration of a run holds itself: give what is in it") from None
    except Exception as error:  # of what objects are as texts, or of 5,000 digits
        raise RecordError(
            f"the configuration of a run cannot be kept as JSON: {type(error).__name__}: {error}"
        ) from error


def plain(value: Any) -> Any:
    """A value in the types of JSON; what is none of them is its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def described(error: BaseException) -> str:
    """An error and the line of the user's program that it left last."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [(frame, line) for frame, line in frames if is_users(frame)] or frames
    at = f" ({own[-1][0].f_code.co_filename}:{own[-1][1]})" if own else ""
    message = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{message}{at}"


def _whole(step: Any) -> int:
    try:
        whole = operator.index(step)
    except TypeError:
        raise RecordError(f"a step is a whole number, got {step!r}") from None
    if not FIRST <= whole <= LAST:
        raise RecordError(f"a step is a whole number of 64 bits, got {whole:.3e}")
    return whole


def text(what: str, given: Any) -> str:
    """A text that a file can hold. Raises `RecordError` for others, and for what is none."""
    if not isinstance(given, str):
        raise RecordError(f"{what} is a text, got {given!r}")
    try:
        given.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{what} is a text of Unicode, got {given!r}: encode it") from None
    return given


def _loggable(name: str, value: Any) -> Logged:
    """A value as it waits: a float, a histogram, or what is a number on a device."""
    if isinstance(value, float | Histogram | Packed):
        if isinstance(value, Late):
            _whole(value.step)
        return value if isinstance(value, Late | Histogram | Packed) else float(value)
    if isinstance(value, Tensor):
        value = raw(value)
    if isinstance(value, int | np.integer | np.floating | np.bool_):
        try:
            return float(value)
        except OverflowError:
            raise RecordError(f"{name!r} is too large for a number of 64 bits") from None
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise RecordError(
            f"{name!r} is {value!r}: log numbers and arrays, pictures with run.image, and texts in "
            f"the configuration (run.note)"
        )
    if value.dtype.kind == "c":
        raise RecordError(f"{name!r} is complex: log its real and imaginary parts, or its size")
    if value.shape:
        return Histogram.of(value)
    if value.dtype.kind not in "fiub":
        raise RecordError(f"{name!r} is of {value.dtype}: log real numbers")
    return float(value) if isinstance(value, np.ndarray) else value


def png(name: str, array: np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise RecordError(
            f"the image {name!r} has shape {array.shape}: [H, W], [H, W, 3] or [H, W, 4] is one"
        )
    if array.dtype != np.uint8:
        if array.dtype.kind not in "fb":
            raise RecordError(
                f"the image {name!r} is {array.dtype}: give uint8, or floats in [0, 1]"
            )
        array = np.rint(np.clip(np.nan_to_num(array.astype(np.float64)), 0, 1) * 255).astype("u1")
    height, width, channels = array.shape
    colour = {1: 0, 3: 2, 4: 6}[channels]
    rows = np.concatenate([np.zeros((height, 1), "u1"), array.reshape(height, -1)], axis=1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
