"""Bundles: rows of one or more kinds that go through a sweep together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracer.arrays.types import Signs, Stack
from tracer.curvature.rows import Rows, gradient
from tracer.curvature.seed_rows import SeedRows, Seeds, joined, of_stack, stack_bytes
from tracer.curvature.terms import Term
from tracer.record.node import Node


@dataclass
class Bundle:
    """Rows that go through a sweep together.

    `counts` tells where each kind's rows are, `sampleless_from` the first of those that start at a
    term of no sample; `seeds` where they start, stacks or `SeedRows`; `signs [R, N]` (or `[R, 1]`)
    weigh their squares, unless all are positive. Where it is not the `last` one, others bring more
    rows of the same kinds. `masked` says that N + 1 rows stand for one (`curvature.masking`),
    `by_samples` that its quantities read the samples' shares, and not their sum alone.
    """

    counts: dict[Rows, slice]
    sampleless_from: dict[Rows, int]
    seeds: Seeds
    signs: Signs = None
    last: bool = True
    masked: bool = False
    by_samples: bool = True

    @property
    def rows(self) -> int:
        return max(kind.stop for kind in self.counts.values())

    def chunks(self, each: int, budget: int | None, slots: int) -> list[slice]:
        """Slices of rows of `each` bytes that stay within the budget, `slots` at a time.

        What the rows start from takes its part of the budget.
        """
        rows = len(next(iter(self.seeds.values())))
        if budget is None or rows == 1:
            return [slice(None)]
        started = sum(map(stack_bytes, self.seeds.values()))
        step = max(1, (budget - started) // max(1, each) // slots) * slots
        if step >= rows:
            return [slice(None)]
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def bundle_of_terms(
    kinds: Mapping[Rows, str], terms: Sequence[Term], leftover: dict[Node, Stack]
) -> Bundle:
    """The bundle of these kinds of rows, from where the terms were cut.

    `kinds` maps each to the quantity that is to be named where it cannot start. The gradient has
    one row, to which all terms and `leftover` add; the other kinds have rows of their own for each
    term, those of samples first. The outputs of single samples, as of a loop over these, start in
    the same rows.
    """
    counts: dict[Rows, slice] = {}
    sampleless_from: dict[Rows, int] = {}
    places: list[tuple[int, dict[Node, SeedRows]]] = []
    total = 0
    if gradient in kinds:
        places = [(0, {node: of_stack(stack) for node, stack in leftover.items()})]
        places += [(0, term.seeds(gradient)) for term in terms]
        counts[gradient], sampleless_from[gradient], total = slice(0, 1), 1, 1
    for kind in kinds:
        if kind == gradient:
            continue
        first = sampleless_from[kind] = total
        ends: dict[int | None, int] = {None: first}  # by the sample that terms are of; None: all
        for term in _of_each_prediction(terms) if kind.of_outputs else terms:
            block = term.asked_by(kinds[kind]).seeds(kind)
            sample = term.only_sample if kind.of_outputs else None
            begin = max(ends.values()) if sample is None else max(ends[None], ends.get(sample, 0))
            places.append((begin, block))
            ends[sample] = begin + (len(next(iter(block.values()))) if block else 0)
            total = max(total, ends[sample])
            if term.of_samples:
                sampleless_from[kind] = total
        counts[kind] = slice(first, total)
    pieces: dict[Node, list[tuple[int, SeedRows]]] = {}
    for begin, block in places:
        for node, rows in block.items():
            pieces.setdefault(node, []).append((begin, rows))
    return Bundle(
        counts, sampleless_from, {node: joined(some, total) for node, some in pieces.items()}
    )


def _of_each_prediction(terms: Sequence[Term]) -> list[Term]:
    """One term of each prediction, however many losses judge it.

    Terms come last operation first, predictions in the order of the record; of samples first.
    """
    last_first = [[t for t in terms if t.of_samples], [t for t in terms if not t.of_samples]]
    in_order = [term for some in last_first for term in reversed(some)]
    return list({term.prediction: term for term in reversed(in_order)}.values())[::-1]
