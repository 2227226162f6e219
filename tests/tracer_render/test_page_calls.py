"""What calls that are alike share on the page is what each of them says by itself."""

from __future__ import annotations

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.extend import DrawOptions
from tracer_render.page_calls import ClosedCalls
from tracer_render.page_data import _View
from tracer_render.page_groups import ranges
from tracer_render.page_texts import Writer
from tracer_render.renderers import HTML
from tracer_render.summaries import Summaries


class Half(nn.Module):
    def __init__(self, width=3, frozen=False):
        super().__init__()
        self.linear = nn.Linear(3, width)
        self.back = nn.Linear(width, 3, bias=False)
        for parameter in self.linear.parameters():
            parameter.requires_grad = not frozen

    def forward(self, x):
        return np.tanh(self.back(self.linear(x) * 0.5)) + 0.1


class Stack(nn.Module):
    """Equal halves, others, one that is called twice, and a loop."""

    def __init__(self):
        super().__init__()
        self.halves = nn.Sequential(*(Half() for _ in range(6)), Half(width=4), Half(frozen=True))
        self.shared = Half()
        self.last = nn.Sequential(Half(), Half())

    def forward(self, x):
        x = self.shared(self.shared(self.halves(x)))
        for _ in tracer.steps(3):
            x = self.last(x)
        return x


def graph_of(change=None, model=None):
    with tracer.Tape() as tape:
        loss = (model or Stack())(np.ones((2, 3), np.float32)).sum()
    tape.backward(loss)
    graph = tape.graph("both")
    for number, data in enumerate(graph.nodes.values()):
        data.update(norm=float(number % 7), nan=0, inf=0)
        if change is not None:
            change(number, data)
    return graph


def some_without_norm(number, data):
    if number % 3:
        del data["norm"]


def some_with_norm_that_is_no_number(number, data):
    data["norm"] = np.inf if number % 31 == 5 else data["norm"]


def some_with_nan(number, data):
    data["nan"] = 2 * (number % 29 == 3)


def some_without_counts(number, data):
    if number % 41 == 7:
        del data["nan"]


def some_changed(number, data):
    if number % 37 == 4:
        data["change"] = "added"


def some_failed(number, data):
    if number % 53 == 9:
        data.update(failed=True, error="it broke")


@pytest.mark.parametrize(
    "change",
    [None, some_without_norm, some_with_norm_that_is_no_number, some_with_nan,
     some_without_counts, some_changed, some_failed],
)  # fmt: skip
def test_alike_calls_say_what_each_says_by_itself(change):
    graph = graph_of(change)
    view = _View(graph, DrawOptions(depth="auto"))
    summaries = Summaries(graph, view._outline.calls)
    number_shared = 0
    for side in (view._values, view._cotangents):
        together = ClosedCalls(summaries, side, Writer())
        seen = set()
        for group, _, begin, end in ranges(view._outline.root):
            if group.level is None or side.ends(begin, end) is None:
                continue
            place = ("call", group.level, group.steps, begin, end)
            told = together.told(*place)
            alone = ClosedCalls(summaries, side, Writer()).told(*place)
            whole = summaries.of(group.level, group.steps, side.members(begin, end))
            assert told == alone
            assert {**told.shared, **told.individual} == {
                key: value for key, value in whole.items() if key not in ("scopes", "call")
            }
            number_shared += id(told.shared) in seen
            seen.add(id(told.shared))
    assert number_shared >= 20


def test_calls_of_one_module_are_like_no_other():
    graph = graph_of()
    view = _View(graph, DrawOptions(depth="auto"))
    alike = {True: set(), False: set()}
    for group, _, begin, end in ranges(view._outline.root):
        if group.level is not None and group.level.kind == "Linear":
            of_shared = group.level.scope.startswith("shared.")
            alike[of_shared].add(view._values.alike(begin, end))
    assert len(alike[True]) == 2  # `linear` and `back`, each in two calls
    assert not alike[True] & alike[False]


class Steps(nn.Module):
    """A half that is called in each step of a loop, or one after the other."""

    def __init__(self, count, in_loop):
        super().__init__()
        self.half, self.count, self.in_loop = Half(), count, in_loop

    def forward(self, x):
        for _ in tracer.steps(self.count) if self.in_loop else range(self.count):
            x = self.half(x)
        return x


@pytest.mark.parametrize("in_loop", [False, True])
def test_texts_are_written_once_for_calls_that_differ_in_number_and_norm(in_loop, monkeypatch):
    calls = []
    of = Writer.of

    def counted(writer, node, data):
        calls.append("number" in data)
        return of(writer, node, data)

    monkeypatch.setattr(Writer, "of", counted)
    graph = graph_of(model=Steps(150, in_loop))
    for number, data in enumerate(graph.nodes.values()):
        data["norm"] = 1 + number / 7
    HTML().render(graph, DrawOptions(depth="auto"))
    # Half, and the two Linear in it, which others of one structure share, forward and back
    assert sum(calls) <= 6
