// Functions of rows [rows, size] that lie one after the other: softmax, standardisation, and their
// gradients. Where there are fewer rows of one array than of another, they are taken again and again.
#pragma once
#include "exports.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace kernels {

// `function(start, stop)` for parts of the rows, of about as many numbers as `blocks` has.
template <typename F> void for_rows(long rows, long size, int threads, F function) {
    long each = std::max<long>(1, (1 << 14) / std::max<long>(1, size));
    parallel((rows + each - 1) / each, threads,
             [=](long i) { function(i * each, std::min(rows, (i + 1) * each)); });
}

template <typename T> inline T sum_of(Vector<T> v) {
    T sum = 0;
    for (int i = 0; i < LANES<T>; i++) sum += v[i];
    return sum;
}

// sum_i f(i, count), with f the vector of elements i, i + 1, ..., of which `count` are in the row;
// four sums, so that one addition does not wait for the other.
template <typename T, typename F> inline T sum_over(long size, F term) {
    Vector<T> sums[4] = {};
    long i = 0;
    for (; i + 4 * LANES<T> <= size; i += 4 * LANES<T>)
        for (int k = 0; k < 4; k++) sums[k] += term(i + k * LANES<T>, LANES<T>);
    for (; i < size; i += LANES<T>) sums[0] += term(i, size - i);
    return sum_of<T>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// The elements of a vector that are in the row, and 0 for the others.
template <typename T> inline Vector<T> within(Vector<T> v, long count) {
    for (long i = count; i < LANES<T>; i++) v[i] = 0;
    return v;
}

// x = exp(x + bias - m) / sum(exp(x + bias - m)) with the row's maximum m, NaN if one is
template <typename T>
void softmax(T* x, const T* bias, long rows, long biases, long size, int threads) {
    typedef Vector<T> V;
    for_rows(rows, size, threads, [=](long start, long stop) {
        for (long r = start; r < stop; r++) {
            T* row = x + r * size;
            const T* added = bias ? bias + r % biases * size : nullptr;
            V most = all<T>(-INFINITY), wrong = {};
            for (long i = 0; i < size; i += LANES<T>) {
                long count = size - i;
                V v = load(row + i, count);
                if (added) v += load(added + i, count);
                store(row + i, v, count);
                if (count < LANES<T>)
                    for (long k = count; k < LANES<T>; k++) v[k] = -INFINITY;
                most = v > most ? v : most;
                wrong = v == v ? wrong : v;
            }
            T top = -INFINITY;
            for (int k = 0; k < LANES<T>; k++) top = std::max(top, most[k]);
            if (sum_of<T>(wrong) != 0) top = NAN;
            V shift = all<T>(top);
            T sum = sum_over<T>(size, [=](long i, long count) {
                V v = exponential<T>(load(row + i, count) - shift);
                store(row + i, v, count);
                return count < LANES<T> ? within<T>(v, count) : v;
            });
            V total = all<T>(sum);
            for (long i = 0; i < size; i += LANES<T>)
                store(row + i, load(row + i, size - i) / total, size - i);
        }
    });
}

// out = y (g - sum(g y))
template <typename T>
void softmax_vjp(const T* g, const T* y, T* out, long rows, long held, long size, int threads) {
    for_rows(rows, size, threads, [=](long start, long stop) {
        for (long r = start; r < stop; r++) {
            const T *a = g + r * size, *b = y + r % held * size;
            T* to = out + r * size;
            T mean = sum_over<T>(
                size, [=](long i, long count) { return load(a + i, count) * load(b + i, count); });
            for (long i = 0; i < size; i += LANES<T>) {
                long count = size - i;
                store(to + i, load(b + i, count) * (load(a + i, count) - mean), count);
            }
        }
    });
}

// y = (x - mean(x)) rate, and rate = 1 / sqrt(mean((x - mean(x))^2) + eps)
template <typename T>
void standardise(const T* x, T* y, T* rates, double eps, long rows, long size, int threads) {
    for_rows(rows, size, threads, [=](long start, long stop) {
        for (long r = start; r < stop; r++) {
            const T* row = x + r * size;
            T mean = sum_over<T>(size, [=](long i, long count) { return load(row + i, count); }) / size;
            T variance = sum_over<T>(size, [=](long i, long count) {
                auto v = load(row + i, count) - mean;
                return (count < LANES<T> ? within<T>(v, count) : v) * v;
            });
            T rate = rates[r] = 1 / std::sqrt(variance / size + T(eps));
            for (long i = 0; i < size; i += LANES<T>)
                store(y + r * size + i, (load(row + i, size - i) - mean) * rate, size - i);
        }
    });
}

// out = (g - mean(g) - y mean(g y)) rate
template <typename T>
void standardise_vjp(const T* g, const T* y, const T* rates, T* out, long rows, long held, long size,
                     int threads) {
    for_rows(rows, size, threads, [=](long start, long stop) {
        for (long r = start; r < stop; r++) {
            const T *a = g + r * size, *b = y + r % held * size;
            T* to = out + r * size;
            T mean = sum_over<T>(size, [=](long i, long count) { return load(a + i, count); }) / size;
            T along = sum_over<T>(size, [=](long i, long count) {
                return load(a + i, count) * load(b + i, count);
            }) / size;
            T rate = rates[r % held];
            for (long i = 0; i < size; i += LANES<T>) {
                long count = size - i;
                store(to + i, (load(a + i, count) - mean - load(b + i, count) * along) * rate, count);
            }
        }
    });
}

EXPORT(softmax)
EXPORT(softmax_vjp)
EXPORT(standardise)
EXPORT(standardise_vjp)

}  // namespace kernels
