// Convolutions of [N, *size, C] with [O, C/G, *kernel], direct: each tile of outputs is kept in
// registers while it is summed over the kernel and the channels. Three spatial axes; a convolution
// of fewer has first ones of size 1.
//
// Weights are packed in panels: for each group and each PANEL of its results, a matrix whose rows
// are the kernel's elements and the channels that are summed over.
#pragma once
#include <vector>

#include "threads.hpp"
#include "vectors.hpp"

namespace kernels {

struct Geometry {
    int64_t samples, groups, channels, outputs;  // the latter two of all groups
    int64_t size[3], kernel[3], stride[3], dilation[3], before[3], output[3];

    long inputs_each() const { return channels / groups; }
    long outputs_each() const { return outputs / groups; }
    long taps() const { return kernel[0] * kernel[1] * kernel[2]; }
    long positions() const { return size[0] * size[1] * size[2]; }
    long windows() const { return output[0] * output[1] * output[2]; }
    long weights() const { return outputs * inputs_each() * taps(); }
};

template <typename T> constexpr int PANEL = 2 * LANES<T>;

// Panels of `each` results in `groups`, each of `depth` rows.
template <typename T> struct Panels {
    long groups, each, depth, number;  // of a group

    Panels(long groups, long each, long depth)
        : groups(groups), each(each), depth(depth), number((each + PANEL<T> - 1) / PANEL<T>) {}
    long count() const { return groups * number; }
    long group(long unit) const { return unit / number; }
    long first(long unit) const { return unit % number * PANEL<T>; }  // in the group
    long column(long unit) const { return group(unit) * each + first(unit); }
    long columns(long unit) const { return std::min<long>(PANEL<T>, each - first(unit)); }
    // the last one may be half as wide
    long width(long unit) const { return columns(unit) <= LANES<T> ? LANES<T> : PANEL<T>; }
    long start(long unit) const { return unit * depth * PANEL<T>; }
    size_t size() const { return (size_t)count() * depth * PANEL<T>; }
};

// -- tiles ----------------------------------------------------------------------------------------

// Where the elements begin that an element of the kernel multiplies, and its row of a panel.
struct Tap {
    long from, row;
    int depth, height;  // the rows of the padded sample that it reads at the first position
};

template <typename T> struct Tile {
    const T* from[ROWS];
    T* to[ROWS];
};

// to[r][j] = bias[j] + sum_tc from[r][tap_t + c] panel[row_t + c][j], the maximum of it and 0 if
// rectified.
template <typename T, int R, int V>
void multiply(const Tile<T>& tile, const Tap* taps, long count, long run, const T* panel,
              const T* bias, long columns, bool rectified) {
    Vector<T> sums[R][V];
    for (int v = 0; v < V; v++) {
        Vector<T> first = bias ? load(bias + v * LANES<T>) : Vector<T>{};
        for (int r = 0; r < R; r++) sums[r][v] = first;
    }
    for (long t = 0; t < count; t++) {
        const T *from[R], *row = panel + taps[t].row * V * LANES<T>;
        for (int r = 0; r < R; r++) from[r] = tile.from[r] + taps[t].from;
        for (long c = 0; c < run; c++, row += V * LANES<T>) {
            Vector<T> factors[V];
            for (int v = 0; v < V; v++) factors[v] = load(row + v * LANES<T>);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                Vector<T> x = all<T>(from[r][c]);
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) sums[r][v] += x * factors[v];
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            Vector<T> sum = sums[r][v];
            if (rectified) sum = sum <= 0 ? Vector<T>{} : sum;
            store(tile.to[r] + v * LANES<T>, sum, columns - v * LANES<T>);
        }
}

// sums[r][j] += sum_p x[p][r] y[p][j], p over `rows` rows of `width` positions.
template <typename T, int R, int V>
void correlate(const T* x, long x_row, long x_step, const T* y, long y_row, long y_step, long rows,
               long width, T* sums) {
    Vector<T> own[R][V] = {};
    for (long i = 0; i < rows; i++) {
        const T *a = x + i * x_row, *b = y + i * y_row;
        for (long j = 0; j < width; j++, a += x_step, b += y_step) {
            Vector<T> factors[V];
            for (int v = 0; v < V; v++) factors[v] = load(b + v * LANES<T>);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                Vector<T> value = all<T>(a[r]);
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) own[r][v] += value * factors[v];
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++, sums += LANES<T>) store(sums, load(sums) + own[r][v]);
}

// The functions above by the number of rows.
template <typename T, int V> struct ByRows {
    decltype(&multiply<T, 1, V>) multiplies[ROWS + 1] = {};
    decltype(&correlate<T, 1, V>) correlates[ROWS + 1] = {};

    ByRows() { add<ROWS>(); }
    template <int R> void add() {
        multiplies[R] = multiply<T, R, V>, correlates[R] = correlate<T, R, V>;
        if constexpr (R > 1) add<R - 1>();
    }
};
template <typename T, int V> const ByRows<T, V> by_rows;

template <typename T>
void multiply(long rows, const Tile<T>& tile, const Tap* taps, long count, long run, const T* panel,
              const T* bias, long columns, bool rectified) {
    if (columns > LANES<T>)
        by_rows<T, 2>.multiplies[rows](tile, taps, count, run, panel, bias, columns, rectified);
    else by_rows<T, 1>.multiplies[rows](tile, taps, count, run, panel, bias, columns, rectified);
}

// -- padding --------------------------------------------------------------------------------------

// A sample [*size, C] within zeros [*whole, C]; itself where nothing is to be added.
struct Padding {
    long size[3], before[3], whole[3], channels;
    bool none = true;

