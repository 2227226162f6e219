"""What is drawn, before anything decides where: boxes, lines, clusters and a legend.

Every format but JSON is written from a `Picture`, so that all say the same.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render import heading, numbers, repeats, stretches, style, words
from tracer_render.calls import Calls
from tracer_render.detail import detailed
from tracer_render.frames import Frames
from tracer_render.given import in_form
from tracer_render.identifiers import Identifiers
from tracer_render.loops import Step
from tracer_render.scopes import Attributes, computed, frame_path

#: What a box is marked with, in the order of gravity, and what the legend says about it.
MARKS = {
    "failed": "failed here",
    "nan": "NaN",
    "inf": "infinite",
    "widened": "wider numbers from here",
    "unreached": "no gradient arrives",
    "zero": "exactly zero",
    "removed": "\N{MINUS SIGN} only in the first",
    "added": "+ only in the second",
    "changed": "~ differs",
}

#: What else a box is marked with, by its outline and its edge.
USES = {
    "repeated": "one value, drawn at each use",
    "shared": "one module in several calls, each colour another",
}

KINDS = {
    "operation": "operation",
    "module": "call of a module, closed",
    "input": "input",
    "parameter": "parameter",
    "constant": "constant",
    "cotangent": "cotangent (∇)",
    "elided": "several steps or operations, in one box",
}

#: The largest ratio of the values at both ends of a logarithmic scale.
WIDEST = 1e12

LEAVES = ("input", "parameter", "constant")


@dataclass(frozen=True, slots=True)
class Box:
    """One node as it is drawn. `node` is the graph's node; a repeated leaf has several boxes.

    `rows` are the numbers of its value, in a fixed-width font. `module` is the same number in all
    calls of one module that is called several times.

    `span` is the first and the last step of the outermost loop that it belongs to.
    """

    id: str
    node: Hashable
    kind: str
    title: str
    notes: tuple[str, ...]
    scope: tuple[str, ...]
    marks: tuple[str, ...] = ()
    repeated: bool = False
    rows: tuple[str, ...] = ()
    module: int | None = None
    colour: str | None = None
    span: tuple[int, int] | None = None
    room: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height that hold the texts, and at least the `room` kept, in points."""
        widths = [style.text_width(self.title, style.TITLE_SIZE, bold=True)]
        widths += [style.text_width(note, style.NOTE_SIZE) for note in self.notes]
        widths += [style.FIXED_WIDTH * style.NOTE_SIZE * len(row) for row in self.rows]
        lines = style.TITLE_SIZE + style.NOTE_SIZE * (len(self.notes) + len(self.rows))
        lines += style.ROWS_GAP if self.rows else 0.0
        extra = 8.0 if self.kind == "parameter" else 0.0
        round_ends = 16.0 if self.kind == "input" else 0.0
        width, height = max(widths) + 18.0 + round_ends, lines * style.LINE_HEIGHT + 12.0 + extra
        return max(width, self.room[0]), max(height, self.room[1])


