"""autograd's functions by the names that the programs of docs/examples/programs import."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import autograd
import autograd.numpy as np
import scipy.optimize
from autograd import builtins
from autograd.extend import defvjp
from autograd.extend import primitive as opaque
from autograd.misc import flatten
from autograd.misc.fixed_points import fixed_point as iterated
from autograd.scipy import integrate, signal, special, stats
from autograd.test_util import check_grads


def primitive(function: Any) -> Any:
    """`tracer.primitive`."""
    made = opaque(function)

    def rule_of(rule: Any) -> Any:
        return None if rule is None else lambda y, *args: lambda g: rule(g, y, *args)

    made.defvjp = lambda *rules: defvjp(made, *map(rule_of, rules))
    return made


def minimize(
    function: Any, x0: Any, args: tuple[Any, ...] = (), method: str = "BFGS", **options: Any
) -> Any:
    """`tracer.scipy.optimize.minimize` of nested arguments."""
    start, unflatten = flatten(x0)

    def of_vector(vector: Any) -> Any:
        return function(unflatten(vector), *args)

    if method == "Newton-CG":
        options["hessp"] = autograd.hessian_vector_product(of_vector)
    value = autograd.value_and_grad(of_vector)
    found = scipy.optimize.minimize(value, start, jac=True, method=method, **options)
    found.x = unflatten(found.x)
    return found


def odeint(function: Any, y0: Any, times: Any, args: tuple[Any, ...] = (), **options: Any) -> Any:
    """`odeint`, whose arguments may be nested."""
    nested = builtins.tuple(tuple(builtins.list(a) if isinstance(a, list) else a for a in args))
    return integrate.odeint(function, y0, times, nested, **options)


def fixed_point(function: Any) -> Any:
    """`tracer.implicit.fixed_point` of a function of numbers."""

    def distance(x: Any, y: Any) -> Any:
        return np.abs(x - y)

    return lambda x0, a: iterated(lambda a: lambda x: function(x, a), a, x0, distance, 1e-15)


def check_gradients(function: Any, order: int) -> Any:
    """`tracer.testing.check_gradients`; primitives have no rule for tangents here."""
    return check_grads(function, modes=["rev"], order=order)


def conv2d(images: Any, kernels: Any) -> Any:
    """`tracer_layers.functional.conv2d` without padding."""
    turned = np.swapaxes(kernels[:, :, ::-1, ::-1], 0, 1)
    return signal.convolve(images, turned, axes=([2, 3], [2, 3]), dot_axes=([1], [0]), mode="valid")


def max_pool2d(images: Any, size: int) -> Any:
    """`tracer_layers.functional.max_pool2d` of images that the windows fill."""
    n, c, h, w = images.shape
    windows = np.reshape(images, (n, c, h // size, size, w // size, size))
    return np.max(np.max(windows, axis=5), axis=3)


implicit = SimpleNamespace(fixed_point=fixed_point)
tracer = SimpleNamespace(
    grad=autograd.grad,
    value_and_grad=autograd.value_and_grad,
    hessian=autograd.hessian,
    primitive=primitive,
    implicit=implicit,
)

MODULES = {
    "numpy": np,
    "tracer": tracer,
    "tracer.testing": SimpleNamespace(check_gradients=check_gradients),
    "tracer.scipy.optimize": SimpleNamespace(minimize=minimize),
    "tracer.scipy.integrate": SimpleNamespace(odeint=odeint),
    "tracer.scipy.special": special,
    "tracer.scipy.stats": stats,
    "tracer_layers.functional": SimpleNamespace(conv2d=conv2d, max_pool2d=max_pool2d),
}