    Padding(const int64_t* sizes, const long* first, const long* reach, long channels)
        : channels(channels) {
        for (int a = 0; a < 3; a++) none = none && first[a] == 0 && reach[a] <= sizes[a];
        for (int a = 0; a < 3; a++) {
            size[a] = sizes[a], before[a] = first[a];
            whole[a] = none ? sizes[a] : std::max<long>(reach[a], 1);
        }
    }
    long step(int axis) const {
        return axis == 2 ? channels : whole[2] * (axis == 1 ? 1 : whole[1]) * channels;
    }
    template <typename T> const T* operator()(const T* x, int slot) const {
        if (none) return x;
        T* out = scratch<T>(slot, whole[0] * step(0));
        long inside = std::max<long>(0, std::min(size[2], whole[2] - before[2]));
        long left = std::min(before[2], whole[2]) * channels, kept = inside * channels;
        long right = whole[2] * channels - left - kept;
        for (long d = 0; d < whole[0]; d++)
            for (long h = 0; h < whole[1]; h++) {
                T* row = out + d * step(0) + h * step(1);
                long from[2] = {d - before[0], h - before[1]};
                if (from[0] < 0 || from[0] >= size[0] || from[1] < 0 || from[1] >= size[1]) {
                    std::fill(row, row + step(1), T(0));
                    continue;
                }
                const T* source = x + (from[0] * size[1] + from[1]) * size[2] * channels;
                std::fill(row, row + left, T(0));
                memcpy(row + left, source, kept * sizeof(T));
                std::fill(row + left + kept, row + left + kept + right, T(0));
            }
        return out;
    }
};

// What the windows see of an input.
inline Padding seen(const Geometry& g) {
    long before[3], reach[3];
    for (int a = 0; a < 3; a++) {
        before[a] = g.before[a];
        reach[a] = (g.output[a] - 1) * g.stride[a] + (g.kernel[a] - 1) * g.dilation[a] + 1;
    }
    return Padding(g.size, before, reach, g.channels);
}

// -- positions ------------------------------------------------------------------------------------

// Positions [count] that are summed over the same elements of the kernel.
template <typename T> struct Grid {
    long count[3], from[3], to[3];  // and the steps between them, in elements
    long first_to = 0, rows[2] = {1, 1};  // and in rows of the padded sample
    std::vector<Tap> taps;
    long run;
};

// All positions of a grid in one panel. Where lines of positions are long, elements of the kernel
// that see nothing but zeros are left out.
template <typename T>
void apply(const Grid<T>& grid, const Padding& padding, const T* from, T* to, const T* panel,
           const T* bias, long columns, bool rectified) {
    Tile<T> tile;
    auto place = [&](int r, long d, long h, long w) {
        tile.from[r] = from + d * grid.from[0] + h * grid.from[1] + w * grid.from[2];
        tile.to[r] = to + grid.first_to + d * grid.to[0] + h * grid.to[1] + w * grid.to[2];
    };
    auto& taps = grid.taps;
    long lines = grid.count[0] * grid.count[1], width = grid.count[2];
    if (width < ROWS - 2) {
        long number = lines * width, tiles = (number + ROWS - 1) / ROWS;
        for (long t = 0; t < tiles; t++) {
            long start = number * t / tiles, stop = number * (t + 1) / tiles;
            for (long i = start; i < stop; i++)
                place(i - start, i / width / grid.count[1], i / width % grid.count[1], i % width);
            multiply(stop - start, tile, taps.data(), taps.size(), grid.run, panel, bias, columns,
                     rectified);
        }
        return;
    }
    Tap* visible = scratch<Tap>(7, taps.size());
    for (long line = 0; line < lines; line++) {
        long d = line / grid.count[1], h = line % grid.count[1], number = 0;
        long at[2] = {d * grid.rows[0] - padding.before[0], h * grid.rows[1] - padding.before[1]};
        for (const Tap& tap : taps) {
            long depth = at[0] + tap.depth, height = at[1] + tap.height;
            bool inside = depth >= 0 && depth < padding.size[0];
            if (inside && height >= 0 && height < padding.size[1]) visible[number++] = tap;
        }
        long tiles = (width + ROWS - 1) / ROWS;
        for (long t = 0; t < tiles; t++) {
            long start = width * t / tiles, stop = width * (t + 1) / tiles;
            for (long w = start; w < stop; w++) place(w - start, d, h, w);
            multiply(stop - start, tile, visible, number, grid.run, panel, bias, columns, rectified);
        }
    }
}

// `function(n, start, stop)` for all samples, each with all units of work or a share of them.
template <typename F> void for_samples(long samples, long units, int threads, F function) {
    long shares = samples >= 4 * threads ? 1 : (4 * threads + samples - 1) / std::max(1L, samples);
    shares = std::max(1L, std::min(shares, units));
    parallel(samples * shares, threads, [=](long i) {
        long share = i % shares;
        function(i / shares, units * share / shares, units * (share + 1) / shares);
    });
}

// -- the convolution ------------------------------------------------------------------------------

// Elements of the kernel, those of its last axis in one run where they lie beside each other.
inline std::vector<Tap> taps_of(const Geometry& g, const Padding& p, long& run) {
    bool joined = g.groups == 1 && g.dilation[2] == 1;
    long last = joined ? 1 : g.kernel[2], each = g.inputs_each();
    std::vector<Tap> taps;
    for (long d = 0; d < g.kernel[0]; d++)
        for (long h = 0; h < g.kernel[1]; h++)
            for (long w = 0; w < last; w++) {
                long depth = d * g.dilation[0], height = h * g.dilation[1];
                long from = depth * p.step(0) + height * p.step(1) + w * g.dilation[2] * p.step(2);
                long number = (d * g.kernel[1] + h) * g.kernel[2] + w;
                taps.push_back({from, number * each, (int)depth, (int)height});
            }
    run = joined ? g.kernel[2] * each : each;
    return taps;
}

// y[n,p,o] = bias[o] + sum_kc w[o,c,k] x[n, stride p + dilation k - before, c]
template <typename T>
void convolve(const Geometry& g, const T* x, const T* w, const T* bias, T* y, bool rectified,
              int threads) {
    long each = g.inputs_each(), outputs = g.outputs_each(), taps = g.taps();
    Panels<T> panels(g.groups, outputs, taps * each);
    T* packed = scratch<T>(0, panels.size());
    T* biases = scratch<T>(1, panels.count() * PANEL<T>);
    parallel(panels.count(), threads, [&](long unit) {
        long columns = panels.columns(unit), width = panels.width(unit);
        T *to = packed + panels.start(unit), *b = biases + unit * PANEL<T>;
        const T* from = w + panels.column(unit) * each * taps;
        for (long c = 0; c < each; c++)
            for (long k = 0; k < taps; k++)
                for (long j = 0; j < width; j++)
                    to[(k * each + c) * width + j] =
                        j < columns ? from[(j * each + c) * taps + k] : T(0);
        for (long j = 0; j < PANEL<T>; j++)
            b[j] = bias && j < columns ? bias[panels.column(unit) + j] : T(0);
    });
    Padding padding = seen(g);
    Grid<T> grid;
    for (int a = 0; a < 3; a++) {
        grid.count[a] = g.output[a], grid.from[a] = g.stride[a] * padding.step(a);
        grid.to[a] = g.outputs * (a == 2 ? 1 : g.output[2] * (a == 1 ? 1 : g.output[1]));
    }
    grid.rows[0] = g.stride[0], grid.rows[1] = g.stride[1];
    grid.taps = taps_of(g, padding, grid.run);
    for_samples(g.samples, panels.count(), threads, [&](long n, long start, long stop) {
        const T* from = padding(x + n * g.positions() * g.channels, 2);
        T* to = y + n * g.windows() * g.outputs;
        for (long unit = start; unit < stop; unit++)
            apply(grid, padding, from + panels.group(unit) * each, to + panels.column(unit),
                  packed + panels.start(unit), biases + unit * PANEL<T>, panels.columns(unit),
                  rectified);
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
    Panels<T> panels(g.groups, each, taps * outputs);
    T* packed = scratch<T>(0, panels.size());
    parallel(panels.count(), threads, [&](long unit) {
        long columns = panels.columns(unit), width = panels.width(unit);
        T* to = packed + panels.start(unit);
        const T* from = w + panels.group(unit) * outputs * each * taps + panels.first(unit) * taps;
        for (long o = 0; o < outputs; o++)
            for (long k = 0; k < taps; k++)
                for (long j = 0; j < width; j++)
                    to[(k * outputs + o) * width + j] =
                        j < columns ? from[(o * each + j) * taps + k] : T(0);
    });
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
                            long from = depth * padding.step(0) + height * padding.step(1) +
                                        (before[2] + v.at[k]) * padding.step(2);
                            long row = (d.element[i] * g.kernel[1] + h.element[j]) * g.kernel[2];
                            row = (row + v.element[k]) * outputs;
                            grid.taps.push_back({from, row, (int)depth, (int)height});
                        }
                grid.run = outputs;
                grids.push_back(grid);
            }
    for_samples(g.samples, panels.count(), threads, [&](long n, long start, long stop) {
        const T* from = padding(y + n * g.windows() * g.outputs, 2);
        T* to = x + n * g.positions() * g.channels;
        for (const auto& grid : grids)
            for (long unit = start; unit < stop; unit++)
                apply(grid, padding, from + panels.group(unit) * outputs, to + panels.column(unit),
                      packed + panels.start(unit), (const T*)nullptr, panels.columns(unit), false);
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
        taps = taps_of(g, padding, run);
    }
    long units() const { return panels.count() * taps.size(); }

    // sums[k,c,o] += sum_p x[stride p + dilation k - before, c] y[p,o]
    void add(const T* x, const T* y, T* sums, long start, long stop) const {
        add_padded(padding(x, 2), y, sums, start, stop, 0);
    }

    // The same of what is padded; sums begin with the panels' element `origin`.
    void add_padded(const T* from, const T* y, T* sums, long start, long stop, long origin) const {
        long number = taps.size(), line = g.output[2];
        for (long unit = start / number; unit * number < stop; unit++) {
            long columns = panels.columns(unit), width = panels.width(unit), step = g.outputs;
            const T* values = y + panels.column(unit);
            if (columns < width) values = gathered(values, columns, width), step = width;
            long first = std::max(start - unit * number, 0L);
            long last = std::min(stop - unit * number, number);
            long together = std::max(1L, TOGETHER / (long)(line * g.outputs * sizeof(T)));
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
                        tiles(at + taps[t].from, part, step, rows, width,
                              sums + panels.start(unit) - origin + taps[t].row * width);
                }
        }
    }

    // The sums of `parts`, in their order, as a weight [O, C/G, *kernel].
    void unpack(T* weight, T* sums, long parts, int threads) const {
        long each = g.inputs_each(), count = g.taps(), size = panels.size();
        parallel(panels.count(), threads, [&](long unit) {
            long width = panels.width(unit), columns = panels.columns(unit);
            T *to = weight + panels.column(unit) * each * count, *from = sums + panels.start(unit);
            for (long part = 1; part < parts; part++)
                for (long i = 0; i < panels.depth * width; i++) from[i] += from[part * size + i];
            for (long c = 0; c < each; c++)
                for (long k = 0; k < count; k++)
                    for (long j = 0; j < columns; j++)
                        to[(j * each + c) * count + k] = from[(k * each + c) * width + j];
        });
    }

  private:
    // Columns of y [P, O] in rows of `width`, zeros after them.
    const T* gathered(const T* y, long columns, long width) const {
        T* to = scratch<T>(3, g.windows() * width);
        for (long p = 0; p < g.windows(); p++)
            for (long j = 0; j < width; j++) to[p * width + j] = j < columns ? y[p * g.outputs + j] : 0;
        return to;
    }

    void tiles(const T* x, const T* y, long step, long rows, long width, T* sums) const {
        long number = (run + ROWS - 1) / ROWS, line = g.output[2];
        long x_row = g.stride[1] * padding.step(1), x_step = g.stride[2] * padding.step(2);
        for (long q = 0; q < number; q++) {
            long a = run * q / number, b = run * (q + 1) / number;
            auto& by = width > LANES<T> ? by_rows<T, 2>.correlates : by_rows<T, 1>.correlates;
            by[b - a](x + a, x_row, x_step, y, line * step, step, rows, line, sums + a * width);
        }
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
        T* own = scratch<T>(4, size);
        for (T* sum : sums)
            if (sum) std::fill(sum + part * size, sum + (part + 1) * size, T(0));
        for (long n = g.samples * part / parts; n < g.samples * (part + 1) / parts; n++) {
            std::fill(own, own + size, T(0));
            correlation.add(x + n * g.positions() * g.channels, y + n * g.windows() * g.outputs, own,
                            0, correlation.units());
            // the rest of a panel that is half as wide is 0
            Vector<T> norm = {};
            for (long i = 0; i < size; i += LANES<T>) {
                Vector<T> value = load(own + i), square = value * value;
                long at = part * size + i;
                norm += square;
                if (squares) store(sums[0] + at, load(sums[0] + at) + square);
                if (total) store(sums[1] + at, load(sums[1] + at) + value);
            }
            if (norms) norms[n] = 0;
            for (int i = 0; norms && i < LANES<T>; i++) norms[n] += norm[i];
        }
    });
    if (squares) correlation.unpack(squares, sums[0], parts, threads);
    if (total) correlation.unpack(total, sums[1], parts, threads);
}

// each[n,k,c,o], what sample n adds to `correlate`, and total[o,c,k], its result. Panel by panel, so
// that a core's cache holds what samples are added up in.
template <typename T>
void correlate_each(const Geometry& g, const T* x, const T* y, T* each, T* total, int threads) {
    Correlation<T> correlation(g);
    const Panels<T>& panels = correlation.panels;
    long size = panels.size(), parts = parts_of<T>(g, size), units = correlation.taps.size();
    T* sums = scratch<T>(0, size * parts);
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
                        store(to + j, value, columns - j);
                    }
            }
        }
    });
    correlation.unpack(total, sums, parts, threads);
}

}  // namespace kernels
