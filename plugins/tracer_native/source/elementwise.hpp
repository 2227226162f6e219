// Activations and their gradients, of arrays that lie alike in memory, and sums over rows.
#pragma once
#include "exports.hpp"
#include "gaussian.hpp"
#include "threads.hpp"

namespace kernels {

enum Activation { RECTIFIED, TANH, LOGISTIC, ERROR, GELU, GELU_TANH, SILU };

constexpr long BLOCK = 1 << 14;  // numbers that a thread takes at once

// `function(start, stop)` for blocks of `count` numbers.
template <typename F> void blocks(long count, int threads, F function) {
    parallel((count + BLOCK - 1) / BLOCK, threads,
             [=](long i) { function(i * BLOCK, std::min(count, (i + 1) * BLOCK)); });
}

// y = f(x); NumPy's tanh is as fast as one would be here
template <typename T> void activate(int kind, const T* x, T* y, long count, int threads) {
    typedef Vector<T> V;
    auto apply = [=](auto function) {
        blocks(count, threads, [=](long start, long stop) {
            for (long i = start; i < stop; i += LANES<T>)
                store(y + i, function(load(x + i, stop - i)), stop - i);
        });
    };
    if (kind == RECTIFIED) apply([](V x) { return x <= 0 ? V{} : x; });
    if (kind == LOGISTIC) apply([](V x) { return logistic<T>(x); });
    if (kind == ERROR) apply([](V x) { return error_function<T>(x); });
    if (kind == GELU) apply([](V x) { return gelu<T>(x); });
    if (kind == GELU_TANH) apply([](V x) { return gelu_tanh<T>(x); });
    if (kind == SILU) apply([](V x) { return x * logistic<T>(x); });
}

// out[v,i] = g[v,i] slope(x[i]), each slope once for all rows
template <typename T, typename F>
void scale(const T* g, const T* x, T* out, long rows, long count, int threads, F slope) {
    constexpr long SOME = 1024;
    blocks(count, threads, [=](long start, long stop) {
        T slopes[SOME];
        for (long first = start; first < stop; first += SOME) {
            long some = std::min(SOME, stop - first);
            for (long i = 0; i < some; i += LANES<T>)
                store(slopes + i, slope(load(x + first + i, some - i)), some - i);
            for (long v = 0; v < rows; v++) {
                long at = v * count + first;
                for (long i = 0; i < some; i += LANES<T>) {
                    auto value = load(g + at + i, some - i) * load(slopes + i, some - i);
                    store(out + at + i, value, some - i);
                }
            }
        }
    });
}

// out[v,i] = g[v,i] where y > 0 or is NaN and else 0, g (1 - y^2), or g y (1 - y), of y = f(x), or
// of others g f'(y), where y holds what f was applied to
template <typename T>
void activate_vjp(int kind, const T* g, const T* y, T* out, long rows, long count, int threads) {
    typedef Vector<T> V;
    auto apply = [=](auto function) {
        blocks(count, threads, [=](long start, long stop) {
            for (long v = 0; v < rows; v++)
                for (long i = start; i < stop; i += LANES<T>) {
                    V value = load(g + v * count + i, stop - i), at = load(y + i, stop - i);
                    store(out + v * count + i, function(value, at), stop - i);
                }
        });
    };
    if (kind == RECTIFIED) apply([](V g, V y) { return y <= 0 ? V{} : g; });
    if (kind == TANH) apply([](V g, V y) { return g * (T(1) - y * y); });
    if (kind == LOGISTIC) apply([](V g, V y) { return g * (y * (T(1) - y)); });
    auto sloped = [=](auto slope) { scale(g, y, out, rows, count, threads, slope); };
    if (kind == ERROR) sloped([](V x) { return error_slope<T>(x); });
    if (kind == GELU) sloped([](V x) { return gelu_slope<T>(x); });
    if (kind == GELU_TANH) sloped([](V x) { return gelu_tanh_slope<T>(x); });
    if (kind == SILU) sloped([](V x) { return silu_slope<T>(x); });
}

// sums[v,c] = sum_r x[v,r,c]; rows are added in parts that are the same for any number of threads
template <typename T>
void sum_rows(const T* x, T* sums, long stack, long rows, long columns, int threads) {
    long parts = std::max<long>(1, std::min<long>(16, rows * columns / BLOCK));
    T* own = scratch<T>(0, stack * parts * columns);
    parallel(stack * parts, threads, [=](long i) {
        long first = i / parts * rows, part = i % parts;
        T* to = own + i * columns;
        std::fill(to, to + columns, T(0));
        for (long r = first + rows * part / parts; r < first + rows * (part + 1) / parts; r++)
            for (long c = 0; c < columns; c++) to[c] += x[r * columns + c];
    });
    for (long v = 0; v < stack; v++)
        for (long c = 0; c < columns; c++) {
            T sum = own[v * parts * columns + c];
            for (long part = 1; part < parts; part++) sum += own[(v * parts + part) * columns + c];
            sums[v * columns + c] = sum;
        }
}

// y[n,b,a] = x[n,a,b], in squares that stay in a core's cache
template <typename T>
void swap_axes(const T* x, T* y, long count, long first, long second, int threads) {
    constexpr long SIDE = 32;
    long strips = (second + SIDE - 1) / SIDE;
    parallel(count * strips, threads, [=](long i) {
        const T* from = x + i / strips * first * second;
        T* to = y + i / strips * first * second;
        long start = i % strips * SIDE, stop = std::min(second, start + SIDE);
        for (long s = 0; s < first; s += SIDE)
            for (long b = start; b < stop; b++)
                for (long a = s; a < std::min(first, s + SIDE); a++)
                    to[b * first + a] = from[a * second + b];
    });
}

EXPORT(activate)
EXPORT(activate_vjp)
EXPORT(sum_rows)
EXPORT(swap_axes)

}  // namespace kernels
