"""Graphviz source of a picture."""

from __future__ import annotations

import html
from itertools import pairwise

import graphviz

from tracer_render import style
from tracer_render.orientation import equal_calls
from tracer_render.picture import LEAVES, Box, Cluster, Line, Picture, Scale
from tracer_render.stacks import stacks

SHAPES = {
    "operation": {"shape": "box", "style": "rounded,filled"},
    "module": {"shape": "box", "style": "rounded,filled", "peripheries": "2"},
    "input": {"shape": "ellipse", "style": "filled", "margin": "0.02,0.01"},
    "parameter": {"shape": "cylinder", "style": "filled"},
    "constant": {"shape": "note", "style": "filled"},
    "cotangent": {"shape": "box", "style": "rounded,filled"},
    "elided": {"shape": "box", "style": "rounded,filled,dotted"},
}

#: How marks look: line style and width, beside the words that stand in the box itself.
MARKED = {
    "failed": ("solid", "3"),
    "nan": ("bold", "2.5"),
    "inf": ("bold", "2.5"),
    "widened": ("bold", "2.5"),
    "unreached": ("dotted", "1.5"),
    "zero": ("dotted", "1.5"),
    "removed": ("dashed", "2"),
    "added": ("solid", "2"),
    "changed": ("solid", "2"),
}


#: What the names of points that hold ranks apart begin with: no box is called so.
HIDDEN = "below "
#: How much straighter than others the lines between operations are.
SPINE = "12"


def write(picture: Picture, theme: style.Theme) -> str:
    """The source, the same for the same picture.

    A value and its cotangent stand on one rank, and cotangents' edges are written from the upper
    to the lower end with `dir=back`: plain edges in both directions make `dot` very slow.
    """
    graph = graphviz.Digraph("trace", comment=picture.title or None)
    graph.attr(
        "graph",
        rankdir="TB",
        bgcolor=theme.paper,
        fontname=style.FONT,
        fontcolor=theme.text,
        nodesep="0.22",
        ranksep="0.25" if any(line.label for line in picture.lines) else "0.36",
        pad="0.25",
        labelloc="t",
        labeljust="l",
    )
    graph.attr("node", fontname=style.FONT, fontsize=f"{style.TITLE_SIZE:g}", margin="0.12,0.05")
    graph.attr(
        "edge",
        fontname=style.FONT,
        fontsize=f"{style.LABEL_SIZE:g}",
        fontcolor=theme.faint,
        arrowsize="0.55",
        penwidth="0.8",
    )
    names = cluster_names(picture)
    _cluster(graph, picture.root, picture, theme, names)
    apart = _apart(picture)
    stacked = list(stacks(picture))
    for index, line in enumerate(picture.lines):
        _line(graph, index, line, theme, "2" if line.ranked in apart else "1")
    if stacked:
        # Between clusters, edges bind the ranks in this way of ranking only.
        graph.attr(newrank="true")
    for index, stack in enumerate(stacked):
        between = f"{HIDDEN}{index}"
        graph.node(between, shape="point", style="invis", width="0.01", height="0.01")
        for box in stack.above:
            graph.edge(box, between, id="below", style="invis", weight="0")
        for box in stack.below:
            graph.edge(between, box, id="below", style="invis", weight="0")
    # Last, so that no cluster inherits the picture's own label.
    graph.attr(label=heading(picture, theme))
    return graph.source


def cluster_names(picture: Picture) -> dict[tuple[str, ...], str]:
    """Module path -> the cluster's name in the source."""
    names: dict[tuple[str, ...], str] = {}
    waiting = list(picture.root.clusters)
    while waiting:
        cluster = waiting.pop(0)
        names[cluster.path] = f"cluster_{len(names)}"
        waiting += cluster.clusters
    return names


