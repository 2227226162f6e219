"""Normalisation by neighbouring channels: `LocalResponseNorm`."""

from __future__ import annotations

from tracer.errors import ShapeError
from tracer.extend import TensorLike, narrowed, widened
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.shape.padding import pad

__all__ = ["LocalResponseNorm", "local_response_norm"]


def local_response_norm(
    input: TensorLike, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> TensorLike:
    """`x / (k + alpha mean(x^2))^beta` of `[N, C, *positions]` (Krizhevsky et al. 2012).

    The mean is over `size` channels around each; those that there are not count as zeros.
    """
    at_least("local_response_norm", 1, size=size)
    if input.ndim < 3:
        raise ShapeError(
            f"local_response_norm expects inputs [N, C, *positions] with at least 3 axes, got "
            f"{list(input.shape)}: add axes"
        )
    x = floats(input)
    wide, channels = widened(x), x.shape[1]
    around = (0, 0) * (x.ndim - 2) + (size // 2, (size - 1) // 2)
    squares = pad(wide * wide, around)
    total = sum((squares[:, i : i + channels] for i in range(1, size)), squares[:, :channels])
    return narrowed(wide / (k + total * (alpha / size)) ** beta, x.dtype)


class LocalResponseNorm(Module):
    """Each channel over what its neighbours hold; see `local_response_norm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        at_least(type(self).__name__, 1, size=size)
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: TensorLike) -> TensorLike:
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
