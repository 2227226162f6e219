"""Floors: the matrix products that a quantity cannot avoid, and the bytes of its result.

Only products of matrices count, each in the cheapest form that we know, whether or not it is what
is run: no elementwise work, no pooling, no biases, no copies in between. So a floor is below what
can be reached, and the less so the larger the products are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .measure import once
from .networks import NETWORKS, Network

#: networks whose time is that of their products
HEAVY = ("mlp", "2c2d", "3c3d", "vgg", "all-cnn-c", "lstm")
REPEATS, MATRIX, COPIED = 7, 2048, 1 << 26


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second: multiply-adds of a large sgemm, bytes of a large copy."""

    multiply_adds: float
    copied: float


@dataclass(frozen=True)
class Work:
    """What a quantity of a network cannot avoid: multiply-adds, and bytes of its result."""

    multiply_adds: float
    written: float

    def seconds(self, rates: Rates) -> float:
        """The time of this work at these rates."""
        return self.multiply_adds / rates.multiply_adds + self.written / rates.copied


@dataclass(frozen=True)
class Map:
    """A linear map of one sample: `positions` times from `inputs` numbers to `outputs`.

    `reads_data` says that nothing goes backward below it. `window` is a convolution's kernel size
    where its stride is 1.
    """

    inputs: int
    outputs: int
    positions: int
    reads_data: bool
    window: tuple[int, ...] = ()

    @property
    def product(self) -> int:
        """Multiply-adds of the map at all positions, of its transpose, or of its gradient."""
        return self.positions * self.inputs * self.outputs

    @property
    def pairs(self) -> int:
        """Pairs of positions."""
        return self.positions * (self.positions + 1) // 2

    def norms(self) -> int:
        """Of the squared norms of gradients: from the gradients, or from two Gram matrices."""
        return min(self.product, self.pairs * (self.inputs + self.outputs))

    def squares(self, rows: int) -> int:
        """Of the sum over rows and samples of squared cotangents of the weight.

        At one position the square of an outer product is that of the squares, after the sum over
        rows. At several it is taken row by row, or over pairs of positions, after that sum.
        """
        if self.positions == 1:
            return self.inputs * self.outputs
        by_pairs = self.pairs * self.outputs * (self.inputs + rows)
        return min(rows * self.product, by_pairs)

    def mean(self) -> int:
        """Of the gradient, where the squares did not need it: at several positions they did."""
        return self.product if self.positions == 1 else 0

    def factors(self, rows: int) -> int:
        """Of both Kronecker factors, half of each for its symmetry.

        Windows of stride 1 share their products: two of their entries differ by one of
        `prod(2 k - 1)` offsets, and what their sums over positions differ in is the border.
        """
        pairs = self.inputs * (self.inputs + 1) / 2
        if self.window:
            channels = self.inputs // math.prod(self.window)
            offsets = math.prod(2 * size - 1 for size in self.window)
            pairs = min(pairs, offsets * channels**2 / 2)
        outputs = self.outputs * (self.outputs + 1) / 2
        return int(self.positions * (pairs + rows * outputs))

    def numbers_of_factors(self) -> int:
        """Numbers in both Kronecker factors."""
        return self.inputs**2 + self.outputs**2


#: quantity -> multiply-adds at a map, per sample, of so many rows
AT_MAP: dict[str, Callable[[Map, int], int]] = {
    "grad": lambda each, rows: each.product,
    "grad_batch": lambda each, rows: each.product,
    "batch_l2": lambda each, rows: each.norms(),
    "sum_grad_squared": Map.squares,
    "variance": lambda each, rows: each.squares(rows) + each.mean(),
    "diag_ggn_mc": Map.squares,
    "kfac": Map.factors,
    "kflr": Map.factors,
    "diag_ggn_exact": Map.squares,
    # of networks whose activations are linear in pieces, which are all that it is measured on
    "diag_h": Map.squares,
}
EXACT = ("kflr", "diag_ggn_exact", "diag_h")


@cache
def work(name: str, quantity: str) -> Work:
    """What a quantity of a network cannot avoid: forward, rows back to the first map, contraction.

    Rows are C - 1 for quantities that are exact in the C classes, else 1.
    """
    network = NETWORKS[name]
    found = list(maps(network))
    rows = network.classes - 1 if quantity in EXACT else 1
    products = sum(each.product + AT_MAP[quantity](each, rows) for each in found)
    products += rows * sum(each.product for each in found if not each.reads_data)
    weights = sum(each.inputs * each.outputs for each in found)
    numbers = {
        "grad_batch": network.samples * weights,
        "batch_l2": network.samples * len(found),
        "kfac": sum(each.numbers_of_factors() for each in found),
        "kflr": sum(each.numbers_of_factors() for each in found),
    }.get(quantity, weights)
    return Work(network.samples * products, np.dtype(np.float32).itemsize * numbers)


def maps(network: Network) -> Iterator[Map]:
    """The linear maps of a network of layers in a row, with the shapes of one sample."""
    import tracer_layers as nn

    x: Any = network.data()[0][:1]
    reads_data = True
    for layer in network.build(nn):
        y = layer(x)
        positions, window = 1, ()
        if isinstance(layer, nn.Conv2d):
            positions = math.prod(y.shape[2:])
            window = layer.weight.shape[2:] if set(layer.stride) == {1} else ()
        elif isinstance(layer, (nn.RNN, nn.LSTM)):
            positions = x.shape[1]
        weights = [(key, p.shape) for key, p in layer.named_parameters() if p.ndim > 1]
        for key, (outputs, *inputs) in weights:
            first = reads_data and not key.startswith("weight_hh")
            yield Map(math.prod(inputs), outputs, positions, first, window)
        reads_data = reads_data and not weights
        x = y


def rates() -> Rates:
    """The best of several products of square matrices in float32 and copies of large arrays."""
    a = np.random.default_rng(0).standard_normal((MATRIX, MATRIX), dtype=np.float32)
    product, source = np.empty_like(a), np.ones(COPIED, np.uint8)
    target = np.zeros_like(source)
    multiplied = min(once(lambda: np.matmul(a, a, out=product)) for _ in range(REPEATS))
    copied = min(once(lambda: np.copyto(target, source)) for _ in range(REPEATS))
    return Rates(MATRIX**3 / multiplied, COPIED / copied)
