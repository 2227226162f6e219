"""What quantities are defined by: derivatives of single samples, made whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from tracer import registry
from tracer.api.functional import jacobian
from tracer.arrays.types import Array
from tracer.curvature.quantity import Quantity
from tracer.errors import QuantityError


class BruteForce:
    """Derivatives of the objective by a parameter `p`, sample by sample, as arrays.

    - `jacobians [N, C, *p]` of the outputs, `slopes [N, C]` of the losses by them, and
      `curvatures [N, C, C]`, the losses' second derivatives by them
    - `gradients [N, *p]`
    - `roots [C, N, *p]`, whose squares sum to the Gauss-Newton matrix
    - `hessians [N, *p]`, the diagonals of the samples' Hessians `full_hessians [N, P, P]`
    - `ggn [P, P]` and `hessian [P, P]`, summed over samples, of P elements in row-major order

    All but the Jacobians have in them what the losses weigh in the objective, `weight`.
    For a quantity of all parameters together, as an operator, `p` is all of them, one after the
    other; for one of layers, those of a layer.
    """

    def __init__(
        self,
        jacobians: Array,
        slopes: Array,
        root: Array,
        second: Callable[[], Array] | None = None,
        weight: float = 1.0,
    ):
        self.jacobians, self.slopes, self.weight = jacobians, slopes, weight
        self._root, self._second = root, second

    @property
    def curvatures(self) -> Array:
        return np.einsum("nc,cd->ncd", np.square(self._root), np.eye(self._root.shape[1]))

    @cached_property
    def gradients(self) -> Array:
        return np.einsum("nc,nc...->n...", self.slopes, self.jacobians)

    @cached_property
    def roots(self) -> Array:
        return np.einsum("nc,nc...->cn...", self._root, self.jacobians)

    @cached_property
    def full_hessians(self) -> Array:
        if self._second is None:
            raise QuantityError("second derivatives are not known here")
        second = self._second()
        size = math.prod(self.jacobians.shape[2:])
        return second.reshape(len(second), size, size)

    @property
    def hessians(self) -> Array:
        diagonals = np.einsum("npp->np", self.full_hessians)
        return diagonals.reshape(len(diagonals), *self.jacobians.shape[2:])

    @property
    def hessian(self) -> Array:
        return self.full_hessians.sum(0)

    @property
    def ggn(self) -> Array:
        return _of_each_sample(self.roots).sum(0)


def brute_force(
    output: Callable[[Array], Array],
    slope: Array,
    root: Array,
    losses: Callable[[Array], Array],
    x: Array,
    weight: float = 1.0,
) -> BruteForce:
    """From the output `[N, C]` as a function of one parameter, and the losses' `[N]`.

    `slope [N, C]` are the derivatives of the losses by the output, `root [N, C]` the square roots
    of their second derivatives, which are diagonal; `weight` is in all three.
    """
    second = partial(jacobian(jacobian(losses)), x)
    return BruteForce(jacobian(output)(x), slope, root, second, weight)


def flattened(rows: Array) -> Array:
    """`[N, ...]` as `[N, P]`."""
    return rows.reshape(len(rows), -1)


class Definitions(Mapping[str, Callable[[BruteForce], Any]]):
    """Of the registered quantities that bring one, `reference`: their value by its definition."""

    def __getitem__(self, name: str) -> Callable[[BruteForce], Any]:
        reference = definition(registry.quantities[name])
        if reference is None:
            raise KeyError(name)
        return reference

    def __iter__(self) -> Iterator[str]:
        return (n for n in registry.quantities if definition(registry.quantities[n]) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def definition(quantity: Quantity | type[Quantity]) -> Callable[[BruteForce], Any] | None:
    """The `reference` that a quantity brings; None without one."""
    instance = quantity() if isinstance(quantity, type) else quantity
    return instance.reference


DEFINITIONS = Definitions()


def of_parameters() -> list[str]:
    """The names of those quantities whose values are of parameters one by one."""
    return [name for name in DEFINITIONS if registry.quantities[name].per == "parameter"]


def _of_each_sample(rows: Array) -> Array:
    """A sample's share of a matrix, `[N, P, P]`, from one of its square roots `[R, N, *p]`."""
    flat = rows.reshape(*rows.shape[:2], -1)
    return np.einsum("rnp,rnq->npq", flat, flat)


#: values that are defined up to a transformation, and what of them is compared
COMPARED = {"sqrt_ggn_exact": _of_each_sample}


def itself(value: Any) -> Any:
    return value
