"""Batches of a data set, in order or shuffled, fetched ahead by threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tracer import to_device
from tracer.errors import TracerError
from tracer.extend import Array, Generator
from tracer_training.data.dataset import gathered
from tracer_training.kinds import Saved, Value

__all__ = ["DataLoader"]

#: a batch: arrays with samples along axis 0
Batch: TypeAlias = "tuple[Array, ...]"


class DataLoader:
    """Batches `(x, y)` of a data set, as `torch.utils.data.DataLoader` gives them.

    Every `for` is an epoch: with `shuffle` in a new order, drawn from `rng` (a seed or a generator)
    and the epoch's number. The last batch may be smaller, unless `drop_last`. `transform(x, rng)`
    changes the first array of a batch, with a generator of the batch's own. `collate_fn(samples)`
    makes a batch of a list of samples, of data sets that give them one by one. `num_workers`
    threads fetch up to `prefetch` batches each ahead; batches and their order do not depend on how
    many there are. `device` is where batches are sent, as in `tracer.to_device`.

    `state_dict` says how many batches of which epoch a loop was given, and not how many were
    fetched: after `load_state_dict`, the next `for` goes on with the batch after these.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        rng: Generator | int | None = None,
        num_workers: int = 0,
        prefetch: int = 2,
        transform: Callable[..., Array] | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        device: str | None = None,
    ):
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("prefetch", prefetch, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise TracerError(
                    f"DataLoader expects {name} as a whole number from {least}, got {value!r}"
                )
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise TracerError(
                f"a data set has a length and samples, dataset[i], got a {type(dataset).__name__}: "
                f"training.ArrayDataset(x, y) makes one of arrays"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, int(batch_size), shuffle
        self.drop_last, self.num_workers, self.prefetch = drop_last, num_workers, prefetch
        self.transform, self.collate_fn, self.device = transform, collate_fn, device
        self.seed = _seed_of(rng)
        #: the epoch of the last loop, and how many of its batches were given; after it the next one
        self.epoch, self.given = 0, 0
        #: the epoch and the first batch of the next loop
        self._next = 0, 0
        self._current: object = None

    def __len__(self) -> int:
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of an epoch, from the first that was not given before a state was saved."""
        epoch, first = self._next
        self._next = epoch + 1, 0
        loop = self._current = object()
        self.epoch, self.given = epoch, first
        for number, batch in enumerate(self._fetched(epoch, first), first + 1):
            if self._current is loop:  # the loop that began last is the one that is saved
                self.given = number
            yield batch
        if self._current is loop:
            self.epoch, self.given = self._next

    def _fetched(self, epoch: int, first: int) -> Iterator[Batch]:
        order = self.order(epoch)
        if not self.num_workers:
            return (self._fetch(epoch, i, order) for i in range(first, len(self)))
        return self._ahead(epoch, first, order)

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the samples in the order of an epoch."""
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        return self._generator(epoch).permutation(count)

    def _fetch(self, epoch: int, number: int, order: np.ndarray) -> Batch:
        indices = order[number * self.batch_size : (number + 1) * self.batch_size]
        if self.collate_fn is not None:
            batch = self.collate_fn([self.dataset[int(i)] for i in indices])
        else:
            batch = gathered(self.dataset, indices)
        if self.transform is not None:
            rng = self._generator(epoch, number)
            batch = (self.transform(batch[0], rng), *batch[1:])
        if self.device is not None:
            batch = to_device(batch, self.device)
        return batch

    def _generator(self, *place: int) -> np.random.Generator:
        """A generator of an epoch, or of a batch in it: a child of the seed.

        Not `default_rng([seed, *place])`, where a zero at the end is as nothing, and the first
        batch would have the numbers of the order.
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))

    def _ahead(self, epoch: int, first: int, order: np.ndarray) -> Iterator[Batch]:
        """The same batches in order, each made by one of the threads.

        The threads end with the epoch, and with the loop that leaves it.
        """
        most = self.num_workers * self.prefetch
        numbers = iter(range(first, len(self)))
        asked: queue.SimpleQueue[_Place | None] = queue.SimpleQueue()
        places: list[_Place] = []
        workers = [
            threading.Thread(
                target=_work, args=(asked, lambda n: self._fetch(epoch, n, order)), daemon=True
            )
            for _ in range(self.num_workers)
        ]
        for worker in workers:
            worker.start()
        try:
            while True:
                while len(places) < most and (number := next(numbers, None)) is not None:
                    places.append(_Place(number))
                    asked.put(places[-1])
                if not places:
                    return
                yield places.pop(0).taken()
        finally:
            for place in places:
                place.cancelled = True
            for _ in workers:
                asked.put(None)
            for worker in workers:
                worker.join()

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps: seed, epoch, and the batches given in it."""
        return {"seed": self.seed, "epoch": self.epoch, "given": self.given}

    def load_state_dict(self, state: Saved) -> None:
        """Go on as a loader of the same data and options that has this state.

        Raises `TracerError` for a state that cannot be of this one.
        """
        try:
            seed, epoch, given = (int(state[key]) for key in ("seed", "epoch", "given"))
        except (KeyError, TypeError, ValueError) as error:
            raise TracerError(
                f"the state of a loader has whole numbers seed, epoch and given, got {state!r}"
            ) from error
        if epoch < 0 or not 0 <= given <= len(self):
            raise TracerError(
                f"the state is of a loader that has given {given} batches of epoch {epoch}, and "
                f"this one has {len(self)}: it is of other data, or another batch_size"
            )
        self.seed, self.epoch, self.given = seed, epoch, given
        self._next, self._current = (epoch, given), None


class _Place:
    """A batch that is waited for: its number, and what came of it."""

    def __init__(self, number: int):
        self.number = number
        self.ready = threading.Event()
        self.cancelled = False
        self.batch: Any = None
        self.error: BaseException | None = None

    def taken(self) -> Value:
        self.ready.wait()
        if self.error is not None:
            raise self.error
        return self.batch


def _work(asked: queue.SimpleQueue[_Place | None], fetch: Callable[[int], Batch]) -> None:
    while (place := asked.get()) is not None:
        if place.cancelled:
            continue
        try:
            place.batch = fetch(place.number)
        except BaseException as error:  # raised again where the batch is waited for
            place.error = error
        place.ready.set()


def _seed_of(rng: Generator | int | None) -> int:
    """A seed: the one that is given, or one that is drawn from the generator."""
    if rng is None:
        return int(np.random.SeedSequence().entropy % 2**63)  # type: ignore[operator]
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise TracerError(f"rng is a whole number from 0 or a numpy Generator, got {rng!r}")
    return int(rng)
