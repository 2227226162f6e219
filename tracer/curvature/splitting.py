"""How an objective splits into terms, read off its record: losses, `outputs`, plain penalties.

The Gauss-Newton matrix is a sum over terms that each split into a model and a convex function of
what it gives. Linear arithmetic down to registered losses splits, and so does what lies above the
model's `outputs`. A term of parameters alone, as `0.1 * np.sum(w**2)`, names no such place: it has
a gradient and a Hessian, and is left out of the Gauss-Newton matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tracer.curvature.sample_checks import refuse_unknown_above
from tracer.errors import QuantityError, TracingError
from tracer.record.axes import KNOWN, UNKNOWN, OfOne
from tracer.record.batching import Batch
from tracer.record.node import Node
from tracer.sweep.bending import is_linear, wanted
from tracer.sweep.tangents import descendants
from tracer.sweep.unmarked import summed_over


@dataclass
class Split:
    """The nodes `above` the cuts, in the order of recording, and where they were cut.

    `splits` are registered losses, and `outputs`; `plain` the terms of parameters alone.
    """

    above: list[Node] = field(default_factory=list)
    splits: list[Node] = field(default_factory=list)
    plain: list[Node] = field(default_factory=list)


def split(
    nodes: Sequence[Node],
    batch: Batch,
    outputs: Node | None,
    names: Mapping[Node, str],
    wanted_by: str,
) -> Split:
    """The terms of the objective that the last of `nodes` gives.

    Raises `QuantityError`, naming the quantity `wanted_by`, the operation, and its line, where a
    term has samples, or mixes with another one, and does not split.
    """
    if outputs is not None and not outputs.op.leaf and outputs not in set(nodes):
        raise TracingError("`outputs` was not recorded on this tape before the loss")
    over_outputs = set() if outputs is None else descendants(nodes, {outputs})
    splits = {n for n in nodes if n.op.loss and n.wants and n not in over_outputs}
    if outputs is not None:
        splits.add(outputs)
    leading = descendants(nodes, splits)
    sampled = cache(lambda: with_samples(nodes, batch, _counts(splits, batch, outputs)))
    undefined = f"{wanted_by} is undefined for this objective"
    loss = nodes[-1]

    found = Split()
    #: every node on the way, and the first operation above it that is not linear
    bends: dict[Node, Node | None] = {loss: None}
    for node in _downward(nodes, bends):
        bend, slots = bends[node], wanted(node)
        linear = is_linear(node, slots)
        opens = node in leading and node not in splits
        if opens and not linear and node not in over_outputs:
            if not batch.marked or node in sampled():
                raise _bent_losses(undefined, node)
            opens = False
        if bend is not None and node is not outputs and not opens:
            raise _past_outputs(undefined, _named([node], nodes, names), bend)
        if not opens:
            if node in splits:
                found.splits.append(node)
                continue
            if node not in sampled():
                found.plain.append(node)
                continue
            below = [node.parents[slot] for slot in slots]
            if not linear or all(p in sampled() for p in below):
                raise _no_loss(undefined, _named([node], nodes, names))
        found.above.append(node)
        for slot in slots:
            parent = node.parents[slot]
            assert parent is not None
            bends[parent] = bends.get(parent) or bend or (None if linear else node)
    found.above.reverse()
    if outputs is not None and outputs not in found.splits:
        raise QuantityError(f"{undefined}: the loss does not depend on `outputs`")
    if not found.splits:
        raise _plain_alone(undefined, _named(found.plain, nodes, names))
    return found


def at_first_samples(
    nodes: Sequence[Node], loss: Node, batch: Batch, wanted_by: str
) -> tuple[set[Node], list[Node]]:
    """The first tensors with samples on the way down from the loss, and the nodes above them.

    Those are in the order of recording. Raises `BatchError` where what follows the last known
    samples is no sum over them.
    """
    first = {node for node in nodes if isinstance(batch.axis(node), KNOWN)}
    first -= _sums_of_terms(loss, batch)
    reached, above = {loss}, []
    for node in reversed(nodes):
        if node in reached and node not in first:
            if batch.axes.get(node) is UNKNOWN:
                refuse_unknown_above(node, batch, wanted_by)
            above.append(node)
            reached.update(p for p in node.parents if p is not None and p.wants)
    return first, above[::-1]


def _sums_of_terms(loss: Node, batch: Batch) -> set[Node]:
    """Where numbers of one sample and terms of no sample are added up to the objective.

    A bare parameter is no term, but a model's bias, unless it meets what sums over samples.
    """
    found: set[Node] = set()
    waiting = [loss]
    while waiting:
        node = waiting.pop()
        parents = [node.parents[slot] for slot in wanted(node)]
        sums = node in batch.sums_of_one
        numbers = not (node.shape or any(p.shape for p in parents if p is not None))
        if not ((sums or numbers) and isinstance(batch.axis(node), OfOne)):
            continue
        leaves = any(p is not None and p.op.leaf for p in parents)
        if is_linear(node, wanted(node)) and (sums or not leaves):
            found.add(node)
            waiting += [p for p in parents if p is not None]
    return found


# -- what is said of it --------------------------------------------------------------------------


def _bent_losses(undefined: str, node: Node) -> QuantityError:
    return QuantityError(
        f"{undefined}: {_made(node)} is not linear in the registered losses that it "
        f"is made of, so nothing says where it splits into model and loss: weigh "
        f"losses by constants and add them up, or name the model's output with "
        f"tape.backward(loss, outputs=prediction)"
    )


def _past_outputs(undefined: str, term: str, bend: Node) -> QuantityError:
    return QuantityError(
        f"{undefined}: {term} reaches {_made(bend)} without "
        f"passing through `outputs`, and that is not linear in it: name a tensor that all "
        f"of it passes through"
    )


def _no_loss(undefined: str, term: str) -> QuantityError:
    return QuantityError(
        f"{undefined}: {term} is not a registered loss, and "
        f"nothing says where it splits into model and loss: use a loss such as "
        f"mse_loss, or name the model's output, which all else is computed from, with "
        f"tape.backward(loss, outputs=prediction)"
    )


def _plain_alone(undefined: str, terms: str) -> QuantityError:
    return QuantityError(
        f"{undefined}: {terms} is plain code of parameters alone, "
        f"and there is no registered loss beside it: use a loss such as mse_loss, name the "
        f"model's output with tape.backward(loss, outputs=f), or take quantities of the Hessian"
    )


def left_out(plain: Sequence[Node], nodes: Sequence[Node], names: Mapping[Node, str]) -> str:
    """The warning that Gauss-Newton quantities lack these terms."""
    return (
        f"Gauss-Newton quantities leave out {_named(plain, nodes, names)}: plain code of "
        f"parameters alone does not say where it splits into model and loss, and counts in the "
        f"gradient and the Hessian alone; what shall count in all of them is a registered term, "
        f"as tracer_layers.l2_penalty(w)"
    )


def penalties_left_out(
    quantities: Sequence[str],
    penalties: Sequence[Node],
    nodes: Sequence[Node],
    names: Mapping[Node, str],
) -> str:
    """The warning that Kronecker factors lack registered terms of no sample."""
    *others, last = quantities
    asked = f"{', '.join(others)} and {last} leave" if others else f"{last} leaves"
    several = len(penalties) > 1
    below = _below(penalties, nodes)
    leaves = [name for leaf, name in names.items() if leaf in below]
    lines = list(dict.fromkeys(node.source or "unknown line" for node in penalties))
    on = f" on {_few(map(repr, leaves), len(leaves))}" if leaves else ""
    return (
        f"{asked} out the {'penalties' if several else 'penalty'}{on} ({_few(lines, len(lines))}), "
        f"{'' if several else 'a '}registered term{'s' if several else ''} of "
        f"parameters alone: a block with {'them' if several else 'it'} is no Kronecker product; "
        f"add {'their' if several else 'its'} curvature as damping"
    )


def _few(words: Iterable[str], count: int) -> str:
    """The first four of `count` words."""
    return ", ".join(itertools.islice(words, 4)) + (", ..." if count > 4 else "")


def _downward(nodes: Sequence[Node], reached: Mapping[Node, Any]) -> Iterable[Node]:
    """What is reached, last operation first, then leaves, while `reached` grows."""
    yield from (node for node in reversed(nodes) if node in reached)
    recorded = set(nodes)
    yield from [node for node in reached if node not in recorded]


# -- what has samples --------------------------------------------------------------------------


def _counts(splits: Iterable[Node], batch: Batch, outputs: Node | None) -> set[int]:
    """How many samples there may be: where nothing is marked, the first axis of a prediction."""
    if batch.marked:
        return {batch.size} if batch.size is not None else set()
    predictions = (node if node is outputs else node.parents[0] for node in splits)
    return {p.shape[0] for p in predictions if p is not None and p.shape}


def with_samples(nodes: Sequence[Node], batch: Batch, counts: Collection[int]) -> set[Node]:
    """The nodes that depend on samples: marked ones, or those of a constant that has no mark."""
    found = {
        node
        for node in nodes
        if batch.axis(node) is not None or any(axis is not None for axis in batch.axes_of(node))
    }
    for count in counts:
        found |= summed_over(nodes, count)
    return descendants(nodes, found)


# -- in words ----------------------------------------------------------------------------------


def _made(node: Node) -> str:
    return f"{node.op.name} ({node.source or 'unknown line'})"


def _named(terms: Sequence[Node], nodes: Sequence[Node], names: Mapping[Node, str]) -> str:
    """Terms by their operations, lines and parameters."""
    made = [node for node in terms if not node.op.leaf]
    parts = []
    if made:
        plural = "s" if len(made) > 1 else ""
        places = list(dict.fromkeys(map(_made, made)))
        parts.append(f"the term{plural} made by {_few(places, len(places))}")
    below = _below(terms, nodes)
    leaves = [name for leaf, name in names.items() if leaf in below]
    few = _few(map(repr, leaves), len(leaves))
    if leaves:
        parts.append(f"of {few}" if made else f"the term {few}")
    return " ".join(parts) or f"the term {terms[0].label}"


def _below(terms: Sequence[Node], nodes: Sequence[Node]) -> set[Node | None]:
    """Terms and what they depend on."""
    found: set[Node | None] = set(terms)
    for node in reversed(nodes):
        if node in found:
            found.update(node.parents)
    return found
