"""Quantities of a data set, from those of its shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any, TypeAlias

import numpy as np

import tracer
from tracer.errors import TracerError
from tracer.extend import Line, Quantity, Results
from tracer_scale.checkpoint import Checkpoint
from tracer_scale.engines import Engine, Outcomes, engine_of
from tracer_scale.fingerprints import fingerprint
from tracer_scale.folded import Folded, Folding
from tracer_scale.merging import Merged
from tracer_scale.operators import Multiplier, matrix
from tracer_scale.quantities import resolved
from tracer_scale.reductions import Denominator
from tracer_scale.shards import Shards
from tracer_scale.together import decided, together
from tracer_scale.versions import versions
from tracer_scale.work import Job, Loss, Model, Part, Work

__all__ = ["fold"]

#: `tell(done, total, text)`
Tell: TypeAlias = Callable[[int, int, str], None]
Asked: TypeAlias = "str | Quantity | type[Quantity] | Iterable[str | Quantity | type[Quantity]]"


def fold(
    model: Model,
    loss: Loss,
    shards: Shards,
    quantities: Asked = ("grad",),
    *,
    engine: Any = "processes",
    workers: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    rng: int = 0,
    memory_budget: int | None = None,
    weight: Denominator | None = None,
    mean: bool | None = None,
    retries: int = 3,
    undefined: str = "warn",
    progress: Tell | bool | None = None,
) -> Results:
    """Quantities of all samples of all shards, as `Tape.backward` gives them for one batch.

    `model(*inputs)` and `loss(output, targets)` are those of a batch `(*inputs, targets)`; the loss
    is a mean over samples or a sum, which is found out (`mean` says it where all losses are zero).
    For a mean that is weighed, as with weights of classes, `weight(*batch)` is its denominator.

    `engine` is "processes" (`workers` of them, by default as many as there are cores), "here" (one
    shard after the other in this process), "dask://HOST:PORT" or a `dask.distributed.Client`, or a
    communicator of mpi4py, all of whose ranks call `fold` alike and have its results. Values are
    the same to the last bit for all of these. Each shard is computed by one thread; sampled
    quantities draw from a stream of (`rng`, number of the shard). `memory_budget` bounds the bytes
    of a worker's temporary values.

    `checkpoint` is a folder from which a fold that was ended goes on, with as many shards as before
    or more. A shard whose worker dies or whose computation fails is begun again up to `retries`
    times. `progress(done, total, text)` is called for shards; True writes a line to stderr.

    Operators (`ggn`, `hessian`, ...) and block products have products that run on the engine.
    Values are NumPy's arrays, and on the way states are: a model on a device is folded there.

    Raises `ShardError` for a shard that failed, `CheckpointError` for a checkpoint that is corrupt
    or of something else, `WorkerError` where workers cannot be started, and `TracerError` for what
    does not merge: a model that couples samples, as batch normalisation in training mode.
    """
    if not isinstance(shards, Shards):
        raise TracerError(
            f"fold expects scale.Shards(load, n), got a {type(shards).__name__}: "
            f"scale.Shards.of(dataset, size) makes them of a data set"
        )
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise TracerError(
            f"fold expects rng as a whole number from 0, of which every shard has a stream of its "
            f"own, got {rng!r}"
        )
    asked = resolved(quantities)
    if undefined not in ("warn", "raise"):
        raise TracerError(f'undefined is "warn" or "raise", got {undefined!r}')
    work = Work(model, loss, shards, asked, (int(rng),), memory_budget, weight, mean)
    runs_on = engine_of(engine, workers, retries)
    is_kept = False
    try:
        folding = _folded(work, runs_on, checkpoint, _telling(progress))
        results = folding.values(asked, _parameters(model), undefined)
        operators = _operators(folding, work, runs_on)
        is_kept = bool(operators)
    finally:
        if not is_kept:
            runs_on.close()
    ordered = Results()
    for name in asked:
        ordered[name] = operators[name] if name in operators else results[name]
    return ordered


def _folded(
    work: Work, engine: Engine, folder: str | PathLike[str] | None, tell: Tell | None
) -> Folding:
    """The union of all shards, in every process that folds."""
    checkpoint = None if folder is None else Checkpoint(folder, identity_of(work), work.shards)
    begun = [Folded(Merged(work.quantities))]

    def begin() -> int:
        kept = None if checkpoint is None else checkpoint.read(work.quantities)
        if kept is not None:
            begun[0] = kept
        return begun[0].shards

    def merge(outcomes: Outcomes) -> Folding:
        folded = begun[0]
        before = folded.shards
        try:
            for part in _told(outcomes, len(work.shards), before, tell):
                folded.add(part)
                if checkpoint is not None and checkpoint.is_due():
                    checkpoint.write(folded)
        finally:  # what was done is kept, also where a shard failed or somebody interrupts
            if checkpoint is not None and folded.shards > before:
                checkpoint.write(folded)
        return folded.result()

    first = decided(engine, begin)
    return together(engine, merge, work, Job(), range(first, len(work.shards)))


def _told(outcomes: Outcomes, total: int, before: int, tell: Tell | None) -> Iterator[Part]:
    """The parts, of which `tell` is told: how many, and how many shards and samples a second."""
    begun, samples = time.monotonic(), 0
    for done, part in enumerate(outcomes, 1):
        assert isinstance(part, Part)
        yield part
        samples += part.samples
        if tell is not None:
            seconds = max(time.monotonic() - begun, 1e-9)
            rates = f"{done / seconds:.3g} shards and {samples / seconds:.4g} samples a second"
            tell(before + done, total, f"folding, {rates}")


def identity_of(work: Work) -> dict[str, str]:
    """What a checkpoint is of: name -> version, name or fingerprint."""
    named = {
        "model": work.model,
        "loss": work.loss,
        "quantities": list(work.quantities.items()),
        "weight": [work.weight, work.mean],
    }
    found = {name: fingerprint(value) for name, value in named.items()}
    return versions() | found | {"rng": str(work.seed[0])}


def _operators(folding: Folding, work: Work, engine: Engine) -> dict[str, Any]:
    """What runs on the engine: quantity -> operator, or parameter -> function."""
    if not folding.matrices:
        return {}
    multiplier = Multiplier(engine, work, folding.shares())
    return {name: matrix(name, about, multiplier) for name, about in folding.matrices.items()}


def _parameters(model: Model) -> list[tuple[str, tracer.Tensor]]:
    named = getattr(model, "named_parameters", None)
    return [] if named is None else list(named())


def _telling(progress: Tell | bool | None) -> Tell | None:
    if progress is None or progress is False:
        return None
    if progress is True:
        return Line()
    if not callable(progress):
        raise TracerError(
            f"progress is None, True or a function of (done, total, text), got {progress!r}"
        )
    return progress
