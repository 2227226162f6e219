"""How much of a graph is drawn: which calls are open, chosen so that a picture fits on a page."""

from __future__ import annotations

import logging
from collections import Counter

import networkx as nx

from tracer.extend import DrawOptions
from tracer_render import branches, loops, repeats, rows, runs
from tracer_render.calls import Calls
from tracer_render.collapse import Closed, collapse
from tracer_render.elide import elide, report
from tracer_render.frames import Frames

log = logging.getLogger("tracer_render")

#: A picture has at most this many boxes in each direction, where the detail is not given.
MOST = 40
#: Of unrolled loops, so many steps are tried.
FEWER = (4, 2)
#: A line that reads one parameter more often than this is likely to be in a loop over time.
FEW_READS = 8


def detailed(graph: nx.MultiDiGraph, options: DrawOptions) -> nx.MultiDiGraph:
    """The graph as it is drawn: calls closed, the middle of long loops left out.

    With the depth "auto" that is the largest depth at which at most `MOST` boxes are drawn per
    direction. Where there are more at depth 0, neighbours of the same structure are folded, and if
    that is not enough, what was recorded one after the other. What was chosen is said on the logger
    `tracer_render`.
    """
    _note_unknown(graph, options.opened)
    if options.depth != "auto":
        return elide(collapse(graph, options.depth, options.opened), options.steps)
    drawn, depth, folded = *_fitting(graph, options), ""
    for fold in (runs.fold, branches.fold, runs.fold):
        if _boxes(drawn) > MOST and (short := fold(drawn)) is not drawn:
            drawn, folded = short, ", equal neighbours in one box"
    if (
        branches.widest(drawn) > branches.MOST_ABREAST
        and (short := branches.fold(drawn)) is not drawn
    ):
        drawn, folded = short, ", equal neighbours in one box"
    if _boxes(drawn) > MOST:
        note_unmarked_loop(graph)
        drawn, folded = rows.fold(drawn, MOST, _boxes), ", what follows each other in one box"
    kinds = ("cotangent",) if graph.graph.get("direction") == "backward" else ("operation",)
    operations = sum(
        d.get("steps") or 1 for _, d in graph.nodes(data=True) if d.get("op") and d["kind"] in kinds
    )
    boxes = _boxes(drawn)
    if boxes < operations:
        log.warning(
            "depth %d%s: %s operation%s as %s box%s; --depth all draws every one",
            depth, folded, f"{operations:,}", "s" * (operations != 1), f"{boxes:,}",
            "es" * (boxes != 1),
        )  # fmt: skip
    report(drawn)
    return drawn


def note_unmarked_loop(graph: nx.MultiDiGraph) -> None:
    """Say which line of a picture with too many boxes is likely to be in a loop that is not marked.

    Nothing where no line reads a parameter more than a few times.
    """
    if loop := _unmarked_loop(graph):
        log.warning(
            "%s reads %s %d times: if it is in a loop, write that as `for t in tracer.steps(n):`, "
            "and its steps are drawn as one",
            *loop,
        )


def _unmarked_loop(graph: nx.MultiDiGraph) -> tuple[str, str, int] | None:
    """The line that reads one parameter most often outside of marked loops; its name; how often.

    Nothing where no line does so more than a few times.
    """
    found: Counter[tuple[str, str]] = Counter()
    for leaf, data in graph.nodes(data=True):
        if data.get("kind") == "parameter":
            for user in graph.successors(leaf):
                reader = graph.nodes[user]
                if reader.get("loop") is None and reader.get("source"):
                    found[reader["source"], data.get("label") or "a parameter"] += 1
    for (line, name), times in found.most_common(1):
        if times > FEW_READS:
            return line, name, times
    return None


def _note_unknown(graph: nx.MultiDiGraph, opened: tuple[str, ...]) -> None:
    scopes = {data.get("scope") or "" for _, data in graph.nodes(data=True)} if opened else set()
    for path in opened:
        if not any(scope == path or scope.startswith(f"{path}.") for scope in scopes):
            log.warning("no module is called %r: nothing is opened", path)


def _fitting(graph: nx.MultiDiGraph, options: DrawOptions) -> tuple[nx.MultiDiGraph, int]:
    """The graph at the largest depth at which it fits, else at depth 0."""
    calls, where, steps = Calls(graph), loops.find(graph), options.steps

    def closed_at(depth: int) -> Closed:
        return Closed(graph, calls, where, depth, thin=True, opened=options.opened)

    deepest = max((len(calls.around(node)) for node in graph), default=0)
    best = _with_fewer_steps(closed_at(0).graph(), steps)
    chosen = 0
    for depth in range(1, deepest + 1):
        closed = closed_at(depth)
        if not where and closed.count() > MOST:
            break
        drawn = _with_fewer_steps(closed.graph(), steps)
        if _boxes(drawn) > MOST:
            break
        if set(drawn) != set(best):
            best, chosen = drawn, depth
    return best, chosen


def _with_fewer_steps(graph: nx.MultiDiGraph, steps: int | None) -> nx.MultiDiGraph:
    """The graph with as many steps of its loops as fit, at most those that are asked for."""
    for shown in (steps, *(few for few in FEWER if steps is not None and few < steps)):
        drawn = elide(graph, shown, say=False)
        if _boxes(drawn) <= MOST:
            break
    return drawn


def _boxes(graph: nx.MultiDiGraph) -> int:
    return repeats.count(graph, Frames(graph, Calls(graph)))
