// One library of all kernels, for float and for double.
#include "convolution.hpp"
#include "elementwise.hpp"
#include "pairs.hpp"
#include "pooling.hpp"
#include "recurrent.hpp"
#include "rows.hpp"
#include "visits.hpp"

extern "C" {

// What is offered, and how many there are.
const kernels::Exported* exported(long* count) {
    *count = (long)kernels::exported().size();
    return kernels::exported().data();
}

void after_fork() { kernels::pool() = new kernels::Pool; }  // whose threads are not in the child

}  // extern "C"
