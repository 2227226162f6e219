"""A module as a table for notebooks."""

from __future__ import annotations

import html
from typing import NamedTuple

from tracer import Tensor

#: a table has at most so many rows
MOST_ROWS = 200


class Row(NamedTuple):
    """A module in the one that is shown; the first row is that one itself."""

    path: str
    kind: str
    arguments: str
    parameters: list[Tensor]


def html_table(rows: list[Row]) -> str:
    """A row for each module: path, class, arguments, and the elements of its parameters."""
    whole, *inner = rows
    lines = [
        f'<tr><td style="text-align:left;padding-left:{0.5 + row.path.count(".")}em">'
        f"{html.escape(row.path)}</td>"
        f'<td style="text-align:left">{html.escape(row.kind)}</td>'
        f'<td style="text-align:left">{html.escape(row.arguments)}</td>'
        f"<td>{_count(row.parameters)}</td></tr>"
        for row in inner[:MOST_ROWS]
    ]
    if len(inner) > MOST_ROWS:
        lines.append(f'<tr><td colspan="4">… {len(inner) - MOST_ROWS:,} more</td></tr>')
    head = "<tr><th>module</th><th>class</th><th>arguments</th><th>parameters</th></tr>"
    title = f"{whole.kind}({whole.arguments})" if whole.arguments else whole.kind
    return (
        f"<table><caption>{html.escape(title)}: {_count(whole.parameters)} parameters</caption>"
        f"{head if lines else ''}{''.join(lines)}</table>"
    )


def _count(parameters: list[Tensor]) -> str:
    """The elements of parameters, and how many of them are frozen."""
    frozen = sum(p.size for p in parameters if not p.node.wants)
    return f"{sum(p.size for p in parameters):,}{f', {frozen:,} frozen' if frozen else ''}"
