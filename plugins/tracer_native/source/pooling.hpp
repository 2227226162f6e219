// Maxima over windows of [N, *size, C], their places, and what is spread to these.
#pragma once
#include "convolution.hpp"
#include "exports.hpp"

namespace kernels {

// Which elements of a window lie in the input along one axis: from `first` to before `last`.
struct Inside {
    long at, first, last;  // `at`: where element 0 lies

    Inside(const Geometry& g, int a, long window) : at(window * g.stride[a] - g.before[a]) {
        long step = g.dilation[a], room = g.size[a] - at;
        first = at >= 0 ? 0 : (-at + step - 1) / step;
        last = std::max(first, std::min<long>(g.kernel[a], room <= 0 ? 0 : (room + step - 1) / step));
    }
};

constexpr int MOST = 127;  // elements of a window whose numbers fit an int8

// Where the vector with channel c begins: the last one lies over the one before, if there is one.
template <typename T> long vector_at(long c, long channels) {
    return std::max(0L, std::min<long>(c, channels - LANES<T>));
}

// An element that is seen: where it lies, and its number in the window.
struct Seen {
    long at;
    int number;
};

// y[n,p,c] = max_k x[n, stride p + dilation k - before, c], NaN if one is, and with `WINNER` the
// first k that is it: the first that is seen where all are -inf, the last k where none is seen.
template <bool WINNER, typename T>
void find_maximum(const Geometry& g, const T* x, T* y, int8_t* winner, int threads) {
    typedef Vector<T> V;
    long lines = g.output[0] * g.output[1], channels = g.channels;
    for_samples(g.samples, lines, threads, [&](long n, long start, long stop) {
        const T* from = x + n * g.positions() * channels;
        std::vector<Seen> all_seen(g.taps());
        for (long line = start; line < stop; line++) {
            Inside d(g, 0, line / g.output[1]), h(g, 1, line % g.output[1]);
            for (long p = 0; p < g.output[2]; p++) {
                Inside w(g, 2, p);
                Seen *seen = all_seen.data(), *end = seen;
                for (long i = d.first; i < d.last; i++)
                    for (long j = h.first; j < h.last; j++) {
                        long row = (d.at + i * g.dilation[0]) * g.size[1] + h.at + j * g.dilation[1];
                        long at = (row * g.size[2] + w.at) * channels;
                        int number = (i * g.kernel[1] + j) * g.kernel[2];
                        for (int k = w.first; k < w.last; k++)
                            *end++ = {at + k * g.dilation[2] * channels, number + k};
                    }
                Whole<T> first = whole<T>(end > seen ? seen->number : g.taps() - 1);
                long to = ((n * lines + line) * g.output[2] + p) * channels;
                for (long next = 0; next < channels; next += LANES<T>) {
                    long c = vector_at<T>(next, channels);
                    V most = all<T>(-INFINITY);
                    Whole<T> who = first;
                    for (const Seen* one = seen; one < end; one++) {
                        V value = load(from + one->at + c, channels - c);
                        // more, or the first NaN: what is a NaN already stays
                        Whole<T> stays = (value <= most) | (most != most);
                        if (WINNER) who = stays ? who : whole<T>(one->number);
                        most = stays ? most : value;
                    }
                    store(y + to + c, most, channels - c);
                    if (WINNER)
                        store_as(winner + to + c, __builtin_convertvector(who, Small<T>), channels - c);
                }
            }
        }
    });
}

// `winner` may be null.
template <typename T>
void maximum(const Geometry& g, const T* x, T* y, int8_t* winner, int threads) {
    if (winner) find_maximum<true>(g, x, y, winner, threads);
    else find_maximum<false>(g, x, y, winner, threads);
}

// The windows that see a position along one axis, and by which element.
struct Seeing {
    std::vector<std::pair<long, long>> windows;

    Seeing(const Geometry& g, int a, long position) {
        for (long k = g.kernel[a] - 1; k >= 0; k--) {
            long distance = position + g.before[a] - k * g.dilation[a];
            if (distance < 0 || distance % g.stride[a]) continue;
            if (distance / g.stride[a] < g.output[a]) windows.push_back({distance / g.stride[a], k});
        }
    }
};

// x[v,n,i,c] = sum_p y[v,n,p,c] over the windows p whose winner[n,p,c] is at i; `samples` counts
// all of v and n, `held` those of the winners.
template <typename T>
void spread(const Geometry& g, const T* y, const int8_t* winner, T* x, long held, int threads) {
    typedef Vector<T> V;
    long channels = g.channels, windows = g.windows() * channels;
    std::vector<Seeing> seeing[3];
    for (int a = 0; a < 3; a++)
        for (long i = 0; i < g.size[a]; i++) seeing[a].emplace_back(g, a, i);
    long lines = g.size[0] * g.size[1];
    for_samples(g.samples, lines, threads, [&](long n, long start, long stop) {
        const T* from = y + n * windows;
        const int8_t* won = winner + n % held * windows;
        Seen seen[MOST];
        for (long line = start; line < stop; line++) {
            auto& above = seeing[0][line / g.size[1]].windows;
            auto& over = seeing[1][line % g.size[1]].windows;
            for (long i = 0; i < g.size[2]; i++) {
                Seen* end = seen;
                for (auto [d, a] : above)
                    for (auto [h, b] : over)
                        for (auto [w, k] : seeing[2][i].windows) {
                            long at = ((d * g.output[1] + h) * g.output[2] + w) * channels;
                            *end++ = {at, int((a * g.kernel[1] + b) * g.kernel[2] + k)};
                        }
                T* to = x + ((n * lines + line) * g.size[2] + i) * channels;
                for (long next = 0; next < channels; next += LANES<T>) {
                    long c = vector_at<T>(next, channels);
                    V sum = {};
                    for (const Seen* one = seen; one < end; one++) {
                        V value = load(from + one->at + c, channels - c);
                        auto who = widened<T>(load_as<Small<T>>(won + one->at + c, channels - c));
                        sum += who == whole<T>(one->number) ? value : V{};
                    }
                    store(to + c, sum, channels - c);
                }
            }
        }
    });
}

EXPORT(maximum)
EXPORT(spread)

}  // namespace kernels
