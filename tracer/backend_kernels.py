"""Kernels for GPUs in CUDA C++: what array functions would do in many launches, each in one.

`SOURCE` is plain C++ but for CUDA's names, one thread an element, so that the same text runs on the
host, in tests. `Kernels` are the functions on arrays; how one is launched is given to them.

Windows are described as `tracer_layers.windows.Windows` does: by `size`, `kernel`, `stride`,
`dilation`, `padding` (pairs) and `output`, a number for each axis. No kernel but `scatter_add` adds
with atomics, so all others give the same bits in every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

#: C++ types of the dtypes that there are kernels for; others take the array functions
TYPES = {"float32": "float", "float64": "double"}

SOURCE = r"""
typedef long long Count;

#define FOR_EACH(i, n)                                                                     \
    for (Count i = blockIdx.x * (Count)blockDim.x + threadIdx.x; i < (n);                  \
         i += (Count)gridDim.x * blockDim.x)

// Geometry of windows over R axes: six rows of R numbers.
template <int R> struct Windows {
    const int *size, *kernel, *stride, *dilation, *before, *output;
    unsigned sizes, kernels, outputs;  // their products

    __device__ Windows(const int* w)
        : size(w), kernel(w + R), stride(w + 2 * R), dilation(w + 3 * R), before(w + 4 * R),
          output(w + 5 * R), sizes(1), kernels(1), outputs(1) {
        for (int a = 0; a < R; a++) {
            sizes *= size[a];
            kernels *= kernel[a];
            outputs *= output[a];
        }
    }

    // The position in the input that element k of window o sees; -1 in the padding.
    __device__ Count seen(unsigned k, unsigned o) const {
        Count at = 0, step = 1;
        bool inside = true;
        for (int a = R - 1; a >= 0; a--) {
            int p = (int)(o % output[a]) * stride[a] - before[a]
                    + (int)(k % kernel[a]) * dilation[a];
            inside = inside && p >= 0 && p < size[a];
            at += p * step;
            step *= size[a];
            o /= output[a];
            k /= kernel[a];
        }
        return inside ? at : -1;
    }

    // The window whose element k sees position p of the input; -1 if there is none.
    __device__ Count seeing(unsigned k, unsigned p) const {
        Count at = 0, step = 1;
        bool some = true;
        for (int a = R - 1; a >= 0; a--) {
            int t = (int)(p % size[a]) + before[a] - (int)(k % kernel[a]) * dilation[a];
            some = some && t >= 0 && t % stride[a] == 0 && t / stride[a] < output[a];
            at += t / stride[a] * step;
            step *= output[a];
            p /= size[a];
            k /= kernel[a];
        }
        return some ? at : -1;
    }
};

// x [L, size] -> y [L, kernel, output]: what each window sees.
template <typename T, int R>
__global__ void unfold(const T* x, T* y, const int* geometry, Count n) {
    Windows<R> w(geometry);
    Count each = (Count)w.kernels * w.outputs;
    FOR_EACH(i, n) {
        Count lead = i / each, rest = i - lead * each;
        Count at = w.seen((unsigned)(rest / w.outputs), (unsigned)(rest % w.outputs));
        y[i] = at < 0 ? (T)0 : x[lead * w.sizes + at];
    }
}

// y [L, kernel, output] -> x [L, size]: what the windows hold, added up where they lie.
template <typename T, int R>
__global__ void fold(const T* y, T* x, const int* geometry, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.sizes;
        T sum = 0;
        for (unsigned k = 0; k < w.kernels; k++) {
            Count o = w.seeing(k, (unsigned)(i - lead * w.sizes));
            if (o >= 0) sum += y[(lead * w.kernels + k) * w.outputs + o];
        }
        x[i] = sum;
    }
}

