"""What Graphviz draws at the places that are given to it."""

import re

import pytest
import render_graphs

from tracer.extend import DrawOptions
from tracer_render import pinned, style
from tracer_render.engines import place
from tracer_render.picture import describe

SPLINE = r'(\w+) -> (\w+) \[[^\]]*pos="e,([-\d.]+),([-\d.]+) ([-\d.]+),([-\d.]+) '


def test_lines_end_at_the_outer_outline_of_a_closed_module():
    drawn = describe(render_graphs.nested().both(), DrawOptions(depth=1))
    placed = place(drawn, 30)
    modules = {box.id: placed.boxes[box.id] for box in drawn.boxes if box.kind == "module"}
    found = re.findall(SPLINE, pinned.write(drawn, placed, style.LIGHT))
    assert len(found) == len(drawn.lines)
    checked = 0
    for tail, head, *numbers in found:
        x, y, x0, y0 = map(float, numbers)
        for name, at in ((tail, (x0, -y0)), (head, (x, -y))):
            if name in modules:
                r = modules[name]
                sides = abs(at[0] - r.x) - r.width / 2, abs(at[1] - r.y) - r.height / 2
                assert max(sides) == pytest.approx(pinned.PERIPHERY, abs=0.6)
                checked += 1
    assert checked
