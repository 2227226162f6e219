// Convolutions of samples that have few positions each: tiles go over samples.
#pragma once
#include "tiles.hpp"

namespace kernels {

// A position where tiles have it of several samples, and the taps that see an element of a sample.
struct Spot {
    long to, first, number;
};

// Where samples have few positions, many elements of the kernel see nothing but zeros, and weights
// would be read anew for each sample: from 512 to 512 channels in one position with a kernel of 3,
// 64 samples take 0.5 ms in place of 3.9. Each spot has its own taps, and nothing is padded.
struct Spots {
    std::vector<Spot> spots;
    std::vector<Tap> taps;
    long whole = 0;  // how many taps there are with those that see nothing

    // Those of a grid, of samples that are not padded yet.
    template <typename T> void add(const Grid<T>& grid, const Padding& padding) {
        long step[3] = {0, 0, padding.channels};
        for (int a = 1; a >= 0; a--) step[a] = step[a + 1] * padding.size[a + 1];
        for (long d = 0; d < grid.count[0]; d++)
            for (long h = 0; h < grid.count[1]; h++)
                for (long w = 0; w < grid.count[2]; w++) {
                    long position[] = {d, h, w}, first = taps.size(), to = grid.first_to;
                    for (int a = 0; a < 3; a++) to += position[a] * grid.to[a];
                    for (const Tap& tap : grid.taps) {
                        bool sees = true;
                        long from = 0;
                        for (int a = 0; a < 3; a++) {
                            long at = position[a] * grid.reads[a] + tap.at[a] - padding.before[a];
                            sees = sees && at >= 0 && at < padding.size[a];
                            from += at * step[a];
                        }
                        if (sees) taps.push_back({from, tap.row, {0, 0, 0}});
                    }
                    spots.push_back({to, first, (long)taps.size() - first});
                }
        whole += grid.count[0] * grid.count[1] * grid.count[2] * grid.taps.size();
    }
    bool pay() const { return (long)spots.size() < ROWS || 10 * (long)taps.size() < 9 * whole; }
};

constexpr long FEW = 256;  // positions that are looked at one by one

inline bool has_few(long samples, long positions, long line) {
    return samples >= 8 && line < ROWS - 2 && positions <= FEW;
}

constexpr long COPIED = 256 << 10;  // bytes of samples that are copied at once

// How many samples of `size` numbers are worked on at once, and the size of their copies: where they
// are a power of two apart, lines of a cache take the place of each other.
template <typename T> struct Batch {
    long each, stride;

    // `beside` is what else of a sample is copied
    Batch(long samples, long size, long beside = 0) : stride(size + 64 / sizeof(T)) {
        long bytes = std::max(stride, beside) * sizeof(T);
        long most = std::max<long>(1, COPIED / bytes / ROWS) * ROWS;
        long number = (samples + most - 1) / most;
        each = (samples + number - 1) / number;
    }
    const T* operator()(const T* x, long count, int slot) const {
        T* out = scratch<T>(slot, count * stride);
        long size = stride - 64 / sizeof(T);
        for (long n = 0; n < count; n++) memcpy(out + n * stride, x + n * size, size * sizeof(T));
        return out;
    }
};

// All spots of some samples in one panel.
template <typename T>
void apply(const Spots& spots, long run, const T* from, long from_step, T* to, long to_step,
           long samples, const T* panel, const T* bias, long columns, bool rectified) {
    long tiles = (samples + ROWS - 1) / ROWS;
    for (const Spot& spot : spots.spots)
        for (long t = 0; t < tiles; t++) {
            long start = samples * t / tiles, stop = samples * (t + 1) / tiles;
            Tile<T> tile;
            for (long n = start; n < stop; n++) {
                tile.from[n - start] = from + n * from_step;
                tile.to[n - start] = to + n * to_step + spot.to;
            }
            multiply(stop - start, tile, spots.taps.data() + spot.first, spot.number, run, panel,
                     bias, columns, rectified);
        }
}

// `function(x, n, count, start, stop)`: copies of `count` samples from number n on, with a share of
// the units.
template <typename T, typename F>
void for_batches(const T* x, long size, long samples, long units, int threads, F function) {
    Batch<T> batch(samples, size);
    long number = (samples + batch.each - 1) / batch.each;
    long shares = std::max(1L, std::min(units, (2 * threads + number - 1) / number));
    parallel(number * shares, threads, [=](long i) {
        long n = i / shares * batch.each, count = std::min(batch.each, samples - n), share = i % shares;
        function(batch(x + n * size, count, 2), batch.stride, n, count, units * share / shares,
                 units * (share + 1) / shares);
    });
}

// Which elements of the kernel see anything.
inline std::vector<char> seen_by(const Spots& spots, long taps, long each) {
    std::vector<char> seen(taps, 0);
    for (const Tap& tap : spots.taps) seen[tap.row / each] = 1;
    return seen;
}

// Elements of the kernel, those of its last axis in one run if they are `joined`.
inline std::vector<Tap> taps_of(const Geometry& g, const Padding& p, bool joined, long& run) {
    long last = joined ? 1 : g.kernel[2], each = g.inputs_each();
    std::vector<Tap> taps;
    for (long d = 0; d < g.kernel[0]; d++)
        for (long h = 0; h < g.kernel[1]; h++)
            for (long w = 0; w < last; w++) {
                long at[] = {d * g.dilation[0], h * g.dilation[1], w * g.dilation[2]};
                long from = at[0] * p.step(0) + at[1] * p.step(1) + at[2] * p.step(2);
                long number = (d * g.kernel[1] + h) * g.kernel[2] + w;
                taps.push_back({from, number * each, {(int)at[0], (int)at[1], (int)at[2]}});
            }
    run = joined ? g.kernel[2] * each : each;
    return taps;
}

// -- their transpose by the weight ----------------------------------------------------------------

// The sums of `parts` in panels, in their order, as a weight [O, C/G, *kernel]; elements of the
// kernel that were not `summed` are 0.
template <typename T>
void unpack(const Geometry& g, const Panels<T>& panels, const std::vector<char>& summed, T* weight,
            T* sums, long parts, int threads) {
    long each = g.inputs_each(), count = g.taps(), size = panels.size();
    parallel(panels.count(), threads, [&](long unit) {
        long width = panels.width(unit), columns = panels.columns(unit), block = each * width;
        T *to = weight + panels.column(unit) * each * count, *from = sums + panels.start(unit);
        for (long part = 1; part < parts; part++)
            for (long k = 0; k < count; k++)
                for (long i = k * block; summed[k] && i < (k + 1) * block; i++)
                    from[i] += from[part * size + i];
        for (long first = 0; first < each; first += LINES)
            for (long j = 0; j < columns; j++)
                for (long c = first; c < std::min(each, first + LINES); c++)
                    for (long k = 0; k < count; k++)
                        to[(j * each + c) * count + k] =
                            summed[k] ? from[(k * each + c) * width + j] : T(0);
    });
}

// Each element of the kernel is summed over the positions where it sees anything, of all samples.
template <typename T> struct FewCorrelation {
    // positions side by side, from number `spot` on, that see x from there on
    struct Line {
        long from, spot, width;
    };
    const Geometry& g;
    Panels<T> panels;
    std::vector<std::vector<Line>> lines;  // by the element of the kernel
    std::vector<char> summed;
    long visible = 0;

    FewCorrelation(const Geometry& g)
        : g(g), panels(g.groups, g.outputs_each(), g.taps() * g.inputs_each()), lines(g.taps()),
          summed(g.taps(), 0) {
        for (long k = 0; k < g.taps(); k++) {
            long tap[] = {k / (g.kernel[1] * g.kernel[2]), k / g.kernel[2] % g.kernel[1],
                          k % g.kernel[2]};
            for (long d = 0; d < g.output[0]; d++)
                for (long h = 0; h < g.output[1]; h++) add(k, tap, d, h);
            summed[k] = !lines[k].empty();
        }
    }
    bool pays() const {
        return g.windows() < ROWS || 10 * visible < 9 * g.windows() * g.taps();
    }

    void operator()(const T* x, const T* y, T* w, int threads) const {
        long size = g.positions() * g.channels, made = g.windows() * g.outputs;
        long whole = panels.size(), most = std::max<long>(1, (4 << 20) / (whole * sizeof(T)));
        long parts = std::max<long>(1, std::min<long>({4, g.samples / 16, most}));
        long number = g.taps(), units = panels.count() * number;
        long shares = std::max(1L, std::min(units, 4 * threads / parts));
        T* sums = scratch<T>(0, whole * parts);
        parallel(parts * shares, threads, [&](long i) {
            long part = i / shares, share = i % shares;
            long n = g.samples * part / parts, stop = g.samples * (part + 1) / parts;
            long begin = units * share / shares, end = units * (share + 1) / shares;
            Batch<T> batch(stop - n, size, g.windows() * PANEL<T>);
            for (long unit = begin; unit < end; unit++) {
                T* own = row(sums + part * whole, unit);
                std::fill(own, own + g.inputs_each() * panels.width(unit / number), T(0));
            }
            for (; n < stop; n += batch.each) {
                long count = std::min(batch.each, stop - n);
                const T* from = batch(x + n * size, count, 2);
                for (long unit = begin; unit < end;) {
                    long panel = unit / number, last = std::min(end, (panel + 1) * number);
                    const T* values = gathered(y + n * made, count, panel);
                    for (; unit < last; unit++)
                        for (const Line& line : lines[unit % number])
                            tiles(from + line.from + panels.group(panel) * g.inputs_each(),
                                  batch.stride, values, line, count, panels.width(panel),
                                  row(sums + part * whole, unit));
                }
            }
        });
        unpack(g, panels, summed, w, sums, parts, threads);
    }

  private:
    T* row(T* sums, long unit) const {
        long panel = unit / g.taps(), tap = unit % g.taps();
        return sums + panels.start(panel) + tap * g.inputs_each() * panels.width(panel);
    }
    long seen_at(int a, long position, long tap) const {
        return position * g.stride[a] + tap * g.dilation[a] - g.before[a];
    }
    void add(long k, const long* tap, long d, long h) {
        long at[] = {seen_at(0, d, tap[0]), seen_at(1, h, tap[1])};
        for (int a = 0; a < 2; a++)
            if (at[a] < 0 || at[a] >= g.size[a]) return;
        long first = 0, last = g.output[2];
        while (first < last && seen_at(2, first, tap[2]) < 0) first++;
        while (first < last && seen_at(2, last - 1, tap[2]) >= g.size[2]) last--;
        if (first == last) return;
        long row = (at[0] * g.size[1] + at[1]) * g.size[2];
        long from = (row + seen_at(2, first, tap[2])) * g.channels;
        lines[k].push_back({from, (d * g.output[1] + h) * g.output[2] + first, last - first});
        visible += last - first;
    }
    // A panel's columns of y [N, P, O] as [P, N, width], zeros after them.
    const T* gathered(const T* y, long count, long panel) const {
        long width = panels.width(panel), columns = panels.columns(panel), windows = g.windows();
        T* to = scratch<T>(3, windows * count * width);
        for (long n = 0; n < count; n++)
            for (long p = 0; p < windows; p++) {
                const T* from = y + (n * windows + p) * g.outputs + panels.column(panel);
                T* row = to + (p * count + n) * width;
                memcpy(row, from, columns * sizeof(T));
                std::fill(row + columns, row + width, T(0));
            }
        return to;
    }
    void tiles(const T* x, long stride, const T* y, const Line& line, long count, long width,
               T* sums) const {
        for_tiles<T>(g.inputs_each(), width, [&](auto& by, long r, long a) {
            by.correlates[r](x + a, stride, g.stride[2] * g.channels, y + line.spot * count * width,
                             width, count * width, count, line.width, sums + a * width);
        });
    }
};

}  // namespace kernels
