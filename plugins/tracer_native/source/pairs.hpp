// Inner products of outer products of rows: each from one of their first and one of their second
// factors, by the tiles of convolutions, and without matrices of all pairs.
#pragma once
#include "convolution.hpp"
#include "exports.hpp"

namespace kernels {

// Rows [N, width] as a panel [width, PANEL] from row `first` on, with zeros after the last.
template <typename T>
void pack_rows(const T* rows, long number, long width, long first, T* panel) {
    for (long j = 0; j < PANEL<T>; j++) {
        const T* row = rows + (first + j) * width;
        bool there = first + j < number;
        for (long i = 0; i < width; i++) panel[i * PANEL<T> + j] = there ? row[i] : T(0);
    }
}

// dots[k,n] = sum_m (sum_i lefts[k][m,i] left[n,i]) (sum_o rights[k][m,o] right[n,o]) for all k below
// `sets`, each of numbers[k] rows m. Products of `left` and `right` with themselves are those of (m,n)
// and of (n,m): tiles of rows before their columns are left out.
template <typename T>
void pairs(const T* left, const T* right, const T* const* lefts, const T* const* rights,
           const int64_t* numbers, double* dots, long sets, long samples, long inputs, long outputs,
           int threads) {
    constexpr long CHUNK = 4 * ROWS;
    long panels = (samples + PANEL<T> - 1) / PANEL<T>, size = (inputs + outputs) * PANEL<T>;
    T* packed = scratch<T>(0, panels * size);
    parallel(2 * panels, threads, [=](long task) {
        long panel = task / 2;
        T* to = packed + panel * size;
        if (task % 2) pack_rows(right, samples, outputs, panel * PANEL<T>, to + inputs * PANEL<T>);
        else pack_rows(left, samples, inputs, panel * PANEL<T>, to);
    });
    std::vector<long> begins{0};  // of the chunks of each set
    for (long k = 0; k < sets; k++) begins.push_back(begins[k] + (numbers[k] + CHUNK - 1) / CHUNK);
    long chunks = begins[sets];
    auto is_own = [=](long k) {
        return lefts[k] == left && rights[k] == right && numbers[k] == samples;
    };
    constexpr long SUMS = PANEL<T> + CHUNK;  // of a task's columns, and of its rows
    double* sums = scratch<double>(1, chunks * panels * SUMS);
    parallel(chunks * panels, threads, [&](long task) {
        long chunk = task / panels, panel = task % panels, k = 0;
        while (chunk >= begins[k + 1]) k++;
        long first = (chunk - begins[k]) * CHUNK, stop = std::min<long>(numbers[k], first + CHUNK);
        T* tiles = scratch<T>(2, 2 * ROWS * PANEL<T>);
        Tile<T> tile[2];
        const Tap tap{0, 0, 0, 0};
        Vector<T> own[2] = {};
        double *to = sums + task * SUMS, *across = to + PANEL<T>;
        long column = panel * PANEL<T>;
        bool are_own = is_own(k);
        std::fill(to, to + SUMS, 0.0);
        for (long m = first; m < stop; m += ROWS) {
            long rows = std::min<long>(ROWS, stop - m);
            if (are_own && m + rows <= column) continue;
            for (long r = 0; r < rows; r++) {
                tile[0].from[r] = lefts[k] + (m + r) * inputs;
                tile[1].from[r] = rights[k] + (m + r) * outputs;
                tile[0].to[r] = tiles + r * PANEL<T>, tile[1].to[r] = tiles + (ROWS + r) * PANEL<T>;
            }
            const T* from = packed + panel * size;
            multiply(rows, tile[0], &tap, 1, inputs, from, (const T*)nullptr, PANEL<T>, false);
            multiply(rows, tile[1], &tap, 1, outputs, from + inputs * PANEL<T>, (const T*)nullptr,
                     PANEL<T>, false);
            for (long r = 0; r < rows; r++) {
                T products[PANEL<T>], sum = 0;
                for (int v = 0; v < 2; v++) {
                    long at = v * LANES<T>;
                    Vector<T> product = load(tile[0].to[r] + at) * load(tile[1].to[r] + at);
                    if (!are_own) own[v] += product;
                    else store(products + at, product);
                }
                if (!are_own) continue;
                long before = std::min<long>(PANEL<T>, m + r - column);  // columns
                for (long j = 0; j < before; j++) to[j] += products[j], sum += products[j];
                if (before >= 0 && before < PANEL<T>) to[before] += products[before];
                across[m + r - first] = sum;
            }
        }
        for (int v = 0; v < 2; v++)
            for (int j = 0; j < LANES<T>; j++) to[v * LANES<T> + j] += own[v][j];
    });
    for (long k = 0; k < sets; k++)
        for (long n = 0; n < samples; n++) {
            double sum = 0;
            for (long chunk = begins[k]; chunk < begins[k + 1]; chunk++)
                sum += sums[(chunk * panels + n / PANEL<T>) * SUMS + n % PANEL<T>];
            if (is_own(k)) {
                long chunk = begins[k] + n / CHUNK;
                for (long panel = 0; panel < panels; panel++)
                    sum += sums[(chunk * panels + panel) * SUMS + PANEL<T> + n % CHUNK];
            }
            dots[k * samples + n] = sum;
        }
}

EXPORT(pairs)

}  // namespace kernels
