"""The chain of layout engines: `dot` on the PATH, else pygraphviz, else our own layout.

Native layout runs in a subprocess with a timeout, for nothing else can interrupt it.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tracer.extend import RendererUnavailable
from tracer_render import dot, labels, mirror, style
from tracer_render.columns import in_columns
from tracer_render.layout import layered
from tracer_render.orientation import in_order, turned
from tracer_render.picture import Picture
from tracer_render.placement import Placement, Point, Rectangle, beside, onto_outline, pair_lines
from tracer_render.quality import measure

log = logging.getLogger("tracer_render")

#: Above this many boxes Graphviz takes too long to be waited for.
LARGEST = 3000
#: Up to this many boxes and lines both layouts are made, and the better one is drawn.
COMPARED = 400
#: Above this many lines their labels are put in after the layout: as a part of it they double the
#: ranks, and the time.
LABELLED = 400
INSTALL = "install it with `pip install 'trace-net[render]'`, or Graphviz from your system"

#: What output in a format begins with.
BEGINNINGS = {"json0": b"{", "png": b"\x89PNG", "pdf": b"%PDF"}

_PYGRAPHVIZ = """
import sys, pygraphviz
from tracer_render.scopes import Attributes
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
given = sys.argv[2:]
engine = next((word[2:] for word in given if word.startswith("-K")), "dot")
given = " ".join(word for word in given if not word.startswith("-K"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog=engine, args=given))
"""


def available() -> list[str]:
    """The layout engines that are installed, in the order in which they are tried."""
    return [*_commands("svg"), "built-in"]


def need(format: str) -> None:
    """Raise `RendererUnavailable` where there is no Graphviz."""
    if not _commands(format):
        raise RendererUnavailable(f"Graphviz was not found: {INSTALL}")


def place(picture: Picture, timeout: float) -> Placement:
    """Lay out a picture with Graphviz or with our own layout, whichever is measurably better.

    Of a large picture that is Graphviz's, if it can, and of a very large one our own. Where
    cotangents mirror values, the forward half is laid out. Says on the logger `tracer_render` when
    Graphviz was missing, failed or ran out of time.
    """
    if not picture.boxes:
        return Placement()
    if len(picture.boxes) > LARGEST:
        log.info("%d nodes: drawn with the built-in layout", len(picture.boxes))
        return labels.clear(picture, layered(picture))
    halves = mirror.split(picture)
    drawn = picture if halves is None else halves.forward
    native = _by_graphviz(drawn, timeout)
    placed = [layered(drawn) if native is None else native]
    if native is not None and max(len(drawn.boxes), len(drawn.lines)) <= COMPARED:
        placed.append(layered(drawn))
    made = [_whole(picture, halves, each) for each in placed]
    best = made[0] if len(made) == 1 else min(made, key=lambda each: measure(picture, each).cost)
    return labels.clear(picture, in_columns(picture, best))


def _whole(picture: Picture, halves: mirror.Halves | None, placed: Placement) -> Placement:
    """The placement of all that is drawn, calls side by side from left to right."""
    if halves is not None:
        return mirror.whole(picture, halves, placed)
    ordered = len(picture.boxes) > COMPARED or in_order(picture, placed) >= 0
    return placed if ordered else turned(placed)


def _by_graphviz(picture: Picture, timeout: float) -> Placement | None:
    drawn = picture
    if len(picture.lines) > LABELLED:
        drawn = replace(picture, lines=tuple(replace(line, label="") for line in picture.lines))
    try:
        placed = run_graphviz(dot.write(drawn, style.LIGHT), "json0", timeout)
        return _read(picture, json.loads(placed))
    except RendererUnavailable as error:
        log.warning("drawn with the built-in layout: %s", error)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("drawn with the built-in layout: Graphviz gave no layout (%s)", error)
    return None


def run_graphviz(source: str, format: str, timeout: float, *arguments: str) -> bytes:
    """What Graphviz makes of the source in one of its formats, given `dot`'s further arguments.

    Raises `RendererUnavailable` where it is not installed, fails or takes over `timeout` seconds.
    """
    failures = []
    stop = time.monotonic() + timeout
    for engine, command in _commands(format).items():
        try:
            done = subprocess.run(
                [*command, *arguments],
                input=source.encode(),
                capture_output=True,
                timeout=max(stop - time.monotonic(), 0.01),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RendererUnavailable(
                f"Graphviz was given {timeout:g} s for the layout and had not finished: "
                "raise the timeout, show fewer modules with a lower depth, or draw `svg`"
            ) from None
        except OSError as error:
            failures.append(f"{engine}: {error}")
            continue
        if done.returncode == 0 and done.stdout.lstrip().startswith(BEGINNINGS.get(format, b"")):
            return done.stdout
        if done.returncode == 0:
            failures.append(f"{engine}: what it printed is no {format}")
            continue
        message = done.stderr.decode(errors="replace").strip().splitlines()
        failures.append(f"{engine}: {message[-1] if message else f'exit {done.returncode}'}")
    if failures:
        raise RendererUnavailable(f"Graphviz failed ({'; '.join(failures)}): {INSTALL}")
    raise RendererUnavailable(f"Graphviz was not found: {INSTALL}")


def _commands(format: str) -> dict[str, list[str]]:
    commands = {}
    program = shutil.which("dot")
    if program:
        commands["dot"] = [program, f"-T{format}"]
    if importlib.util.find_spec("pygraphviz") is not None:
        commands["pygraphviz"] = [sys.executable, "-c", _PYGRAPHVIZ, format]
    return commands


def _read(picture: Picture, layout: Mapping[str, Any]) -> Placement:
    """Graphviz's JSON as a placement; its y grows upwards, ours downwards."""
    placement = Placement()
    names = {name: path for path, name in dot.cluster_names(picture).items()}
    for item in layout.get("objects", ()):
        if item["name"] in names:
            left, low, right, high = map(float, item["bb"].split(","))
            placement.frames[names[item["name"]]] = Rectangle(
                (left + right) / 2, -(low + high) / 2, right - left, high - low
            )
        elif "pos" in item and not item["name"].startswith(dot.HIDDEN):
            x, y = _point(item["pos"])
            width, height = 72 * float(item["width"]), 72 * float(item["height"])
            placement.boxes[item["name"]] = Rectangle(x, y, width, height)
    kinds = {box.id: box.kind for box in picture.boxes}
    drawn = {edge.get("id"): edge for edge in layout.get("edges", ())}
    for index, line in enumerate(picture.lines):
        edge = drawn[f"line{index}"]
        curve = _curve(edge["pos"], line.reverse)
        if line.head in placement.boxes:
            head = placement.boxes[line.head]
            radius = style.corner_radius(kinds[line.head], head.height)
            curve[-1] = onto_outline(curve[-1], head, radius)
        placement.curves.append(curve)
        placed = _point(edge["lp"]) if "lp" in edge else beside(line, _middle(curve))
        placement.labels.append(placed)
    placement.pairs = pair_lines(picture, placement.boxes)
    return placement


