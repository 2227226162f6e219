// How kernels are offered to Python. `EXPORT(f)` after `template <typename T> void f(...)` offers
// f<float> and f<double>, and tells the types of their arguments: a pointer or a reference is an
// address, and the last argument of all is the number of threads.
#pragma once
#include <exception>
#include <type_traits>
#include <vector>

namespace kernels {

struct Exported {
    const char *name, *dtype, *arguments;  // of the latter a code of Python's ctypes each
    void* call;  // gives 0, or 1 where memory is short
};

// This library's own: what is `inline` would be shared by all that a process loads.
static std::vector<Exported>& exported() {
    static std::vector<Exported> all;
    return all;
}

template <typename A> constexpr char code() {
    if constexpr (std::is_pointer_v<A> || std::is_reference_v<A>) return 'P';
    else if constexpr (std::is_same_v<A, bool>) return '?';
    else if constexpr (std::is_integral_v<A> && std::is_signed_v<A>) return sizeof(A) == 8 ? 'q' : 'i';
    else if constexpr (std::is_same_v<A, double>) return 'd';
    else {
        constexpr bool is_plain = std::is_class_v<A> && std::is_trivially_copyable_v<A>;
        static_assert(is_plain, "a kernel takes no argument of this type");
        return 'S';
    }
}

template <auto F> struct Export;
template <typename... A, void (*F)(A...)> struct Export<F> {
    static constexpr char arguments[] = {code<A>()..., 0};
    static int call(A... values) {
        try {
            F(values...);
            return 0;
        } catch (const std::exception&) {
            return 1;
        }
    }
    Export(const char* name, const char* dtype) {
        exported().push_back({name, dtype, arguments, (void*)call});
    }
};

#define EXPORT(name)                                                      \
    static const Export<name<float>> name##_of_floats(#name, "float32"); \
    static const Export<name<double>> name##_of_doubles(#name, "float64");

}  // namespace kernels
