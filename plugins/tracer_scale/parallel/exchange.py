"""The union of the parts of a batch, on every rank.

The states of a quantity at a parameter go to the rank that owns them, which merges those of all
parts in their order, as a fold does; what it has then goes to all. A rank receives about as many
bytes as with a sum around a ring: the states of its own parameters from the others, and the merged
ones of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from tracer.errors import TracerError
from tracer.extend import Quantity
from tracer_scale.errors import ShardError
from tracer_scale.folded import Folding
from tracer_scale.merging import Merged, Union
from tracer_scale.parallel.communicator import Communicator
from tracer_scale.states import Plain, in_place, plain, restored
from tracer_scale.work import Failure, Part

#: a quantity's name and a parameter's
Key: TypeAlias = "tuple[str, str]"
#: quantity -> parameter -> state, to be sent
States: TypeAlias = "dict[str, dict[str, Plain]]"
Made = TypeVar("Made")


def computed(
    comm: Communicator, count: int, do: Callable[[int], Made | Failure]
) -> dict[int, Made]:
    """What `do` makes of this rank's parts, by their numbers.

    Raises `ShardError` on every rank where a part failed on one.
    """
    mine = range(comm.Get_rank(), count, comm.Get_size())
    found = {index: do(index) for index in mine}
    failed = {index: made for index, made in found.items() if isinstance(made, Failure)}
    for index, failure in sorted(of_all(comm.allgather(failed)).items()):
        error = ShardError(
            f"part {index} of the batch failed: {failure.kind}: {failure.message}", index
        )
        error.add_note(f"On its rank:\n\n{failure.trace}")
        raise error
    return {index: made for index, made in found.items() if not isinstance(made, Failure)}


def united(
    comm: Communicator, parts: Mapping[int, Part], quantities: Mapping[str, Quantity], count: int
) -> Folding:
    """The union of all `count` parts, of which this rank has these."""
    about = of_all(comm.allgather({i: _About.of(part) for i, part in parts.items()}))
    if not any(each.samples for each in about.values()):
        raise TracerError("the batch has no samples")
    owners = _owners(about.values(), comm.Get_size())
    sent = [
        {i: _owned(part.states, owners, rank) for i, part in parts.items()}
        for rank in range(comm.Get_size())
    ]
    received = of_all(comm.alltoall(sent))
    merged = Merged(quantities)
    for index in range(count):
        merged.add(about[index].union(received[index], quantities))
    union = merged.union()
    own = {
        name: {p: plain(kept, quantities[name], in_place) for p, kept in values.items()}
        for name, values in union.states.items()
    }
    states = _joined(comm.allgather(own), quantities)
    absent: dict[str, dict[str, str]] = {}
    for each in about.values():
        for name, reasons in each.absent.items():
            absent.setdefault(name, {}).update(reasons)
    masses = [(about[index].samples, about[index].mass) for index in range(count)]
    matrices = _same_matrices(about[index] for index in range(count))
    return Folding(union.samples, union.reduction, states, absent, matrices, masses)


def of_all(several: Iterable[Mapping[int, Made]]) -> dict[int, Made]:
    """What all ranks have, by the parts' numbers."""
    return {index: each for some in several for index, each in some.items()}


@dataclass
class _About:
    """What all ranks know of a part: all but its states, of which it has the sizes."""

    samples: int
    mass: float
    reduction: str
    absent: dict[str, dict[str, str]]
    matrices: dict[str, Plain]
    bytes_of: dict[Key, int]

    @classmethod
    def of(cls, part: Part) -> _About:
        sizes = {
            (name, parameter): _bytes(value)
            for name, values in part.states.items()
            for parameter, value in values.items()
        }
        return cls(part.samples, part.mass, part.reduction, part.absent, part.matrices, sizes)

    def union(self, states: States, quantities: Mapping[str, Quantity]) -> Union:
        found = {
            name: {p: restored(value, quantities[name]) for p, value in values.items()}
            for name, values in states.items()
        }
        return Union(self.samples, self.mass, self.reduction, found)


def _owners(parts: Iterable[_About], ranks: int) -> dict[Key, int]:
    """Which rank merges which states, by their bytes."""
    sizes: dict[Key, int] = {}
    for part in parts:
        for key, size in part.bytes_of.items():
            sizes[key] = max(size, sizes.get(key, 0))
    keys = sorted(sizes)
    return dict(zip(keys, balanced([sizes[key] for key in keys], ranks), strict=True))


def balanced(costs: list[int], ranks: int) -> list[int]:
    """The rank of each cost: the largest first, each to the rank with the least so far."""
    load, found = [0] * ranks, [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        found[index] = rank = min(range(ranks), key=load.__getitem__)
        load[rank] += costs[index]
    return found


def _owned(states: States, owners: Mapping[Key, int], rank: int) -> States:
    """The states that a rank merges; of each quantity there are some, or none."""
    return {
        name: {p: value for p, value in values.items() if owners[name, p] == rank}
        for name, values in states.items()
    }


def _joined(several: Iterable[States], quantities: Mapping[str, Quantity]) -> States:
    """The merged states of all ranks."""
    states: States = {name: {} for name in quantities}
    for some in several:
        for name, values in some.items():
            states[name].update(values)
    return {name: dict(sorted(values.items())) for name, values in states.items()}


def _same_matrices(parts: Iterable[_About]) -> dict[str, Plain]:
    """What operators are over. Raises `TracerError` where that differs between parts."""
    found: dict[str, Plain] = {}
    for part in parts:
        for name, about in part.matrices.items():
            if found.setdefault(name, about) != about:
                raise TracerError(
                    f"the operators of {name!r} are not over the same parameters in all parts of "
                    f"the batch: give larger batches, or fewer parts"
                )
    return found


def _bytes(value: Plain) -> int:
    """Of the arrays in a state."""
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    return getattr(value, "nbytes", 0)
