"""A weight divided by its largest singular value, under the names that PyTorch used at first."""

from __future__ import annotations

import tracer
from tracer.errors import TracerError
from tracer.extend import Generator, TensorLike, raw
from tracer_layers.convolution.transposed_layers import ConvTransposeNd
from tracer_layers.module.hooks import compute
from tracer_layers.module.module import Module
from tracer_layers.module.state import is_parameter
from tracer_layers.utils.norm_arrays import (
    EPS,
    as_matrix,
    iterate,
    random_unit,
    spectrally_normalised,
)
from tracer_layers.utils.parametrize import AnyModule

__all__ = ["remove_spectral_norm", "spectral_norm"]


def default_dim(module: Module) -> int:
    """The axis of a weight's outputs."""
    return 1 if isinstance(module, ConvTransposeNd) else 0


def iterations(count: int) -> int:
    """Refuse no iterations."""
    if count <= 0:
        raise TracerError(f"n_power_iterations is a positive number, got {count}")
    return count


class _SpectralNorm:
    """`module.name` of `name_orig`, and of the buffers `name_u` and `name_v`."""

    def __init__(self, name: str, count: int, dim: int, eps: float):
        self.name, self.count, self.dim, self.eps = name, count, dim, eps

    def compute(self, module: Module, calling: bool) -> TensorLike:
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        if calling and module.training:
            matrix = as_matrix(raw(weight), self.dim)
            for _ in range(self.count):
                u, v = iterate(matrix, u, v, self.eps, first_u=False)
            setattr(module, f"{self.name}_u", u)
            setattr(module, f"{self.name}_v", v)
        return spectrally_normalised(weight, u, v, self.dim)

    def assign(self, module: Module, value: object) -> None:
        raise TracerError(
            f"{type(module).__name__}.{self.name} is computed of {self.name}_orig: assign to that"
        )


def spectral_norm(
    module: AnyModule,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = EPS,
    dim: int | None = None,
    *,
    rng: Generator | None = None,
) -> AnyModule:
    """Divide a weight by its largest singular value (Miyato et al. 2018); gives the module.

    The state has `weight_orig`, `weight_u` and `weight_v`; that of newer models is that of
    `parametrizations.spectral_norm`.
    """
    weight = vars(module).get(name)
    if not is_parameter(weight):
        raise TracerError(f"{type(module).__name__} has no parameter {name!r} to be normalised")
    dim = default_dim(module) if dim is None else dim
    matrix = as_matrix(raw(weight), dim)
    rows, columns = matrix.shape
    made = _SpectralNorm(name, iterations(n_power_iterations), dim, eps)
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    module.register_buffer(f"{name}_u", random_unit(rows, matrix, eps, rng))
    module.register_buffer(f"{name}_v", random_unit(columns, matrix, eps, rng))
    compute(module, name, made)
    return module


def remove_spectral_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make the weight a parameter again, with the values that it has."""
    if not isinstance(module._computed.get(name), _SpectralNorm):
        raise TracerError(f"{type(module).__name__}.{name} has no spectral_norm")
    values = raw(getattr(module, name))
    compute(module, name, None)
    for ending in ("_orig", "_u", "_v"):
        delattr(module, name + ending)
    module.register_parameter(name, tracer.parameter(values))
    return module
