"""Windows of pooling: how they are made of options, and blocks of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracer.errors import ShapeError
from tracer.extend import Array, Axis, Node, Params, TensorLike, blocks
from tracer_layers.convolution.windows import Windows, windows
from tracer_layers.module.arguments import axes_of
from tracer_layers.module.rules import data_axis, mapped_axis

#: bytes of the input of a block of samples
BLOCK_BYTES = 4 << 20


def pooled_windows(
    x: TensorLike, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> Any:
    rank = len(kernel)
    if x.ndim < rank + 1:
        raise ShapeError(
            f"expects inputs [N, C, {axes_of(rank)}], got {list(x.shape)}: add the missing axes"
        )
    pairs = tuple((p, p) for p in padding)
    return windows(x.shape[-rank:], kernel, stride, pairs, dilation, ceil_mode)


def batch_axis_of(node: Node, axes: Sequence[Axis]) -> Axis:
    p = node.params
    return mapped_axis(data_axis(axes), len(node.shape), len(p.get("kernel") or p["windows"].size))


def are_disjoint(w: Windows) -> bool:
    """Whether no element is in two windows."""
    return all(s > r for s, r in zip(w.stride, w.reach, strict=True))


def blocks_of(x: Array, w: Windows, axis: int, most: int | None = None) -> list[tuple[slice, ...]]:
    """Indices of blocks along an axis before the last ones, if there is one."""
    if x.ndim - axis <= w.rank:
        return [()]
    before = (slice(None),) * axis
    most = BLOCK_BYTES if most is None else most
    return [(*before, each) for each in blocks(x.shape[axis], x.nbytes, most, like=x)]


def example_options() -> list[Params]:
    plain = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    odd = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    return [plain | {"ceil_mode": False}, odd | {"ceil_mode": True}]
