// The loops of recurrent layers over time, forth and back, by some samples at once: a sample
// needs no other, so that values do not depend on how they are divided.
//
// A history [blocks, 1 + T, N, H] has before its first step the first states. Gates come with what
// the inputs contribute, and first those that are logistic, whose sums are halved here and in the
// weights: they are tanh(s / 2) / 2 + 1 / 2.
#pragma once
#include "convolution.hpp"

namespace kernels {

enum Recurrence { RNN_TANH, RNN_RELU, LSTM, GRU };

constexpr int GATES[] = {1, 1, 4, 3}, HIDDEN[] = {0, 0, 6, 4};  // and the block of the hidden state

// Products of rows with one matrix [depth, columns * blocks], packed in panels of each block.
template <typename T> struct Packed {
    Panels<T> panels;
    T* memory;

    // `weight` is [blocks, depth, columns].
    Packed(const T* weight, long blocks, long depth, long columns)
        : panels(blocks, columns, depth), memory(scratch<T>(0, panels.size())) {
        for (long unit = 0; unit < panels.count(); unit++) {
            long width = panels.width(unit), some = panels.columns(unit);
            const T* from = weight + panels.group(unit) * depth * columns + panels.first(unit);
            T* to = memory + panels.start(unit);
            for (long k = 0; k < depth; k++)
                for (long j = 0; j < width; j++)
                    to[k * width + j] = j < some ? from[k * columns + j] : T(0);
        }
    }
    // out[i] = x[i] weight, of rows that are `x_step` and `out_step` apart
    void operator()(const T* x, long x_step, T* out, long out_step, long rows) const {
        long tiles = (rows + ROWS - 1) / ROWS;
        Tap tap{0, 0, 0, 0};
        for (long unit = 0; unit < panels.count(); unit++)
            for (long t = 0; t < tiles; t++) {
                long start = rows * t / tiles, stop = rows * (t + 1) / tiles;
                Tile<T> tile;
                for (long i = start; i < stop; i++) {
                    tile.from[i - start] = x + i * x_step;
                    tile.to[i - start] = out + i * out_step + panels.column(unit);
                }
                multiply(stop - start, tile, &tap, 1, panels.depth, memory + panels.start(unit),
                         (const T*)nullptr, panels.columns(unit), false);
            }
    }
};

// Blocks b of one step and sample in a history.
template <typename T> struct Step {
    T* first;
    long block;  // how far the next one is

    Step(T* history, long steps, long samples, long width, long t, long n)
        : first(history + (t * samples + n) * width), block((1 + steps) * samples * width) {}
    T* at(int b, long j) const { return first + b * block + j; }
};

// `function(start, stop)` for as many samples as one tile has rows, the whole loop at once.
template <typename F> void for_parts(long samples, int threads, F function) {
    long parts = std::max(1L, (samples + ROWS - 1) / ROWS);
    parallel(parts, threads,
             [=](long i) { function(samples * i / parts, samples * (i + 1) / parts); });
}

// One step of a sample, from u = h[t-1] W (+ b) and the blocks before:
//   RNN:  h = f(x + u)
//   LSTM: o, i, f, g = gates(x + u); c = f c' + i g; s = tanh(c); h = o s
//   GRU:  r, z = gates(x + u); n = tanh(x_n + r u_n); h = (h' - n) z + n; u_n is kept
template <typename T>
void step(int kind, Step<T> before, Step<T> now, const T* u, const T* bias, long width) {
    typedef Vector<T> V;
    for (long j = 0; j < width; j += LANES<T>) {
        long count = width - j;
        auto sum = [&](int gate) {
            V v = load(u + gate * width + j, count);
            return bias ? v + load(bias + gate * width + j, count) : v;
        };
        auto entered = [&](int gate) { return load(now.at(gate, j), count) + sum(gate); };
        auto keep = [&](int block, V v) { store(now.at(block, j), v, count); };
        auto half = [](V v) { return hyperbolic(v) * T(0.5) + T(0.5); };
        if (kind == RNN_TANH) keep(0, hyperbolic(entered(0)));
        if (kind == RNN_RELU) {
            V v = entered(0);
            keep(0, v <= 0 ? V{} : v);
        }
        if (kind == LSTM) {
            V o = half(entered(0)), i = half(entered(1)), f = half(entered(2));
            V g = hyperbolic(entered(3)), c = f * load(before.at(4, j), count) + i * g;
            V shown = hyperbolic(c);
            keep(0, o), keep(1, i), keep(2, f), keep(3, g), keep(4, c), keep(5, shown);
            keep(6, o * shown);
        }
        if (kind == GRU) {
            V r = half(entered(0)), z = half(entered(1)), hidden = sum(2);
            V n = hyperbolic(load(now.at(2, j), count) + r * hidden);
            keep(0, r), keep(1, z), keep(2, n), keep(3, hidden);
            keep(4, (load(before.at(4, j), count) - n) * z + n);
        }
    }
}

template <typename T>
void recur(int kind, T* history, const T* weight, const T* bias, long steps, long samples,
           long width, int threads) {
    int gates = GATES[kind], hidden = HIDDEN[kind];
    Packed<T> packed(weight, gates, width, width);
    for_parts(samples, threads, [&](long start, long stop) {
        T* u = scratch<T>(2, (stop - start) * gates * width);
        for (long t = 0; t < steps; t++) {
            Step<T> first(history, steps, samples, width, t, start);
            packed(first.at(hidden, 0), width, u, gates * width, stop - start);
            for (long n = start; n < stop; n++)
                step(kind, Step<T>(history, steps, samples, width, t, n),
                     Step<T>(history, steps, samples, width, t + 1, n),
                     u + (n - start) * gates * width, bias, width);
        }
    });
}

// One step back of a sample: from the cotangents h and c of its states, those of what inputs (d) and
// hidden state (u, the same where d is null) contribute to its gates, in the architecture's order.
// In h it leaves what passes by the product u W.
//   RNN:  d = h (1 - y^2), or h where y > 0
//   LSTM: c += h o (1 - s^2); (i, f, g) = c (g i (1 - i), c' f (1 - f), i (1 - g^2));
//         o = h s o (1 - o); c := c f
//   GRU:  n = h (1 - z) (1 - n^2); r = n u_n r (1 - r); z = h (h' - n) z (1 - z); u_n = n r
template <typename T>
void step_back(int kind, Step<T> before, Step<T> now, T* h, T* c, T* d, T* u, long width) {
    typedef Vector<T> V;
    for (long j = 0; j < width; j += LANES<T>) {
        long count = width - j;
        auto block = [&](int b) { return load(now.at(b, j), count); };
        auto give = [&](T* to, int gate, V v) { store(to + gate * width + j, v, count); };
        V dh = load(h + j, count), passed = {};
        if (kind == RNN_TANH) give(u, 0, dh * (1 - block(0) * block(0)));
        if (kind == RNN_RELU) give(u, 0, block(0) > 0 ? dh : V{});
        if (kind == LSTM) {
            V o = block(0), i = block(1), f = block(2), g = block(3), shown = block(5);
            V dc = load(c + j, count) + dh * o * (1 - shown * shown);
            give(u, 0, dc * g * i * (1 - i));
            give(u, 1, dc * load(before.at(4, j), count) * f * (1 - f));
            give(u, 2, dc * i * (1 - g * g));
            give(u, 3, dh * shown * o * (1 - o));
            store(c + j, dc * f, count);
        }
        if (kind == GRU) {
            V r = block(0), z = block(1), n = block(2), dn = dh * (1 - z) * (1 - n * n);
            V of_r = dn * block(3) * r * (1 - r);
            V of_z = dh * (load(before.at(4, j), count) - n) * z * (1 - z);
            give(d, 0, of_r), give(d, 1, of_z), give(d, 2, dn);
            give(u, 0, of_r), give(u, 1, of_z), give(u, 2, dn * r);
            passed = dh * z;
        }
        store(h + j, passed, count);
    }
}

// h, c [V, N, H] are the cotangents of the last states and become those of the first; `shown`
// [V, T, N, H] may be null, as c; d and u are [V, T, N, gates * H], d null where it is u.
template <typename T>
void recur_back(int kind, const T* history, const T* weight, const T* shown, T* h, T* c, T* d, T* u,
                long rows, long steps, long samples, long width, int threads) {
    long gates = GATES[kind] * width;
    Packed<T> packed(weight, 1, gates, width);
    T* past = const_cast<T*>(history);  // which is only read
    for_parts(rows * samples, threads, [&](long start, long stop) {
        T* pulled = scratch<T>(2, (stop - start) * width);
        // rows of one stack lie beside each other at each step
        for (long v = start / samples; v * samples < stop; v++) {
            long from = std::max(start - v * samples, 0L), to = std::min(stop - v * samples, samples);
            for (long t = steps - 1; t >= 0; t--) {
                long at = (v * steps + t) * samples + from;
                for (long n = from; n < to; n++) {
                    long row = v * samples + n, place = at + n - from;
                    T* dh = h + row * width;
                    for (long j = 0; shown && j < width; j++) dh[j] += shown[place * width + j];
                    step_back(kind, Step<T>(past, steps, samples, width, t, n),
                              Step<T>(past, steps, samples, width, t + 1, n), dh,
                              c ? c + row * width : nullptr, d ? d + place * gates : nullptr,
                              u + place * gates, width);
                }
                packed(u + at * gates, gates, pulled, width, to - from);
                T* dh = h + (v * samples + from) * width;
                for (long j = 0; j < (to - from) * width; j++) dh[j] += pulled[j];
            }
        }
    });
}

}  // namespace kernels
