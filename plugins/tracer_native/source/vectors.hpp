// Vectors of the processor's width by the extensions of gcc and clang, for float and double.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace kernels {

#if defined(__AVX512F__)
constexpr int BYTES = 64, ROWS = 12;  // of a vector; of a tile: its sums and factors fill registers
#elif defined(__AVX__)
constexpr int BYTES = 32, ROWS = 6;
#elif defined(__aarch64__)
constexpr int BYTES = 16, ROWS = 12;
#else
constexpr int BYTES = 16, ROWS = 6;
#endif

template <typename T> struct Vectors;
template <> struct Vectors<float> {
    static constexpr int LANES = BYTES / 4;
    typedef float Value __attribute__((vector_size(BYTES)));
    typedef int32_t Whole __attribute__((vector_size(BYTES)));
    typedef int8_t Small __attribute__((vector_size(BYTES / 4)));
    typedef int16_t Between __attribute__((vector_size(BYTES / 2)));
};
template <> struct Vectors<double> {
    static constexpr int LANES = BYTES / 8;
    typedef double Value __attribute__((vector_size(BYTES)));
    typedef int64_t Whole __attribute__((vector_size(BYTES)));
    typedef int8_t Small __attribute__((vector_size(BYTES / 8)));
    typedef int16_t Between __attribute__((vector_size(BYTES / 4)));
};
template <typename T> using Vector = typename Vectors<T>::Value;
template <typename T> using Whole = typename Vectors<T>::Whole;
template <typename T> using Small = typename Vectors<T>::Small;
template <typename T> constexpr int LANES = Vectors<T>::LANES;

// A vector V from memory: of numbers of any type, the first `count` of them and else 0.
template <typename V, typename E> inline V load_as(const E* from, long count) {
    V v = {};
    if (count * sizeof(E) >= sizeof(V)) memcpy(&v, from, sizeof(V));
    else memcpy(&v, from, count * sizeof(E));
    return v;
}

template <typename E, typename V> inline void store_as(E* to, V v, long count) {
    if (count * sizeof(E) >= sizeof(V)) memcpy(to, &v, sizeof(V));
    else memcpy(to, &v, count * sizeof(E));
}

template <typename T> inline Vector<T> load(const T* from, long count = LANES<T>) {
    return load_as<Vector<T>>(from, count);
}

template <typename T> inline void store(T* to, Vector<T> v, long count = LANES<T>) {
    store_as(to, v, count);
}

// Write a whole vector to where its bytes begin a multiple of as many, past the caches where that is
// known: lines that are written in full are not fetched first.
template <typename T> inline void stream(T* to, Vector<T> v) {
#if defined(__AVX__)
    typedef long long Bits __attribute__((vector_size(BYTES)));
#if defined(__clang__)
    __builtin_nontemporal_store((Bits)v, (Bits*)to);
#elif defined(__AVX512F__)
    __builtin_ia32_movntdq512((Bits*)to, (Bits)v);
#else
    __builtin_ia32_movntdq256((Bits*)to, (Bits)v);
#endif
#else
    store(to, v);
#endif
}

// What was streamed is there before what is written after.
inline void streamed() {
#if defined(__AVX__)
    __builtin_ia32_sfence();
#endif
}

template <typename T> inline Vector<T> all(T value) { return value - Vector<T>{}; }

// A whole number in all lanes.
template <typename T> inline Whole<T> whole(long value) {
    return (decltype(Whole<T>{}[0] + 0))value - Whole<T>{};
}

// Bytes as whole numbers, in two steps: in one, gcc 12 takes them lane by lane.
template <typename T> inline Whole<T> widened(Small<T> v) {
    return __builtin_convertvector(__builtin_convertvector(v, typename Vectors<T>::Between), Whole<T>);
}

// exp(x + more), to 2 units in the last place: 2^n exp(r + more) with x = n log(2) + r and
// |r| <= log(2) / 2. What is more than x can hold is small, at most 0.05.
template <typename T> inline Vector<T> exponential(Vector<T> x, Vector<T> more = all<T>(0)) {
    typedef Vector<T> V;
    constexpr bool single = sizeof(T) == 4;
    constexpr T most = single ? T(88.3762626647949) : T(709.0), least = -(single ? T(87.3) : T(708));
    constexpr T high = single ? T(0.693359375) : T(6.93145751953125e-1);
    constexpr T low = single ? T(-2.12194440e-4) : T(1.42860682030941723212e-6);
    constexpr T shift = single ? T(12582912) : T(6755399441055744);  // 1.5 * 2^23, 2^52: rounds
    V bounded = x > most ? all<T>(most) : x;
    bounded = bounded < least ? all<T>(least) : bounded;
    V rounded = bounded * T(1.44269504088896340736) + shift;
    Whole<T> n = (Whole<T>)rounded - (Whole<T>)all<T>(shift);
    V turns = rounded - shift, r = (bounded - turns * high) - turns * low + more;
    V sum = {};
    constexpr int terms = single ? 7 : 13;  // r^k / k!
    constexpr T inverse[] = {1, 1, 1 / T(2), 1 / T(6), 1 / T(24), 1 / T(120), 1 / T(720),
                             1 / T(5040), 1 / T(40320), 1 / T(362880), 1 / T(3628800),
                             1 / T(39916800), 1 / T(479001600), 1 / T(6227020800)};
    for (int k = terms; k >= 0; k--) sum = sum * r + inverse[k];
    V power = (V)((n + (single ? 127 : 1023)) << (single ? 23 : 52));
    sum *= power;
    sum = x > most ? all<T>(INFINITY) : sum;
    sum = x < least ? V{} : sum;
    return x == x ? sum : x;
}

// 1 / (1 + exp(-x))
template <typename T> inline Vector<T> logistic(Vector<T> x) {
    return T(1) / (T(1) + exponential<T>(-x));
}

// tanh(x) of floats, to 4 units in the last place: x P(x^2) / Q(x^2), as Eigen's, and 1 from where
// it rounds to that.
inline Vector<float> hyperbolic(Vector<float> x) {
    Vector<float> bounded = x > 7.90531f ? all(7.90531f) : x;
    bounded = bounded < -7.90531f ? all(-7.90531f) : bounded;
    Vector<float> square = bounded * bounded;
    Vector<float> p = square * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * square + -8.60467152213735e-11f;
    p = p * square + 5.12229709037114e-08f;
    p = p * square + 1.48572235717979e-05f;
    p = p * square + 6.37261928875436e-04f;
    p = p * square + 4.89352455891786e-03f;
    Vector<float> q = square * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * square + 2.26843463243900e-03f;
    q = q * square + 4.89352518554385e-03f;
    return bounded * p / q;
}

// tanh(x) of doubles: Cephes's x + x^3 P(x^2) / Q(x^2) near 0, else 1 - 2 / (exp(2|x|) + 1).
inline Vector<double> hyperbolic(Vector<double> x) {
    typedef Vector<double> V;
    V size = x < 0 ? -x : x, square = x * x;
    V p = square * -9.64399179425052238628e-1 - 9.92877231001918586564e1;
    V q = square + 1.12811678491632931402e2;
    p = p * square - 1.61468768441708447952e3;
    q = q * square + 2.23548839060100448583e3;
    V near = p / (q * square + 4.84406305325125486048e3) * square * x + x;
    V far = 1 - 2 / (exponential<double>(size + size) + 1);
    V y = size < 0.625 ? near : x < 0 ? -far : far;
    return x == x ? y : x;
}

}  // namespace kernels
