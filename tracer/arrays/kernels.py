"""The kernels of `kernel_source` as functions of arrays; how one is launched is given.

Windows are described by their `Geometry`, as `tracer_layers.convolution.windows.Windows` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from tracer.arrays.kernel_source import TYPES
from tracer.arrays.types import Array, Shape

#: `launch(expression, count, arguments)`: run a kernel such as "unfold<float, 2>" on this many
#: elements. Arrays are contiguous, ints 64 bits and floats doubles.
Launch = Callable[[str, int, tuple[Any, ...]], None]


class Geometry(Protocol):
    """How windows lie in an array, a number for each of its last axes; it can be hashed."""

    def __hash__(self) -> int: ...

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> Shape: ...
    @property
    def kernel(self) -> Shape: ...
    @property
    def stride(self) -> Shape: ...
    @property
    def dilation(self) -> Shape: ...
    @property
    def padding(self) -> Sequence[tuple[int, int]]: ...
    @property
    def output(self) -> Shape: ...


class Kernels:
    """The kernels as functions of arrays of one library, of the dtypes in `TYPES`.

    `namespace` makes arrays; `constant(make, *arguments)` is `tracer.Backend.constant`.
    """

    def __init__(self, namespace: ModuleType, constant: Callable[..., Any], launch: Launch):
        self._namespace = namespace
        self._constant = constant
        self._launch = launch

    # -- windows ------------------------------------------------------------------------------

    def unfold(self, x: Array, w: Geometry) -> Array:
        """`[..., *size]` to `[..., *kernel, *output]`."""
        return self._windowed("unfold", w, (x,), (*w.kernel, *w.output), w.size)

    def fold(self, y: Array, w: Geometry) -> Array:
        """`[..., *kernel, *output]` to `[..., *size]`."""
        return self._windowed("fold", w, (y,), w.size, (*w.kernel, *w.output))

    def maximum(self, x: Array, w: Geometry) -> Array:
        """`[..., *size]` to `[..., *output]`."""
        return self._windowed("maximum", w, (x,), w.output, w.size, -math.inf)

    def winners(self, x: Array, y: Array, w: Geometry) -> Array:
        """`[..., *output]` of int32: the number in its window of each maximum `y`."""
        return self._windowed("winners", w, (x, y), w.output, w.size, dtype=np.int32)

    def spread_to_winners(self, y: Array, winner: Array, w: Geometry) -> Array:
        """`[..., *output]` to `[..., *size]`; `winner` may lack leading axes of `y`."""
        arrays = y, self._ready(winner, np.int32)
        return self._windowed("spread_to_winners", w, arrays, w.size, w.output, winner.size)

    def pick_winners(self, x: Array, winner: Array, w: Geometry) -> Array:
        """`[..., *size]` to `[..., *output]`; `winner` may lack leading axes of `x`."""
        arrays = x, self._ready(winner, np.int32)
        return self._windowed("pick_winners", w, arrays, w.output, w.size, winner.size)

    def sum_of_windows(self, x: Array, w: Geometry) -> Array:
        """`[..., *size]` to `[..., *output]`."""
        return self._windowed("sum_of_windows", w, (x,), w.output, w.size)

    def spread_over_windows(self, y: Array, w: Geometry) -> Array:
        """`[..., *output]` to `[..., *size]`."""
        return self._windowed("spread_over_windows", w, (y,), w.size, w.output)

    def _windowed(
        self,
        name: str,
        w: Geometry,
        arrays: tuple[Array, ...],
        made: tuple[int, ...],
        given: tuple[int, ...],
        *numbers: float,
        dtype: DTypeLike | None = None,
    ) -> Array:
        """A kernel that takes the last axes of its first array from `given` sizes to `made`."""
        first = arrays[0]
        out = self._namespace.empty(
            (*first.shape[: first.ndim - len(given)], *made),
            first.dtype if dtype is None else dtype,
        )
        geometry = self._constant(_geometry, w)
        self._run(name, (*arrays, out, geometry, *numbers), out, first.dtype, len(w.size))
        return out

    # -- rows ---------------------------------------------------------------------------------

    def scatter_add(self, values: Array, positions: Array, size: int) -> Array:
        """`[V, size]` with `values [V, K]` added at `positions [K]`."""
        out = self._namespace.zeros((len(values), size), values.dtype)
        arrays = values, self._ready(positions, np.int64), out
        numbers = values.shape[1], size
        self._run("scatter_add", (*arrays, *numbers), values, values.dtype)
        return out

    def take_rows(self, table: Array, index: Array) -> Array:
        """`[..., D]`: rows of `table [K, D]`, NaN where an index is that of no row."""
        out = self._namespace.empty((*index.shape, table.shape[1]), table.dtype)
        arrays = table, self._ready(index, np.int64), out
        self._run("take_rows", (*arrays, table.shape[1], len(table)), out, table.dtype)
        return out

    # -- gates --------------------------------------------------------------------------------

    def gates(self, x: Array, u: Array, kinds: str, of: int) -> Array:
        """`[..., len(kinds) * H]`: "s" logistic and "t" tanh of `x + u [..., of * H]`."""
        width = x.shape[-1] // of
        out = self._namespace.empty((*x.shape[:-1], len(kinds) * width), x.dtype)
        self._run("gates", (x, u, out, _logistic(kinds), len(kinds), of, width), out, x.dtype)
        return out

    def gates_vjp(self, g: Array, y: Array, kinds: str) -> Array:
        """`[V, ..., len(kinds) * H]` from `g` alike and `y [..., len(kinds) * H]`."""
        out, width = self._namespace.empty(g.shape, g.dtype), y.shape[-1] // len(kinds)
        self._run(
            "gates_vjp", (g, y, out, _logistic(kinds), len(kinds), width, y.size), out, g.dtype
        )
        return out

    def lstm_memory(self, y: Array, c: Array) -> Array:
        """`[..., H]` from the gates `y [..., 4 H]` and the memory `c [..., H]`."""
        return self._alike("lstm_memory", (c, y), c)[0]

    def lstm_memory_vjp(self, g: Array, y: Array, c: Array) -> Array:
        """`[V, ..., 3 H]`, the cotangent of the first three gates, from `g [V, ..., H]`."""
        out = self._namespace.empty((*g.shape[:-1], 3 * g.shape[-1]), g.dtype)
        self._run("lstm_memory_vjp", (g, y, c, out, g.shape[-1], c.size), g, g.dtype)
        return out

    def lstm_output(self, y: Array, c: Array) -> Array:
        """`[..., H]` of the same."""
        return self._alike("lstm_output", (c, y), c)[0]

    def lstm_output_vjp(self, g: Array, y: Array, c: Array) -> tuple[Array, ...]:
        """The cotangents of the fourth gate and of the memory, each like `g [V, ..., H]`."""
        return self._alike("lstm_output_vjp", (g, y, c), g, 2, c.size)

    def gru_candidate(self, x: Array, u: Array, y: Array) -> Array:
        """`[..., H]` from `x` and `u [..., 3 H]` and the gates `y [..., 2 H]`."""
        out = self._namespace.empty((*x.shape[:-1], x.shape[-1] // 3), x.dtype)
        self._run("gru_candidate", (x, u, y, out, out.shape[-1]), out, out.dtype)
        return out

    def gru_candidate_vjp(self, g: Array, u: Array, y: Array, value: Array) -> tuple[Array, ...]:
        """The cotangents of the last blocks of x and u and of the first gate, like `g`."""
        return self._alike("gru_candidate_vjp", (g, u, y, value), g, 3, value.size)

    def gru_blend(self, value: Array, y: Array, h: Array) -> Array:
        """`[..., H]` from the gates `y [..., 2 H]`, new values and the state before."""
        return self._alike("gru_blend", (value, y, h), h)[0]

    def gru_blend_vjp(self, g: Array, value: Array, y: Array, h: Array) -> tuple[Array, ...]:
        """The cotangents of the new values, of the second gate and of the state, like `g`."""
        return self._alike("gru_blend_vjp", (g, value, y, h), g, 3, h.size)

    def _alike(
        self, name: str, arrays: tuple[Array, ...], like: Array, count: int = 1, *held: int
    ) -> tuple[Array, ...]:
        """A kernel that makes `count` arrays like one of those it is given."""
        made = tuple(self._namespace.empty(like.shape, like.dtype) for _ in range(count))
        self._run(name, (*arrays, *made, like.shape[-1], *held), like, like.dtype)
        return made

    # -- launching ----------------------------------------------------------------------------

    def _ready(self, array: Array, dtype: DTypeLike) -> Array:
        return self._namespace.ascontiguousarray(array, dtype=dtype)

    def _run(
        self,
        name: str,
        arguments: tuple[Any, ...],
        over: Array,
        dtype: DTypeLike,
        rank: int | None = None,
    ) -> None:
        """Launch over the elements of an array, whose number is the last argument."""
        if over.size == 0:
            return
        ready = tuple(
            self._namespace.ascontiguousarray(a) if hasattr(a, "shape") else a for a in arguments
        )
        types = TYPES[np.dtype(dtype).name] + ("" if rank is None else f", {rank}")
        self._launch(f"{name}<{types}>", over.size, (*ready, over.size))


def _geometry(w: Geometry) -> np.ndarray:
    """What the kernels read of windows: six rows of ints, one for each axis."""
    before = tuple(b for b, _ in w.padding)
    rows = [w.size, w.kernel, w.stride, w.dilation, before, w.output]
    return np.array(rows, dtype=np.int32)


def _logistic(kinds: str) -> int:
    """A bit for each gate: whether it is logistic."""
    return sum(1 << i for i, kind in enumerate(kinds) if kind == "s")
