"""SVG of a placed picture, the same whichever engine placed it."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from tracer_render import style
from tracer_render.picture import Box, Cluster, Picture, Scale
from tracer_render.placement import Path, Placement, Point, Rectangle

PAD = 16.0
ROW = 18.0
SWATCH = 22.0


def write(picture: Picture, placement: Placement, theme: str) -> str:
    """The document. `theme` is `light`, `dark`, or `auto`, which follows the reader's setting.

    Colours are literal in classes, not CSS variables, which most converters do not know.
    """
    left, top, right, bottom = placement.extent()
    heading = list(_heading(picture))
    signs = [row for row in picture.legend if row[1] != "pair" or placement.pairs]
    legend, legend_width, legend_height = _legend(signs, picture.scale, max(right - left, 420.0))
    head = ROW * len(heading) + (8.0 if heading else 0.0)
    widths = [style.text_width(text, style.TITLE_SIZE, bold=True) for _, text in heading]
    width = max(right - left, legend_width, *widths) + 2 * PAD
    height = bottom - top + head + legend_height + 2 * PAD
    shift = (PAD - left + (width - 2 * PAD - right + left) / 2, PAD - top + head)
    classes = "tracer valued" if picture.scale is not None else "tracer"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{classes}" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="{html.escape(style.FONT_STACK)}" role="img">',
        f"<title>{html.escape(picture.title or picture.subtitle)}</title>",
        f"<style>{stylesheet(theme)}</style>",
        DEFINITIONS,
        '<rect class="paper" width="100%" height="100%"/>',
    ]
    for index, (kind, text) in enumerate(heading):
        parts.append(_text(text, PAD, PAD + ROW * index + 11, f"heading {kind}", "start"))
    parts.append(f'<g class="graph" transform="translate({shift[0]:.1f} {shift[1]:.1f})">')
    frames = list(_frames(picture.root, placement))
    parts += [rectangle for rectangle, _ in frames]
    for (x0, y0), (x1, y1) in placement.pairs:
        parts.append(f'<path class="line pair" d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"/>')
    parts += _lines(picture, placement)
    parts += [title for _, title in frames]  # legible where a line comes in
    parts += [_box(box, placement.boxes[box.id]) for box in picture.boxes]
    parts.append("</g>")
    parts.append(
        f'<g class="legend" transform="translate({PAD:g} {height - PAD - legend_height:.1f})">'
    )
    parts += legend
    parts.append("</g></svg>\n")
    return "\n".join(parts)


def _heading(picture: Picture) -> Iterable[tuple[str, str]]:
    if picture.title:
        yield "title", picture.title
    yield "subtitle", picture.subtitle
    for line in picture.error:
        yield "error", line


def _frames(cluster: Cluster, placement: Placement) -> Iterable[tuple[str, str]]:
    """The rectangle of each frame, and its title."""
    others: dict[Path, list[tuple[str, Rectangle]]] = {}
    for path, form, r in placement.others:
        others.setdefault(path, []).append((form, r))
    waiting = [*cluster.clusters]
    while waiting:
        inner = waiting.pop(0)
        frames = [(inner.title, placement.frames[inner.path])]
        frames += [(form.format(inner.title), r) for form, r in others.get(inner.path, ())]
        for title, r in frames:
            x, y = r.x - r.width / 2, r.y - r.height / 2
            yield (
                f'<g class="cluster"><rect x="{x:.1f}" y="{y:.1f}" width="{r.width:.1f}" '
                f'height="{r.height:.1f}" rx="7"/></g>',
                f'<g class="cluster">{_text(title, x + 8, y + 13, "scope", "start")}</g>',
            )
        waiting += inner.clusters


def _lines(picture: Picture, placement: Placement) -> Iterable[str]:
    labels = []
    for line, curve, place in zip(picture.lines, placement.curves, placement.labels, strict=True):
        delayed = "delayed" if line.delayed else ""
        classes = " ".join(filter(None, ["line", line.kind, delayed, line.change]))
        yield (
            f'<path class="{classes}" data-tail="{line.tail}" data-head="{line.head}" '
            f'marker-end="url(#tip-{line.change or line.kind})" d="{_path(curve)}"/>'
        )
        if place is not None:
            labels.append(_text(line.label, place[0], place[1] + 2.5, "shape", "middle"))
    yield from labels


def _path(curve: Sequence[Point]) -> str:
    (x, y), rest = curve[0], curve[1:]
    return f"M{x:.1f} {y:.1f}C" + " ".join(f"{a:.1f} {b:.1f}" for a, b in rest)


def _box(box: Box, r: Rectangle) -> str:
    classes = " ".join(["node", box.kind, *box.marks, *(["repeated"] if box.repeated else [])])
    fill = f' style="fill:{box.colour}"' if box.colour else ""
    ink = f' style="fill:{style.text_on(box.colour)}"' if box.colour else ""
    left, top = r.x - r.width / 2, r.y - r.height / 2
    shape = _outline(box.kind, left, top, r.width, r.height)
    steps = f' data-steps="{box.span[0]} {box.span[1]}"' if box.span else ""
    parts = [
        f'<g class="{classes}" data-node="{box.id}"{steps}>',
        f"<title>{html.escape(_tooltip(box))}</title>",
        f'<path class="body"{fill} d="{shape}"/>',
    ]
    hatch = next((mark for mark in box.marks if mark in HATCHED), None)
    if hatch:
        parts.append(f'<path class="hatch" fill="url(#hatch-{hatch})" d="{shape}"/>')
    if box.module is not None:
        parts.append(_bar(left, top, r.height, style.module_colour(box.module)))
    lines = style.TITLE_SIZE + style.NOTE_SIZE * (len(box.notes) + len(box.rows))
    lines += style.ROWS_GAP if box.rows else 0.0
    y = r.y - lines * style.LINE_HEIGHT / 2 + (3.0 if box.kind == "parameter" else 0.0)
    y += style.TITLE_SIZE
    parts.append(_text(box.title, r.x, y, "name", "middle", ink))
    for note in box.notes:
        y += style.NOTE_SIZE * style.LINE_HEIGHT
        parts.append(_text(note, r.x, y, "note", "middle", ink))
    y += style.ROWS_GAP
    for row in box.rows:
        y += style.NOTE_SIZE * style.LINE_HEIGHT
        parts.append(_text(row, r.x, y, "number", "middle", ink))
    parts.append("</g>")
    return "".join(parts)


def _bar(left: float, top: float, height: float, colour: str) -> str:
    """What joins the calls of one module: a bar of its colour on their boxes' edge."""
    return (
        f'<rect class="shared" x="{left - 3:.1f}" y="{top + 3:.1f}" width="6" '
        f'height="{max(height - 6, 4):.1f}" rx="2.5" fill="{colour}"/>'
    )


