// The loops of recurrent layers over time, forth and back, by some samples at once: a sample
// needs no other, so that values do not depend on how they are divided.
//
// A history [blocks, 1 + T, N, H] has before its first step the first states. First of its gates
// are those that are logistic, whose sums are halved, as their weights are packed: they are
// tanh(s / 2) / 2 + 1 / 2.
#pragma once
#include "exports.hpp"
#include "tiles.hpp"

namespace kernels {

enum Recurrence { RNN_TANH, RNN_RELU, LSTM, GRU };

// By architecture: how many gates there are and how many of them are logistic, which of the
// weights' each is, and the block of the hidden state.
constexpr int GATES[] = {1, 1, 4, 3}, HALVED[] = {0, 0, 3, 2}, HIDDEN[] = {0, 0, 6, 4};
constexpr int ORDER[][4] = {{0}, {0}, {3, 0, 1, 2}, {0, 1, 2}};

// Rows of steps and samples, each in one piece, that lie anywhere.
template <typename T> struct Sequence {
    T* first;
    long step, sample;

    T* at(long t, long n) const { return first + t * step + n * sample; }
};

// Products of rows with one matrix [depth, columns * blocks], packed in panels of each block.
template <typename T> class Packed {
    Panels<T> panels;
    T *memory, *biases;

    Packed(long blocks, long columns, long depth, int slot)
        : panels(blocks, columns, depth), memory(scratch<T>(slot, panels.size() + room())),
          biases(memory + panels.size()) {}
    size_t room() const { return panels.count() * PANEL<T>; }

    // `entry(block, column, k)` in panels
    template <typename F> void pack(int threads, F entry) {
        parallel(panels.count(), threads, [&](long unit) {
            long width = panels.width(unit), columns = panels.columns(unit);
            long block = panels.group(unit), first = panels.first(unit);
            T* to = memory + panels.start(unit);
            for (long j = 0; j < width; j++)
                for (long k = 0; k < panels.depth; k++)
                    to[k * width + j] = j < columns ? entry(block, first + j, k) : T(0);
        });
    }

  public:
    // What gates add up, of `weight` [gates * width, depth] and `bias`, in the order of a history.
    static Packed gates(int slot, int kind, const T* weight, const T* bias, long depth, long width,
                        int threads) {
        Packed made(GATES[kind], width, depth, slot);
        auto scale = [=](long gate) { return gate < HALVED[kind] ? T(0.5) : T(1); };
        made.pack(threads, [=](long gate, long j, long k) {
            return scale(gate) * weight[(ORDER[kind][gate] * width + j) * depth + k];
        });
        auto& panels = made.panels;
        for (long unit = 0; unit < panels.count(); unit++)
            for (long j = 0; j < PANEL<T>; j++) {
                long gate = panels.group(unit), at = ORDER[kind][gate] * width + panels.first(unit);
                bool is_there = bias && j < panels.columns(unit);
                made.biases[unit * PANEL<T> + j] = is_there ? scale(gate) * bias[at + j] : T(0);
            }
        return made;
    }
    // The matrix `weight` [depth, columns] itself.
    static Packed matrix(int slot, const T* weight, long depth, long columns, int threads) {
        Packed made(1, columns, depth, slot);
        made.pack(threads, [=](long, long j, long k) { return weight[k * columns + j]; });
        std::fill(made.biases, made.biases + made.room(), T(0));
        return made;
    }

    // out[t,n] = bias + x[t,n] weight
    void operator()(Sequence<const T> x, Sequence<T> out, long steps, long samples) const {
        long tiles = (samples + ROWS - 1) / ROWS;
        Tap tap{0, 0, {0, 0, 0}};
        for (long unit = 0; unit < panels.count(); unit++)
            for (long t = 0; t < steps; t++)
                for (long i = 0; i < tiles; i++) {
                    long start = samples * i / tiles, stop = samples * (i + 1) / tiles;
                    Tile<T> tile;
                    for (long n = start; n < stop; n++) {
                        tile.from[n - start] = x.at(t, n);
                        tile.to[n - start] = out.at(t, n) + panels.column(unit);
                    }
                    multiply(stop - start, tile, &tap, 1, panels.depth,
                             memory + panels.start(unit), biases + unit * PANEL<T>,
                             panels.columns(unit), false);
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

constexpr long TOGETHER_ROWS = 64;  // of products whose factors stay in a core's cache

// Among how many parts samples are divided, an even number: as many as one tile has rows in each,
// or, where weights do not stay in a core's cache and are read anew at each step, several tiles.
inline long parts_of_samples(long samples, size_t bytes) {
    long each = ROWS * (bytes > (512 << 10) ? 4 : 1);
    return samples < 8 ? 1 : 2 * ((samples + 2 * each - 1) / (2 * each));
}

// One step of a sample, from what inputs and hidden state contribute to the gates, e and u:
//   RNN:  h = f(e + u)
//   LSTM: o, i, f, g = gates(e + u); c = f c' + i g; s = tanh(c); h = o s
//   GRU:  r, z = gates(e + u); n = tanh(e_n + r u_n); h = (h' - n) z + n; u_n is kept
template <typename T>
void step(int kind, Step<T> before, Step<T> now, const T* e, const T* u, long width) {
    typedef Vector<T> V;
    for (long j = 0; j < width; j += LANES<T>) {
        long count = width - j;
        auto of = [&](const T* row, int gate) { return load(row + gate * width + j, count); };
        auto entered = [&](int gate) { return of(e, gate) + of(u, gate); };
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
            V r = half(entered(0)), z = half(entered(1)), hidden = of(u, 2);
            V n = hyperbolic(of(e, 2) + r * hidden);
            keep(0, r), keep(1, z), keep(2, n), keep(3, hidden);
            keep(4, (load(before.at(4, j), count) - n) * z + n);
        }
    }
}

// Complete a history, of inputs `x` [T, N, I].
template <typename T>
void recur(int kind, T* history, Sequence<const T> x, const T* weight_ih, const T* bias_ih,
           const T* weight_hh, const T* bias_hh, long steps, long samples, long inputs, long width,
           int threads) {
    long gates = GATES[kind] * width, parts;
    parts = parts_of_samples(samples, gates * (inputs + width) * sizeof(T));
    auto of_x = Packed<T>::gates(0, kind, weight_ih, bias_ih, inputs, width, threads);
    auto of_h = Packed<T>::gates(1, kind, weight_hh, bias_hh, width, width, threads);
    parallel(parts, threads, [&](long part) {
        long start = samples * part / parts, count = samples * (part + 1) / parts - start;
        long together = std::max(1L, TOGETHER_ROWS / std::max(1L, count));
        T *e = scratch<T>(2, together * count * gates), *u = scratch<T>(3, count * gates);
        for (long t = 0; t < steps; t++) {
            if (t % together == 0)
                of_x({x.at(t, start), x.step, x.sample}, {e, count * gates, gates},
                     std::min(together, steps - t), count);
            Step<T> first(history, steps, samples, width, t, start);
            of_h({first.at(HIDDEN[kind], 0), 0, width}, {u, 0, gates}, 1, count);
            for (long n = 0; n < count; n++)
                step(kind, Step<T>(history, steps, samples, width, t, start + n),
                     Step<T>(history, steps, samples, width, t + 1, start + n),
                     e + (t % together * count + n) * gates, u + n * gates, width);
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
void step_back(int kind, Step<const T> before, Step<const T> now, T* h, T* c, T* d, T* u,
               long width) {
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

// A history, and how its steps are gone back through.
template <typename T> struct Past {
    int kind;
    const T* history;
    long steps, samples, width;
    const Packed<T>& packed;  // the weight of the hidden state

    // Samples [start, start + count) at step t, whose cotangents h and c begin there, as `shown`
    // (or null) does and d (or null) and u; `pulled` has room for as many states.
    void back(long t, long start, long count, T* h, T* c, Sequence<const T> shown, T* d, T* u,
              long row, T* pulled) const {
        for (long n = 0; n < count; n++) {
            T* dh = h + n * width;
            const T* more = shown.first ? shown.at(t, n) : nullptr;
            for (long j = 0; more && j < width; j++) dh[j] += more[j];
            step_back(kind, Step<const T>(history, steps, samples, width, t, start + n),
                      Step<const T>(history, steps, samples, width, t + 1, start + n), dh,
                      c ? c + n * width : nullptr, d ? d + n * row : nullptr, u + n * row, width);
        }
        packed({u, 0, row}, {pulled, 0, width}, 1, count);
        for (long j = 0; j < count * width; j++) h[j] += pulled[j];
    }
};

// h, c [V, N, H] are the cotangents of the last states and become those of the first; `shown`
// [V, T, N, H] may be null, as c; d and u are [V, T, N, gates * H], d null where it is u.
template <typename T>
void recur_back(int kind, const T* history, const T* weight, const T* shown, T* h, T* c, T* d, T* u,
                long rows, long steps, long samples, long width, int threads) {
    long gates = GATES[kind] * width, parts = parts_of_samples(samples, gates * width * sizeof(T));
    auto packed = Packed<T>::matrix(0, weight, gates, width, threads);
    Past<T> past{kind, history, steps, samples, width, packed};
    parallel(rows * parts, threads, [&](long i) {
        long v = i / parts, part = i % parts;
        long start = samples * part / parts, count = samples * (part + 1) / parts - start;
        T *pulled = scratch<T>(2, count * width), *dh = h + (v * samples + start) * width;
        T* dc = c ? c + (v * samples + start) * width : nullptr;
        const T* more = shown ? shown + (v * steps * samples + start) * width : nullptr;
        for (long t = steps - 1; t >= 0; t--) {
            long at = ((v * steps + t) * samples + start) * gates;
            past.back(t, start, count, dh, dc, {more, samples * width, width}, d ? d + at : nullptr,
                      u + at, gates, pulled);
        }
    });
}

// -- gradients ------------------------------------------------------------------------------------

// What rows x [T, N, I] and d [T, N, O] give a weight [O, I] and a bias: sum_tn d[t,n,o] x[t,n,i],
// sum_tn d[t,n,o]. Rows of d have zeros up to whole panels; each part has sums of its own.
template <typename T> struct Summed {
    Panels<T> panels;
    long each;  // of a part
    T* memory;

    Summed(int slot, long parts, long outputs, long inputs)
        : panels(1, outputs, inputs), each(panels.size() + panels.count() * PANEL<T>),
          memory(scratch<T>(slot, parts * each)) {}
    static long row(long outputs) { return (outputs + PANEL<T> - 1) / PANEL<T> * PANEL<T>; }
    void begin(long part) const { std::fill(sums(part), sums(part) + each, T(0)); }

    void add(long part, Sequence<const T> x, Sequence<const T> d, long steps, long count) const {
        long inputs = panels.depth, tiles = (inputs + ROWS - 1) / ROWS;
        T* biases = sums(part) + panels.size();
        for (long t = 0; t < steps; t++)
            for (long n = 0; n < count; n++) {
                const T* from = d.at(t, n);
                for (long j = 0; j < panels.count() * PANEL<T>; j++) biases[j] += from[j];
            }
        for (long unit = 0; unit < panels.count(); unit++) {
            long width = panels.width(unit);
            auto& by = width > LANES<T> ? by_rows<T, 2>.correlates : by_rows<T, 1>.correlates;
            T* to = sums(part) + panels.start(unit);
            for (long q = 0; q < tiles; q++) {
                long a = inputs * q / tiles, b = inputs * (q + 1) / tiles;
                by[b - a](x.first + a, x.step, x.sample, d.first + panels.column(unit), d.step,
                          d.sample, steps, count, to + a * width);
            }
        }
    }
    // The sums of all parts, in their order; `weight` and `bias` may be null.
    void give(T* weight, T* bias, long parts, int threads) const {
        long inputs = panels.depth;
        parallel(weight || bias ? panels.count() : 0, threads, [&](long unit) {
            long width = panels.width(unit), columns = panels.columns(unit);
            long size = inputs * width, first = panels.column(unit);
            T *whole = memory + panels.start(unit), *row = memory + panels.size() + first;
            for (long part = 1; part < parts; part++) {
                for (long i = 0; i < size; i++) whole[i] += whole[part * each + i];
                for (long j = 0; j < columns; j++) row[j] += row[part * each + j];
            }
            for (long j = 0; weight && j < columns; j++)
                for (long k = 0; k < inputs; k++)
                    weight[(first + j) * inputs + k] = whole[k * width + j];
            for (long j = 0; bias && j < columns; j++) bias[first + j] = row[j];
        });
    }

  private:
    T* sums(long part) const { return memory + part * each; }
};

constexpr long PARTS_OF_SUMS = 16;

// The gradients of one row: what `recur_back` gives to the first states, with what d and u give to
// inputs (`data` [T, N, I]), weights and biases, those of which are null that are not asked for.
template <typename T>
void recur_gradients(int kind, const T* history, Sequence<const T> x, const T* weight_ih,
                     const T* weight_hh, Sequence<const T> shown, T* h, T* c, Sequence<T> data,
                     T* of_weight_ih, T* of_bias_ih, T* of_weight_hh, T* of_bias_hh, long steps,
                     long samples, long inputs, long width, int threads) {
    long gates = GATES[kind] * width, row = Summed<T>::row(gates);
    long parts = parts_of_samples(samples, gates * (inputs + width) * sizeof(T));
    long sums = std::min(parts, PARTS_OF_SUMS);
    bool apart = kind == GRU, by_x = of_weight_ih || of_bias_ih, by_h = of_weight_hh || of_bias_hh;
    auto packed = Packed<T>::matrix(0, weight_hh, gates, width, threads);
    auto packed_x = Packed<T>::matrix(1, weight_ih, data.first ? gates : 0, inputs, threads);
    Past<T> past{kind, history, steps, samples, width, packed};
    Summed<T> of_x(4, sums, gates, inputs), of_h(5, sums, gates, width);
    parallel(sums, threads, [&](long sum) {
        of_x.begin(sum), of_h.begin(sum);
        for (long part = parts * sum / sums; part < parts * (sum + 1) / sums; part++) {
            long start = samples * part / parts, count = samples * (part + 1) / parts - start;
            long together = std::max(1L, 2 * TOGETHER_ROWS / std::max(1L, count));
            long size = together * count * row;
            T *u = scratch<T>(2, (apart ? 2 : 1) * size), *d = apart ? u + size : nullptr;
            T *pulled = scratch<T>(3, count * width), *dh = h + start * width;
            std::fill(u, u + (apart ? 2 : 1) * size, T(0));
            Sequence<const T> more{shown.first ? shown.at(0, start) : nullptr, shown.step,
                                   shown.sample};
            for (long stop = steps; stop > 0; stop -= together) {
                long from = std::max(0L, stop - together), some = stop - from;
                for (long t = stop - 1; t >= from; t--) {
                    long at = (t - from) * count * row;
                    past.back(t, start, count, dh, c ? c + start * width : nullptr, more,
                              d ? d + at : nullptr, u + at, row, pulled);
                }
                Sequence<const T> of_u{u, count * row, row}, of_d{d ? d : u, count * row, row};
                Step<const T> first(history, steps, samples, width, from, start);
                if (by_x) of_x.add(sum, {x.at(from, start), x.step, x.sample}, of_d, some, count);
                if (by_h)
                    of_h.add(sum, {first.at(HIDDEN[kind], 0), samples * width, width}, of_u, some,
                             count);
                if (data.first)
                    packed_x(of_d, {data.at(from, start), data.step, data.sample}, some, count);
            }
        }
    });
    of_x.give(of_weight_ih, of_bias_ih, sums, threads);
    of_h.give(of_weight_hh, of_bias_hh, sums, threads);
}

EXPORT(recur)
EXPORT(recur_back)
EXPORT(recur_gradients)

}  // namespace kernels