def _cluster(
    graph: graphviz.Digraph,
    cluster: Cluster,
    picture: Picture,
    theme: style.Theme,
    names: dict[tuple[str, ...], str],
) -> None:
    for box in cluster.boxes:
        box_node(graph, box, theme, picture.scale is not None)
    for box in cluster.boxes:
        if box.id in picture.pairs:
            with graph.subgraph() as pair:
                pair.attr(rank="same")
                pair.edge(
                    box.id,
                    picture.pairs[box.id],
                    id="pair",
                    style="invis" if box.kind in LEAVES else "dotted",
                    arrowhead="none",
                    color=theme.lines["pair"],
                )
    for group in equal_calls(picture, cluster):
        with graph.subgraph() as row:
            row.attr(rank="same")
            for first, second in pairwise(group):
                # Without a weight the order would not be kept.
                row.edge(first.id, second.id, id="order", style="invis", weight="1")
    for inner in cluster.clusters:
        with graph.subgraph(name=names[inner.path]) as sub:
            sub.attr(
                label=markup(inner.title),
                style="rounded,filled",
                color=theme.cluster.line,
                fillcolor=theme.cluster.fill,
                fontcolor=theme.cluster.text,
                fontsize=f"{style.NOTE_SIZE:g}",
                penwidth="0.8",
                margin="9",
            )
            _cluster(sub, inner, picture, theme, names)


def box_node(
    graph: graphviz.Digraph, box: Box, theme: style.Theme, valued: bool, **placed: str
) -> None:
    """A node for a box, in its colours; attributes that are `placed` go before its own."""
    ink = theme.boxes.get(box.kind, theme.boxes["operation"])
    attributes = dict(SHAPES.get(box.kind, SHAPES["operation"]))
    fill, line, text, width = theme.paper if valued else ink.fill, ink.line, ink.text, "1"
    if box.colour:
        fill, text = box.colour, style.text_on(box.colour)
    if box.module is not None:
        line, width = style.module_colour(box.module), "3"
    if box.repeated:
        attributes["style"] += ",dashed"
    if box.marks:
        border, width = MARKED[box.marks[0]]
        attributes["style"] += f",{border}"
        if box.marks[0] in ("failed", "nan", "inf"):
            fill, line, text = theme.alarm.fill, theme.alarm.line, theme.alarm.text
        elif box.marks[0] == "widened":
            fill, line, text = theme.widened.fill, theme.widened.line, theme.widened.text
        elif box.marks[0] in theme.changes:
            change = theme.changes[box.marks[0]]
            fill, line, text = change.fill, change.line, change.text
    lines = [f"<b>{_text(box.title)}</b>", '<font point-size="2"> </font>']
    size = f"{style.NOTE_SIZE:g}"
    lines += [f'<font point-size="{size}">{_text(note)}</font>' for note in box.notes]
    fixed = f'face="{style.FIXED_FONT}" point-size="{size}"'
    lines += [f"<font {fixed}>{_text(row)}</font>" for row in box.rows]
    if box.kind not in LEAVES:
        # Lines between the nodes of one group are drawn straight, through the frames of modules.
        attributes["group"] = "cotangents" if box.kind == "cotangent" else "data"
    points = box.size
    graph.node(
        box.id,
        label=f"<{'<br/>'.join(lines)}>",
        id=box.id,
        tooltip=graphviz.escape(box.title),
        fillcolor=fill,
        color=line,
        fontcolor=text,
        penwidth=width,
        **{
            "width": f"{points[0] / 72:.3f}",
            "height": f"{points[1] / 72:.3f}",
            **attributes,
            **placed,
        },
    )


def _apart(picture: Picture) -> set[tuple[str, str]]:
    """The lines between modules that have to leave a rank free for the leaves beside their ends.

    Without it a module's parameters stand on the rank on which the module before ends, and
    Graphviz draws the two frames side by side, where a reader expects one below the other.
    """
    scope = {box.id: box.scope for box in picture.boxes}
    leaves = [line.ranked for line in picture.lines if not line.spine]
    over = {lower for upper, lower in leaves if scope[upper] == scope[lower]}
    under = {upper for upper, lower in leaves if scope[upper] == scope[lower]}
    spine = [line.ranked for line in picture.lines if line.spine]
    return {(a, b) for a, b in spine if scope[a] != scope[b] and (b in over or a in under)}


