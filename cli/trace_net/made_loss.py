"""`--loss`: a loss by its name, against targets that are made, for a TARGET that has none.

A program of another library is a model alone. What Gauss-Newton quantities are of, a loss says;
the targets are random, always the same, and of the kind that the loss takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from trace_net.errors import UsageError
from trace_net.run import tensors_in
from trace_net.target import Arguments, Subject
from tracer.errors import ShapeError, suggestion

if TYPE_CHECKING:
    import numpy as np

    from tracer import Tensor


def _classes(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A class for each sample of logits `[N, C, *extra]`."""
    if len(shape) < 2 or not shape[1]:
        raise ShapeError(
            f"--loss cross_entropy is of logits [N, C, ...], and the output is {list(shape)}: "
            f"choose another one, as in --loss mse_loss"
        )
    return rng.integers(0, shape[1], (shape[0], *shape[2:]))


class Made(NamedTuple):
    """A loss: the registered operation that it is the mean of, its options, and how targets for an
    output of a shape are made."""

    operation: str
    options: Mapping[str, object]
    targets: Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


#: by the names of `torch.nn.functional`
LOSSES = {
    "cross_entropy": Made("cross_entropy", {"ignored": None, "label_smoothing": 0.0}, _classes),
    "mse_loss": Made("squared_error", {}, lambda shape, rng: rng.standard_normal(shape)),
    "binary_cross_entropy_with_logits": Made(
        "binary_cross_entropy", {}, lambda shape, rng: rng.integers(0, 2, shape)
    ),
}


def check_loss(name: str | None) -> None:
    """`UsageError` for a loss that is not known."""
    if name is not None and name not in LOSSES:
        raise UsageError(
            f"--loss takes {', '.join(LOSSES)}, got {name!r}.{suggestion(name, LOSSES)}",
            hint="define `loss(output, *targets)` beside the model for any other",
        )


def with_loss(subject: Subject, name: str | None) -> Subject:
    """The subject with a loss of its first output, in place of its own; as it is without a name."""
    if name is None:
        return subject

    def loss(output: object) -> Tensor:
        import numpy as np

        from tracer import registry
        from tracer.extend import backend, raw

        first = next((each for each in tensors_in(output) if each.dtype.kind == "f"), None)
        if first is None:
            raise ShapeError(
                f"--loss {name} is of a tensor of floats, and the model returned "
                f"{type(output).__name__}, which holds none: leave it out"
            )
        of = LOSSES[name]
        made = of.targets(first.shape, np.random.default_rng(0))
        made = made if name == "cross_entropy" else made.astype(first.dtype)
        target = backend.of(raw(first)).from_host(made)
        computed: Tensor = np.mean(registry.operations[of.operation](first, target, **of.options))
        return computed

    choices = {**subject.choices, "loss": f"{name} of the output and targets that are made"}
    return replace(subject, loss=loss, targets=Arguments(), choices=choices)
