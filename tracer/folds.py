"""What plugins provide to compute quantities of a data set in parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tracer.blame import place
from tracer.errors import PluginError


class Fold:
    """Folds quantities over parts of a data set: `trace-net quantities --shards` asks the first one
    by name that is registered.

    `replaces` is the name, if another plugin has it and this one is to stand in its place.
    """

    name: str
    replaces: str | tuple[str, ...] = ()

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
        """What one sweep of all `data` would give: quantity -> parameter -> value.

        Samples are `len(data)`, and `data[i:j]` is a batch of some, `(*inputs, targets)`. Raises
        `UsageError` for an engine that there is not.
        """
        raise NotImplementedError("a fold defines results")


def check_fold(fold: Fold) -> None:
    """Raise `PluginError` for a fold that computes nothing."""
    if type(fold).results is Fold.results:
        raise PluginError(
            f"the fold {fold.name!r} does not define results(model, loss, data, quantities) "
            f"({place(type(fold))})"
        )