@dataclass(frozen=True, slots=True)
class Line:
    """One edge as it flows, from `tail` to `head`; a `pair` ties a node to its cotangent.

    `reverse` lines are laid out from head to tail: a cotangent stands beside the value that it
    belongs to, so it flows up where data flow down. `spine` lines tie operations to one another,
    not to leaves: the layout keeps them straight. `change` says which of two compared graphs alone
    has it.
    """

    tail: str
    head: str
    kind: str
    label: str = ""
    delayed: bool = False
    reverse: bool = False
    spine: bool = False
    change: str = ""

    @property
    def ranked(self) -> tuple[str, str]:
        """The upper and the lower end."""
        return (self.head, self.tail) if self.reverse else (self.tail, self.head)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A module, or a step of a loop: its boxes and its subclusters are drawn inside one frame."""

    path: tuple[str, ...]
    title: str
    boxes: tuple[Box, ...]
    clusters: tuple[Cluster, ...]
    loop: int | None = None


def clusters(root: Cluster) -> Iterator[Cluster]:
    """A cluster and all that are in it."""
    waiting = [root]
    while waiting:
        cluster = waiting.pop()
        yield cluster
        waiting += cluster.clusters


@dataclass(frozen=True, slots=True)
class Scale:
    """Colours of an overlay's values, logarithmic where no value is negative.

    `name` says what the values are, `unit` what they are counted in, and `label` also which have no
    colour of their own.
    """

    name: str
    label: str
    low: float
    high: float
    logarithmic: bool
    unit: str = ""

    @classmethod
    def of(cls, label: str, values: Iterable[float], unit: str = "") -> Scale | None:
        """The scale that holds the finite values; `None` where there is none to colour."""
        name, finite = label, [value for value in values if math.isfinite(value)]
        positive = [value for value in finite if value > 0]
        if finite and min(finite) >= 0:
            if not positive:
                return None
            low, high = min(positive), max(positive)
            if low < high / WIDEST:  # what vanishes would leave the rest without differences
                low = high / WIDEST
                label = f"{label}, lower ones as the lowest"
            return cls(name, label, low, high, True, unit)
        return cls(name, label, min(finite), max(finite), False, unit) if finite else None

    def text(self, value: float) -> str:
        """A value in few digits, with its unit."""
        return style.amount_text(value, self.unit)

    def colour(self, value: float | None) -> str | None:
        """The colour of a value; `None` for what has no place on the scale."""
        low, high = self.low, self.high
        if value is None or not math.isfinite(value) or (self.logarithmic and value <= 0):
            return None
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return style.scale_colour((value - low) / (high - low) if high > low else 0.5)

    def ticks(self) -> tuple[float, float, float]:
        """The values at the ends and in the middle of the scale."""
        if self.logarithmic:
            return self.low, math.sqrt(self.low) * math.sqrt(self.high), self.high
        return self.low, self.low / 2 + self.high / 2, self.high


@dataclass(frozen=True)
class Picture:
    """A described graph. `attributes` are those of the graph's nodes, for details on demand."""

    title: str
    subtitle: str
    error: tuple[str, ...]
    root: Cluster
    lines: tuple[Line, ...]
    pairs: Mapping[str, str]
    scale: Scale | None
    attributes: Mapping[Hashable, Attributes]
    time: str = "unrolled"

    @cached_property
    def boxes(self) -> tuple[Box, ...]:
        """All boxes, outer ones first."""
        found: list[Box] = []
        waiting = [self.root]
        while waiting:
            cluster = waiting.pop(0)
            found += cluster.boxes
            waiting += cluster.clusters
        return tuple(found)

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """What is to be explained: rows of (`box`, `mark` or `line`; its name; the words)."""
        kinds = {box.kind for box in self.boxes}
        rows = [("box", kind, text) for kind, text in KINDS.items() if kind in kinds]
        marks = {mark for box in self.boxes for mark in box.marks}
        marks |= {line.change for line in self.lines}
        marks |= {"repeated" for box in self.boxes if box.repeated}
        marks |= {"shared" for box in self.boxes if box.module is not None}
        of_boxes = {**USES, **MARKS}
        rows += [("mark", mark, text) for mark, text in of_boxes.items() if mark in marks]
        kinds_of = {box.id: box.kind for box in self.boxes}
        flows = {line.kind for line in self.lines}
        flows |= {"pair" for value in self.pairs if kinds_of[value] not in LEAVES}
        flows |= {"delayed" for line in self.lines if line.delayed}
        rows += [("line", kind, text) for kind, text in LINES.items() if kind in flows]
        return rows


#: Kinds of lines, and what the legend says about them.
LINES = {
    "data": "data",
    "cotangent": "cotangents",
    "delayed": "from another step",
    "pair": "a value and its cotangent",
}


