"""The outline of a graph: calls of modules in calls, steps of loops, and operations in their order.

The page opens and closes its groups. A group has at most `MOST` children besides leaves: equal
neighbours, the middle of a long loop, and rows of many operations are groups by themselves. So are
more than `MOST_ABREAST` equal branches side by side, and the row that adds them up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import networkx as nx

from tracer_render import loops, repeats
from tracer_render.abreast import Branches, Part
from tracer_render.branches import MOST_ABREAST
from tracer_render.calls import Calls, Level
from tracer_render.frames import Frames
from tracer_render.scopes import Attributes, computed

#: A group has at most so many children that are groups or made by operations.
MOST = 40
#: So many neighbours of the same structure become one group, where there are too many children.
ALIKE = 3
#: Of long loops fewer steps stand by themselves, where there are too many children.
FEWER = (4, 2)


class Box(NamedTuple):
    """A node as it is drawn: a leaf that several use is drawn beside each `user`."""

    node: Hashable
    user: Hashable = None


@dataclass(eq=False)
class Group:
    """Children that are drawn in one frame, or as one box while it is closed.

    `sort` is "call" of a module, "step" of a loop, or what stands for many: "alike" for equal
    neighbours, "abreast" for equal branches side by side, "steps" for the middle of a loop, and
    "row". `steps` are those around it. Equal operations are `times` as many as the `first`.
    """

    sort: str
    level: Level | None = None
    steps: tuple[loops.Step, ...] = ()
    children: list[Child] = field(default_factory=list)
    first: Attributes | None = None
    times: int = 0

    @property
    def groups(self) -> list[Group]:
        return [child for child in self.children if isinstance(child, Group)]

    def boxes(self) -> Iterator[Box]:
        """All boxes in it, in order."""
        waiting: list[Child] = [self]
        while waiting:
            child = waiting.pop()
            if isinstance(child, Group):
                waiting.extend(reversed(child.children))
            else:
                yield child


Child: TypeAlias = Box | Group


class Outline:
    """The `root` of a graph's outline. Cotangents are not in it: they stand beside their values.

    `own` are the nodes that are no leaves. Of long loops, `shown_steps` stand by themselves; all do
    if that is `None`.
    """

    def __init__(self, graph: nx.MultiDiGraph, shown_steps: int | None):
        self.calls = Calls(graph)
        self.root = Group("root")
        self._graph = graph
        self._data: dict[Hashable, Attributes] = dict(graph.nodes(data=True))
        self._shown = (
            () if shown_steps is None else (shown_steps, *(n for n in FEWER if n < shown_steps))
        )
        self._known: dict[Hashable, Group] = {}
        self.own = {node for node, data in self._data.items() if computed(data)}
        self._branches = Branches(graph, self.own)
        frames = Frames(graph, self.calls)
        drawn, copies = [], defaultdict[Hashable, list[Child]](list)
        for node, data in graph.nodes(data=True):
            if data.get("kind") == "cotangent" and data.get("of") in graph:
                continue
            for user in repeats.users(graph, frames, node, data):
                if user is None:
                    drawn.append(node)
                else:
                    copies[user].append(Box(node, user))
        for node in drawn:  # groups are in the order in which what is drawn once came
            group = self._around(self.calls.around(node), frames.steps(node))
            group.children += [*copies.pop(node, ()), Box(node)]
        for user, boxes in copies.items():  # of users that are not drawn themselves
            group = self._around(self.calls.around(user), frames.steps(user))
            group.children += boxes
        waiting = [self.root]
        while waiting:
            group = waiting.pop()
            self._shorten(group)
            waiting += group.groups

    def _around(self, levels: tuple[Level, ...], steps: tuple[loops.Step, ...]) -> Group:
        """The innermost group of what was recorded in these calls and steps."""
        place = levels[-1].key if levels else None, steps
        found = self._known.get(place)
        if found is None:
            found, passed = self.root, 0
            for level in (*levels, None):
                while passed < len(steps) and (
                    level is None or steps[passed].depth <= level.outside
                ):
                    passed += 1
                    found = self._inside(found, Group("step", None, steps[:passed]), steps[:passed])
                if level is not None:
                    found = self._inside(found, Group("call", level, steps[:passed]), level.key)
            self._known[place] = found
        return found

    def _inside(self, around: Group, new: Group, key: Hashable) -> Group:
        """The child with this key, which is the new one at first."""
        key = id(around), new.sort, key
        if key not in self._known:
            self._known[key] = new
            around.children.append(new)
        return self._known[key]

    def _is_own(self, child: Child) -> bool:
        """Whether a child is no leaf."""
        return isinstance(child, Group) or child.node in self.own

    def _shorten(self, group: Group) -> None:
        """Put children into groups until there are few."""
        if group.sort in ("root", "call", "step"):
            self._branches_together(group)
        holds_steps = any(inner.sort == "step" for inner in group.groups)
        if holds_steps and group.sort in ("root", "call", "step"):
            children = group.children
            for shown in self._shown:
                group.children = self._with_fewer_steps(group, children, shown)
                if self._count(group) <= MOST:
                    break
        count = self._count(group)
        if count > MOST and group.groups and group.sort not in ("alike", "abreast", "steps"):
            group.children = list(self._alike_together(group))
            count = self._count(group)
        if count > MOST:
            rows = min(MOST, -(-count // MOST))
            group.children = list(self._in_rows(group, -(-count // rows)))

    def _count(self, group: Group) -> int:
        return sum([self._is_own(child) for child in group.children])

    def _branches_together(self, group: Group) -> None:
        """Put equal branches into one group each, and the rows that add them up."""
        own = [child for child in group.children if self._is_own(child)]
        if len(own) <= MOST_ABREAST:
            return
        if max(Counter([self._kind(child) for child in own]).values()) <= MOST_ABREAST:
            return
        found = self._branches.among([self._part(child) for child in own], MOST_ABREAST)
        together: dict[int, Group] = {}
        for sort, sets in (("abreast", found.branches), ("alike", found.rows)):
            for numbers in sets:
                members = [own[number] for number in numbers]
                new = Group(sort, steps=group.steps)
                if isinstance(members[0], Box):
                    new.first, new.times = self._data[members[0].node], len(members)
                together |= {id(member): new for member in members}
        if not together:
            return
        holder = {
            box.node: together[id(child)]
            for child in own if id(child) in together
            for box in ([child] if isinstance(child, Box) else child.boxes())
        }  # fmt: skip
        children: list[Child] = []
        placed: set[int] = set()
        for child in group.children:
            inside = together.get(id(child)) or self._holder_of_leaf(child, holder)
            if inside is None:
                children.append(child)
                continue
            if id(inside) not in placed:
                placed.add(id(inside))
                children.append(inside)
            inside.children.append(child)
        group.children = children

    def _holder_of_leaf(self, child: Child, holder: dict[Hashable, Group]) -> Group | None:
        """The group that holds all that use a leaf; None of what is no leaf."""
        if self._is_own(child) or isinstance(child, Group):
            return None
        users = [child.user] if child.user is not None else self._graph.successors(child.node)
        holders = [holder.get(user) for user in users]
        return holders[0] if len({id(each) for each in holders}) == 1 else None

    def _kind(self, child: Child) -> Hashable:
        """What children have in common that may be equal branches."""
        if isinstance(child, Box):
            return self._data[child.node].get("op")
        return ("group", child.level.kind if child.level else id(child))

    def _part(self, child: Child) -> Part:
        """A child as a part of the graph."""
        if isinstance(child, Box):
            return Part(self._kind(child), lambda: [child.node], lambda: self._data[child.node])
        return Part(
            self._kind(child),
            lambda: (box.node for box in child.boxes()),
            lambda: {"class": self._structure(child) or id(child), "members": ()},
        )

    def _with_fewer_steps(self, group: Group, children: list[Child], shown: int) -> list[Child]:
        """The children with the middle steps of each long loop in one group."""
        by_loop: dict[int, list[Group]] = {}
        for child in children:
            if isinstance(child, Group) and child.sort == "step":
                by_loop.setdefault(child.steps[-1].loop, []).append(child)
        for steps in by_loop.values():
            first, last = -(-shown // 2), shown // 2
            middle = steps[first : len(steps) - last]
            if len(middle) > 1:
                together = Group("steps", steps=group.steps, children=list(middle))
                taken = set(map(id, middle[1:]))
                children = [
                    together if child is middle[0] else child
                    for child in children if id(child) not in taken
                ]  # fmt: skip
        return children

    def _alike_together(self, group: Group) -> Iterator[Child]:
        """The children, with neighbours of the same structure in one group."""
        run: list[Child] = []
        structure: Hashable = None
        for child in group.children:
            own = self._structure(child)
            if own is None or own != structure:
                yield from self._run(group, run)
                run = []
            structure = own
            run.append(child)
        yield from self._run(group, run)

    def _run(self, group: Group, run: list[Child]) -> list[Child]:
        if len(run) < ALIKE:
            return run
        return [Group("alike", steps=group.steps, children=run)]

    def _structure(self, child: Child) -> Hashable:
        """What calls of the same structure have in common; None of what is no call."""
        if not isinstance(child, Group) or child.level is None:
            return None
        nodes = [self._data[box.node] for box in child.boxes()]
        made = tuple((data.get("op"), tuple(data.get("shape") or ())) for data in nodes)
        return child.level.kind, child.level.hyperparameters, made

    def _in_rows(self, group: Group, length: int) -> Iterator[Group]:
        """The children in rows of at most `length`, leaves with what follows them."""
        row = Group("row", steps=group.steps)
        count = 0
        for child in group.children:
            if count == length:
                yield row
                row, count = Group("row", steps=group.steps), 0
            row.children.append(child)
            count += self._is_own(child)
        yield row
