"""Values of quantities as tables for notebooks."""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np

from tracer.arrays import backend
from tracer.curvature.quantity import Value


def by_parameter(columns: Mapping[str, Mapping[str, Value]]) -> str:
    """A row for each parameter, a column for each quantity; blank where there is no value."""
    names = dict.fromkeys(name for values in columns.values() for name in values)
    head = "".join(f"<th>{html.escape(key)}</th>" for key in columns)
    rows = [f"<tr><th></th>{head}</tr>"]
    for name in names:
        cells = (summed_up(v[name]) if name in v else "" for v in columns.values())
        line = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr><th>{html.escape(name)}</th>{line}</tr>")
    return f"<table>{''.join(rows)}</table>"


def summed_up(value: Value) -> str:
    """A value in a few words of HTML: shape and norm of an array, else its `repr`."""
    if backend.is_array(value) and value.dtype.kind in "fiub":
        host = backend.to_host(value).astype(np.float64)
        sizes = "\N{MULTIPLICATION SIGN}".join(map(str, host.shape)) or "scalar"
        return f"{sizes}, norm {np.linalg.norm(host):.3g}"
    return html.escape(repr(value))
