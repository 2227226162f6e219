"""A weight as length and direction, under the names that PyTorch used at first."""

from __future__ import annotations

import tracer
from tracer.errors import TracerError
from tracer.extend import TensorLike, raw
from tracer_layers.module.hooks import compute
from tracer_layers.module.module import Module
from tracer_layers.module.state import is_parameter
from tracer_layers.utils.norm_arrays import norm_except, normalised_weight
from tracer_layers.utils.parametrize import AnyModule

__all__ = ["remove_weight_norm", "weight_norm"]


class _WeightNorm:
    """`module.name` of `name_g` and `name_v`."""

    def __init__(self, name: str, dim: int | None):
        self.name, self.dim = name, dim

    def compute(self, module: Module, calling: bool) -> TensorLike:
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return normalised_weight(g, v, self.dim)

    def assign(self, module: Module, value: object) -> None:
        raise TracerError(
            f"{type(module).__name__}.{self.name} is computed of {self.name}_g and {self.name}_v: "
            f"assign to these"
        )


def weight_norm(module: AnyModule, name: str = "weight", dim: int | None = 0) -> AnyModule:
    """Let a weight be `g v / |v|`, of parameters `weight_g` and `weight_v`; gives the module.

    The length is one for each entry of axis `dim`, or one in all for None. Newer states have the
    names of `parametrizations.weight_norm`.
    """
    weight = vars(module).get(name)
    if not is_parameter(weight):
        raise TracerError(f"{type(module).__name__} has no parameter {name!r} to be normalised")
    length = norm_except(raw(weight), dim)
    delattr(module, name)
    module.register_parameter(f"{name}_g", tracer.parameter(length))
    module.register_parameter(f"{name}_v", tracer.parameter(raw(weight)))
    compute(module, name, _WeightNorm(name, dim))
    return module


def remove_weight_norm(module: AnyModule, name: str = "weight") -> AnyModule:
    """Make the weight a parameter again, with the values that it has."""
    if not isinstance(module._computed.get(name), _WeightNorm):
        raise TracerError(f"{type(module).__name__}.{name} has no weight_norm")
    values = raw(getattr(module, name))
    compute(module, name, None)
    delattr(module, f"{name}_g")
    delattr(module, f"{name}_v")
    module.register_parameter(name, tracer.parameter(values))
    return module
