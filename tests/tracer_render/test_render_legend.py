"""The legend explains the signs that are in a picture, all of them and no others."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import render_graphs

from tracer.extensions import DrawOptions
from tracer_render.overlays import GradNorm
from tracer_render.picture import KINDS, LINES, MARKS, describe
from tracer_render.renderers import SVG

NAMESPACE = "{http://www.w3.org/2000/svg}"
MARKED = {*MARKS, "repeated"}
GRAPHS = {
    **render_graphs.ALL,
    "mlp, both": lambda: render_graphs.mlp().both(),
    "recurrent, both": lambda: render_graphs.recurrent().both(),
}


def signs_of(classes):
    """The signs of elements by their classes: kinds and marks of boxes, kinds of lines."""
    found = set()
    for names in map(str.split, classes):
        if "node" in names:
            found |= {("box", name) for name in names if name in KINDS}
            found |= {("mark", name) for name in names if name in MARKED}
        elif "shared" in names:
            found.add(("mark", "shared"))
        elif "line" in names:
            kinds = {name for name in names if name in LINES}
            found |= {("line", name) for name in kinds}
            found |= {("mark", name) for name in names if name in MARKS}
    return found


def explained(rows):
    """What rows of a legend are about, by the classes of each one's elements."""
    found = set()
    for classes in rows:
        signs = signs_of(classes)
        marks = {sign for sign in signs if sign[0] == "mark"}
        delayed = signs & {("line", "delayed")}
        found |= marks or delayed or signs
    return found


def classes_in(element):
    return [each.get("class", "") for each in element.iter()]


@pytest.mark.parametrize("overlay", [None, GradNorm()], ids=["plain", "overlay"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_picture_explains_the_signs_that_it_has(name, overlay):
    root = ET.fromstring(SVG().render(GRAPHS[name](), DrawOptions(overlay=overlay)))
    groups = {each.get("class"): each for each in root.findall(f"{NAMESPACE}g")}
    # a row is a box with what is in it, or a line
    rows = [classes_in(row) for row in groups["legend"] if row.tag.endswith(("}g", "}path"))]
    assert explained(rows) == signs_of(classes_in(groups["graph"]))


def test_every_format_has_the_same_legend():
    drawn = describe(render_graphs.mlp().both(), DrawOptions())
    assert [name for _, name, _ in drawn.legend] == [
        "operation", "input", "parameter", "cotangent", "data", "cotangent", "pair",
    ]  # fmt: skip


CLASSES = (
    "return [...document.querySelectorAll('#view .graph *')]"
    ".map((e) => e.getAttribute('class') ?? '')"
)
ROWS = (
    "return [...document.querySelectorAll('#legend li')].filter((row) => !row.hidden)"
    ".map((row) => [...row.querySelectorAll('*')].map((e) => e.getAttribute('class') ?? ''))"
)


@pytest.mark.parametrize("overlay", [None, GradNorm()], ids=["plain", "overlay"])
@pytest.mark.parametrize("name", ["mlp, both", "recurrent, both", "sick", "failing", "nested"])
def test_the_page_explains_the_signs_that_are_anywhere_in_the_graph(show, name, overlay):
    page = show(GRAPHS[name](), overlay=overlay)
    seen = set()
    for change in ("closeAll", "openAll"):
        page.run(f"page.{change}(); page.draw(true)")
        seen |= signs_of(page.run(CLASSES))
    assert explained(page.run(ROWS)) == seen


def test_what_an_overlay_marks_is_explained_while_it_is_chosen(show):
    page = show(render_graphs.sick())
    zero = page.find("#legend [data-mark=zero]")
    assert zero.get_property("hidden")
    page.run("page.setOverlay(0)")
    assert not zero.get_property("hidden")
    page.run("page.setOverlay(-1)")
    assert zero.get_property("hidden")
