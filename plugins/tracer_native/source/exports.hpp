// The functions that Python calls, for numbers of one type `T`: NAME(f) is `f_float32` or
// `f_float64`. Each gives 0, or 1 where memory is short. `tracer_native.library` declares their
// arguments once more.

extern "C" {

int NAME(convolve)(const Geometry* g, const T* x, const T* w, const T* bias, T* y, int rectified,
                   int threads) {
    return done([=] { convolve(*g, x, w, bias, y, rectified, threads); });
}

int NAME(transpose)(const Geometry* g, const T* y, const T* w, T* x, int threads) {
    return done([=] { transpose(*g, y, w, x, threads); });
}

int NAME(correlate)(const Geometry* g, const T* x, const T* y, T* w, int threads) {
    return done([=] { correlate(*g, x, y, w, threads); });
}

int NAME(correlate_samples)(const Geometry* g, const T* x, const T* y, T* norms, T* squares,
                            T* total, int threads) {
    return done([=] { correlate_samples(*g, x, y, norms, squares, total, threads); });
}

int NAME(maximum)(const Geometry* g, const T* x, T* y, int8_t* winner, int threads) {
    if (winner) return done([=] { maximum<true>(*g, x, y, winner, threads); });
    return done([=] { maximum<false>(*g, x, y, winner, threads); });
}

int NAME(spread)(const Geometry* g, const T* y, const int8_t* winner, T* x, int64_t held,
                 int threads) {
    return done([=] { spread(*g, y, winner, x, held, threads); });
}

int NAME(activate)(int kind, const T* x, T* y, int64_t count, int threads) {
    return done([=] { activate(kind, x, y, count, threads); });
}

int NAME(activate_vjp)(int kind, const T* g, const T* y, T* out, int64_t rows, int64_t count,
                       int threads) {
    return done([=] { activate_vjp(kind, g, y, out, rows, count, threads); });
}

int NAME(sum_rows)(const T* x, T* sums, int64_t stack, int64_t rows, int64_t columns, int threads) {
    return done([=] { sum_rows(x, sums, stack, rows, columns, threads); });
}

int NAME(swap_axes)(const T* x, T* y, int64_t count, int64_t first, int64_t second, int threads) {
    return done([=] { swap_axes(x, y, count, first, second, threads); });
}

int NAME(recur)(int kind, T* history, const T* weight, const T* bias, int64_t steps,
                int64_t samples, int64_t width, int threads) {
    return done([=] { recur(kind, history, weight, bias, steps, samples, width, threads); });
}

int NAME(recur_back)(int kind, const T* history, const T* weight, const T* shown, T* h, T* c, T* d,
                     T* u, int64_t rows, int64_t steps, int64_t samples, int64_t width,
                     int threads) {
    return done([=] {
        recur_back(kind, history, weight, shown, h, c, d, u, rows, steps, samples, width, threads);
    });
}

int NAME(softmax)(T* x, const T* bias, int64_t rows, int64_t biases, int64_t size, int threads) {
    return done([=] { softmax(x, bias, rows, biases, size, threads); });
}

int NAME(softmax_vjp)(const T* g, const T* y, T* out, int64_t rows, int64_t held, int64_t size,
                      int threads) {
    return done([=] { softmax_vjp(g, y, out, rows, held, size, threads); });
}

int NAME(standardise)(const T* x, T* y, T* rates, double eps, int64_t rows, int64_t size,
                      int threads) {
    return done([=] { standardise(x, y, rates, eps, rows, size, threads); });
}

int NAME(standardise_vjp)(const T* g, const T* y, const T* rates, T* out, int64_t rows,
                          int64_t held, int64_t size, int threads) {
    return done([=] { standardise_vjp(g, y, rates, out, rows, held, size, threads); });
}

}  // extern "C"

#undef T
#undef NAME
