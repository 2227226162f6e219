"""Kernels for GPUs in CUDA C++: what array functions would do in many launches, each in one.

`SOURCE` is plain C++ but for CUDA's names, one thread an element, so that the same text runs on the
host, in tests. No kernel but `scatter_add` adds with atomics, so all others give the same bits in
every run.
"""

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

// The first element of each window in the input that is its maximum y, or NaN if that is.
template <typename T, int R>
__global__ void winners(const T* x, const T* y, int* winner, const int* geometry, Count n) {
    Windows<R> w(geometry);
    FOR_EACH(i, n) {
        Count lead = i / w.outputs;
        unsigned k = 0;
        for (; k + 1 < w.kernels; k++) {
            Count at = w.seen(k, (unsigned)(i - lead * w.outputs));
            T value = at < 0 ? y[i] : x[lead * w.sizes + at];
            if (at >= 0 && (value == y[i] || value != value)) break;
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

// Where element i of [N, width] is in block k of [N, blocks * width].
__device__ Count in_block(Count i, Count blocks, Count k, Count width) {
    return (i / width * blocks + k) * width + i % width;
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
__global__ void lstm_memory(const T* c, const T* y, T* out, Count width, Count n) {
    FOR_EACH(i, n) {
        T added = y[in_block(i, 4, 0, width)] * y[in_block(i, 4, 2, width)];
        out[i] = y[in_block(i, 4, 1, width)] * c[i] + added;
    }
}

// From g [V, N, width] the cotangent [V, N, 3 * width] of (i, f, g); c is of `held` elements.
template <typename T>
__global__ void lstm_memory_vjp(const T* g, const T* y, const T* c, T* out, Count width,
                                Count held, Count n) {
    FOR_EACH(i, n) {
        Count at = i % held;
        out[in_block(i, 3, 0, width)] = g[i] * y[in_block(at, 4, 2, width)];
        out[in_block(i, 3, 1, width)] = g[i] * c[at];
        out[in_block(i, 3, 2, width)] = g[i] * y[in_block(at, 4, 0, width)];
    }
}

// o * tanh(c), of the same.
template <typename T>
__global__ void lstm_output(const T* c, const T* y, T* out, Count width, Count n) {
    FOR_EACH(i, n) out[i] = y[in_block(i, 4, 3, width)] * tanh(c[i]);
}

// From g [V, N, width] those of o and of c.
template <typename T>
__global__ void lstm_output_vjp(const T* g, const T* y, const T* c, T* of_o, T* of_c, Count width,
                                Count held, Count n) {
    FOR_EACH(i, n) {
        Count at = i % held;
        T shown = tanh(c[at]);
        of_o[i] = g[i] * shown;
        of_c[i] = g[i] * (y[in_block(at, 4, 3, width)] * (1 - shown * shown));
    }
}

// v = tanh(x_v + r * u_v) of the third blocks of x, u [N, 3 * width] and y [N, 2 * width] = (r, z).
template <typename T>
__global__ void gru_candidate(const T* x, const T* u, const T* y, T* v, Count width, Count n) {
    FOR_EACH(i, n) {
        Count third = in_block(i, 3, 2, width);
        v[i] = tanh(y[in_block(i, 2, 0, width)] * u[third] + x[third]);
    }
}

// From g [V, N, width] those of x_v, u_v and r; v is of `held` elements.
template <typename T>
__global__ void gru_candidate_vjp(const T* g, const T* u, const T* y, const T* v, T* of_x, T* of_u,
                                  T* of_r, Count width, Count held, Count n) {
    FOR_EACH(i, n) {
        Count at = i % held;
        T pulled = g[i] * (1 - v[at] * v[at]);
        of_x[i] = pulled;
        of_u[i] = pulled * y[in_block(at, 2, 0, width)];
        of_r[i] = pulled * u[in_block(at, 3, 2, width)];
    }
}

// v + z * (h - v) of v, h [N, width] and the same y.
template <typename T>
__global__ void gru_blend(const T* v, const T* y, const T* h, T* out, Count width, Count n) {
    FOR_EACH(i, n) out[i] = v[i] + y[in_block(i, 2, 1, width)] * (h[i] - v[i]);
}

// From g [V, N, width] those of v, z and h.
template <typename T>
__global__ void gru_blend_vjp(const T* g, const T* v, const T* y, const T* h, T* of_v, T* of_z,
                              T* of_h, Count width, Count held, Count n) {
    FOR_EACH(i, n) {
        Count at = i % held;
        T z = y[in_block(at, 2, 1, width)];
        of_v[i] = g[i] * (1 - z);
        of_z[i] = g[i] * (h[at] - v[at]);
        of_h[i] = g[i] * z;
    }
}
"""
