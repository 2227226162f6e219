"""Weights that are computed of other parameters at every call: weight and spectral normalisation.

`weight_norm` and `spectral_norm` are those of `torch.nn.utils`, whose parameters are `weight_g` and
`weight_v`, or `weight_orig`; `parametrizations` has those of `torch.nn.utils.parametrizations`,
whose parameters are `parametrizations.weight.original0` and so on. Between calls the module's
`weight` is the values that the last call computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeVar

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import TracerError
from tracer.extend import Array, drawn, generator, raw
from tracer_layers.module import Module, ModuleDict
from tracer_layers.module.module_hooks import Handle

__all__ = [
    "parametrizations",
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "weight_norm",
]

Layer = TypeVar("Layer", bound=Module)


class Originals(Module):
    """Holds the parameters and buffers that a weight is computed of."""

    def forward(self) -> None:
        raise TracerError("what a weight is computed of is not called")


@dataclass
class Computed:
    """A weight of a module that is computed at every call, of what `holder` has."""

    module: Module
    name: str
    holder: Module
    weight: Callable[[Module, bool], Tensor]
    handles: tuple[Handle, ...] = ()

    def before(self, module: Module, args: object) -> None:
        """A hook: the weight is there while the module is called."""
        vars(module)[self.name] = self.weight(self.holder_of(module), module.training)

    def after(self, module: Module, args: object, output: object) -> None:
        """A hook: its values are left, and nothing of the record."""
        held = vars(module).get(self.name)
        if isinstance(held, Tensor):
            vars(module)[self.name] = held.detach()

    def holder_of(self, module: Module) -> Module:
        """Where a copy of the module has what its weight is computed of."""
        if self.holder is self.module:
            return module
        return module.parametrizations[self.name]


#: kinds of normalisation, by the attribute that a module keeps them under
_KINDS = {"weight_norm": "_weight_norms", "spectral_norm": "_spectral_norms"}


def _compute(
    kind: str,
    module: Layer,
    name: str,
    holder: Module,
    weight: Callable[[Module, bool], Tensor],
) -> Layer:
    """Let a module compute a weight; it is a parameter no more."""
    made = Computed(module, name, holder, weight)
    delattr(module, name)
    made.handles = (
        module.register_forward_pre_hook(made.before),
        module.register_forward_hook(made.after, always_call=True),
    )
    kept = vars(module).get(_KINDS[kind], ())
    vars(module)[_KINDS[kind]] = (*kept, made)
    with tracer.pause():
        vars(module)[name] = weight(holder, False).detach()
    return module


def _parameter_of(kind: str, module: Module, name: str) -> Tensor:
    if name not in dict(module.named_parameters(recurse=False)):
        raise TracerError(
            f"{kind} is of a parameter, and {type(module).__name__} has no parameter {name!r}"
        )
    return getattr(module, name)


def _remove(kind: str, module: Layer, name: str, held: tuple[str, ...]) -> Layer:
    found = [m for m in vars(module).get(_KINDS[kind], ()) if m.name == name]
    if not found or found[0].holder is not module:
        raise TracerError(f"{type(module).__name__} has no {kind} of {name!r}")
    (made,) = found
    with tracer.pause():
        values = raw(made.weight(module, False))
    for handle in made.handles:
        handle.remove()
    for each in held:
        delattr(module, each)
    vars(module).pop(name, None)
    vars(module)[_KINDS[kind]] = tuple(m for m in vars(module)[_KINDS[kind]] if m is not made)
    module.register_parameter(name, tracer.parameter(values))
    return module


# -- weight normalisation --------------------------------------------------------------------------


def _norm(v: Tensor | Array, dim: int | None) -> Tensor | Array:
    """The norms of a weight's parts along an axis, or of all of it."""
    axes = None if dim is None else tuple(i for i in range(v.ndim) if i != dim % v.ndim)
    return np.sqrt(np.sum(v * v, axis=axes, keepdims=dim is not None))


def weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    """`w = g v / |v|`, the norm being that of each part along `dim` (Salimans and Kingma 2016).

    The parameters are `weight_g` and `weight_v`, for a weight of that name.
    """
    weight = _parameter_of("weight_norm", module, name).data
    module.register_parameter(f"{name}_g", tracer.parameter(_norm(weight, dim)))
    module.register_parameter(f"{name}_v", tracer.parameter(weight))

    def computed(held: Module, training: bool) -> Tensor:
        g, v = getattr(held, f"{name}_g"), getattr(held, f"{name}_v")
        return v * (g / _norm(v, dim))

    return _compute("weight_norm", module, name, module, computed)


def remove_weight_norm(module: Layer, name: str = "weight") -> Layer:
    """The weight is a parameter again, with the values that it has."""
    return _remove("weight_norm", module, name, (f"{name}_g", f"{name}_v"))


# -- spectral normalisation ------------------------------------------------------------------------