def _tooltip(box: Box) -> str:
    return ", ".join([box.title, *box.notes])


def _outline(kind: str, x: float, y: float, w: float, h: float) -> str:
    """The shape that tells the kind without colour, as path data."""
    if kind == "parameter":
        lid = min(5.0, h / 5)
        return (
            f"M{x:.1f} {y + lid:.1f}a{w / 2:.1f} {lid:.1f} 0 0 1 {w:.1f} 0v{h - 2 * lid:.1f}"
            f"a{w / 2:.1f} {lid:.1f} 0 0 1 {-w:.1f} 0z"
            f"M{x + w:.1f} {y + lid:.1f}a{w / 2:.1f} {lid:.1f} 0 0 1 {-w:.1f} 0"
        )
    if kind == "constant":
        fold = min(8.0, h / 3)
        return (
            f"M{x:.1f} {y:.1f}h{w - fold:.1f}l{fold:.1f} {fold:.1f}v{h - fold:.1f}h{-w:.1f}z"
            f"m{w:.1f} {fold:.1f}h{-fold:.1f}v{-fold:.1f}"
        )
    radius = style.corner_radius(kind, h)
    outline = _rounded(x, y, w, h, radius)
    if kind == "module":
        outline += _rounded(x + 3, y + 3, w - 6, h - 6, radius - 2)
    return outline


def _rounded(x: float, y: float, w: float, h: float, r: float) -> str:
    r = min(r, w / 2)
    arc = f"a{r:.1f} {r:.1f} 0 0 1"
    return (
        f"M{x + r:.1f} {y:.1f}h{w - 2 * r:.1f}{arc} {r:.1f} {r:.1f}v{h - 2 * r:.1f}"
        f"{arc} {-r:.1f} {r:.1f}h{2 * r - w:.1f}{arc} {-r:.1f} {-r:.1f}v{2 * r - h:.1f}"
        f"{arc} {r:.1f} {-r:.1f}z"
    )


def _text(text: str, x: float, y: float, classes: str, anchor: str, attributes: str = "") -> str:
    return (
        f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>'
        f"{html.escape(text)}</text>"
    )


