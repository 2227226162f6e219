"""Parameters of modules that are computed of others: mirrors `torch.nn.utils.parametrize`.

`module.weight` is then `parametrizations.weight[0](original)`, computed once in a call of the
module and anew wherever else it is read.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

import tracer
from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike, raw
from tracer_layers.module.containers import ModuleDict
from tracer_layers.module.hooks import compute
from tracer_layers.module.module import Module
from tracer_layers.module.state import is_parameter

__all__ = [
    "ParametrizationList",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
]

AnyModule = TypeVar("AnyModule", bound=Module)


class ParametrizationList(Module):
    """What a parameter is computed of, and by which modules: `original`, `0`, `1`, ...

    Where the first has a `right_inverse` that gives several arrays, these are `original0`,
    `original1`, ...
    """

    def __init__(self, first: Module, original: Tensor):
        self.several = 0
        inverse = getattr(first, "right_inverse", None)
        values = raw(original) if inverse is None else inverse(raw(original))
        if isinstance(values, tuple | list):
            self.several = len(values)
            for i, value in enumerate(values):
                part = tracer.parameter(value).requires_grad_(original.requires_grad)
                self.register_parameter(f"original{i}", part)
        else:
            original.data = raw(values)
            self.register_parameter("original", original)
        self.append(first)

    def append(self, parametrization: Module) -> None:
        """Add a module that is applied after those that are there."""
        self.add_module(str(len(self)), parametrization)

    def steps(self) -> list[Module]:
        """The modules, in the order in which they are applied."""
        return [child for _, child in self._held("module")]

    def originals(self) -> list[Tensor]:
        """What the parameter is computed of."""
        names = [f"original{i}" for i in range(self.several)] or ["original"]
        return [getattr(self, name) for name in names]

    def forward(self) -> TensorLike:
        first, *others = self.steps()
        value = first.forward(*self.originals())
        for each in others:
            value = each.forward(value)
        return value

    def right_inverse(self, value: TensorLike) -> None:
        """Change the originals so that `value` comes out, as far as the modules can tell."""
        values = raw(value)
        for each in reversed(self.steps()):
            inverse = getattr(each, "right_inverse", None)
            if inverse is None:
                raise TracerError(
                    f"{type(each).__name__} has no right_inverse, so that what is computed by it "
                    f"cannot be assigned: assign to the originals"
                )
            values = inverse(values)
        given = values if self.several else [values]
        for original, new in zip(self.originals(), given, strict=True):
            original.data = raw(new)

    def __len__(self) -> int:
        return sum(kind == "module" for kind in self._registered.values())

    def __getitem__(self, index: int) -> Module:
        return self.steps()[index]


class _Parametrized:
    """`module.name`, computed by `module.parametrizations[name]`."""

    def __init__(self, name: str):
        self.name = name

    def compute(self, module: Module, calling: bool) -> TensorLike:
        return module.parametrizations[self.name].forward()

    def assign(self, module: Module, value: TensorLike) -> None:
        module.parametrizations[self.name].right_inverse(value)


def register_parametrization(
    module: AnyModule, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> AnyModule:
    """Let `module.tensor_name` be what `parametrization` computes of it; gives the module.

    A second one is applied to what the first gives. A method `right_inverse(value)` of the
    parametrization gives what it computes `value` of: one array, or a tuple of several. `unsafe`
    allows results of another shape or dtype. Raises `TracerError` for what is no parameter, and
    changes nothing then.
    """
    if not isinstance(parametrization, Module):
        raise TracerError(f"a parametrization is a Module, got a {type(parametrization).__name__}")
    before = raw(getattr(module, tensor_name, None))
    if is_parametrized(module, tensor_name):
        made = module.parametrizations[tensor_name]
        inverse = getattr(parametrization, "right_inverse", None)
        after = raw(parametrization.forward(before if inverse is None else inverse(before)))
        _check(tensor_name, before, after, unsafe)
        if inverse is not None:
            made.right_inverse(inverse(before))
        made.append(parametrization)
        return module
    original = vars(module).get(tensor_name)
    if not is_parameter(original):
        raise TracerError(
            f"{type(module).__name__} has no parameter {tensor_name!r}: it has "
            f"{', '.join(name for name, _ in module.named_parameters(recurse=False)) or 'none'}"
        )
    values = original.data
    made = ParametrizationList(parametrization, original)
    try:
        _check(tensor_name, before, raw(made.forward()), unsafe)
    except Exception:
        original.data = values
        raise
    delattr(module, tensor_name)
    if "parametrizations" not in module._registered:
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = made
    compute(module, tensor_name, _Parametrized(tensor_name))
    return module


def _check(name: str, before: TensorLike, after: TensorLike, unsafe: bool) -> None:
    if not unsafe and (before.shape, before.dtype) != (after.shape, after.dtype):
        raise ShapeError(
            f"{name} is {before.dtype}{list(before.shape)}, and its parametrization gives "
            f"{after.dtype}{list(after.shape)}: allow that with unsafe=True"
        )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has a parametrization, or one of this name."""
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: AnyModule, tensor_name: str, leave_parametrized: bool = True
) -> AnyModule:
    """Make `module.tensor_name` a parameter again, with the values that were computed.

    `leave_parametrized=False` puts the original in its place, if there is one. Gives the module.
    """
    if not is_parametrized(module, tensor_name):
        raise TracerError(f"{type(module).__name__}.{tensor_name} has no parametrization")
    made = module.parametrizations[tensor_name]
    if made.several and not leave_parametrized:
        raise TracerError(
            f"{tensor_name} is computed of {made.several} parameters, none of which can take its "
            f"place: write leave_parametrized=True"
        )
    values = np.array(raw(made.forward())) if leave_parametrized else None
    kept = tracer.parameter(values) if made.several else made.original
    if values is not None and not made.several:
        kept.data = values
    del module.parametrizations[tensor_name]
    compute(module, tensor_name, None)
    if not len(module.parametrizations):
        del module.parametrizations
    module.register_parameter(tensor_name, kept)
    return module
