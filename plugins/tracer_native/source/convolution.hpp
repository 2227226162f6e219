// Convolutions of [N, *size, C] with [O, C/G, *kernel], direct: each tile of outputs is kept in
// registers while it is summed over the kernel and the channels. Three spatial axes; a convolution
// of fewer has first ones of size 1.
#pragma once
#include "exports.hpp"
#include "few.hpp"

namespace kernels {

// -- the convolution ------------------------------------------------------------------------------

inline bool are_joined(const Geometry& g) { return g.groups == 1 && g.dilation[2] == 1; }

// The positions of a convolution, and what they see of samples with this padding.
template <typename T> Grid<T> grid_of(const Geometry& g, const Padding& padding, bool joined) {
    Grid<T> grid;
    for (int a = 0; a < 3; a++) {
        grid.count[a] = g.output[a], grid.from[a] = g.stride[a] * padding.step(a);
        grid.to[a] = g.outputs * (a == 2 ? 1 : g.output[2] * (a == 1 ? 1 : g.output[1]));
        grid.reads[a] = g.stride[a];
    }
    grid.taps = taps_of(g, padding, joined, grid.run);
    return grid;
}

// y[n,p,o] = bias[o] + sum_kc w[o,c,k] x[n, stride p + dilation k - before, c]
template <typename T>
void convolve(const Geometry& g, const T* x, const T* w, const T* bias, T* y, bool rectified,
              int threads) {
    long each = g.inputs_each(), outputs = g.outputs_each(), taps = g.taps();
    Padding padding = seen(g);
    Spots spots;
    if (has_few(g.samples, g.windows(), g.output[2])) spots.add(grid_of<T>(g, padding, false), padding);
    bool few = !spots.spots.empty() && spots.pay();
    auto packs = few ? seen_by(spots, taps, each) : std::vector<char>(taps, 1);
    Panels<T> panels(g.groups, outputs, taps * each);
    T* packed = scratch<T>(0, panels.size());
    T* biases = scratch<T>(1, panels.count() * PANEL<T>);
    parallel(panels.count(), threads, [&](long unit) {
        long columns = panels.columns(unit), width = panels.width(unit);
        T *to = packed + panels.start(unit), *b = biases + unit * PANEL<T>;
        const T* from = w + panels.column(unit) * each * taps;
        for (long first = 0; first < each; first += LINES)
            for (long j = 0; j < width; j++)
                for (long c = first; c < std::min(each, first + LINES); c++)
                    for (long k = 0; k < taps; k++)
                        if (packs[k])
                            to[(k * each + c) * width + j] =
                                j < columns ? from[(j * each + c) * taps + k] : T(0);
        for (long j = 0; j < PANEL<T>; j++)
            b[j] = bias && j < columns ? bias[panels.column(unit) + j] : T(0);
    });
    long size = g.positions() * g.channels, made = g.windows() * g.outputs;
    if (few) {
        for_batches(x, size, g.samples, panels.count(), threads,
                    [&](const T* from, long stride, long n, long count, long start, long stop) {
                        for (long unit = start; unit < stop; unit++)
                            apply(spots, each, from + panels.group(unit) * each, stride,
                                  y + n * made + panels.column(unit), made, count,
                                  packed + panels.start(unit), biases + unit * PANEL<T>,
                                  panels.columns(unit), rectified);
                    });
        return;
    }
    auto grid = grid_of<T>(g, padding, are_joined(g));
    for_samples(g.samples, panels.count(), threads, [&](long n, long start, long stop) {
        const T* from = padding(x + n * size, 2);
        for (long unit = start; unit < stop; unit++)
            apply(grid, padding, from + panels.group(unit) * each,
                  y + n * made + panels.column(unit), packed + panels.start(unit),
                  biases + unit * PANEL<T>, panels.columns(unit), rectified);
    });
}

// -- its transpose by the input -------------------------------------------------------------------

// Along one axis, positions `start`, `start + stride`, ... that the same elements of the kernel
// reach: the i-th sees output `at[j] + i` by element `element[j]`.
struct Phase {
    long start, count;
    std::vector<long> element, at;
};

inline std::vector<Phase> phases_of(const Geometry& g, int a, long& before, long& reach) {
    std::vector<Phase> phases;
    before = 0, reach = 1;
    for (long start = 0; start < std::min(g.stride[a], g.size[a]); start++) {
        Phase phase{start, (g.size[a] - start + g.stride[a] - 1) / g.stride[a], {}, {}};
        for (long k = 0; k < g.kernel[a]; k++) {
            long distance = start + g.before[a] - k * g.dilation[a];
            long at = distance >= 0 ? distance / g.stride[a] : -(-distance / g.stride[a]);
            if (at * g.stride[a] != distance) continue;
            if (at + phase.count <= 0 || at >= g.output[a]) continue;  // it sees no output
            phase.element.push_back(k), phase.at.push_back(at);
            before = std::max(before, -at);
        }
        phases.push_back(phase);
    }
    for (auto& phase : phases)
        for (long at : phase.at) reach = std::max(reach, before + at + phase.count);
    return phases;
}

// x[n,i,c] = sum_okp w[o,c,k] y[n,p,o] over the (k, p) with i = stride p + dilation k - before
template <typename T>
void transpose(const Geometry& g, const T* y, const T* w, T* x, int threads) {
    long each = g.inputs_each(), outputs = g.outputs_each(), taps = g.taps();
    long before[3], reach[3];
    std::vector<Phase> phases[3];
    for (int a = 0; a < 3; a++) phases[a] = phases_of(g, a, before[a], reach[a]);
    Padding padding(g.output, before, reach, g.outputs);
    std::vector<Grid<T>> grids;
    for (auto& d : phases[0])
        for (auto& h : phases[1])
            for (auto& v : phases[2]) {
                Grid<T> grid;
                const Phase* three[] = {&d, &h, &v};
                for (int a = 0; a < 3; a++) {
                    long step = g.channels * (a == 2 ? 1 : g.size[2] * (a == 1 ? 1 : g.size[1]));
                    grid.count[a] = three[a]->count, grid.from[a] = padding.step(a);
                    grid.to[a] = g.stride[a] * step, grid.first_to += three[a]->start * step;
                }
                for (size_t i = 0; i < d.at.size(); i++)
                    for (size_t j = 0; j < h.at.size(); j++)
                        for (size_t k = 0; k < v.at.size(); k++) {
                            long depth = before[0] + d.at[i], height = before[1] + h.at[j];
                            long width = before[2] + v.at[k];
                            long from = depth * padding.step(0) + height * padding.step(1) +
                                        width * padding.step(2);
                            long row = (d.element[i] * g.kernel[1] + h.element[j]) * g.kernel[2];
                            row = (row + v.element[k]) * outputs;
                            int at[] = {(int)depth, (int)height, (int)width};
                            grid.taps.push_back({from, row, {at[0], at[1], at[2]}});
                        }
                grid.run = outputs;
                grids.push_back(grid);
            }
    Spots spots;
    if (has_few(g.samples, g.positions(), g.size[2]))
        for (const auto& grid : grids) spots.add(grid, padding);
    bool few = !spots.spots.empty() && spots.pay();
    auto packs = few ? seen_by(spots, taps, outputs) : std::vector<char>(taps, 1);
    Panels<T> panels(g.groups, each, taps * outputs);
    T* packed = scratch<T>(0, panels.size());
    parallel(panels.count(), threads, [&](long unit) {
        long columns = panels.columns(unit), width = panels.width(unit);
        T* to = packed + panels.start(unit);
        const T* from = w + panels.group(unit) * outputs * each * taps + panels.first(unit) * taps;
        for (long o = 0; o < outputs; o++)
            for (long k = 0; k < taps; k++)
                for (long j = 0; packs[k] && j < width; j++)
                    to[(k * outputs + o) * width + j] =
                        j < columns ? from[(o * each + j) * taps + k] : T(0);
    });
    long size = g.windows() * g.outputs, made = g.positions() * g.channels;
    const T* none = nullptr;
    if (few) {
        for_batches(y, size, g.samples, panels.count(), threads,
                    [&](const T* from, long stride, long n, long count, long start, long stop) {
                        for (long unit = start; unit < stop; unit++)
                            apply(spots, outputs, from + panels.group(unit) * outputs, stride,
                                  x + n * made + panels.column(unit), made, count,
                                  packed + panels.start(unit), none, panels.columns(unit), false);
                    });
        return;
    }
    for_samples(g.samples, panels.count(), threads, [&](long n, long start, long stop) {
        const T* from = padding(y + n * size, 2);
        for (const auto& grid : grids)
            for (long unit = start; unit < stop; unit++)
                apply(grid, padding, from + panels.group(unit) * outputs,
                      x + n * made + panels.column(unit), packed + panels.start(unit), none,
                      panels.columns(unit), false);
    });
}

// -- its transpose by the weight ------------------------------------------------------------------

constexpr long TOGETHER = 32 << 10;  // bytes of outputs that stay in a core's first cache

// What one sample adds to the panels of a weight, in units from `start` on: a unit is an element of
// the kernel (or a run of them) in a panel.
template <typename T> struct Correlation {
    const Geometry& g;
    Padding padding;
    Panels<T> panels;
    std::vector<Tap> taps;
    long run;

    Correlation(const Geometry& g)
        : g(g), padding(seen(g)), panels(g.groups, g.outputs_each(), g.taps() * g.inputs_each()) {
        taps = taps_of(g, padding, are_joined(g), run);
    }
    long units() const { return panels.count() * taps.size(); }

    // sums[k,c,o] += sum_p x[stride p + dilation k - before, c] y[p,o]
    void add(const T* x, const T* y, T* sums, long start, long stop) const {
        add_padded(padding(x, 2), y, sums, start, stop, 0);
    }

    // The same of what is padded; sums begin with the panels' element `origin`.
    void add_padded(const T* from, const T* y, T* sums, long start, long stop, long origin) const {
        visit(from, y, start, stop, TOGETHER, [=](auto& by, long r, long at, auto... seen) {
            by.correlates[r](seen..., sums + at - origin);
        });
    }

    // Whether `make` can sum what a sample adds in one piece.
    bool is_small() const {
        return g.output[0] == 1 && g.windows() * g.outputs * (long)sizeof(T) <= 2 * TOGETHER;
    }

    // made.add(i, s) the i-th vector s of what one sample adds.
    void make(const T* x, const T* y, Made<T>& made) const {
        visit(padding(x, 2), y, 0, units(), 2 * TOGETHER, [&](auto& by, long r, long at, auto... seen) {
            by.makes[r](seen..., at, made);
        });
    }

    void unpack(T* weight, T* sums, long parts, int threads) const {
        kernels::unpack(g, panels, std::vector<char>(g.taps(), 1), weight, sums, parts, threads);
    }

  private:
    // function(by, r, i, seen...) for all tiles of r rows in units from `start` on: their sums begin
    // with element i, `seen` are the positions of lines with `most` bytes of outputs.
    template <typename F>
    void visit(const T* from, const T* y, long start, long stop, long most, F function) const {
        long number = taps.size(), line = g.output[2];
        long x_row = g.stride[1] * padding.step(1), x_step = g.stride[2] * padding.step(2);
        for (long unit = start / number; unit * number < stop; unit++) {
            long columns = panels.columns(unit), width = panels.width(unit), step = g.outputs;
            const T* values = y + panels.column(unit);
            if (columns < width) values = gathered(values, columns, width), step = width;
            long first = std::max(start - unit * number, 0L);
            long last = std::min(stop - unit * number, number);
            long together = std::max(1L, most / (long)(line * g.outputs * sizeof(T)));
            long chunks = (g.output[1] + together - 1) / together;
            for (long d = 0; d < g.output[0]; d++)
                for (long chunk = 0; chunk < chunks; chunk++) {
                    long h = g.output[1] * chunk / chunks;
                    long rows = g.output[1] * (chunk + 1) / chunks - h;
                    const T* at = from + panels.group(unit) * g.inputs_each() +
                                  d * g.stride[0] * padding.step(0) +
                                  h * g.stride[1] * padding.step(1);
                    const T* part = values + (d * g.output[1] + h) * line * step;
                    for (long t = first; t < last; t++)
                        for_tiles<T>(run, width, [&](auto& by, long r, long a) {
                            function(by, r, panels.start(unit) + (taps[t].row + a) * width,
                                     at + taps[t].from + a, x_row, x_step, part, line * step, step,
                                     rows, line);
                        });
                }
        }
    }

    // Columns of y [P, O] in rows of `width`, zeros after them.
    const T* gathered(const T* y, long columns, long width) const {
        T* to = scratch<T>(3, g.windows() * width);
        for (long p = 0; p < g.windows(); p++)
            for (long j = 0; j < width; j++) to[p * width + j] = j < columns ? y[p * g.outputs + j] : 0;
        return to;
    }
};

// Among how many parts samples are divided, each with sums of its own that are added in order: as
// many for any number of threads, so that results are the same.
template <typename T> long parts_of(const Geometry& g, size_t size) {
    long most = std::max<long>(1, (4 << 20) / (size * sizeof(T)));
    return std::max<long>(1, std::min<long>({16, g.samples, most}));
}

// w[o,c,k] = sum_np x[n, stride p + dilation k - before, c] y[n,p,o]
template <typename T>
void correlate(const Geometry& g, const T* x, const T* y, T* w, int threads) {
    if (has_few(g.samples, g.windows(), g.output[2])) {
        FewCorrelation<T> few(g);
        if (few.pays()) return few(x, y, w, threads);
    }
    Correlation<T> correlation(g);
    long size = correlation.panels.size(), parts = parts_of<T>(g, size);
    long units = correlation.units(), shares = std::min(units, (16 + parts - 1) / parts);
    T* sums = scratch<T>(0, size * parts);
    parallel(parts, threads, [&](long i) { std::fill(sums + i * size, sums + (i + 1) * size, T(0)); });
    parallel(parts * shares, threads, [&](long i) {
        long part = i / shares, share = i % shares;
        for (long n = g.samples * part / parts; n < g.samples * (part + 1) / parts; n++)
            correlation.add(x + n * g.positions() * g.channels, y + n * g.windows() * g.outputs,
                            sums + part * size, units * share / shares, units * (share + 1) / shares);
    });
    correlation.unpack(w, sums, parts, threads);
}

// With w[n] what sample n adds to `correlate`: norms[n] = sum w[n]^2, squares[o,c,k] = sum_n w[n]^2,
// total = sum_n w[n], each where it is given.
template <typename T>
void correlate_samples(const Geometry& g, const T* x, const T* y, T* norms, T* squares, T* total,
                       int threads) {
    Correlation<T> correlation(g);
    long size = correlation.panels.size(), parts = parts_of<T>(g, size);
    T* sums[] = {squares ? scratch<T>(0, size * parts) : nullptr,
                 total ? scratch<T>(1, size * parts) : nullptr};
    if (!squares && !total) parts = g.samples;
    parallel(parts, threads, [&](long part) {
        for (T* sum : sums)
            if (sum) std::fill(sum + part * size, sum + (part + 1) * size, T(0));
        Made<T> made{total ? sums[1] + part * size : nullptr,
                     squares ? sums[0] + part * size : nullptr, {}};
        for (long n = g.samples * part / parts; n < g.samples * (part + 1) / parts; n++) {
            const T* from = x + n * g.positions() * g.channels;
            const T* values = y + n * g.windows() * g.outputs;
            for (auto& chain : made.norm) chain = Vector<T>{};
            if (correlation.is_small()) correlation.make(from, values, made);
            else {
                T* own = scratch<T>(4, size);
                std::fill(own, own + size, T(0));
                correlation.add(from, values, own, 0, correlation.units());
                // the rest of a panel that is half as wide is 0
                for (long i = 0; i < size; i += PANEL<T>)
                    made.template add<2>(i, {load(own + i), load(own + i + LANES<T>)});
            }
            if (norms) norms[n] = made.norm_of_all();
        }
    });
    if (squares) correlation.unpack(squares, sums[0], parts, threads);
    if (total) correlation.unpack(total, sums[1], parts, threads);
}

// each[n,k,c,o], what sample n adds to `correlate`, and total[o,c,k], its result. Panel by panel, so
// that a core's cache holds what samples are added up in. No cache holds `each`: it goes past them
// where its rows are whole vectors.
template <typename T>
void correlate_each(const Geometry& g, const T* x, const T* y, T* each, T* total, int threads) {
    Correlation<T> correlation(g);
    const Panels<T>& panels = correlation.panels;
    long size = panels.size(), parts = parts_of<T>(g, size), units = correlation.taps.size();
    T* sums = scratch<T>(0, size * parts);
    bool whole = (uintptr_t)each % BYTES == 0 && g.outputs_each() * sizeof(T) % BYTES == 0;
    parallel(parts, threads, [&](long part) {
        T* own = scratch<T>(4, panels.depth * PANEL<T>);
        for (long unit = 0; unit < panels.count(); unit++) {
            long columns = panels.columns(unit), width = panels.width(unit);
            T* sum = sums + part * size + panels.start(unit);
            std::fill(sum, sum + panels.depth * PANEL<T>, T(0));
            for (long n = g.samples * part / parts; n < g.samples * (part + 1) / parts; n++) {
                const T* from = correlation.padding(x + n * g.positions() * g.channels, 2);
                std::fill(own, own + panels.depth * width, T(0));
                correlation.add_padded(from, y + n * g.windows() * g.outputs, own, unit * units,
                                       (unit + 1) * units, panels.start(unit));
                T* to = each + n * g.weights() + panels.column(unit);
                for (long r = 0; r < panels.depth; r++, to += g.outputs)
                    for (long j = 0, at = r * width; j < width; j += LANES<T>, at += LANES<T>) {
                        Vector<T> value = load(own + at);
                        store(sum + at, load(sum + at) + value);
                        if (whole) stream(to + j, value);
                        else store(to + j, value, columns - j);
                    }
            }
        }
        streamed();
    });
    correlation.unpack(total, sums, parts, threads);
}

EXPORT(convolve)
EXPORT(transpose)
EXPORT(correlate)
EXPORT(correlate_samples)
EXPORT(correlate_each)

}  // namespace kernels
