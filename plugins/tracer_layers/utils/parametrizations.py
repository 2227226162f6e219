"""Weights that are normalised: mirrors `torch.nn.utils.parametrizations`."""

from __future__ import annotations

from tracer.errors import TracerError
from tracer.extend import Array, Generator, TensorLike, raw
from tracer_layers.module.module import Module
from tracer_layers.utils.norm_arrays import (
    EPS,
    as_matrix,
    axis_of,
    iterate,
    norm_except,
    normalised_weight,
    random_unit,
    spectrally_normalised,
    unit,
)
from tracer_layers.utils.parametrize import AnyModule, register_parametrization
from tracer_layers.utils.spectral_normalisation import default_dim, iterations

__all__ = ["spectral_norm", "weight_norm"]

#: iterations at the beginning, from a random direction
FIRST_ITERATIONS = 15


class WeightNorm(Module):
    """`g v / |v|` of `original0`, g, and `original1`, v."""

    def __init__(self, dim: int | None = 0):
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: TensorLike, weight_v: TensorLike) -> TensorLike:
        return normalised_weight(weight_g, weight_v, self.dim)

    def right_inverse(self, weight: TensorLike) -> tuple[TensorLike, TensorLike]:
        return norm_except(weight, self.dim), weight


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Let a weight be `g v / |v|`, a length and a direction along `dim` (None: of the whole).

    The state has `parametrizations.weight.original0`, g, and `original1`, v.
    """
    return register_parametrization(module, name, WeightNorm(dim), unsafe=True)


class SpectralNorm(Module):
    """A weight divided by its largest singular value, which is iterated for in training mode."""

    def __init__(
        self,
        weight: Array,
        n_power_iterations: int = 1,
        dim: int = 0,
        eps: float = EPS,
        *,
        rng: Generator | None = None,
    ):
        self.dim = axis_of(weight, dim)
        self.eps = eps
        self.n_power_iterations = iterations(n_power_iterations)
        if weight.ndim > 1:
            matrix = as_matrix(weight, self.dim)
            rows, columns = matrix.shape
            self.register_buffer("_u", random_unit(rows, matrix, eps, rng))
            self.register_buffer("_v", random_unit(columns, matrix, eps, rng))
            self._iterate(matrix, FIRST_ITERATIONS)

    def _iterate(self, matrix: Array, count: int) -> None:
        u, v = self._u, self._v
        for _ in range(count):
            u, v = iterate(matrix, u, v, self.eps, first_u=True)
        self._u, self._v = u, v

    def forward(self, weight: TensorLike) -> TensorLike:
        if weight.ndim == 1:
            return unit(weight, self.eps)
        if self.training:
            self._iterate(raw(as_matrix(raw(weight), self.dim)), self.n_power_iterations)
        return spectrally_normalised(weight, self._u, self._v, self.dim)

    def right_inverse(self, value: TensorLike) -> TensorLike:
        return value


def spectral_norm(
    module: AnyModule,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = EPS,
    dim: int | None = None,
    *,
    rng: Generator | None = None,
) -> AnyModule:
    """Divide a weight by its largest singular value (Miyato et al. 2018).

    Of the weight as a matrix `[size of dim, all others]`; `dim` is 0, and 1 for transposed
    convolutions. In training mode each call goes on with the iteration. The state has
    `parametrizations.weight.original` and `parametrizations.weight.0._u` and `_v`.
    """
    weight = getattr(module, name, None)
    if weight is None:
        raise TracerError(f"{type(module).__name__} has no parameter {name!r}")
    dim = default_dim(module) if dim is None else dim
    made = SpectralNorm(raw(weight), n_power_iterations, dim, eps, rng=rng)
    return register_parametrization(module, name, made)