def describe(graph: nx.MultiDiGraph, options: DrawOptions, also: Iterable[float] = ()) -> Picture:
    """The picture of a graph: modules collapsed to `options.depth`, shared leaves repeated.

    The scale of an overlay spans its values and those that are `also` given. Raises `GraphError`
    with the node and the attribute for a graph that cannot be drawn.
    """
    graph = in_form(graph)
    given = options.values
    if given is None and options.overlay is not None:
        given = options.overlay.values(graph, {})
    whole = graph
    graph = detailed(graph, options)
    overlay = options.overlay
    values = _values(graph, given or {}, add_up=overlay is not None and overlay.add_up)
    label, unit = "value", ""
    if overlay is not None:
        label, unit = overlay.label or overlay.name, overlay.unit
    scale = Scale.of(label, [*values.values(), *also], unit)

    frames = Frames(graph, Calls(graph))
    boxes, uses = _boxes(graph, frames, values, scale, label, unit)
    scopes = {box.id: box.scope for box in boxes}
    pairs = {a: b for a, b in _pairs(graph, uses).items() if scopes[a] == scopes[b]}
    lines = tuple(_lines(graph, uses))
    if not graph.graph.get("calls"):
        boxes = _in_stretches(boxes, lines, pairs, frames)
    return Picture(
        title=style.elide(heading.title(whole, options.title), 96),
        subtitle=heading.subtitle(whole) if boxes else "nothing was recorded",
        error=heading.error(graph),
        root=_clusters(boxes, frames),
        lines=lines,
        pairs=pairs,
        scale=scale,
        attributes=dict(graph.nodes(data=True)),
        time=graph.graph.get("time") or "unrolled",
    )


def _values(
    graph: nx.MultiDiGraph, given: Mapping[str, float], add_up: bool
) -> dict[Hashable, float]:
    """Each drawn node's value; one that stands for several takes the largest one, or the sum.

    Either is NaN where one of them is.
    """
    values = {}
    for node, data in graph.nodes(data=True):
        members = data.get("copies") or data.get("members", ())
        of_members = [float(given[name]) for name in members if name in given]
        if of_members and add_up:
            values[node] = sum(of_members)
        elif of_members:
            worst = next(filter(math.isnan, of_members), None)
            values[node] = max(of_members, key=abs) if worst is None else worst
        elif node in given:
            values[node] = float(given[node])
    return values


class _Uses:
    """Which box shows a node to which neighbour: shared leaves have a box for each."""

    def __init__(self) -> None:
        self.boxes: dict[Hashable, dict[Hashable, str]] = {}
        self._identifiers = Identifiers()

    def new(self, node: Hashable, user: Hashable = None) -> str:
        """A new identifier of the box that shows a node to a user."""
        name = self._identifiers.new(node)
        self.boxes.setdefault(node, {})[user] = name
        return name

    def box(self, node: Hashable, user: Hashable) -> str:
        """The box of `node` that stands beside `user`."""
        boxes = self.boxes[node]
        return boxes.get(user) or boxes[None]


def _boxes(
    graph: nx.MultiDiGraph,
    frames: Frames,
    values: Mapping[Hashable, float],
    scale: Scale | None,
    label: str,
    unit: str,
) -> tuple[list[Box], _Uses]:
    boxes: list[Box] = []
    uses = _Uses()
    told = _told_by_cotangents(graph, values)
    for node, data in graph.nodes(data=True):
        users = repeats.users(graph, frames, node, data)
        for user in users:
            beside = node if user is None else user
            title = words.title(node, data, frame_path(graph.nodes[beside]))
            value = values.get(node)
            boxes.append(
                Box(
                    id=uses.new(node, user),
                    node=node,
                    kind=data.get("kind") or "operation",
                    title=style.elide(title) or "(no name)",
                    notes=tuple(words.notes(data, None if node in told else value, label, unit)),
                    rows=numbers.rows(data),
                    module=data.get("module"),
                    scope=frames.of(beside),
                    marks=tuple(words.marks(data, value)),
                    repeated=len(users) > 1 or bool(data.get("held")),
                    colour=scale.colour(value) if scale else None,
                    span=_span(data, frames.steps(beside)),
                )
            )
    return boxes, uses