def spectral_norm(
    module: Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Layer:
    """The weight divided by its largest singular value (Miyato et al. 2018).

    The parameter is `weight_orig`, for a weight of that name; `weight_u` and `weight_v` are its
    singular vectors, made better by `n_power_iterations` at each call in training mode.
    """
    weight, axis = _spectral(module, name, n_power_iterations, dim)
    module.register_parameter(f"{name}_orig", tracer.parameter(weight))
    u, v = _vectors(weight, axis, eps)
    module.register_buffer(f"{name}_u", u)
    module.register_buffer(f"{name}_v", v)
    names = SimpleNamespace(orig=f"{name}_orig", u=f"{name}_u", v=f"{name}_v")
    computed = _divided(names, axis, n_power_iterations, eps)
    return _compute("spectral_norm", module, name, module, computed)


def remove_spectral_norm(module: Layer, name: str = "weight") -> Layer:
    """The weight is a parameter again, with the values that it has."""
    return _remove("spectral_norm", module, name, (f"{name}_orig", f"{name}_u", f"{name}_v"))


def _spectral(
    module: Module, name: str, n_power_iterations: int, dim: int | None
) -> tuple[Array, int]:
    if n_power_iterations < 1:
        raise TracerError(f"spectral_norm expects an iteration or more, got {n_power_iterations}")
    transposed = type(module).__name__.startswith("ConvTranspose")
    weight = _parameter_of("spectral_norm", module, name).data
    return weight, (1 if transposed else 0) if dim is None else dim


def _matrix(weight: Tensor | Array, axis: int) -> Tensor | Array:
    """A weight as a matrix, its outputs first."""
    return np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)


def _vectors(weight: Array, axis: int, eps: float) -> tuple[Array, Array]:
    """Singular vectors to begin with, some iterations from random ones."""
    matrix = _matrix(weight, axis)
    u = drawn(generator().standard_normal(len(matrix)).astype(weight.dtype), weight)
    v = u[:0]
    for _ in range(15):
        u, v = _iterated(matrix, u, eps)
    return u, v


def _iterated(matrix: Array, u: Array, eps: float) -> tuple[Array, Array]:
    """A step of the power iteration."""
    v = _unit(matrix.T @ u, eps)
    return _unit(matrix @ v, eps), v


def _unit(vector: Array, eps: float) -> Array:
    return vector / np.maximum(np.sqrt(vector @ vector), eps)


def _divided(
    names: SimpleNamespace, axis: int, iterations: int, eps: float, *, u_first: bool = False
) -> Callable[[Module, bool], Tensor]:
    """The weight by its largest singular value; `names` are those of what it is computed of.

    An iteration makes v of u and then u of v; with `u_first`, u of v and then v of u.
    """

    def computed(held: Module, training: bool) -> Tensor:
        weight = getattr(held, names.orig)
        u, v = getattr(held, names.u), getattr(held, names.v)
        if training:
            matrix = _matrix(raw(weight), axis)
            for _ in range(iterations):
                u, v = _iterated(matrix.T, v, eps)[::-1] if u_first else _iterated(matrix, u, eps)
            setattr(held, names.u, u)
            setattr(held, names.v, v)
        return weight / np.sum(u * (_matrix(weight, axis) @ v))

    return computed


# -- the same as parametrizations ------------------------------------------------------------------


def _originals(module: Module, name: str) -> Originals:
    """A new place for what a weight is computed of, at `parametrizations.NAME`."""
    if "parametrizations" not in vars(module):
        module.parametrizations = ModuleDict()
    if name in module.parametrizations:
        raise TracerError(f"{type(module).__name__} has a parametrization of {name!r} already")
    made = Originals()
    module.parametrizations[name] = made
    return made


def _weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    """As `weight_norm`; g and v are `parametrizations.NAME.original0` and `original1`."""
    weight = _parameter_of("weight_norm", module, name).data
    held = _originals(module, name)
    held.original0 = tracer.parameter(_norm(weight, dim))
    held.original1 = tracer.parameter(weight)

    def computed(held: Module, training: bool) -> Tensor:
        return held.original1 * (held.original0 / _norm(held.original1, dim))

    return _compute("weight_norm", module, name, held, computed)


def _spectral_norm(
    module: Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Layer:
    """As `spectral_norm`; the parameter is `parametrizations.NAME.original`."""
    weight, axis = _spectral(module, name, n_power_iterations, dim)
    held = _originals(module, name)
    held.original = tracer.parameter(weight)
    vectors = Originals()
    held.add_module("0", vectors)
    u, v = _vectors(weight, axis, eps)
    vectors.register_buffer("_u", u)
    vectors.register_buffer("_v", v)

    def computed(held: Module, training: bool) -> Tensor:
        inner = getattr(held, "0")
        both = SimpleNamespace(orig=held.original, _u=inner._u, _v=inner._v)
        names = SimpleNamespace(orig="orig", u="_u", v="_v")
        weight = _divided(names, axis, n_power_iterations, eps, u_first=True)(both, training)  # type: ignore[arg-type]
        inner._u, inner._v = both._u, both._v
        return weight

    return _compute("spectral_norm", module, name, held, computed)


#: the functions of `torch.nn.utils.parametrizations`
parametrizations = SimpleNamespace(weight_norm=_weight_norm, spectral_norm=_spectral_norm)