def _legend(
    signs: Sequence[tuple[str, str, str]], scale: Scale | None, widest: float
) -> tuple[list[str], float, float]:
    """The legend's elements, in rows no wider than asked, and its width and height."""
    parts: list[str] = []
    x, y, width = 0.0, ROW, 0.0
    for sort, name, words in signs:
        needed = SWATCH + 6 + style.text_width(words, style.NOTE_SIZE) + 12
        if x and x + needed > widest:
            x, y = 0.0, y + ROW
        parts.append(swatch(sort, name, x, y))
        parts.append(_text(words, x + SWATCH + 6, y + 9, "key", "start"))
        x += needed
        width = max(width, x)
    if scale is not None:
        y += ROW + 12
        parts += _scale(scale, y)
        width, y = max(width, 260.0), y + 26
    elif not parts:
        return [], 0.0, 0.0
    return parts, width, y + ROW


def swatch(sort: str, name: str, x: float, y: float) -> str:
    """A small example of a box, a mark or a line, for a legend."""
    if sort == "line":
        kind, extra = ("data", " delayed") if name == "delayed" else (name, "")
        tip = "" if name == "pair" else f'marker-end="url(#tip-{kind})" '
        return f'<path class="line {kind}{extra}" {tip}d="M{x:.1f} {y + 6:.1f}h{SWATCH - 1:.1f}"/>'
    shape = _outline(name, x, y, SWATCH, 12.0)
    classes = f"node {name}" if sort == "box" else f"node operation {name}"
    hatch = f'<path class="hatch" fill="url(#hatch-{name})" d="{shape}"/>'
    more = hatch if name in HATCHED else ""
    if name == "shared":
        more = _bar(x, y, 12.0, style.module_colour(0))
    return f'<g class="{classes}"><path class="body" d="{shape}"/>{more}</g>'


def _scale(scale: Scale, y: float) -> Iterable[str]:
    width = 220.0
    kind = " (log scale)" if scale.logarithmic else ""
    yield _text(f"{scale.label}{kind}", 0.0, y, "key", "start")
    yield f'<rect y="{y + 5:.1f}" width="{width:g}" height="9" fill="url(#scale)"/>'
    anchors = ("start", "middle", "end")
    for at, (tick, anchor) in enumerate(zip(scale.ticks(), anchors, strict=True)):
        yield _text(scale.text(tick), at * width / 2, y + 25, "key", anchor)


HATCHED = ("failed", "nan", "inf", "widened", "unreached", "zero")

#: What shapes refer to: tips of lines, hatches of marks, the colours of a scale.
DEFINITIONS = "".join(
    [
        "<defs>",
        *(
            f'<marker id="tip-{kind}" class="tip {kind}" viewBox="0 0 8 8" refX="7.5" refY="4" '
            'markerWidth="6.5" markerHeight="6.5" markerUnits="userSpaceOnUse" orient="auto">'
            '<path d="M0 0.8L8 4L0 7.2z"/></marker>'
            for kind in ("data", "cotangent", "added", "removed")
        ),
        *(
            f'<pattern id="hatch-{mark}" class="{mark}" width="{step}" height="{step}" '
            f'patternUnits="userSpaceOnUse" patternTransform="rotate({turn})">'
            f'<path d="{line}"/></pattern>'
            for mark, step, turn, line in (
                ("failed", 7, 45, "M0 0V7"),
                ("nan", 5, 45, "M0 0V5"),
                ("inf", 6, 0, "M0 0V6M0 0H6"),
                ("widened", 8, 90, "M0 0V8"),
                ("unreached", 6, -45, "M0 0V6"),
                ("zero", 6, 0, "M1 1h1v1h-1z"),
            )
        ),
        '<linearGradient id="scale">',
        *(
            f'<stop offset="{step / 4:g}" stop-color="{style.scale_colour(step / 4)}"/>'
            for step in range(5)
        ),
        "</linearGradient></defs>",
    ]
)


def stylesheet(theme: str) -> str:
    """The rules of a theme. Colours are literal in classes: most converters know no variables."""
    sheet = _FORM + _colours(style.fixed(theme))
    if theme == "auto":
        sheet += f"@media (prefers-color-scheme:dark){{{_colours(style.DARK)}}}"
    return sheet