def _told_by_cotangents(graph: nx.MultiDiGraph, values: Mapping[Hashable, float]) -> set[Hashable]:
    """The nodes whose value is written in the box of their cotangent, and need not be twice."""
    return {
        data["of"]
        for node, data in graph.nodes(data=True)
        if data.get("of") in graph and node in values and values.get(data["of"]) == values[node]
    }


def _span(data: Attributes, steps: tuple[Step, ...]) -> tuple[int, int] | None:
    if not steps:
        return (min(data["between"]), max(data["between"])) if "between" in data else None
    return steps[0].time, steps[0].time


def _pairs(graph: nx.MultiDiGraph, uses: _Uses) -> dict[str, str]:
    """Forward box -> the box of its cotangent, each box in at most one pair."""
    pairs: dict[str, str] = {}
    taken: set[str] = set()
    for node, data in graph.nodes(data=True):
        of = data.get("of")
        if of not in graph or data.get("kind") != "cotangent":
            continue
        for user, box in uses.boxes[node].items():
            consumer = None if user is None else graph.nodes[user].get("of")
            partner = uses.boxes[of].get(consumer)
            if partner not in (None, box) and taken.isdisjoint((partner, box)):
                pairs[partner] = box
                taken |= {partner, box}
    return pairs


def _lines(graph: nx.MultiDiGraph, uses: _Uses) -> Iterable[Line]:
    ladder = any(data.get("kind") == "data" for *_, data in graph.edges(data=True))
    for tail, head, data in graph.edges(data=True):
        kind = data.get("kind", "data")
        yield Line(
            tail=uses.box(tail, head),
            head=uses.box(head, tail),
            kind="cotangent" if kind == "cotangent" else "data",
            label=style.elide(words.flow(graph, tail, head, data), 24),
            delayed=bool(data.get("delay")),
            reverse=kind == "cotangent" and ladder,
            spine=computed(graph.nodes[tail]) and computed(graph.nodes[head]),
            change=data.get("change") or "",
        )


def _in_stretches(
    boxes: Sequence[Box], lines: Iterable[Line], pairs: Mapping[str, str], frames: Frames
) -> list[Box]:
    """The boxes, with a frame for each stretch of a module that lines leave and enter again."""
    value = {cotangent: of for of, cotangent in pairs.items()}
    ends = [line.ranked for line in lines if not line.delayed]
    scopes = {box.id: box.scope for box in boxes if box.id not in value}
    found, parts = stretches.split(scopes, [(value.get(a, a), value.get(b, b)) for a, b in ends])
    made = [replace(box, scope=found[value.get(box.id, box.id)]) for box in boxes]
    for old, new in zip(boxes, made, strict=True):
        for level in range(1, len(new.scope) + 1):
            frame, was = new.scope[:level], old.scope[:level]
            if frame != was:
                which = frame[-1].removeprefix(was[-1]) if frame in parts else ""
                frames.titles[frame] = f"{frames.titles[was]}{which}"
            if was in frames.loops:
                frames.loops[frame] = frames.loops[was]
    return made


def _clusters(boxes: Iterable[Box], frames: Frames) -> Cluster:
    """The tree of frames, in the order in which they were first used."""
    inside: dict[tuple[str, ...], list[Box]] = {(): []}
    below: dict[tuple[str, ...], list[tuple[str, ...]]] = {(): []}
    for box in boxes:
        for level in range(1, len(box.scope) + 1):
            path = box.scope[:level]
            if path not in inside:
                inside[path], below[path] = [], []
                below[path[:-1]].append(path)
        inside[box.scope].append(box)
    made: dict[tuple[str, ...], Cluster] = {}
    for path in sorted(inside, key=len, reverse=True):
        children = tuple(made[child] for child in below[path])
        title = style.elide(frames.titles[path])
        made[path] = Cluster(path, title, tuple(inside[path]), children, frames.loops.get(path))
    return made[()]
