// The normal distribution: the error function, GELU and their slopes.
#pragma once
#include "vectors.hpp"

namespace kernels {

// Coefficients of polynomials, the constant one first, interpolated at Chebyshev's nodes.
// `tails`: (a + center) Phi(-a) exp(a^2 / 2) in (a - center) / (a + center), for a of 0 to `most`,
// to a tenth of a unit in the last place; from there on, Phi(-a) is taken for that of `most`.
// `errors`: erf(x) / x in x^2, for x of -1 to 1.
template <typename T> struct Coefficients;
template <> struct Coefficients<float> {
    static constexpr float center = 4, most = 14;
    static constexpr float tails[] = {
        0.7552851383227722, -0.6078966182822692, 0.38713668408577256, -0.1865226849099879,
        0.06040668872980527, -0.0075292507030986265, -0.0035261837003900368, 0.001572317879442563,
        0.00020126173028404675, -0.00012018440110144362};
    static constexpr float errors[] = {
        1.1283791658483509, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412,
        0.005189087423433974, -0.000801686428716587, 7.875875062685488e-05};
};
template <> struct Coefficients<double> {
    static constexpr double center = 5, most = 39;
    static constexpr double tails[] = {
        0.769193049750063, -0.6653825028900567, 0.49530561596997413, -0.3135331566712971,
        0.1650203661705007, -0.06911863870647982, 0.020795066797569855, -0.002993376769094473,
        -0.0007978693748911934, 0.000544899062695852, -5.937586616736071e-05,
        -4.9762853165030135e-05, 1.668170360977268e-05, 3.981182741532577e-06,
        -2.7703209441469523e-06, -3.374965203524632e-07, 4.3443907263764586e-07,
        4.375841598285575e-08, -6.667529339227571e-08, -1.0618274174239376e-08,
        7.630410417873182e-09, 2.224938767716443e-09};
    static constexpr double errors[] = {
        1.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
        0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
        -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
        1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11};
};

template <typename T, int N> inline Vector<T> polynomial(const T (&coefficients)[N], Vector<T> x) {
    Vector<T> sum = all<T>(coefficients[N - 1]);
#pragma GCC unroll 32
    for (int k = N - 2; k >= 0; k--) sum = sum * x + coefficients[k];
    return sum;
}

// Phi(-a) and exp(-a^2 / 2) for a >= 0, to 8 units in the last place.
template <typename T> struct Tail {
    Vector<T> a, bell, value;

    explicit Tail(Vector<T> size) {
        typedef Coefficients<T> C;
        a = size > C::most ? all<T>(C::most) : size;
        // the square of the upper half of its digits is exact
        constexpr long cleared = sizeof(T) == 4 ? 12 : 27;
        Vector<T> upper = (Vector<T>)((Whole<T>)a >> cleared << cleared);
        bell = exponential<T>(upper * upper * T(-0.5), (a + upper) * (a - upper) * T(-0.5));
        Vector<T> inverse = T(1) / (a + C::center);
        value = bell * inverse * polynomial<T>(C::tails, (a - C::center) * inverse);
    }
};

template <typename T> inline Vector<T> magnitude(Vector<T> x) { return x < 0 ? -x : x; }

// erf(x), to 2 units in the last place: of tails where |x| > 1.
template <typename T> inline Vector<T> error_function(Vector<T> x) {
    Vector<T> size = magnitude<T>(x);
    Vector<T> near = x * polynomial<T>(Coefficients<T>::errors, x * x);
    Vector<T> far = T(1) - T(2) * Tail<T>(size * T(1.41421356237309504880)).value;
    return size <= 1 ? near : x < 0 ? -far : far;
}

// 2 / sqrt(pi) exp(-x^2)
template <typename T> inline Vector<T> error_slope(Vector<T> x) {
    return T(1.12837916709551257390) * exponential<T>(-x * x);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|)
template <typename T> inline Vector<T> gelu(Vector<T> x) {
    Tail<T> tail(magnitude<T>(x));
    return (x <= 0 ? Vector<T>{} : x) - tail.a * tail.value;
}

// Phi(x) + x phi(x) with the density phi
template <typename T> inline Vector<T> gelu_slope(Vector<T> x) {
    Tail<T> tail(magnitude<T>(x));
    Vector<T> below = tail.value - tail.a * tail.bell * T(0.39894228040143267794);
    return x < 0 ? below : T(1) - below;
}

// x / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x (1 + tanh(u)) / 2
constexpr double TWICE = 1.59576912160573071176, CUBIC = 0.044715;

template <typename T> inline Vector<T> gelu_tanh(Vector<T> x) {
    return x * logistic<T>(T(TWICE) * (x + T(CUBIC) * (x * x * x)));
}

// s (1 + 2 x u' (1 - s)) with s = 1 / (1 + exp(-2 u)), which is 0 or 1 from 100 on
template <typename T> inline Vector<T> gelu_tanh_slope(Vector<T> x) {
    x = x > 100 ? all<T>(100) : x < -100 ? all<T>(-100) : x;
    Vector<T> square = x * x, s = logistic<T>(T(TWICE) * (x + T(CUBIC) * (square * x)));
    return s + s * (T(1) - s) * x * (T(TWICE) * (T(1) + T(3 * CUBIC) * square));
}

// s (1 + x (1 - s)) with s = 1 / (1 + exp(-x))
template <typename T> inline Vector<T> silu_slope(Vector<T> x) {
    Vector<T> s = logistic<T>(x);
    return s * (T(1) + x * (T(1) - s));
}

}  // namespace kernels