_FORM = (
    f".tracer .name{{font-size:{style.TITLE_SIZE:g}px;font-weight:600}}"
    f".tracer .note,.tracer .key,.tracer .scope{{font-size:{style.NOTE_SIZE:g}px}}"
    f".tracer .number{{font-size:{style.NOTE_SIZE:g}px;font-family:{style.FIXED_STACK}}}"
    ".tracer .scope{stroke-width:3px;paint-order:stroke;stroke-linejoin:round}"
    f".tracer .shape{{font-size:{style.LABEL_SIZE - 0.5:g}px;stroke-width:2.5px;"
    "paint-order:stroke;stroke-linejoin:round}"
    f".tracer .heading{{font-size:{style.NOTE_SIZE + 1:g}px}}"
    ".tracer .title{font-size:14px;font-weight:600}.tracer .error{font-weight:600}"
    ".tracer .line{fill:none;stroke-width:.9px}.tracer .pair{stroke-dasharray:1.5 3}"
    ".tracer .delayed{stroke-dasharray:5 3}.tracer .body{stroke-width:1px}"
    ".tracer .hatch{stroke:none;pointer-events:none}.tracer .cluster rect{stroke-width:.8px}"
    ".tracer .repeated .body{stroke-dasharray:4 2.5}"
    ".tracer .elided .body{stroke-dasharray:1.5 3;stroke-linecap:round}"
    ".tracer .failed .body{stroke-width:3px}"
    ".tracer .nan .body,.tracer .inf .body,.tracer .widened .body{stroke-width:2.2px}"
    ".tracer .unreached .body,.tracer .zero .body{stroke-dasharray:1.5 2.5}"
    ".tracer .added .body,.tracer .removed .body,.tracer .changed .body{stroke-width:2px}"
    ".tracer .removed .body,.tracer .line.removed{stroke-dasharray:5 3}"
    ".tracer .line.added,.tracer .line.removed{stroke-width:1.8px}"
)


def _colours(theme: style.Theme) -> str:
    alarm, cluster = theme.alarm, theme.cluster
    rules = [
        f".tracer .paper{{fill:{theme.paper}}}",
        f".tracer .heading,.tracer .key{{fill:{theme.text}}}",
        f".tracer .subtitle{{fill:{theme.faint}}}.tracer .error{{fill:{alarm.line}}}",
        f".tracer .cluster rect{{fill:{cluster.fill};stroke:{cluster.line}}}",
        f".tracer .scope{{fill:{cluster.text};stroke:{cluster.fill}}}",
        f".tracer .shape{{fill:{theme.faint};stroke:{theme.paper};stroke-opacity:.85}}",
    ]
    for kind, ink in theme.boxes.items():
        rules.append(
            f".tracer .{kind} .body{{fill:{ink.fill};stroke:{ink.line}}}"
            f".tracer .{kind} text{{fill:{ink.text}}}"
        )
    for kind, colour in theme.lines.items():
        rules.append(f".tracer .line.{kind}{{stroke:{colour}}}.tracer .tip.{kind}{{fill:{colour}}}")
    # Under an overlay only its colours fill boxes; the kind keeps its outline and shape.
    rules.append(f".tracer.valued .body{{fill:{theme.paper}}}")
    for change, ink in theme.changes.items():
        rules.append(
            f".tracer .{change} .body,.tracer.valued .{change} .body"
            f"{{fill:{ink.fill};stroke:{ink.line}}}.tracer .{change} text{{fill:{ink.text}}}"
            f".tracer .line.{change}{{stroke:{ink.line}}}.tracer .tip.{change}{{fill:{ink.line}}}"
        )
    ink = theme.widened
    rules.append(
        f".tracer .widened .body,.tracer.valued .widened .body{{fill:{ink.fill};stroke:{ink.line}}}"
        f".tracer .widened text{{fill:{ink.text}}}"
        f".tracer pattern.widened path{{stroke:{ink.line};stroke-opacity:.35}}"
    )
    for mark in ("failed", "nan", "inf"):
        rules.append(
            f".tracer .{mark} .body,.tracer.valued .{mark} .body"
            f"{{fill:{alarm.fill};stroke:{alarm.line}}}"
            f".tracer .{mark} text{{fill:{alarm.text}}}"
            f".tracer pattern.{mark} path{{stroke:{alarm.line};stroke-opacity:.35}}"
        )
    for mark in ("unreached", "zero"):
        rules.append(f".tracer pattern.{mark} path{{stroke:{theme.faint};stroke-opacity:.5}}")
    return "".join(rules)
