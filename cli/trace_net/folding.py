"""Quantities of a TARGET's whole data, in parts, by what a plugin offers for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from trace_net import streams
from trace_net.errors import UsageError
from trace_net.run import noted_warnings
from trace_net.usercode import user_code

if TYPE_CHECKING:
    from trace_net.target import Subject
    from tracer.extend import Array


class Data(Protocol):
    """Samples: how many, and batches of some, `(*inputs, target)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> tuple[Array, ...]: ...


def folded(
    subject: Subject,
    names: tuple[str, ...],
    step: streams.Step,
    *,
    shards: int,
    engine: str,
    workers: int | None,
    checkpoint: str | None,
) -> Mapping[str, object]:
    """The quantities of all samples of `datasets()`, or else of the example inputs and targets.

    Raises `UsageError` where no plugin folds, or the file has no loss.
    """
    from tracer import registry

    fold = next(iter(registry.folds.values()), None)
    if fold is None:
        raise UsageError(
            "no plugin computes quantities in parts",
            hint="`trace-net plugins` says which are blocked or failed; leave out --shards",
        )
    if subject.loss is None:
        raise UsageError(
            f"{subject.target.where} defines no loss(output, target), which --shards needs",
            hint="define it beside the model",
        )
    data, what = data_of(subject)
    subject.choices["data"] = f"{len(data)} samples of {what} in {shards} shards"
    step(f"folding {len(data)} samples")
    with noted_warnings():
        return fold.results(
            subject.model,
            subject.loss,
            data,
            names,
            shards=shards,
            engine=engine,
            workers=workers,
            checkpoint=checkpoint,
            progress=step.within,
        )


def data_of(subject: Subject) -> tuple[Data, str]:
    """What has a length and batches `data[i:j]`, and what it is."""
    datasets = getattr(subject.definitions, "datasets", None)
    if callable(datasets):
        with user_code(f"datasets() of {subject.target.where}"):
            found = datasets()
        train = found[0] if isinstance(found, tuple | list) else found
        return getattr(train, "dataset", train), "datasets()"
    arrays = (*subject.inputs.positional, *subject.targets.positional)
    if subject.inputs.keywords or subject.targets.keywords or len(subject.targets.positional) != 1:
        raise UsageError(
            f"{subject.target.where} has no datasets(), and its example inputs and targets are no "
            "arrays by position with one target, which --shards cuts",
            hint="define datasets(), which returns train and test",
        )
    return Arrays(arrays), "the example inputs"


class Arrays:
    """Arrays with samples along axis 0, as a data set."""

    def __init__(self, arrays: tuple[Array, ...]):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[-1])

    def __getitem__(self, some: slice) -> tuple[Array, ...]:
        return tuple(array[some] for array in self.arrays)


def shapes_of(model: object) -> dict[str, tuple[int, ...]]:
    """The shapes of a module's parameters by name."""
    named = getattr(model, "named_parameters", None)
    return {} if named is None else {name: tuple(each.shape) for name, each in named()}