// x [L, size] -> y [L, output]: the maximum of each window; NaN if it holds one.
template <typename T, int R>
__global__ void maximum(const T* x, T* y, const int* geometry, double padding, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.outputs;
        T most = (T)padding;
        for (unsigned k = 0; k < w.kernels; k++) {
            Count at = w.seen(k, (unsigned)(i - lead * w.outputs));
            T value = at < 0 ? (T)padding : x[lead * w.sizes + at];
            if (value > most || value != value) most = value;
            if (most != most) break;
        }
        y[i] = most;
    }
}

// The first element of each window in the input that is not below its maximum y.
template <typename T, int R>
__global__ void winners(const T* x, const T* y, int* winner, const int* geometry, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.outputs;
        unsigned k = 0;
        for (; k + 1 < w.kernels; k++) {
            Count at = w.seen(k, (unsigned)(i - lead * w.outputs));
            if (at >= 0 && !(x[lead * w.sizes + at] < y[i])) break;
        }
        winner[i] = (int)k;
    }
}

// y [L, output] -> x [L, size]: each y where its winner is; `winner` repeats along L after `held`.
template <typename T, int R>
__global__ void spread_to_winners(const T* y, const int* winner, T* x, const int* geometry,
                                  Count held, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.sizes;
        T sum = 0;
        for (unsigned k = 0; k < w.kernels; k++) {
            Count o = w.seeing(k, (unsigned)(i - lead * w.sizes));
            if (o >= 0 && winner[(lead * w.outputs + o) % held] == (int)k)
                sum += y[lead * w.outputs + o];
        }
        x[i] = sum;
    }
}

// x [L, size] -> y [L, output]: the winner of each window.
template <typename T, int R>
__global__ void pick_winners(const T* x, const int* winner, T* y, const int* geometry, Count held,
                             Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.outputs;
        Count at = w.seen((unsigned)winner[i % held], (unsigned)(i - lead * w.outputs));
        y[i] = at < 0 ? (T)0 : x[lead * w.sizes + at];
    }
}

// x [L, size] -> y [L, output]: the sum of each window.
template <typename T, int R>
__global__ void sum_of_windows(const T* x, T* y, const int* geometry, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.outputs;
        T sum = 0;
        for (unsigned k = 0; k < w.kernels; k++) {
            Count at = w.seen(k, (unsigned)(i - lead * w.outputs));
            if (at >= 0) sum += x[lead * w.sizes + at];
        }
        y[i] = sum;
    }
}

// y [L, output] -> x [L, size]: each y added to all that its window sees.
template <typename T, int R>
__global__ void spread_over_windows(const T* y, T* x, const int* geometry, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.sizes;
        T sum = 0;
        for (unsigned k = 0; k < w.kernels; k++) {
            Count o = w.seeing(k, (unsigned)(i - lead * w.sizes));
            if (o >= 0) sum += y[lead * w.outputs + o];
        }
        x[i] = sum;
    }
}

// out [V, size] += values [V, each] at positions [each], which may repeat; others are left out.
template <typename T>
__global__ void scatter_add(const T* values, const Count* positions, T* out, Count each, Count size,
                            Count n) {
    FOR_EACH(i, n) {
        Count row = i / each, at = positions[i - row * each];
        if (at >= 0 && at < size) atomicAdd(out + row * size + at, values[i]);
    }
}

// out [K, width]: rows of table [rows, width] at index [K]; NaN where there is no such row.
template <typename T>
__global__ void take_rows(const T* table, const Count* index, T* out, Count width, Count rows,
                          Count n) {
    FOR_EACH(i, n) {
        Count row = index[i / width];
        out[i] = row >= 0 && row < rows ? table[row * width + i % width] : (T)nan("");
    }
}

// y [N, gates * width] of x + u [N, of * width]: tanh, or logistic where `logistic` has the bit.
template <typename T>
__global__ void gates(const T* x, const T* u, T* y, Count logistic, Count count, Count of,
                      Count width, Count n) {
    FOR_EACH(i, n) {
        Count row = i / (count * width), column = i - row * count * width;
        T a = x[row * of * width + column] + u[row * of * width + column];
        y[i] = logistic >> (column / width) & 1 ? (T)0.5 * tanh((T)0.5 * a) + (T)0.5 : tanh(a);
    }
}

