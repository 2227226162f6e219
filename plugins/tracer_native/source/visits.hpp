// Matrices [N, P] that no cache holds, as the gradients of samples, in one visit: norms and inner
// products of rows, sums of squares of columns, histograms. And vectors on their way.
#pragma once
#include <limits>
#include <vector>

#include "exports.hpp"
#include "threads.hpp"
#include "vectors.hpp"

namespace kernels {

constexpr long SEGMENT = 1 << 12;  // columns that are visited together: their rows stay in a cache

// Elements below which one thread does all. A second one comes 40 microseconds late; and it brings
// little where each element is read once, for that is as fast as memory, and nothing beside threads
// of linear algebra that still spin: to read 2^20 numbers takes one thread 0.06 ms and two 0.08 to 0.12.
constexpr long READ_ALONE = 1 << 22, VISITED_ALONE = 1 << 18;

inline int threads_for(long elements, long alone, int threads) { return elements < alone ? 1 : threads; }

// products[0] = sum_i x[i]^2 and, for D directions, products[1 + k] = sum_i x[i] d[k][i], each in two
// chains of vectors.
template <typename T, int D> void multiply_row(const T* x, const T* const* d, long count, T* products) {
    constexpr long STEP = 2 * LANES<T>;
    Vector<T> sums[1 + D][2] = {};
    auto add = [&](long i, int chain, long left) {
        Vector<T> value = load(x + i, left);
        sums[0][chain] += value * value;
        for (int k = 0; k < D; k++) sums[1 + k][chain] += value * load(d[k] + i, left);
    };
    long i = 0;
    for (; i + STEP <= count; i += STEP) add(i, 0, STEP), add(i + LANES<T>, 1, STEP);
    for (; i < count; i += LANES<T>) add(i, 0, count - i);
    for (int k = 0; k < 1 + D; k++) {
        Vector<T> sum = sums[k][0] + sums[k][1];
        products[k] = 0;
        for (int j = 0; j < LANES<T>; j++) products[k] += sum[j];
    }
}

// -- histograms -----------------------------------------------------------------------------------

// How many elements lie in each of `bins` between `edges [bins + 1]`, and beyond them in the first
// and the last. Elements in columns p are counted in row column[p] of `counts [rows, bins]`, all in
// the first if `column` is null; `missing` counts what is not a number.
struct Histogram {
    const double* edges;
    const int64_t* column;
    int64_t *counts, *missing;
    int64_t bins, rows;
    double scale;  // of elements, before they are counted
    // most elements are smaller than `limit` and lie in one of these bins, by their sign
    int64_t below, above;
    double limit;

