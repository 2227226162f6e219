"""How the gradient fares on its way back through time: its norm at each step of a recurrent state.

Where the norm falls from step to step the gradient vanishes, where it grows it explodes (Pascanu,
Mikolov and Bengio 2013).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import GraphError
from tracer.record.recorder import Recorder

if TYPE_CHECKING:
    import networkx as nx

#: In the names of states of loops that go from the last step to the first.
REVERSE = "(reverse)"


def gradient_flow(tape: Recorder) -> dict[str, np.ndarray]:
    """The Euclidean norm of the gradient at each recurrent state, float64 `[steps]`, by its name.

    A state is what a loop over time hands on from one step to another: the result of an operation
    with an edge of `delay=1` or more in the folded graph. It is called by its module path and
    operation, as in `"encoder.tanh"`, with `(reverse)` for loops that go backward and a number for
    further ones of the same name. Element t is the gradient's norm at step t, NaN where none
    arrived; a loop inside another one has `[outer steps, steps]`. Without recurrence there is none.

    The tape is one that was made with `watch=True` and has been swept for `grad`: the norms are
    those that this sweep met. Raises `GraphError` otherwise.
    """
    if tape.watched is None or tape.loss is None:
        raise GraphError(
            "the gradient's norms come from the sweep of a watched trace, and this one was "
            f"{'not watched' if tape.watched is None else 'not swept'}: record it with "
            "tracer.Tape(watch=True) and call tape.backward(loss)"
        )
    from tracer.graph.build import build  # and networkx, which takes long

    folded = build(tape, time="folded")
    states = {source for source, _, delay in folded.edges(data="delay") if delay}
    graph = build(tape, "both")
    norms = {data["of"]: data.get("norm") for _, data in graph.nodes(data=True) if "of" in data}
    loops = graph.graph["loops"]
    flow: dict[str, np.ndarray] = {}
    names: Counter[str] = Counter()
    for members in copies(graph):
        if members[0] not in states:
            continue
        data = graph.nodes[members[0]]
        found = np.full(_sizes(loops, data["loop"]), np.nan)
        for member in members:
            norm = norms.get(member)
            if norm is not None:
                found[tuple(graph.nodes[member]["times"])] = norm
        name = ".".join(filter(None, (data["scope"], data["op"])))
        name += f" {REVERSE}" if loops[data["loop"]]["reverse"] else ""
        names[name] += 1
        flow[name if names[name] == 1 else f"{name} {names[name]}"] = found
    return flow


def copies(graph: nx.MultiDiGraph) -> list[list[str]]:
    """The nodes of an unrolled graph that are one node when it is folded, in order of recording."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    count: Counter[Hashable] = Counter()
    for name, data in graph.nodes(data=True):
        if data.get("times"):
            line = tuple(data[key] for key in ("loop", "scope", "kind", "op", "source"))
            step = (line, tuple(data["times"]))
            groups[line, count[step]].append(name)
            count[step] += 1
    return list(groups.values())


def _sizes(loops: list[dict[str, Any]], loop: int | None) -> tuple[int, ...]:
    """The number of steps of a loop and of those around it, the outermost first."""
    sizes: tuple[int, ...] = ()
    while loop is not None:
        sizes = (loops[loop]["steps"], *sizes)
        loop = loops[loop]["parent"]
    return sizes
