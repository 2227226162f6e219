"""What a training reports: a record of values for each epoch."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from tracer.errors import TracerError, suggestion
from tracer_training.kinds import Saved, Value

__all__ = ["History"]


class History(list[dict[str, Any]]):
    """A record for each epoch: `epoch`, `step`, `loss`, `test_loss`, metrics, `lr`, `seconds`.

    `history["loss"]` are the values of all epochs, `[epochs]`; `history[-1]` is the last record.
    """

    def __getitem__(self, key: Any) -> Value:
        if not isinstance(key, str):
            return super().__getitem__(key)
        known = {name: None for record in self for name in record}
        if key not in known:
            raise TracerError(
                f"the history has no {key!r}.{suggestion(key, known)} "
                f"It has: {', '.join(known) or 'nothing yet'}"
            )
        return np.array([record.get(key, np.nan) for record in self])

    def _repr_html_(self) -> str:
        names = list({name: None for record in self for name in record})
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{shown(name, record.get(name))}</td>" for name in names)
            + "</tr>"
            for record in self
        )
        return f"<table><tr>{head}</tr>{rows}</table>"


def shown(name: str, value: Value) -> str:
    """A value of a record as a short text."""
    if value is None:
        return ""
    if name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    if name.endswith("seconds"):
        return f"{value:.1f} s"
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))


def line_of(record: Saved, epochs: int) -> str:
    """A record as a line: `epoch 3/10  loss 0.123  accuracy 95.10 %  ...  3.2 s`."""
    left_out = {"epoch", "step", "lr"}
    parts = [
        shown(name, value) if name == "seconds" else f"{name} {shown(name, value)}"
        for name, value in record.items()
        if name not in left_out
    ]
    return "  ".join([f"epoch {record['epoch']}/{epochs}", *parts])
