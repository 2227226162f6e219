"""Initial values, in place of those that a parameter has: mirrors `torch.nn.init`.

Each function fills a parameter, or an array, and returns it. Numbers are drawn from `generator`, by
default the shared one (`tracer.seed`), on the host.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from tracer import Tensor
from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, backend, drawn
from tracer.extend import generator as shared_generator
from tracer_layers.module import hints

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

#: a parameter or an array, which is filled and returned
Filled = TypeVar("Filled", Tensor, np.ndarray)

#: activations whose gain is 1
LINEAR = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the size of what passes an activation; `param` is a leaky slope."""
    if nonlinearity in LINEAR:
        return 1.0
    if nonlinearity == "tanh":
        return 5 / 3
    if nonlinearity == "relu":
        return math.sqrt(2)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise TracerError(f"the slope of a leaky ReLU is a number, got {slope!r}")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3 / 4
    raise TracerError(
        f"no gain is known of {nonlinearity!r}: give linear, sigmoid, tanh, relu, leaky_relu or "
        f"selu"
    )


def _filled(tensor: Filled, values: np.ndarray) -> Filled:
    """A parameter with new values, a copy; or an array, written into."""
    if isinstance(tensor, Tensor):
        tensor.data = drawn(values.astype(tensor.dtype), tensor.data)
    elif backend.is_array(tensor):
        tensor[...] = drawn(values.astype(tensor.dtype), tensor)
    else:
        raise TracerError(
            f"initial values are put into a parameter or an array, got a {type(tensor).__name__}"
        )
    return tensor


def _rng(generator: Generator | None) -> np.random.Generator:
    return shared_generator() if generator is None else generator


def fans(tensor: Tensor | Array) -> tuple[int, int]:
    """How many inputs an output of a weight `[O, I, ...]` has, and how many outputs an input."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"fan in and fan out are of weights with two axes or more, got {list(tensor.shape)}"
        )
    places = math.prod(tensor.shape[2:])
    return tensor.shape[1] * places, tensor.shape[0] * places


_calculate_fan_in_and_fan_out = fans  # as scripts call it, which write their own distributions


def uniform_(
    tensor: Filled, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Filled:
    """Uniform in `[a, b)`."""
    return _filled(tensor, _rng(generator).uniform(a, b, tensor.shape))


def normal_(
    tensor: Filled, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Filled:
    """Normal, with this mean and standard deviation."""
    return _filled(tensor, _rng(generator).normal(mean, std, tensor.shape))


def trunc_normal_(
    tensor: Filled,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Filled:
    """Normal, of what lies in `[a, b]`."""
    from scipy.special import ndtr, ndtri  # which takes long to import

    low, high = ndtr((a - mean) / std), ndtr((b - mean) / std)
    values = mean + std * ndtri(_rng(generator).uniform(low, high, tensor.shape))
    return _filled(tensor, np.clip(values, a, b))


def constant_(tensor: Filled, val: float) -> Filled:
    """All elements the same."""
    return _filled(tensor, np.full(tensor.shape, val, float))


def ones_(tensor: Filled) -> Filled:
    """All elements 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Filled) -> Filled:
    """All elements 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Filled) -> Filled:
    """A matrix with ones on its diagonal."""
    if tensor.ndim != 2:
        raise ShapeError(f"eye_ is of matrices, got {list(tensor.shape)}")
    return _filled(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Filled, groups: int = 1) -> Filled:
    """A kernel `[O, I, *K]` that passes its inputs on, as many as there are, in each group."""
    if not 3 <= tensor.ndim <= 5:
        raise ShapeError(f"dirac_ is of kernels with 3, 4 or 5 axes, got {list(tensor.shape)}")
    if tensor.shape[0] % groups:
        raise ShapeError(f"{tensor.shape[0]} output channels are not divided by {groups} groups")
    values = np.zeros(tensor.shape)
    each = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(each, tensor.shape[1])):
            values[(group * each + channel, channel, *centre)] = 1
    return _filled(tensor, values)


def xavier_uniform_(
    tensor: Filled, gain: float = 1.0, generator: Generator | None = None
) -> Filled:
    """Uniform within `gain sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Filled, gain: float = 1.0, generator: Generator | None = None) -> Filled:
    """Normal, of deviation `gain sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def _kaiming_deviation(tensor: Tensor | Array, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise TracerError(f'mode is "fan_in" or "fan_out", got {mode!r}')
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Filled:
    """Uniform within `gain sqrt(3 / fan)` (He et al. 2015)."""
    if 0 in tensor.shape:
        return tensor
    bound = math.sqrt(3) * _kaiming_deviation(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Filled,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Filled:
    """Normal, of deviation `gain / sqrt(fan)` (He et al. 2015)."""
    if 0 in tensor.shape:
        return tensor
    deviation = _kaiming_deviation(tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, deviation, generator)


def orthogonal_(tensor: Filled, gain: float = 1, generator: Generator | None = None) -> Filled:
    """Orthogonal rows or columns, all axes but the first taken as one (Saxe et al. 2014)."""
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_ is of two axes or more, got {list(tensor.shape)}")
    if tensor.size == 0:
        return tensor
    rows = tensor.shape[0]
    matrix = _rng(generator).standard_normal((rows, tensor.size // rows))
    wide = rows < matrix.shape[1]
    q, r = np.linalg.qr(matrix.T if wide else matrix)
    q *= np.sign(np.diag(r))  # so that all orthogonal matrices are as likely
    return _filled(tensor, gain * (q.T if wide else q).reshape(tensor.shape))


def sparse_(
    tensor: Filled, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Filled:
    """A matrix of normal elements, of which in each column this share is 0 (Martens 2010)."""
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_ is of matrices, got {list(tensor.shape)}")
    rng = _rng(generator)
    values = rng.normal(0.0, std, tensor.shape)
    zeros = math.ceil(sparsity * tensor.shape[0])
    for column in values.T:
        column[rng.permutation(len(column))[:zeros]] = 0
    return _filled(tensor, values)


def __getattr__(name: str) -> Any:
    raise hints.no_init(name, __all__)
