"""Which groups of an outline are open at first: as much as is legible on one page."""

from __future__ import annotations

from collections.abc import Collection

from tracer.extend import DrawOptions
from tracer_render.outline import MOST, Group, Outline

#: Where every operation is asked for, so many boxes are drawn at most.
MOST_AT_ONCE = 2000


def opened(outline: Outline, options: DrawOptions) -> set[Group]:
    """The open groups, the root among them.

    With the depth "auto", that is the deepest level of calls at which there are at most `MOST`
    boxes in a direction.
    """
    root, paths = outline.root, options.opened
    if options.depth is None:
        every = {root, *(group for group in _all(root) if group.sort != "steps")}
        if _boxes(root, every) <= MOST_AT_ONCE:
            return every
    elif options.depth != "auto":
        return _at_depth(outline, options.depth, paths)
    best = {root}
    if paths:
        best |= {group for group in _all(root) if _leads_to(group, paths)}
    for depth in range(_deepest(root) + 1):
        found = _at_depth(outline, depth, paths)
        if _boxes(root, found) > MOST:
            break
        best = found
    return best


def _all(root: Group) -> list[Group]:
    """All groups below, outer ones first."""
    found = list(root.groups)
    for group in found:
        found += group.groups
    return found


def _at_depth(outline: Outline, depth: int, paths: Collection[str]) -> set[Group]:
    """What is open where calls are down to `depth` levels, or lead to one of these paths."""
    found: set[Group] = set()
    reached: list[Group] = []  # outer ones first
    waiting = [(outline.root, 0)]
    while waiting:
        group, level = waiting.pop()
        found.add(group)
        reached.append(group)
        for child in group.groups:
            if child.sort == "step":
                waiting.append((child, level))
            elif (paths and _leads_to(child, paths)) or (
                child.level is not None
                and level < depth
                and not outline.calls.is_whole(child.level)
            ):
                waiting.append((child, level + 1))
    thin = [group for group in reached if group.sort == "call" and _is_thin(group, found)]
    for group in reversed(thin):  # inner ones first: what holds one closed box is closed with it
        if _is_thin(group, found) and not _leads_to(group, paths):
            found.discard(group)
    return found


def _is_thin(group: Group, found: set[Group]) -> bool:
    """Whether a call holds nothing but another one, which may be closed."""
    return (
        len(group.children) == 1
        and [g.sort for g in group.groups] == ["call"]
        and (group.groups[0] not in found or _is_thin(group.groups[0], found))
    )


def _leads_to(group: Group, paths: Collection[str]) -> bool:
    """Whether one of these paths is that of a call, or inside of it."""
    if group.level is None:
        return any(_leads_to(child, paths) for child in group.groups) if paths else False
    scope = group.level.scope
    return any(path == scope or path.startswith(f"{scope}.") for path in paths)


def _deepest(root: Group) -> int:
    return max((1 + _deepest(group) for group in root.groups), default=0)


def _boxes(root: Group, found: set[Group]) -> int:
    """How many boxes are drawn forward."""
    count, waiting = 0, [root]
    while waiting:
        for child in waiting.pop().children:
            if isinstance(child, Group) and child in found:
                waiting.append(child)
            else:
                count += 1
    return count