// The cotangent of x and of u in `gates`, from g [V, N, gates * width] and y, of `held` elements.
template <typename T>
__global__ void gates_vjp(const T* g, const T* y, T* out, Count logistic, Count count, Count width,
                          Count held, Count n) {
    FOR_EACH(i, n) {
        T value = y[i % held];
        T least = logistic >> (i / width % count) & 1 ? (T)0 : (T)-1;
        out[i] = g[i] * ((value - least) * (1 - value));
    }
}

// f * c + i * g of the gates y [N, 4 * width] = (i, f, g, o) and c [N, width].
template <typename T>
__global__ void lstm_memory(const T* y, const T* c, T* out, Count width, Count n) {
    FOR_EACH(i, n) {
        const T* gate = y + (i / width * 4) * width + i % width;
        out[i] = gate[width] * c[i] + gate[0] * gate[2 * width];
    }
}

// o * tanh(c), of the same.
template <typename T>
__global__ void lstm_output(const T* y, const T* c, T* out, Count width, Count n) {
    FOR_EACH(i, n) {
        out[i] = y[(i / width * 4 + 3) * width + i % width] * tanh(c[i]);
    }
}
"""

#: `launch(expression, count, arguments)`: run a kernel such as "unfold<float, 2>" on this many
#: elements. Arrays are contiguous, ints 64 bits and floats doubles.
Launch = Callable[[str, int, tuple[Any, ...]], None]


class Kernels:
    """The kernels as functions of arrays of one library, of the dtypes in `TYPES`.

    `namespace` makes arrays; `constant(make, *arguments)` is `tracer.Backend.constant`.
    """

    def __init__(self, namespace: Any, constant: Callable[..., Any], launch: Launch):
        self._namespace = namespace
        self._constant = constant
        self._launch = launch

    # -- windows ------------------------------------------------------------------------------

    def unfold(self, x: Any, w: Any) -> Any:
        """`[..., *size]` to `[..., *kernel, *output]`."""
        return self._windowed("unfold", w, (x,), (*w.kernel, *w.output), w.size)

    def fold(self, y: Any, w: Any) -> Any:
        """`[..., *kernel, *output]` to `[..., *size]`."""
        return self._windowed("fold", w, (y,), w.size, (*w.kernel, *w.output))

    def maximum(self, x: Any, w: Any) -> Any:
        """`[..., *size]` to `[..., *output]`."""
        return self._windowed("maximum", w, (x,), w.output, w.size, -math.inf)

    def winners(self, x: Any, y: Any, w: Any) -> Any:
        """`[..., *output]` of int32: the number in its window of each maximum `y`."""
        return self._windowed("winners", w, (x, y), w.output, w.size, dtype=np.int32)

    def spread_to_winners(self, y: Any, winner: Any, w: Any) -> Any:
        """`[..., *output]` to `[..., *size]`; `winner` may lack leading axes of `y`."""
        arrays = y, self._ready(winner, np.int32)
        return self._windowed("spread_to_winners", w, arrays, w.size, w.output, winner.size)

    def pick_winners(self, x: Any, winner: Any, w: Any) -> Any:
        """`[..., *size]` to `[..., *output]`; `winner` may lack leading axes of `x`."""
        arrays = x, self._ready(winner, np.int32)
        return self._windowed("pick_winners", w, arrays, w.output, w.size, winner.size)

    def sum_of_windows(self, x: Any, w: Any) -> Any:
        """`[..., *size]` to `[..., *output]`."""
        return self._windowed("sum_of_windows", w, (x,), w.output, w.size)

    def spread_over_windows(self, y: Any, w: Any) -> Any:
        """`[..., *output]` to `[..., *size]`."""
        return self._windowed("spread_over_windows", w, (y,), w.size, w.output)

    def _windowed(
        self,
        name: str,
        w: Any,
        arrays: tuple[Any, ...],
        made: tuple[int, ...],
        given: tuple[int, ...],
        *numbers: float,
        dtype: Any = None,
    ) -> Any:
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

    def scatter_add(self, values: Any, positions: Any, size: int) -> Any:
        """`[V, size]` with `values [V, K]` added at `positions [K]`."""
        out = self._namespace.zeros((len(values), size), values.dtype)
        arrays = values, self._ready(positions, np.int64), out
        numbers = values.shape[1], size
        self._run("scatter_add", (*arrays, *numbers), values, values.dtype)
        return out

    def take_rows(self, table: Any, index: Any) -> Any:
        """`[..., D]`: rows of `table [K, D]`, NaN where an index is that of no row."""
        out = self._namespace.empty((*index.shape, table.shape[1]), table.dtype)
        arrays = table, self._ready(index, np.int64), out
        self._run("take_rows", (*arrays, table.shape[1], len(table)), out, table.dtype)
        return out

    # -- gates --------------------------------------------------------------------------------

    def gates(self, x: Any, u: Any, kinds: str, of: int) -> Any:
        """`[..., len(kinds) * H]`: "s" logistic and "t" tanh of `x + u [..., of * H]`."""
        width = x.shape[-1] // of
        out = self._namespace.empty((*x.shape[:-1], len(kinds) * width), x.dtype)
        self._run("gates", (x, u, out, _logistic(kinds), len(kinds), of, width), out, x.dtype)
        return out

    def gates_vjp(self, g: Any, y: Any, kinds: str) -> Any:
        """`[V, ..., len(kinds) * H]` from `g` alike and `y [..., len(kinds) * H]`."""
        out, width = self._namespace.empty(g.shape, g.dtype), y.shape[-1] // len(kinds)
        self._run(
            "gates_vjp", (g, y, out, _logistic(kinds), len(kinds), width, y.size), out, g.dtype
        )
        return out

    def lstm_memory(self, y: Any, c: Any) -> Any:
        """`[..., H]` from the gates `y [..., 4 H]` and the memory `c [..., H]`."""
        return self._of_memory("lstm_memory", y, c)

    def lstm_output(self, y: Any, c: Any) -> Any:
        """`[..., H]` of the same."""
        return self._of_memory("lstm_output", y, c)

    def _of_memory(self, name: str, y: Any, c: Any) -> Any:
        out = self._namespace.empty(c.shape, c.dtype)
        self._run(name, (y, c, out, c.shape[-1]), out, c.dtype)
        return out

    # -- launching ----------------------------------------------------------------------------

    def _ready(self, array: Any, dtype: Any) -> Any:
        return self._namespace.ascontiguousarray(array, dtype=dtype)

    def _run(
        self, name: str, arguments: tuple[Any, ...], over: Any, dtype: Any, rank: int | None = None
    ) -> None:
        """Launch over the elements of an array, whose number is the last argument."""
        if over.size == 0:
            return
        ready = tuple(
            self._namespace.ascontiguousarray(a) if hasattr(a, "shape") else a for a in arguments
        )
        types = TYPES[np.dtype(dtype).name] + ("" if rank is None else f", {rank}")
        self._launch(f"{name}<{types}>", over.size, (*ready, over.size))


def _geometry(w: Any) -> np.ndarray:
    """What the kernels read of windows: six rows of ints, one for each axis."""
    before = tuple(b for b, _ in w.padding)
    rows = [w.size, w.kernel, w.stride, w.dilation, before, w.output]
    return np.array(rows, dtype=np.int32)


def _logistic(kinds: str) -> int:
    """A bit for each gate: whether it is logistic."""
    return sum(1 << i for i, kind in enumerate(kinds) if kind == "s")
