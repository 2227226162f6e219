"""The cotangent of a linear map's weight: outer products of inputs and of outputs' cotangents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from tracer.arrays.dtypes import meeting
from tracer.arrays.parallel import in_parallel, product
from tracer.arrays.types import Array, Present, Shape, Signs, Some, Stack
from tracer.cotangents.base import Block, Cotangent
from tracer.cotangents.contractions import indexed, picked, second_moment, weighed
from tracer.cotangents.kronecker import Kronecker
from tracer.cotangents.present import of_each_use, side_by_side, used
from tracer.cotangents.reindexed import Reindexed

#: bytes from which on memory is new to the process at every call, and several threads get it faster
FRESH = 32 << 20


class Outer(Cotangent):
    """A linear map's: `U[v, n] = sum_t right[v, n, t] (x) left[n, t]`, in G groups.

    `left [N, T, G, I]` are its inputs, `right [V, N, T, G, O]` the cotangents of its outputs; the
    natural layout `[G, O, I]` is reshaped to `shape`. `left` may be a function: `left(samples)`
    makes the array for a slice or indices of samples, when and where it is needed. Inputs that are
    data, of ints or of less precision, are taken in the dtype of `right`. `present [N, T]`
    says which uses count in Kronecker factors, where sequences are padded; None: all. `moment()`,
    if given, is the sum `[G, I, I]` of `left left^T` over samples and uses, for less than `left`.
    """

    def __init__(
        self,
        left: Array | Callable[[Some], Array],
        right: Array,
        shape: Shape,
        present: Present = None,
        moment: Callable[[], Array] | None = None,
    ):
        self._left: Array | Callable[[Some], Array]
        self._left = left if callable(left) else meeting(left, right.dtype)
        self._moment = moment
        self.present = present
        self.right = right
        self.shape = tuple(shape)
        self.rows, self.samples, self.uses, self.groups, self.outputs = right.shape
        self.inputs = math.prod(shape) // (self.groups * self.outputs)
        self.dtype = right.dtype

    @property
    def left(self) -> Array:
        return self._made(slice(None)) if callable(self._left) else self._left

    def _made(self, samples: Some) -> Array:
        """Inputs of these samples, of those that are made on demand."""
        make: Any = self._left
        return meeting(make(samples), self.dtype)

    def among(self, present: Present) -> Outer:
        return Outer(self._left, self.right, self.shape, of_each_use(self, present))

    def permuted(self, order: Sequence[int]) -> Cotangent:
        """The same with the axes of `shape` in another order."""
        if list(order) == list(range(len(order))):
            return self
        back = [0] * len(order)
        for i, j in enumerate(order):
            back[j] = i
        return Reindexed(
            self,
            tuple(self.shape[i] for i in order),
            pull=lambda stack: np.transpose(stack, [0, *(i + 1 for i in order)]),
            push=lambda direction: np.transpose(direction, back),
            key=("permuted", *order),
        )

    def select(self, rows: Some = slice(None), samples: Some = slice(None)) -> Outer:
        left, present, moment = self._left, self.present, self._moment
        if not (isinstance(samples, slice) and samples == slice(None)):
            left = self._made(samples) if callable(left) else indexed(left, (), samples)
            present, moment = None if present is None else indexed(present, (), samples), None
        return Outer(left, picked(self.right, rows, samples), self.shape, present, moment)

    def _bytes_per_sample(self) -> int:
        """As for all; inputs that are made on demand count, too."""
        return super()._bytes_per_sample() + self._bytes_of_inputs()

    def _bytes_of_inputs(self) -> int:
        """Bytes of a sample's inputs, if they are made on demand."""
        elements = self.uses * self.groups * self.inputs if callable(self._left) else 0
        return elements * np.dtype(self.dtype).itemsize

    @property
    def _source(self) -> Array | None:
        return self.right

    def kind(self) -> object:
        return Outer, self.groups, self.outputs, self.inputs, self.shape

    def role(self) -> str:
        return "as the weight of a linear map"

    def _merge(self, others: Sequence[Self]) -> Outer:
        left = np.concatenate([self.left, *(other.left for other in others)], 1)
        right = np.concatenate([self.right, *(other.right for other in others)], 2)
        return Outer(left, right, self.shape, side_by_side([self, *others], axis=1))

    def _stacked(self, other: Self) -> Outer:
        right = np.concatenate([self.right, other.right])
        return Outer(self._left, right, self.shape, self.present, self._moment)

    def _joined(self, other: Self) -> Outer | None:
        if self.uses != other.uses:
            return None
        left = np.concatenate([self.left, other.left])
        right = np.concatenate([self.right, other.right], 1)
        return Outer(left, right, self.shape, side_by_side([self, other], axis=0))

    def scaled(self, weights: Array | float) -> Outer:
        right = weighed(self.right, weights)
        return Outer(self._left, right, self.shape, self.present, self._moment)

    def per_sample(self) -> Array:
        """`[V, N, *p]`: a matrix product over the uses, per sample and group.

        Of one use it is a plain product, which `matmul` takes two and a half times as long for.
        """
        slices = self._sample_slices()
        nbytes = self.samples * self._bytes_per_sample()
        if len(slices) == 1 or (self.uses == 1 and nbytes < FRESH) or not self._is_plain():
            return self._products()
        out = np.empty((self.rows, self.samples, *self.shape), self.dtype)
        in_parallel(lambda some: self.select(samples=some)._products(out[:, some]), slices, out)
        return out

    def _is_plain(self) -> bool:
        """Whether both factors are NumPy's arrays: of inputs made on demand, one sample tells."""
        left = self._left(slice(0, 1)) if callable(self._left) else self._left
        return type(left) is type(self.right) is np.ndarray

    def _products(self, out: Array | None = None) -> Array:
        """The same at once, written to `out` if given."""
        left = np.moveaxis(self.left, 1, 2)  # [N, G, T, I]
        right = np.transpose(self.right, (0, 1, 3, 4, 2))  # [V, N, G, O, T]
        natural = (self.rows, self.samples, self.groups, self.outputs, self.inputs)
        into = None if out is None else out.reshape(natural)
        multiply = np.multiply if self.uses == 1 else np.matmul
        return multiply(right, left, out=into).reshape(self.rows, self.samples, *self.shape)

    def _total(self) -> Stack:
        if callable(self._left):
            return self._added(lambda block, _: block._product())
        return self._product()

    def _product(self) -> Array:
        """The sum over samples and uses: one matrix product per row and group."""
        uses = self.samples * self.uses
        if self.rows == self.groups == 1:
            transposed = self.right.reshape(uses, self.outputs).T
            return product(transposed, self.left.reshape(uses, self.inputs)).reshape(1, *self.shape)
        left = np.moveaxis(self.left.reshape(uses, self.groups, self.inputs), 1, 0)
        right = self.right.reshape(self.rows, uses, self.groups, self.outputs)
        total = np.transpose(right, (0, 2, 3, 1)) @ left
        return total.reshape(self.rows, *self.shape)

    def _squared_norms(self) -> Array:
        """From two T x T Gram matrices, or from the products, whichever costs less."""
        grams = self.uses * (self.inputs + self.rows * self.outputs)
        if self.uses == 1:
            left, right = self.left[:, 0], self.right[:, :, 0]
            return np.einsum(
                "ng,vng->vn",
                np.einsum("ngi,ngi->ng", left, left),
                np.einsum("vngo,vngo->vng", right, right),
            )
        if grams < self.rows * self.inputs * self.outputs:
            per_sample = self.uses**2 * self.groups * (1 + self.rows) * self.dtype.itemsize
            per_sample += self._bytes_of_inputs()
            return np.concatenate(self._each(_norms_by_grams, per_sample), 1)
        return super()._squared_norms()

    def _square_terms(self, signs: Signs) -> tuple[Array, Array]:
        """For one use a sample: squares of the inputs, and of the outputs summed over rows."""
        left, right = self.left[:, 0], self.right[:, :, 0]
        return left * left, weighed(right * right, signs).sum(0)

    def _sum_of_squares(self, signs: Signs) -> Array:
        if self.uses > 1:
            return super()._sum_of_squares(signs)
        left, right = self._square_terms(signs)  # [N, G, I], [N, G, O]
        left, right = np.moveaxis(left, 1, 0), np.transpose(right, (1, 2, 0))
        total = product(right[0], left[0]) if self.groups == 1 else right @ left
        return total.reshape(self.shape)

    def _per_sample_squares(self, signs: Signs) -> Array:
        if self.uses > 1:
            return super()._per_sample_squares(signs)
        left, right = self._square_terms(signs)
        return (right[..., :, None] * left[..., None, :]).reshape(self.samples, *self.shape)

    def _gram_by_products(self) -> bool:
        """Whether products per sample take fewer operations than Gram matrices of all uses."""
        count, width = self.rows * self.samples, math.prod(self.shape)
        pairs = (self.samples * self.uses) ** 2
        by_grams = pairs * (self.inputs + self.rows**2 * self.outputs) * self.groups
        by_products = count * width * (self.uses + count)
        return self.uses > 1 and by_products <= by_grams

    def _gram_bytes(self) -> int:
        if self._gram_by_products():
            return super()._gram_bytes()
        if self.uses == 1:
            return 0  # of the size of the result
        pairs = (self.samples * self.uses) ** 2 * (1 + self.rows**2)
        return pairs * self.dtype.itemsize + self.samples * self._bytes_of_inputs()

    def _gram(self) -> Array:
        """From Gram matrices of all uses of all samples, or from the products per sample."""
        if self._gram_by_products():
            return super()._gram()
        total: Any = None
        for g in range(self.groups):
            left = self.left[:, :, g].reshape(-1, self.inputs)
            of_left = (left @ left.T).reshape(self.samples, self.uses, self.samples, self.uses)
            right = self.right[:, :, :, g].reshape(-1, self.outputs)
            of_right = (right @ right.T).reshape((self.rows, self.samples, self.uses) * 2)
            part = np.einsum("vntwms,ntms->vnwm", of_right, of_left)
            total = part if total is None else total + part
        return total

    def _project(self, direction: Array) -> Array:
        matrix = direction.reshape(self.groups, self.outputs, self.inputs)
        mapped = np.moveaxis(self.left, 2, 1) @ np.swapaxes(matrix, -1, -2)  # [N, G, T, O]
        return np.einsum("vntgo,ngto->vn", self.right, mapped)

    def _kronecker(self, sharing: str) -> Kronecker:
        """Grosse and Martens 2016 ("expand"), Eschenhagen et al. 2023 ("expand", "reduce")."""
        right = self.right if sharing == "expand" else self.right.sum(2)
        right = right.reshape(-1, self.groups, self.outputs)
        if self._moment is not None and sharing == "expand" and self.present is self.budget is None:
            inputs = self._moment()
        else:
            inputs = self._inputs_added(lambda block, _: block._input_factors(sharing))
        inputs /= used(self, sharing)  # in place, if it is an array: large layers' have 39 MB
        factors: list[Array] = []
        for g in range(self.groups):
            factors += [second_moment(right[:, g]), inputs[g]]
        return Kronecker(tuple(factors), self.shape)

    def _inputs_added(self, function: Block) -> Array:
        """The sum over blocks of samples of a contraction of the inputs alone."""
        if not callable(self._left):
            return function(self, slice(None))
        return self._added(function, self._bytes_of_inputs())

    def _input_factors(self, sharing: str) -> Array:
        """`[G, I, I]`: the sum of `a a^T` over samples and uses, or over samples, of means."""
        left, uses = self.left, self.uses
        if self.present is not None:
            left = np.where(self.present[:, :, None, None], left, 0)
            uses = np.maximum(self.present.sum(1), 1).astype(left.dtype).reshape(-1, 1, 1)
        if sharing == "expand":
            left = left.reshape(-1, self.groups, self.inputs)
        else:
            left = left.sum(1) / uses
        if self.groups == 1:
            return second_moment(left[:, 0])[None]
        return np.stack([second_moment(left[:, g]) for g in range(self.groups)])


def _norms_by_grams(block: Outer, _: slice) -> Array:
    """`[V, n]` from the Gram matrices of inputs and of outputs."""
    left = np.moveaxis(block.left, 1, 2)  # [n, G, T, I]
    right = np.swapaxes(block.right, 2, 3)  # [V, n, G, T, O]
    of_left = left @ np.swapaxes(left, -1, -2)
    of_right = right @ np.swapaxes(right, -1, -2)
    return (of_right * of_left).sum((-3, -2, -1))