def _line(graph: graphviz.Digraph, index: int, line: Line, theme: style.Theme, ranks: str) -> None:
    attributes = {"id": f"line{index}", "minlen": ranks, **line_colours(line, theme)}
    if line.label:
        attributes["label"] = graphviz.escape(line.label)
    if line.spine:
        attributes["weight"] = SPINE
    if line.reverse:
        attributes["dir"] = "back"
    if line.delayed:
        attributes |= {"style": "dashed", "constraint": "false"}
    graph.edge(*line.ranked, **attributes)


def line_colours(line: Line, theme: style.Theme) -> dict[str, str]:
    """How a line is drawn, which is thicker where one of two compared graphs alone has it."""
    change = theme.changes.get(line.change)
    if change is None:
        return {"color": theme.lines[line.kind]}
    dashed = {"style": "dashed"} if line.change == "removed" else {}
    return {"color": change.line, "penwidth": "1.8", **dashed}


def _text(text: str) -> str:
    """Text of a label in markup; Graphviz would replace `\\N` and its like by names."""
    return html.escape(text).replace("\\", "&#92;")


def markup(text: str) -> str:
    """A label that is text and nothing else."""
    return f"<{_text(text)}>" if text else ""


def heading(picture: Picture, theme: style.Theme) -> str:
    """Title, legend and scale as one table, which Graphviz puts above the graph."""
    small = f'<font point-size="{style.NOTE_SIZE:g}"'
    rows = []
    if picture.title:
        rows.append(f'<tr><td align="left"><b>{_text(picture.title)}</b></td></tr>')
    rows.append(f'<tr><td align="left">{small}>{_text(picture.subtitle)}</font></td></tr>')
    if picture.error:
        colour = theme.alarm.line
        text = '<br align="left"/>'.join([*map(_text, picture.error), ""])
        rows.append(f'<tr><td align="left">{small} color="{colour}">{text}</font></td></tr>')
    valued = picture.scale is not None
    cells = "".join(_entry(*entry, theme, valued) for entry in picture.legend)
    if cells:
        table = f'<table border="0" cellspacing="4" cellpadding="2"><tr>{cells}</tr></table>'
        rows.append(f'<tr><td align="left">{table}</td></tr>')
    if picture.scale is not None:
        rows.append(f'<tr><td align="left">{_scale(picture.scale, small)}</td></tr>')
    return f'<<table border="0" cellspacing="1" cellpadding="1">{"".join(rows)}</table>>'


def _entry(sort: str, name: str, words: str, theme: style.Theme, valued: bool) -> str:
    text = f'<font point-size="{style.NOTE_SIZE:g}">{_text(words)}</font>'
    if sort == "line":
        dashes = {"delayed": "╌╌▸", "pair": "┈┈┈"}.get(name, "──▸")
        colour = theme.lines.get(name, theme.lines["data"])
        return f'<td><font color="{colour}">{dashes}</font></td><td align="left">{text}</td>'
    if sort == "box":
        ink = theme.boxes[name]
        swatch = f'border="1" style="rounded" color="{ink.line}"'
        swatch += "" if valued else f' bgcolor="{ink.fill}"'
    elif name == "shared":
        swatch = f'border="3" style="rounded" color="{style.module_colour(0)}"'
    elif name in theme.changes or name == "widened":
        ink = theme.changes.get(name, theme.widened)
        swatch = f'border="2" style="rounded" color="{ink.line}" bgcolor="{ink.fill}"'
    else:
        alarm = name in ("failed", "nan", "inf")
        colour = theme.alarm.line if alarm else theme.faint
        border = "3" if alarm else "1"
        drawn = {"repeated": "dashed"}.get(name, "rounded" if alarm else "dotted")
        swatch = f'border="{border}" style="{drawn}" color="{colour}"'
    return f'<td {swatch} width="18" fixedsize="true" height="12"></td><td align="left">{text}</td>'


def _scale(scale: Scale, small: str) -> str:
    """A line of text whose coloured blocks keep their size, as cells of a table would not."""
    blocks = "".join(
        f'<font color="{style.scale_colour(step / 15)}">█</font>' for step in range(16)
    )
    low, _, high = map(scale.text, scale.ticks())
    kind = " (log scale)" if scale.logarithmic else ""
    return f"{small}>{_text(scale.label)}{kind}  {low} {blocks} {high}</font>"
