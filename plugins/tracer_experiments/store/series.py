"""A series that grows: its row, and its last block, which is written again until it is full."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from tracer_experiments.store.blocks import SIZE, numbers_of, packed, steps_of, times_of

PUT_BLOCK = """
INSERT INTO blocks (series, number, count, steps, times, numbers) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (series, number) DO UPDATE SET
    count = excluded.count, steps = excluded.steps, times = excluded.times,
    numbers = excluded.numbers
"""


@dataclass
class GrowingSeries:
    """Where a series stands: its id and kind, and the points of the block `number`."""

    id: int
    kind: str
    number: int = 0
    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)

    @classmethod
    def opened(
        cls, connection: sqlite3.Connection, run: int, name: str, kind: str, chart: str | None
    ) -> GrowingSeries:
        """The series of a run of that name, with what is in its last block, or a new one."""
        connection.execute(
            "INSERT INTO series (run, name, kind, chart, count, last_step) "
            "VALUES (?, ?, ?, ?, 0, 0) "
            "ON CONFLICT (run, name) DO UPDATE SET chart = coalesce(excluded.chart, chart)",
            (run, name, kind, chart),
        )
        identity, kind = connection.execute(
            "SELECT id, kind FROM series WHERE run = ? AND name = ?", (run, name)
        ).fetchone()
        series = cls(identity, kind)
        last = connection.execute(
            "SELECT number, count, steps, times, numbers FROM blocks WHERE series = ? "
            "ORDER BY number DESC LIMIT 1",
            (identity,),
        ).fetchone()
        if last is not None:
            series.number, count, steps, times, numbers = last
            series.steps = steps_of(count, steps).tolist()
            series.times = times_of(times).tolist()
            series.numbers = numbers_of(numbers).tolist()
        return series

    def add_numbers(
        self, connection: sqlite3.Connection, points: Sequence[tuple[int, float, float]]
    ) -> None:
        """Write numbers behind those that are there."""
        if not points:
            return
        for step, seconds, value in points:
            self.steps.append(step)
            self.times.append(seconds)
            self.numbers.append(value)
        while len(self.steps) > SIZE:
            self._put(connection, SIZE)
            self.number += 1
            del self.steps[:SIZE], self.times[:SIZE], self.numbers[:SIZE]
        self._put(connection, len(self.steps))
        last = self.numbers[-1]
        connection.execute(
            "UPDATE series SET count = count + ?, last_step = ?, last = ? WHERE id = ?",
            (len(points), self.steps[-1], last if math.isfinite(last) else None, self.id),
        )

    def _put(self, connection: sqlite3.Connection, count: int) -> None:
        block = packed(self.steps[:count], self.times[:count], self.numbers[:count])
        connection.execute(PUT_BLOCK, (self.id, self.number, *block))

    def add_objects(
        self, connection: sqlite3.Connection, points: Sequence[tuple[int, float, bytes]]
    ) -> None:
        """Write histograms, images or graphs."""
        if not points:
            return
        connection.executemany(
            "INSERT INTO objects (series, step, time, data) VALUES (?, ?, ?, ?)",
            [(self.id, *point) for point in points],
        )
        connection.execute(
            "UPDATE series SET count = count + ?, last_step = ? WHERE id = ?",
            (len(points), points[-1][0], self.id),
        )


def cut_numbers(connection: sqlite3.Connection, series: int, step: int) -> None:
    """Remove the points of a step and later ones from a series of numbers."""
    blocks = connection.execute(
        "SELECT number, count, steps, times, numbers FROM blocks WHERE series = ? ORDER BY number",
        (series,),
    ).fetchall()
    left, last_step, last = 0, 0, math.nan
    for number, count, steps, times, numbers in blocks:
        at = steps_of(count, steps)
        kept = at < step
        left += int(kept.sum())
        if kept.any():
            last_step, last = int(at[kept][-1]), float(numbers_of(numbers)[kept][-1])
        if kept.all():
            continue
        if kept.any():
            block = packed(at[kept], times_of(times)[kept], numbers_of(numbers)[kept])
            connection.execute(PUT_BLOCK, (series, number, *block))
        else:
            connection.execute(
                "DELETE FROM blocks WHERE series = ? AND number = ?", (series, number)
            )
    connection.execute(
        "UPDATE series SET count = ?, last_step = ?, last = ? WHERE id = ?",
        (left, last_step, last if math.isfinite(last) else None, series),
    )


def cut_objects(connection: sqlite3.Connection, run: int, step: int) -> None:
    """Remove the histograms, images and graphs of a step and later ones from a run."""
    rows = connection.execute(
        "SELECT id FROM series WHERE run = ? AND kind != 'number'", (run,)
    ).fetchall()
    for (series,) in rows:
        connection.execute("DELETE FROM objects WHERE series = ? AND step >= ?", (series, step))
        connection.execute(
            "UPDATE series SET count = (SELECT count(*) FROM objects WHERE series = ?1), "
            "last_step = coalesce((SELECT step FROM objects WHERE series = ?1 "
            "ORDER BY id DESC LIMIT 1), 0) WHERE id = ?1",
            (series,),
        )
