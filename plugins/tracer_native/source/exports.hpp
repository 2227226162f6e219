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

int NAME(correlate_each)(const Geometry* g, const T* x, const T* y, T* each, T* total,
                         int threads) {
    return done([=] { correlate_each(*g, x, y, each, total, threads); });
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

int NAME(recur)(int kind, T* history, const T* x, int64_t x_step, int64_t x_sample,
                const T* weight_ih, const T* bias_ih, const T* weight_hh, const T* bias_hh,
                int64_t steps, int64_t samples, int64_t inputs, int64_t width, int threads) {
    return done([=] {
        recur(kind, history, {x, x_step, x_sample}, weight_ih, bias_ih, weight_hh, bias_hh, steps,
              samples, inputs, width, threads);
    });
}

int NAME(recur_back)(int kind, const T* history, const T* weight, const T* shown, T* h, T* c, T* d,
                     T* u, int64_t rows, int64_t steps, int64_t samples, int64_t width,
                     int threads) {
    return done([=] {
        recur_back(kind, history, weight, shown, h, c, d, u, rows, steps, samples, width, threads);
    });
}

int NAME(recur_gradients)(int kind, const T* history, const T* x, int64_t x_step, int64_t x_sample,
                          const T* weight_ih, const T* weight_hh, const T* shown,
                          int64_t shown_step, int64_t shown_sample, T* h, T* c, T* data,
                          int64_t data_step, int64_t data_sample, T* of_weight_ih, T* of_bias_ih,
                          T* of_weight_hh, T* of_bias_hh, int64_t steps, int64_t samples,
                          int64_t inputs, int64_t width, int threads) {
    return done([=] {
        recur_gradients(kind, history, {x, x_step, x_sample}, weight_ih, weight_hh,
                        {shown, shown_step, shown_sample}, h, c, {data, data_step, data_sample},
                        of_weight_ih, of_bias_ih, of_weight_hh, of_bias_hh, steps, samples, inputs,
                        width, threads);
    });
}

int NAME(visit)(const T* x, double* norms, const T* const* directions, double* dots, T* squares,
                const Histogram* histograms, int64_t samples, int64_t width, int64_t number,
                int64_t counted, int threads) {
    return done([=] {
        visit(x, samples, width, norms, directions, number, dots, squares, histograms, counted,
              threads);
    });
}

int NAME(count_products)(const T* left, const T* right, const Histogram* histogram, int64_t samples,
                         int64_t inputs, int64_t outputs, int threads) {
    return done([=] {
        count_products(left, right, *histogram, samples, inputs, outputs, threads);
    });
}

int NAME(pairs)(const T* left, const T* right, const T* const* lefts, const T* const* rights,
                const int64_t* numbers, double* dots, int64_t sets, int64_t samples, int64_t inputs,
                int64_t outputs, int threads) {
    return done([=] {
        pairs(left, right, lefts, rights, numbers, dots, sets, samples, inputs, outputs, threads);
    });
}

int NAME(travel)(const T* now, const T* before, const T* first, T* copy, double* squares,
                 int64_t count, int threads) {
    return done([=] { travel(now, before, first, copy, squares, count, threads); });
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
