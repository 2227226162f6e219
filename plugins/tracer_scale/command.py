"""What `trace-net quantities --shards` is served by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracer.errors import UsageError
from tracer.extend import Fold
from tracer_scale.engines.choice import DASK


class ShardedFold(Fold):
    """Folds over shards of equal sizes, in processes or on Dask's workers."""

    name = "shards"

    def results(
        self,
        model: Callable[..., Any],
        loss: Callable[..., Any],
        data: Any,
        quantities: Sequence[str],
        *,
        shards: int,
        engine: str = "processes",
        workers: int | None = None,
        checkpoint: str | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Mapping[str, Any]:
        from tracer_scale.folding import fold  # what it needs takes long to import
        from tracer_scale.shards import Shards

        if engine not in ("processes", "here") and not engine.startswith(DASK):
            raise UsageError(
                f"--engine is processes, here or dask://HOST:PORT, got {engine!r}",
                "write --engine processes",
            )
        if workers is not None and engine != "processes":
            raise UsageError("--workers is of processes", "leave it out")
        parts = Shards(Cut(data, len(data), shards), shards)
        return fold(
            model,
            loss,
            parts,
            tuple(quantities),
            engine=engine,
            workers=workers,
            checkpoint=checkpoint,
            progress=progress,
        )


@dataclass(frozen=True)
class Cut:
    """Parts of a data set that are as long as each other, up to one sample."""

    data: Any
    samples: int
    count: int

    def __call__(self, index: int) -> tuple[Any, ...]:
        start, stop = (self.samples * i // self.count for i in (index, index + 1))
        return tuple(self.data[start:stop])
