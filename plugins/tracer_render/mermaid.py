"""Mermaid flowchart of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from tracer_render import style
from tracer_render.picture import Box, Cluster, Picture

#: The brackets that give a node its shape.
SHAPES = {
    "operation": ("(", ")"),
    "module": ("[[", "]]"),
    "input": ("([", "])"),
    "parameter": ("[(", ")]"),
    "constant": ("[", "]"),
    "cotangent": ("(", ")"),
    "elided": ("(", ")"),
}

ALARMING = ("failed", "nan", "inf")


def write(picture: Picture, theme: style.Theme) -> str:
    """The flowchart's source; its title and legend are in the front matter and in comments."""
    title = f"{picture.title} ({picture.subtitle})" if picture.title else picture.subtitle
    parts = ["---", f'title: "{_yaml(title)}"', "---", "flowchart TD"]
    parts += [f"%% {escape(line)}" for line in picture.error]
    parts += [f"%% {name}: {words}" for _, name, words in picture.legend]
    parts += _cluster(picture.root, "  ", [0])
    dashed = []
    for index, line in enumerate(picture.lines):
        arrow = "-.->" if line.delayed else "-->"
        label = f'|"{escape(line.label)}"|' if line.label else ""
        parts.append(f"  v{line.tail} {arrow}{label} v{line.head}")
        if line.kind == "cotangent":
            dashed.append(str(index))
    parts += [f"  v{value} -.- v{other}" for value, other in picture.pairs.items()]
    for kind, ink in theme.boxes.items():
        parts.append(f"  classDef {kind} fill:{ink.fill},stroke:{ink.line},color:{ink.text}")
    alarm = theme.alarm
    parts.append(
        f"  classDef alarm fill:{alarm.fill},stroke:{alarm.line},color:{alarm.text},"
        "stroke-width:3px"
    )
    ink = theme.widened
    parts.append(
        f"  classDef widened fill:{ink.fill},stroke:{ink.line},color:{ink.text},stroke-width:3px"
    )
    parts.append("  classDef repeated stroke-dasharray:4 3")
    parts += [
        f"  classDef {change} fill:{ink.fill},stroke:{ink.line},color:{ink.text},stroke-width:2px"
        for change, ink in theme.changes.items()
        if any(change in box.marks for box in picture.boxes)
    ]
    parts += _styles(picture.boxes)
    if dashed:
        parts.append(f"  linkStyle {','.join(dashed)} stroke:{theme.lines['cotangent']}")
    return "\n".join(parts) + "\n"


def _cluster(cluster: Cluster, indent: str, count: list[int]) -> Iterable[str]:
    for box in cluster.boxes:
        left, right = SHAPES.get(box.kind, SHAPES["operation"])
        text = "<br/>".join(escape(line) for line in (box.title, *box.notes, *box.rows))
        yield f'{indent}v{box.id}{left}"{text}"{right}'
    for inner in cluster.clusters:
        count[0] += 1
        yield f'{indent}subgraph module{count[0]}["{escape(inner.title) or "#160;"}"]'
        yield from _cluster(inner, indent + "  ", count)
        yield f"{indent}end"


def _styles(boxes: Iterable[Box]) -> Iterable[str]:
    for box in boxes:
        kind = box.kind if box.kind in SHAPES else "operation"
        yield f"  class v{box.id} {kind}"
        if box.repeated:
            yield f"  class v{box.id} repeated"
        if any(mark in ALARMING for mark in box.marks):
            yield f"  class v{box.id} alarm"
            continue
        if "widened" in box.marks:
            yield f"  class v{box.id} widened"
            continue
        yield from (f"  class v{box.id} {mark}" for mark in box.marks if mark in style.SIGNS)
        shared = box.module is not None and style.module_colour(box.module)
        if shared:
            yield f"  style v{box.id} stroke:{shared},stroke-width:3px"
        if box.colour:
            yield f"  style v{box.id} fill:{box.colour},color:{style.text_on(box.colour)}"


def escape(text: str) -> str:
    """Text for a quoted label.

    Every ASCII character that Mermaid, Markdown or HTML may take for its own is an entity code.
    """
    return "".join(
        c if c.isalnum() or not c.isascii() or c in " ,=()/" else f"#{ord(c)};" for c in text
    )


def _yaml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
