"""Long pictures in columns: about equally high, and lines leave at the foot of their own."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render.engines import place
from tracer_render.picture import describe


class Block(nn.Module):
    """What is computed, and what comes in, added."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class Residual(nn.Module):
    """So many blocks, with a layer before and after."""

    def __init__(self, count):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        self.blocks = nn.Sequential(*(Block() for _ in range(count)))

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean(axis=(2, 3)))


def residual(blocks):
    """The picture of a residual network with open blocks."""
    with tracer.Tape() as tape:
        np.sum(Residual(blocks)(np.ones((2, 3, 8, 8), np.float32)))
    return describe(tape.graph("forward"), DrawOptions(depth=2))


def columns_of(placed):
    """The boxes of each column, from left to right."""
    found = []
    for r in sorted(placed.boxes.values(), key=lambda r: r.x - r.width / 2):
        if not found or r.x - r.width / 2 > max(s.x + s.width / 2 for s in found[-1]):
            found.append([])
        found[-1].append(r)
    return found


def foot(column):
    return max(r.y + r.height / 2 for r in column)


@pytest.mark.parametrize("blocks", range(1, 9))
def test_columns_are_about_equally_high(blocks):
    columns = columns_of(place(residual(blocks), 30))
    assert len(columns) > 1
    heights = [foot(column) - min(r.y - r.height / 2 for r in column) for column in columns]
    assert max(heights) <= 1.5 * sum(heights) / len(heights)


@pytest.mark.parametrize("blocks", [3, 5, 7])
def test_a_line_leaves_at_the_foot_of_its_own_column(blocks):
    picture = residual(blocks)
    placed = place(picture, 30)
    columns = columns_of(placed)
    around = 0
    for line, curve in zip(picture.lines, placed.curves, strict=True):
        tail, head = placed.boxes[line.tail], placed.boxes[line.head]
        own = next(column for column in columns if tail in column)
        around += head not in own
        assert max(y for _, y in curve) <= max(foot(own), head.y) + 60
    assert around >= len(columns) - 1