def _point(text: str) -> Point:
    x, y = text.split(",")[:2]
    return float(x), -float(y)


def _middle(curve: list[Point]) -> Point:
    """The point halfway along a curve's segments."""
    segment = 3 * ((len(curve) - 1) // 6)
    if (len(curve) - 1) % 6 == 0:
        return curve[segment]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = curve[segment : segment + 4]
    return (x0 + 3 * x1 + 3 * x2 + x3) / 8, (y0 + 3 * y1 + 3 * y2 + y3) / 8


def _curve(text: str, reverse: bool) -> list[Point]:
    """The spline of an edge, from tail to head, with the arrow's tip as its last point.

    Graphviz may give it in pieces, in any order and direction, between semicolons.
    """
    start = end = None
    pieces: list[list[Point]] = []
    for piece in text.split(";"):
        points: list[Point] = []
        for word in piece.split():
            if word.startswith("s,"):
                start = _point(word[2:])
            elif word.startswith("e,"):
                end = _point(word[2:])
            else:
                points.append(_point(word))
        if points:
            pieces.append(points)
    curve = pieces.pop(0)
    while pieces:
        curve = _joined(curve, pieces)
    if reverse:
        curve, end = curve[::-1], start
    if end is not None:
        if math.dist(curve[0], end) < math.dist(curve[-1], end):
            curve = curve[::-1]  # pieces were joined from the end
        curve[-1] = end
    return curve


def _joined(curve: list[Point], pieces: list[list[Point]]) -> list[Point]:
    """The curve with the piece that begins or ends nearest to one of its ends, taken from there."""
    distances = {
        (index, before, turned): math.dist(curve[0 if before else -1], piece[-1 if turned else 0])
        for index, piece in enumerate(pieces)
        for before in (False, True)
        for turned in (False, True)
    }
    index, before, turned = min(distances, key=distances.__getitem__)
    piece = pieces.pop(index)
    piece = piece[::-1] if turned else piece
    if before:
        curve = curve[::-1]
    # A gap is a straight line, as a curve with its handles on its ends.
    gap = [] if math.dist(curve[-1], piece[0]) < 0.01 else [curve[-1], piece[0], piece[0]]
    joined = [*curve, *gap, *piece[1:]]
    return joined[::-1] if before else joined
