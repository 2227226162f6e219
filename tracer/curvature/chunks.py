"""Chunks: the rows of a bundle that one sweep takes, and which of them each quantity reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tracer.arrays.types import Some
from tracer.cotangents import Cotangent
from tracer.curvature.bundle import Bundle
from tracer.curvature.quantity import Context, Quantity
from tracer.curvature.request import Request
from tracer.curvature.rows import ggn_averaged, gradient


class Share(NamedTuple):
    """A quantity's part of the rows of a chunk, `start` to `stop`, and the samples that it is of.

    From `sampleless_from` on they start at terms of no sample. `samples` is None for all of them.
    """

    start: int
    sampleless_from: int
    stop: int
    samples: Some | None


@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of a bundle that go through one sweep, those from row `begin` on.

    `shares` pairs quantities with what they read of them, None standing for all of it. `is_last`
    says that the bundle has no further rows. What is made of them stays within `budget` bytes.
    """

    bundle: Bundle
    begin: int
    is_last: bool
    shares: list[tuple[Quantity, Share | None]]
    budget: int | None = None


def shares_of(
    request: Request, bundle: Bundle, begin: int, count: int
) -> list[tuple[Quantity, Share | None]]:
    """What each quantity reads of `count` rows from `begin` on; None stands for all of it.

    Quantities that read none of them are left out.
    """
    shares: list[tuple[Quantity, Share | None]] = []
    for quantity in sorted(request.asked.values(), key=lambda quantity: not quantity.first):
        kind = request.kinds[quantity.name]
        span = None if kind is None else bundle.counts.get(kind)
        if kind is None or span is None:
            continue
        if kind == ggn_averaged:
            shares.append((quantity, None))  # averaging changes the number of rows
            continue
        start, stop = max(span.start - begin, 0), min(span.stop - begin, count)
        if start < stop:
            sampleless_from = max(start, min(bundle.sampleless_from[kind] - begin, stop))
            samples = request.objective.samples if quantity.of_chosen_samples else None
            whole = start == 0 and sampleless_from == count and samples is None
            share = None if whole else Share(start, sampleless_from, stop, samples)
            shares.append((quantity, share))
    return shares


def part_of(cotangent: Cotangent, share: Share, budget: int | None) -> Cotangent:
    """The rows and samples of a share."""
    start, sampleless_from, stop, samples = share
    samples = slice(None) if samples is None else samples
    part = cotangent.select(slice(start, sampleless_from), samples)
    if sampleless_from < stop:
        sampleless = cotangent.select(slice(sampleless_from, stop))
        if cotangent.unbatched is not None:
            sampleless.unbatched = cotangent.unbatched[sampleless_from:stop]
        part.unbatched = sampleless.total()
    elif cotangent.unbatched is not None:
        part.unbatched = cotangent.unbatched[start:stop]
    if cotangent.signs is not None:
        signs = cotangent.signs[start:stop]
        part.signs = signs[:, samples] if signs.shape[1] > 1 else signs
    return part.within(budget)


def is_partial(request: Request, chunk: Chunk, quantity: Quantity, part: Cotangent) -> bool:
    """Whether a quantity gets more rows in other chunks than its `part` of this one."""
    bundle, kind = chunk.bundle, request.kinds[quantity.name]
    if not bundle.last or kind == ggn_averaged or kind is None:
        return not bundle.last or not chunk.is_last or chunk.begin > 0
    span = bundle.counts[kind]
    return part.rows < span.stop - span.start


def with_rows(request: Request, bundle: Bundle, quantity: Quantity, context: Context) -> Context:
    """The context with the number of rows that there will be of the quantity's kind."""
    kind = request.kinds[quantity.name]
    if kind is None or kind == gradient or not bundle.last:
        return context
    span = bundle.counts[kind]
    return context._replace(rows=span.stop - span.start)
