"""Draws the gallery: each network beside this file, on light and on dark ground, and the page.

    python docs/gallery/draw.py

It says what is measured of each picture; tests hold these figures.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from trace_net.commands.visualize import Direction, Time, build_graph, chosen_time
from trace_net.run import Run, run
from trace_net.target import load, parse_target
from tracer.extend import DrawOptions
from tracer_render import engines, picture, svg
from tracer_render.quality import Quality, measure

HERE = Path(__file__).parent
NAMES = {
    "resnet18": "ResNet-18",
    "unet": "U-Net",
    "gpt": "GPT of six blocks",
    "transformer": "Transformer, encoder and decoder",
    "bigru": "Two bidirectional layers of GRU cells, 50 steps",
    "mobilenet": "MobileNetV2",
    "tree": "Recursive network over a parse tree",
}


class Quiet:
    """What a run reports its steps to."""

    within = None

    def __call__(self, text: str) -> None: ...


def traced(name: str) -> Run:
    """The network after one sweep."""
    target = parse_target(str(HERE / f"{name}.py"))
    return run(load(target, {}), ("grad",), Quiet())


def drawn(done: Run, name: str) -> tuple[picture.Picture, engines.Placement, Quality, float]:
    """The picture, where everything is, its measures, and the seconds that it took."""
    start = time.perf_counter()
    graph = build_graph(done, Direction.both, chosen_time(done, Time.auto, True), ())
    described = picture.describe(graph, DrawOptions(title=name, depth="auto"))
    placement = engines.place(described, 30)
    svg.write(described, placement, "light")
    seconds = time.perf_counter() - start
    return described, placement, measure(described, placement), seconds


def beside(ours: dict[str, tuple[int, float, float]]) -> str:
    """Rows of the table of what others draw, from what `peers.py` found; boxes, width, height."""
    networks = json.loads((HERE / "peers.json").read_text())["networks"]
    rows = []
    for name, title in NAMES.items():
        cells = [size(*ours[name])]
        for found in networks[name].values():
            known = "error" not in found
            cells.append(
                size(found["boxes"], found["width"], found["height"]) if known else found["error"]
            )
        rows.append(f"| [{title}](#{name}) | {' | '.join(cells)} |")
    return "\n".join(rows)


def size(boxes: int, width: float, height: float) -> str:
    """Boxes and the size in points, as a cell of the table."""
    return f"{boxes}, {width:,.0f} x {height:,.0f}"


def versions() -> str:
    """What was compared with, as words."""
    known = json.loads((HERE / "peers.json").read_text())["versions"]
    return ", ".join(f"{name} {version}" for name, version in known.items())


def main() -> None:
    images = HERE.parent / "images" / "gallery"
    images.mkdir(exist_ok=True)
    rows, shown, ours = [], [], {}
    for name, title in NAMES.items():
        done = traced(name)
        operations = sum(not node.op.leaf for node in done.tape.recorded())
        described, placement, quality, seconds = drawn(done, name)
        for theme in ("light", "dark"):
            text = svg.write(described, placement, theme)
            (images / f"{name}-{theme}.svg").write_text(text)
        boxes = sum(box.kind != "cotangent" for box in described.boxes)
        ours[name] = boxes, quality.width, quality.height
        rows.append(
            f"| [{title}](#{name}) | {operations} | {boxes} | {quality.width:,.0f} x "
            f"{quality.height:,.0f} | {quality.crossings} | {quality.through} |"
        )
        source = (HERE / f"{name}.py").read_text().split('"""')[1]
        shown.append(
            f"## {name}\n\n{source} [`docs/gallery/{name}.py`](gallery/{name}.py)\n\n"
            f"![{title}](images/gallery/{name}-light.svg#only-light)\n"
            f"![{title}](images/gallery/{name}-dark.svg#only-dark)\n"
        )
        print(f"{name}: {boxes} boxes, {seconds:.2f} s", file=sys.stderr)
    page = (HERE / "page.txt").read_text()
    (HERE.parent / "gallery.md").write_text(
        page.format(
            rows="\n".join(rows),
            peers=beside(ours),
            versions=versions(),
            shown="\n".join(shown).rstrip(),
        )
    )


if __name__ == "__main__":
    main()
