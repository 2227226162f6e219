"""Kinds of rows that a sweep propagates: stacks of cotangents that start at the loss.

A quantity names the kind that it needs; rows of all kinds asked for go through one sweep together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracer.errors import QuantityError

if TYPE_CHECKING:
    from tracer.backward import Split


@dataclass(frozen=True)
class Rows:
    """A kind of rows. `start` gives those of one loss, at the prediction that it judges."""

    name: str = "rows"

    def start(self, split: Split, rng: Any) -> Any:
        """`[R, *prediction.shape]` for the objective's terms in `split`."""
        raise QuantityError(f"rows {self.name!r} define no start")


@dataclass(frozen=True)
class Gradient(Rows):
    """One row: the derivative of the objective. It starts at the objective itself."""

    name: str = "gradient"


@dataclass(frozen=True)
class GGNExact(Rows):
    """Rows `s_c` with `sum_c s_c s_c^T` the Hessian of the loss by the prediction, per sample."""

    name: str = "ggn_exact"

    def start(self, split: Split, rng: Any) -> Any:
        return split.sqrt_hessian()


@dataclass(frozen=True)
class GGNMonteCarlo(Rows):
    """The same in expectation: gradients at targets sampled from the model's likelihood."""

    name: str = "ggn_mc"
    samples: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.samples, int) or self.samples < 1:
            raise QuantityError(f"mc_samples is a positive int, got {self.samples!r}")

    def start(self, split: Split, rng: Any) -> Any:
        return split.sqrt_hessian_sampled(self.samples, rng)


@dataclass(frozen=True)
class Hessian(Rows):
    """Signed rows whose squares sum to the Hessian: they start at every operation that bends."""

    name: str = "hessian"


gradient = Gradient()
ggn_exact = GGNExact()
ggn_mc = GGNMonteCarlo
hessian = Hessian()

#: what the core registers through `register_rows`
BUNDLED = [gradient, ggn_exact, GGNMonteCarlo(), hessian]
