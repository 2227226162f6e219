"""Values by parameter, which several threads may make."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import (
    Callable,
    Collection,
    ItemsView,
    Iterator,
    Mapping,
    Sequence,
    ValuesView,
)
from typing import Any, Generic, TypeVar

import numpy as np

from tracer.extend import Array, Compiled, compiled, in_parallel
from tracer_experiments.instruments.reading import Reader, visited
from tracer_experiments.instruments.sample_gradients import OfParameter

Value = TypeVar("Value")
Part = TypeVar("Part")

#: elements of samples' gradients that are read by one thread after the other, 4 MB of float32
READ = 1 << 20


class ByParameter(Mapping[str, Value], Generic[Value]):
    """A value for each name, made when it is first asked for.

    `multiplies` says that it is made of matrix products, which several threads make sooner also
    where kernels, with threads of their own, make the rest.
    """

    def __init__(
        self, names: Collection[str], make: Callable[[str], Value], multiplies: bool = False
    ):
        self._names, self._make, self.multiplies = names, make, multiplies
        self._made: dict[str, Value] = {}
        self._whole: dict[str, Value] | None = None

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def values(self) -> ValuesView[Value]:
        return self._every().values()

    def items(self) -> ItemsView[str, Value]:
        return self._every().items()

    def _every(self) -> dict[str, Value]:
        """All values, in the order of the names: what was made ahead has another."""
        if self._whole is None:
            self._whole = {name: self[name] for name in self._names}
        return self._whole


class OfSamples(ByParameter[Value], Generic[Value, Part]):
    """A value for each parameter whose samples have gradients, and how these are read for it.

    `make` makes it at once. Where the samples' gradients are an array, `reader(name)` is what makes
    a reader of some samples, and `join` makes the value of what readers of all samples have made.
    `names` are those that have one, if not all.
    """

    def __init__(
        self,
        samples: Mapping[str, OfParameter],
        make: Callable[[str], Value],
        reader: Callable[[str], Callable[[], Reader[Part]]],
        join: Callable[[Sequence[Part]], Value],
        names: Collection[str] | None = None,
    ):
        super().__init__(names if names is not None else samples, make)
        self._reader, self._join = reader, join

    def reader(self, name: str) -> Callable[[], Reader[Part]] | None:
        """What makes a reader; None if the value is known, or cannot be made."""
        if name in self._made or name not in self:
            return None
        with contextlib.suppress(Exception):  # which asking for the value raises again
            return self._reader(name)
        return None

    def join(self, name: str, parts: Sequence[Part]) -> None:
        """Take in what readers of all samples have made, in their order."""
        self._made[name] = self._join(parts)


def visit_ahead(tables: Collection[ByParameter[Any]], samples: Mapping[str, OfParameter]) -> None:
    """Visit samples' gradients that are arrays once for all tables that read them, by a kernel.

    What no kernel takes, and what raises, is left to whoever asks for it.
    """
    for visit in _visits(tables, samples):
        visit.by_kernel()


def make_ahead(
    tables: Collection[ByParameter[Any]],
    parameters: Mapping[str, Array],
    samples: Mapping[str, OfParameter],
) -> None:
    """Make what tables have of each of the parameters' arrays, on several threads.

    Samples' gradients that are arrays are visited once for all tables that read them. What raises
    is left to whoever asks for it, and so is what compiled kernels make.
    """
    if not parameters:
        return
    names = sorted(parameters, key=lambda name: parameters[name].size, reverse=True)
    visits = [visit for visit in _visits(tables, samples) if not visit.by_kernel()]
    parts = [(visit, some) for visit in visits for some in visit.parts]
    parts.sort(key=lambda part: part[0].width * (part[1].stop - part[1].start), reverse=True)
    in_parallel(lambda part: part[0].read(part[1]), parts, parameters[names[0]])
    for visit in visits:
        visit.finish()
    shared = list(tables)
    if type(compiled()) is not Compiled:  # kernels have threads of their own, for whoever asks
        shared = [table for table in tables if table.multiplies]
    if not shared:
        return
    read = {name for name in names if name in samples and samples[name].is_read}

    def make(name: str) -> None:
        for table in shared:
            if name in table and not (name in read and isinstance(table, OfSamples)):
                with contextlib.suppress(Exception):
                    table[name]

    in_parallel(make, names, parameters[names[0]])


def _visits(
    tables: Collection[ByParameter[Any]], samples: Mapping[str, OfParameter]
) -> list[_Visit]:
    """A visit of each array that tables read."""
    readers = [table for table in tables if isinstance(table, OfSamples)]
    read = [name for name, of in samples.items() if of.is_read] if readers else []
    return [_Visit(readers, name, samples[name]) for name in read]


class _Visit:
    """The samples' gradients by a parameter, shown to the readers of all tables, part by part."""

    def __init__(self, tables: Sequence[OfSamples[Any, Any]], name: str, of: OfParameter):
        self.name, self.of = name, of
        readers = [(table, table.reader(name)) for table in tables]
        self.tables = [(table, each) for table, each in readers if each is not None]
        self.width = max(1, int(np.prod(of.shape)))
        count = max(1, min(of.samples, of.samples * self.width // READ))
        ends = [of.samples * i // count for i in range(count + 1)]
        self.parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        #: what was made of each part that was read, by where it begins
        self.made: dict[int, list[Any]] = {}

    def by_kernel(self) -> bool:
        """Whether a compiled kernel has visited all of them."""
        found = None
        if self.tables and self.of.array is not None:
            with contextlib.suppress(Exception):
                found = visited(self.of.array, [reader() for _, reader in self.tables])
        if found is not None:
            self.made = {0: found}
            self.parts = [slice(None)]
            self.finish()
        return found is not None

    def read(self, some: slice) -> None:
        """Show some samples to readers of their own."""
        readers = [reader() for _, reader in self.tables]
        with contextlib.suppress(Exception):  # all of it is missing then
            for block in self.of.blocks(some):
                for reader in readers:
                    reader.read(block)
            self.made[some.start] = [reader.made() for reader in readers]

    def finish(self) -> None:
        """Give tables their values, unless a part could not be read."""
        if len(self.made) < len(self.parts):
            return
        found = [made for _, made in sorted(self.made.items())]
        for (table, _), parts in zip(self.tables, zip(*found, strict=True), strict=True):
            with contextlib.suppress(Exception):
                table.join(self.name, parts)
