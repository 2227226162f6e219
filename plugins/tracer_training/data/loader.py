"""Batches of a data set, in order or shuffled, fetched ahead by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tracer import to_device
from tracer.errors import TracerError
from tracer.extend import Array, Generator, generator
from tracer_training.data.ahead import made_ahead
from tracer_training.data.dataset import Reader, Samples, reader_of, sample_numbers
from tracer_training.kinds import Saved, Value

__all__ = ["DataLoader"]

#: a batch: arrays with samples along axis 0
Batch: TypeAlias = "tuple[Array, ...]"


class DataLoader:
    """Batches `(x, y)` of a data set, as `torch.utils.data.DataLoader` gives them.

    Every `for` is an epoch: with `shuffle` in a new order, drawn from `rng` (a seed or a generator,
    by default the shared one, `tracer.seed`) and the epoch's number. The last batch may be smaller,
    unless `drop_last`. `batch_sampler` has the numbers of the samples of every batch instead, the
    same ones in each epoch: a list of lists or arrays. `transform(x, rng)` changes the first array
    of a batch, with a generator of the batch's own. `collate_fn(samples)` makes a batch of a list
    of samples, of data sets that give them one by one. `num_workers` threads fetch up to `prefetch`
    batches each ahead; batches and their order do not depend on how many there are. `device` is
    where batches are sent, as in `tracer.to_device`. Arrays that are on a device are shuffled
    there, and nothing waits for it.

    `state_dict` says how many batches of which epoch were given: handed to the loop, the one that
    it is at included, and not only fetched. After `load_state_dict`, the next `for` goes on with
    the batch after these. It has no batch where all of them were given: it ends its epoch. A loop
    that is left ends its epoch, too, unless its state is loaded.
    """

    def __init__(
        self,
        dataset: Samples,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        batch_sampler: Sequence[Sequence[int] | np.ndarray] | np.ndarray | None = None,
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
        if batch_sampler is not None and (batch_size != 1 or shuffle or drop_last):
            raise TracerError(
                "DataLoader expects either batch_sampler, which says what is in each batch, or "
                "batch_size, shuffle and drop_last, got both"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, int(batch_size), shuffle
        self.drop_last, self.num_workers, self.prefetch = drop_last, num_workers, prefetch
        self.transform, self.collate_fn, self.device = transform, collate_fn, device
        self._sampled = None if batch_sampler is None else _sampled(batch_sampler, len(dataset))
        self.seed = _seed_of(rng)
        #: the epoch of the last loop, and how many of its batches were given; after it the next one
        self.epoch, self.given = 0, 0
        #: the epoch and the first batch of the next loop
        self._next = 0, 0
        self._current: object = None

    def __len__(self) -> int:
        if self._sampled is not None:
            return len(self._sampled[1])
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

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the samples in the order of an epoch."""
        if self._sampled is not None:
            return self._sampled[0]
        count = len(self.dataset)
        return self._generator(epoch).permutation(count) if self.shuffle else np.arange(count)

    def _fetched(self, epoch: int, first: int) -> Iterator[Batch]:
        read = self._reader(self.order(epoch))
        numbers = range(first, len(self))
        if not self.num_workers:
            return (self._fetch(read, epoch, number) for number in numbers)
        most = self.num_workers * self.prefetch
        return made_ahead(lambda n: self._fetch(read, epoch, n), numbers, self.num_workers, most)

    def _reader(self, order: np.ndarray) -> Reader:
        collate = self.collate_fn
        if collate is None:
            return reader_of(self.dataset, order)
        return lambda part: collate([self.dataset[int(i)] for i in order[part]])

    def _fetch(self, read: Reader, epoch: int, number: int) -> Batch:
        batch = read(self._part(number))
        if self.transform is not None:
            batch = self._transformed(batch, self._generator(epoch, number))
        return batch if self.device is None else to_device(batch, self.device)

    def _transformed(self, batch: Value, rng: np.random.Generator) -> Value:
        """A batch with its first array changed; one that is an array itself, too."""
        assert self.transform is not None
        if isinstance(batch, tuple | list):
            return (self.transform(batch[0], rng), *batch[1:])
        if isinstance(batch, Mapping):
            raise TracerError(
                "a transform changes the first array of a batch, and collate_fn makes dicts: let "
                "it change them, too"
            )
        return self.transform(batch, rng)

    def _part(self, number: int) -> slice:
        """Where a batch is in the order."""
        if self._sampled is not None:
            return self._sampled[1][number]
        return slice(number * self.batch_size, (number + 1) * self.batch_size)

    def _generator(self, *place: int) -> np.random.Generator:
        """A generator of an epoch, or of a batch in it: a child of the seed.

        Not `default_rng([seed, *place])`, where a zero at the end is as nothing, and the first
        batch would have the numbers of the order.
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=place))

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps: seed, epoch, the batches given in it, and what they are of."""
        place = {"seed": self.seed, "epoch": self.epoch, "given": self.given}
        return {**place, "batch_size": self.batch_size, "samples": len(self.dataset)}

    def load_state_dict(self, state: Saved) -> None:
        """Go on as a loader of the same data and options that has this state.

        Raises `TracerError` for a state that cannot be of this one, as one within an epoch of
        other batches.
        """
        try:
            seed, epoch, given = (int(state[key]) for key in ("seed", "epoch", "given"))
        except (KeyError, TypeError, ValueError) as error:
            raise TracerError(
                f"the state of a loader has whole numbers seed, epoch and given, got {state!r}"
            ) from error
        if seed < 0 or epoch < 0 or not 0 <= given <= len(self):
            raise TracerError(
                f"the state is of a loader of seed {seed} that has given {given} batches of epoch "
                f"{epoch}, and this one has {len(self)}: it is of other data, or another batch_size"
            )
        for key, own in (("batch_size", self.batch_size), ("samples", len(self.dataset))):
            if given and state.get(key, own) != own:
                raise TracerError(
                    f"the state is of a loader with {key}={state[key]} within an epoch, and this "
                    f"one has {own}: other batches are left of it, so give what it had"
                )
        self.seed, self.epoch, self.given = seed, epoch, given
        self._next, self._current = (epoch, given), None


def _sampled(
    batches: Sequence[Sequence[int] | np.ndarray] | np.ndarray, count: int
) -> tuple[np.ndarray, list[slice]]:
    """The numbers of all batches in a row, and where each batch is in it."""
    if not hasattr(batches, "__len__"):
        raise TracerError(
            f"batch_sampler is a list of the sample numbers of every batch, got a "
            f"{type(batches).__name__}: list(...) makes one of what is iterated over"
        )
    found = [sample_numbers(numbers, count) for numbers in batches]
    ends = np.cumsum([len(numbers) for numbers in found]).tolist()
    parts = [slice(end - len(numbers), end) for numbers, end in zip(found, ends, strict=True)]
    return np.concatenate([np.zeros(0, np.int64), *found]), parts


def _seed_of(rng: Generator | int | None) -> int:
    """A seed: the one that is given, or one drawn from the generator; by default the shared one."""
    if rng is None:
        return int(generator().integers(2**63))
    if isinstance(rng, np.random.Generator):
        return int(rng.integers(2**63))
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise TracerError(f"rng is a whole number from 0 or a numpy Generator, got {rng!r}")
    return int(rng)
