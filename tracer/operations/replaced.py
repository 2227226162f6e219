"""Operators follow NumPy's functions: where a plugin replaces `np.add`, `x + y` is its, too."""

import numpy as np

from tracer.operations import arithmetic, inplace, products
from tracer.record import dispatch
from tracer.record.frames import INTERNAL_FILES
from tracer.record.tensor import Tensor

INTERNAL_FILES.add(__file__)

BINARY = {
    np.add: ("add", "+"),
    np.subtract: ("sub", "-"),
    np.multiply: ("mul", "*"),
    np.divide: ("truediv", "/"),
    np.floor_divide: ("floordiv", "//"),
    np.remainder: ("mod", "%"),
    np.power: ("pow", "**"),
    np.matmul: ("matmul", "@"),
}
UNARY = {np.negative: "neg", np.positive: "pos", np.absolute: "abs"}
#: method -> the core's own, which the files above have made
OWN = {
    method: getattr(Tensor, method)
    for name in (*(name for name, _ in BINARY.values()), *UNARY.values())
    for method in (f"__{name}__", f"__r{name}__", f"__i{name}__")
    if hasattr(Tensor, method)
}


def follow(function):
    """Let the operators of a function be those of who has it now."""
    for method, made in _methods(function, dispatch.UFUNCS.get(function)).items():
        entry = dispatch.TAKEN.now.get(function)
        own = entry is None or entry.owner.plugin == dispatch.CORE.plugin
        setattr(Tensor, method, OWN[method] if own else made)


def _methods(function, handler):
    """Method -> what it is where the handler stands for the function."""
    if function in UNARY:
        return {f"__{UNARY[function]}__": lambda self: handler(self)}
    if function not in BINARY:
        return {}
    name, sign = BINARY[function]

    def method(self, other):
        return handler(self, other)

    def reflected(self, other):
        return handler(other, self)

    in_place = inplace.in_place(method, sign)
    return {f"__{name}__": method, f"__r{name}__": reflected, f"__i{name}__": in_place}


assert arithmetic.OPERATIONS
assert products.OPERATIONS
dispatch.changed.append(follow)
