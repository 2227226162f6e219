// One library of all kernels, for float and for double.
#include "convolution.hpp"
#include "elementwise.hpp"
#include "pairs.hpp"
#include "pooling.hpp"
#include "recurrent.hpp"
#include "rows.hpp"
#include "visits.hpp"

using namespace kernels;

// Whether memory was short, as what C can return.
template <typename F> static int done(F function) {
    try {
        function();
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}

extern "C" void after_fork() { pool() = new Pool; }  // whose threads are not in the child

#define T float
#define NAME(function) function##_float32
#include "exports.hpp"

#define T double
#define NAME(function) function##_float64
#include "exports.hpp"
