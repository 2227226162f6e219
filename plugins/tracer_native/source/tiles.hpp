// Tiles of products that are kept in registers while they are summed, panels of weights, and the
// positions of windows over three spatial axes that tiles are made of.
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

// Channels of a weight that are packed at once: what a result multiplies by lies far from what the
// next one does, and is read to the end of a cache's line before that falls out.
constexpr long LINES = 8;

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
    int at[3];  // where in the padded sample it reads at the first position
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

// give(i, s) the i-th vector of s[r][j] = sum_p x[p][r] y[p][j], p over `rows` rows of `width`
// positions.
template <typename T, int R, int V, typename F>
inline void sum_positions(const T* x, long x_row, long x_step, const T* y, long y_row, long y_step,
                          long rows, long width, F give) {
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
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) give(r * V + v, own[r][v]);
}

// sums[r][j] += s[r][j]
template <typename T, int R, int V>
void accumulate(const T* x, long x_row, long x_step, const T* y, long y_row, long y_step, long rows,
                long width, T* sums) {
    auto add = [=](int i, Vector<T> sum) {
        T* to = sums + i * LANES<T>;
        store(to, load(to) + sum);
    };
    sum_positions<T, R, V>(x, x_row, x_step, y, y_row, y_step, rows, width, add);
}

// What is made of the sums of one sample: totals and squares over samples, of which either may be
// null, and a norm, in several sums, so that one addition does not wait for the other.
template <typename T> struct Made {
    static constexpr int CHAINS = 4;
    T *totals, *squares;
    Vector<T> norm[CHAINS];

    // of N vectors from element `at` on
    template <int N> void add(long at, const Vector<T> (&sums)[N]) {
        for (int i = 0; i < N; i++) norm[i % CHAINS] += sums[i] * sums[i];
        for (int i = 0; totals && i < N; i++) {
            T* to = totals + at + i * LANES<T>;
            store(to, load(to) + sums[i]);
        }
        for (int i = 0; squares && i < N; i++) {
            T* to = squares + at + i * LANES<T>;
            store(to, load(to) + sums[i] * sums[i]);
        }
    }
    T norm_of_all() const {
        T sum = 0;
        for (int j = 0; j < LANES<T>; j++)
            for (const Vector<T>& chain : norm) sum += chain[j];
        return sum;
    }
};

// made.add(at, s)
template <typename T, int R, int V>
void make(const T* x, long x_row, long x_step, const T* y, long y_row, long y_step, long rows,
          long width, long at, Made<T>& made) {
    Vector<T> sums[R * V];
    auto keep = [&](int i, Vector<T> sum) { sums[i] = sum; };
    sum_positions<T, R, V>(x, x_row, x_step, y, y_row, y_step, rows, width, keep);
    made.add(at, sums);
}

// The functions above by the number of rows.
template <typename T, int V> struct ByRows {
    decltype(&multiply<T, 1, V>) multiplies[ROWS + 1] = {};
    decltype(&accumulate<T, 1, V>) correlates[ROWS + 1] = {};
    decltype(&make<T, 1, V>) makes[ROWS + 1] = {};

    ByRows() { add<ROWS>(); }
    template <int R> void add() {
        multiplies[R] = multiply<T, R, V>, correlates[R] = accumulate<T, R, V>;
        makes[R] = make<T, R, V>;
        if constexpr (R > 1) add<R - 1>();
    }
};
template <typename T, int V> const ByRows<T, V> by_rows;

// function(by, r, a): the functions of tiles of r rows, from row `a` on, that cover `rows` of panels
// that are `width` wide.
template <typename T, typename F> void for_tiles(long rows, long width, F function) {
    long number = (rows + ROWS - 1) / ROWS;
    for (long q = 0; q < number; q++) {
        long a = rows * q / number, r = rows * (q + 1) / number - a;
        if (width > LANES<T>) function(by_rows<T, 2>, r, a);
        else function(by_rows<T, 1>, r, a);
    }
}

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
    long first_to = 0, reads[3] = {1, 1, 1};  // and in positions of the padded sample
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
        long at[2] = {d * grid.reads[0] - padding.before[0], h * grid.reads[1] - padding.before[1]};
        for (const Tap& tap : taps) {
            long depth = at[0] + tap.at[0], height = at[1] + tap.at[1];
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

}  // namespace kernels
