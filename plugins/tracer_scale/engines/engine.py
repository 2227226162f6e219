"""What an engine does, and the order in which it hands over what comes of the shards."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol, TypeAlias, TypeVar

from tracer_scale.errors import ShardError
from tracer_scale.work import Failure, Job, Part, Product, Work

Outcome: TypeAlias = "Part | Product"
#: those of shards, in their order; closing it ends the computation
Outcomes: TypeAlias = "Generator[Outcome, None, None]"
#: what a driver has, and what all ranks of MPI are given of it
Told = TypeVar("Told")

#: shards that are begun or wait to be merged, for each worker
AHEAD = 4


class Engine(Protocol):
    """Computes the outcomes of shards, wherever. What it keeps is given back by `close`."""

    #: whether this process merges what comes: of MPI's ranks only the first one does
    is_driver: bool

    def run(self, work: Work, job: Job, shards: Sequence[int]) -> Outcomes:
        """The outcomes of these shards, in this order; none where it `is_driver` not.

        Raises `ShardError` for a shard that failed after all retries.
        """

    def told(self, value: Told | None) -> Told:
        """What the driver has, in every process that folds together; it alone gives a value."""

    def close(self) -> None:
        """End the workers."""

    def abandon(self) -> None:
        """The same where nobody may wait, as in a collection of garbage, in whichever thread."""


class Ordered:
    """Gives out shards in their order, takes outcomes in any, and hands them on in that order.

    At most `ahead` shards are begun that are not handed on yet. It counts how often each was tried:
    after `retries` more times than once, its failure is raised.
    """

    def __init__(self, shards: Sequence[int], ahead: int, retries: int):
        self.shards, self.ahead, self.retries = shards, ahead, retries
        self._begun = self._done = 0
        self._again: list[int] = []
        self._waiting: dict[int, Outcome] = {}
        self._failures: dict[int, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether all outcomes were handed on."""
        return self._done == len(self.shards)

    @property
    def left(self) -> int:
        """How many outcomes are still to be handed on."""
        return len(self.shards) - self._done

    def next(self) -> int | None:
        """A shard to begin; None where all are begun, or one has to be waited for."""
        if self._again:
            return self._again.pop(0)
        if self._begun == min(len(self.shards), self._done + self.ahead):
            return None
        self._begun += 1
        return self.shards[self._begun - 1]

    def put(self, shard: int, outcome: Outcome | Failure) -> None:
        """Take an outcome, or a failure: then the shard is to be begun again."""
        if isinstance(outcome, Failure):
            self.lost(shard, f"{outcome.kind}: {outcome.message}", outcome)
        else:
            self._waiting[shard] = outcome

    def lost(self, shard: int, why: str, failure: Failure | None = None) -> None:
        """A shard came to nothing; it is begun again unless it was too often."""
        times = self._failures[shard] = self._failures.get(shard, 0) + 1
        if times <= self.retries and not (failure is not None and failure.is_final):
            self._again.append(shard)
            return
        tried = "" if times == 1 else f", {times} times"
        error = ShardError(f"shard {shard} failed{tried}: {why}", shard)
        if failure is not None:
            error.add_note(f"In the worker:\n\n{failure.trace}")
        raise error

    def ready(self) -> Iterator[Outcome]:
        """The outcomes whose turn it is."""
        while not self.is_over and self.shards[self._done] in self._waiting:
            outcome = self._waiting.pop(self.shards[self._done])
            self._done += 1
            yield outcome