    // The bin of a number, from a guess.
    long place(double x, long at) const {
        while (at < bins - 1 && x >= edges[at + 1]) at++;
        while (at > 0 && x < edges[at]) at--;
        return at;
    }
};

// The magnitudes of numbers as whole numbers of the same order; what is no number is the largest.
template <typename T> inline Whole<T> rank_of(Vector<T> value) {
    return (Whole<T>)value & whole<T>((long)((uint64_t)-1 >> (65 - 8 * sizeof(T))));
}

// A bit for each lane where a number is not below another.
template <typename T> inline uint64_t not_below(Whole<T> values, Whole<T> limit) {
    Whole<T> lanes = {};
    for (int j = 0; j < LANES<T>; j++) lanes[j] = 1 << j;
    lanes &= values >= limit;
    uint64_t parts[BYTES / 8], sum = 0;
    memcpy(parts, &lanes, BYTES);
    for (uint64_t part : parts) sum |= part;
    return sizeof(T) == 8 ? sum : (sum | sum >> 32) & 0xffffffff;
}

// What one thread counts of some columns: all elements by their signs, and then those that are large
// where they belong.
template <typename T> struct Tally {
    typedef decltype(Whole<T>{}[0] + 0) Number;
    static constexpr long TOGETHER = 8;  // vectors that are looked at before lanes are

    const Histogram& h;
    const int64_t* column;
    int64_t *counts, missing = 0;
    Number* negative;  // of each column
    long width, rows = 0, negatives = 0;
    T scale, limit, low, per_bin;
    Whole<T> least;

    Tally(const Histogram& h, int64_t* counts, Number* negative, long start, long width)
        : h(h), column(h.column ? h.column + start : nullptr), counts(counts), negative(negative),
          width(width), scale(T(h.scale)), limit(T(h.limit)), low(T(h.edges[0])) {
        std::fill(counts, counts + h.rows * h.bins, 0);
        if (column) std::fill(negative, negative + width, Number(0));
        if (limit > h.limit) limit = std::nextafter(limit, -std::numeric_limits<T>::infinity());
        least = limit > 0 ? rank_of<T>(all<T>(limit)) : Whole<T>{};
        per_bin = T(h.bins / (h.edges[h.bins] - h.edges[0]));
    }

    // Count a row; `next` is the one that follows, and comes to the cache meanwhile.
    void add(const T* x, const T* next) {
        rows++;
        constexpr long STEP = TOGETHER * LANES<T>;
        Whole<T> sum = {};
        long i = 0;
        for (; i + STEP <= width; i += STEP) {
            Whole<T> most = {};
            for (long at = i; at < i + STEP; at += LANES<T>) {
                __builtin_prefetch(next + at);
                Vector<T> value = load(x + at) * scale;
                Whole<T> size = rank_of<T>(value), below = value < 0;
                most = size > most ? size : most;
                if (column) store_as(negative + at, load_as<Whole<T>>(negative + at, width) - below, width);
                else sum -= below;
            }
            if (not_below<T>(most, least)) move_large(x, T(1), i, i + STEP);
        }
        long rest = i;
        for (; i < width; i++) {
            bool below = x[i] * scale < 0;
            if (column) negative[i] += below;
            else negatives += below;
        }
        move_large(x, T(1), rest, width);
        for (int j = 0; j < LANES<T>; j++) negatives += sum[j];
    }

    // Count what is large among factor * x where it belongs.
    void move_large(const T* x, T factor, long start, long stop) {
        for (long at = start; at < stop; at += LANES<T>) {
            Vector<T> value = load(x + at, stop - at) * factor * scale;
            if (uint64_t large = not_below<T>(rank_of<T>(value), least)) move(value, large, at, stop);
        }
    }

    // Count lanes of elements from column `at` on, which are scaled, where they belong.
    void move(Vector<T> value, uint64_t lanes, long at, long stop) {
        T values[LANES<T>];
        Number guesses[LANES<T>];
        Vector<T> guess = (value - low) * per_bin, last = all<T>(T(h.bins - 1));
        guess = guess < last ? guess : last;
        guess = guess > 0 ? guess : Vector<T>{};
        Whole<T> places = __builtin_convertvector(guess, Whole<T>);
        memcpy(values, &value, sizeof(value)), memcpy(guesses, &places, sizeof(places));
        for (; lanes; lanes &= lanes - 1) {
            long j = __builtin_ctzll(lanes);
            if (at + j >= stop) return;
            int64_t* to = counts + (column ? column[at + j] * h.bins : 0);
            to[values[j] < 0 ? h.below : h.above]--;
            if (values[j] == values[j]) to[h.place(values[j], guesses[j])]++;
            else missing++;
        }
    }

    // Add what was counted to what others did.
    void finish() {
        if (column)
            for (long j = 0; j < width; j++) {
                int64_t* to = counts + column[j] * h.bins;
                to[h.below] += negative[j], to[h.above] += rows - negative[j];
            }
        else counts[h.below] += negatives, counts[h.above] += rows * width - negatives;
        for (long i = 0; i < h.rows * h.bins; i++)
            if (counts[i]) __atomic_fetch_add(h.counts + i, counts[i], __ATOMIC_RELAXED);
        if (missing) __atomic_fetch_add(h.missing, missing, __ATOMIC_RELAXED);
    }
};

// -- rows -----------------------------------------------------------------------------------------

// to[0] and to[step], to[2 step], ... become the products of a row, two directions at a time.
template <typename T>
void multiply_rows(const T* row, const T* const* directions, long number, long start, long count,
                   double* to, long step) {
    T products[3];
    long k = 0;
    do {
        const T* two[2];
        long left = std::min(2L, number - k);
        for (long j = 0; j < left; j++) two[j] = directions[k + j] + start;
        if (left == 2) multiply_row<T, 2>(row, two, count, products);
        else if (left == 1) multiply_row<T, 1>(row, two, count, products);
        else multiply_row<T, 0>(row, two, count, products);
        to[0] = products[0];
        for (long j = 0; j < left; j++) to[(1 + k + j) * step] = products[1 + j];
        k += 2;
    } while (k < number);
}

// Of x [N, P]: norms[n] = sum_p x^2, dots[k,n] = sum_p x[n,p] directions[k][p], squares[p] =
// sum_n x^2 if that is given, and histograms of all elements. Parts are the same for any number of
// threads.
template <typename T>
void visit(const T* x, long samples, long width, double* norms, const T* const* directions,
           long number, double* dots, T* squares, const Histogram* histograms, long counted,
           int threads) {
    long strips = std::max(1L, (width + SEGMENT - 1) / SEGMENT), each = 1 + number;
    long most = samples * std::min(width, SEGMENT) / (1 << 17);
    long parts = squares ? 1 : std::max(1L, std::min({16L, most, samples}));
    double* sums = scratch<double>(0, strips * each * samples);
    bool is_read = samples == 1 && !number && !squares && !counted;
    threads = threads_for(samples * width, is_read ? READ_ALONE : VISITED_ALONE, threads);
    parallel(strips * parts, threads, [=](long task) {
        typedef typename Tally<T>::Number Number;
        long strip = task / parts, part = task % parts;
        long start = width * strip / strips, count = width * (strip + 1) / strips - start;
        double* own = sums + strip * each * samples;
        long size = 0;
        for (long k = 0; k < counted; k++) size += histograms[k].rows * histograms[k].bins;
        int64_t* counts = scratch<int64_t>(1, size);
        Number* negative = scratch<Number>(2, counted * SEGMENT);
        std::vector<Tally<T>> tallies;
        for (long k = 0; k < counted; k++) {
            tallies.emplace_back(histograms[k], counts, negative + k * SEGMENT, start, count);
            counts += histograms[k].rows * histograms[k].bins;
        }
        if (squares) std::fill(squares + start, squares + start + count, T(0));
        for (long n = samples * part / parts; n < samples * (part + 1) / parts; n++) {
            const T* row = x + n * width + start;
            multiply_rows(row, directions, number, start, count, own + n, samples);
            if (squares)
                for (long i = 0; i < count; i++) squares[start + i] += row[i] * row[i];
            const T* next = n + 1 < samples ? row + width : row;
            for (auto& tally : tallies) tally.add(row, next);
        }
        for (auto& tally : tallies) tally.finish();
    });
    for (long i = 0; i < each * samples; i++) {
        double sum = 0;
        for (long strip = 0; strip < strips; strip++) sum += sums[strip * each * samples + i];
        if (i < samples) norms[i] = sum;
        else dots[i - samples] = sum;
    }
}

// -- outer products -------------------------------------------------------------------------------

// The largest magnitude in a row, and how many numbers are negative and positive.
template <typename T> struct Signs {
    T most = 0;
    int64_t negative = 0, positive = 0;

    Signs(const T* row, long count) {
        Vector<T> largest = {};
        Whole<T> below = {}, above = {};
        for (long i = 0; i < count; i += LANES<T>) {
            Vector<T> value = load(row + i, count - i), size = value < 0 ? -value : value;
            largest = size > largest ? size : largest;
            below -= value < 0, above -= value > 0;
        }
        for (int j = 0; j < LANES<T>; j++) {
            most = std::max(most, T(largest[j]));
            negative += below[j], positive += above[j];
        }
    }
};

// Which of up to 64 samples are negative, and which positive, a bit each: of columns of x [N, count].
template <typename T>
void sign_bits(const T* x, long rows, long stride, long count, uint64_t* below, uint64_t* above) {
    std::fill(below, below + count, 0), std::fill(above, above + count, 0);
    for (long n = 0; n < rows; n++)
        for (long i = 0; i < count; i++) {
            below[i] |= (uint64_t)(x[n * stride + i] < 0) << n;
            above[i] |= (uint64_t)(x[n * stride + i] > 0) << n;
        }
}

// A histogram of scale * right[n,o] * left[n,i] of finite left [N, I] and right [N, O], without the
// products of most: how many are negative is told by signs, and where the largest of a row is small,
// all are. Columns are [O, I].
template <typename T>
void count_products(const T* left, const T* right, const Histogram& h, long samples, long inputs,
                    long outputs, int threads) {
    constexpr long SIDE = 64, WIDTH = 16;
    typedef typename Tally<T>::Number Number;
    Signs<T>* signs = scratch<Signs<T>>(0, 2 * samples);
    long words = h.column ? (samples + SIDE - 1) / SIDE : 0;
    uint64_t* bits = scratch<uint64_t>(3, 2 * words * inputs);
    parallel((samples + SIDE - 1) / SIDE, threads, [=](long word) {
        long first = word * SIDE, stop = std::min(samples, first + SIDE);
        for (long n = first; n < stop; n++) {
            signs[2 * n] = Signs<T>(left + n * inputs, inputs);
            signs[2 * n + 1] = Signs<T>(right + n * outputs, outputs);
        }
        uint64_t* below = bits + 2 * word * inputs;
        if (words)
            sign_bits(left + first * inputs, stop - first, inputs, inputs, below, below + inputs);
    });
    Histogram whole = h;
    whole.column = nullptr;
    parallel((outputs + WIDTH - 1) / WIDTH, threads, [=](long strip) {
        long start = strip * WIDTH, count = std::min(WIDTH, outputs - start);
        int64_t* counts = scratch<int64_t>(1, h.rows * h.bins);
        Tally<T> tally(whole, counts, (Number*)nullptr, 0, inputs);
        if (words) {
            int64_t* negatives = scratch<int64_t>(2, count * inputs);
            std::fill(negatives, negatives + count * inputs, 0);
            for (long word = 0; word < words; word++) {
                const uint64_t *below = bits + 2 * word * inputs, *above = below + inputs;
                uint64_t down[WIDTH], up[WIDTH];
                long first = word * SIDE;
                sign_bits(right + first * outputs + start, std::min(SIDE, samples - first), outputs,
                          count, down, up);
                for (long o = 0; o < count; o++)
                    for (long i = 0; i < inputs; i++)
                        negatives[o * inputs + i] +=
                            __builtin_popcountll((below[i] & up[o]) | (above[i] & down[o]));
            }
            for (long i = 0; i < count * inputs; i++) {
                int64_t* to = counts + h.column[start * inputs + i] * h.bins;
                to[h.below] += negatives[i], to[h.above] += samples - negatives[i];
            }
        } else if (strip == 0) {
            tally.rows = samples * outputs;
            for (long n = 0; n < samples; n++)
                tally.negatives += signs[2 * n].negative * signs[2 * n + 1].positive +
                                   signs[2 * n].positive * signs[2 * n + 1].negative;
        }
        T less = std::abs(tally.scale) * (1 + 8 * std::numeric_limits<T>::epsilon());
        for (long n = 0; n < samples; n++) {
            T most = signs[2 * n].most * less;
            if (signs[2 * n + 1].most * most < tally.limit) continue;
            for (long o = start; o < start + count; o++) {
                T factor = right[n * outputs + o];
                if (std::abs(factor) * most < tally.limit) continue;
                tally.column = h.column ? h.column + o * inputs : nullptr;
                tally.move_large(left + n * inputs, factor, 0, inputs);
            }
        }
        tally.column = nullptr;
        tally.finish();
    });
}

// -- vectors --------------------------------------------------------------------------------------

// squares[0] = |now - before|^2, squares[1] = |now - first|^2; copy = now. Each but `now` may be null.
template <typename T>
void travel(const T* now, const T* before, const T* first, T* copy, double* squares, long count,
            int threads) {
    constexpr long PART = 1 << 15;
    long parts = (count + PART - 1) / PART;
    double* sums = scratch<double>(0, 2 * parts);
    threads = threads_for(count, READ_ALONE, threads);
    parallel(parts, threads, [=](long part) {
        Vector<T> from_before[2] = {}, from_first[2] = {};
        long stop = std::min(count, (part + 1) * PART), turn = 0;
        for (long i = part * PART; i < stop; i += LANES<T>, turn ^= 1) {
            Vector<T> p = load(now + i, stop - i);
            if (copy) store(copy + i, p, stop - i);
            if (before) {
                Vector<T> d = p - load(before + i, stop - i);
                from_before[turn] += d * d;
            }
            if (first) {
                Vector<T> d = p - load(first + i, stop - i);
                from_first[turn] += d * d;
            }
        }
        Vector<T> both[2] = {from_before[0] + from_before[1], from_first[0] + from_first[1]};
        for (int k = 0; k < 2; k++) {
            double sum = 0;
            for (int j = 0; j < LANES<T>; j++) sum += both[k][j];
            sums[2 * part + k] = sum;
        }
    });
    squares[0] = squares[1] = 0;
    for (long part = 0; part < parts; part++)
        for (int k = 0; k < 2; k++) squares[k] += sums[2 * part + k];
}

EXPORT(visit)
EXPORT(count_products)
EXPORT(travel)

}  // namespace kernels
