"""The GPU's kernels compiled for the host, where one thread takes all elements, for tests."""

import ctypes
import functools
import re
import shutil
import subprocess

import numpy as np

from tracer.arrays import kernel_source as backend_source
from tracer.arrays.kernels import Kernels

#: CUDA's names on the host: one block of one thread, which takes all elements
PRELUDE = """
#include <cmath>
using std::tanh;
using std::nan;
#define __global__
#define __device__
struct Index { long long x; };
static Index blockIdx = {0}, blockDim = {1}, gridDim = {1}, threadIdx = {0};
template <typename T> void atomicAdd(T* at, T value) { *at += value; }
"""

KERNEL = re.compile(
    r"template <typename T(?P<rank>, int R)?>\s*"
    r"__global__ void (?P<name>\w+)\((?P<arguments>[^)]*)\)"
)
RANKS = (1, 2, 3, 4, 5)

COMPILER = shutil.which("g++") or shutil.which("clang++")


def expressions():
    """Every kernel with its types, as it is launched, and its arguments."""
    for kernel in KERNEL.finditer(backend_source.SOURCE):
        arguments = " ".join(kernel["arguments"].split()).split(", ")
        for kind in backend_source.TYPES.values():
            for rank in RANKS if kernel["rank"] else (None,):
                suffix = "" if rank is None else f", {rank}"
                yield f"{kernel['name']}<{kind}{suffix}>", kind, arguments


def symbol(expression):
    return re.sub(r"\W+", "_", expression).strip("_")


def source():
    """C++ with a function of C for each kernel and its types."""
    wrappers = []
    for expression, kind, arguments in expressions():
        typed = ", ".join(re.sub(r"\bT\b", kind, argument) for argument in arguments)
        names = ", ".join(re.split(r"[ *]+", argument)[-1] for argument in arguments)
        wrappers.append(
            f'extern "C" void run_{symbol(expression)}({typed}) {{ {expression}({names}); }}'
        )
    return "\n".join([PRELUDE, backend_source.SOURCE, *wrappers])


def compiled(folder):
    """The library, made by the host's compiler with all warnings being errors."""
    code, library = folder / "kernels.cpp", folder / "kernels.so"
    code.write_text(source())
    strict = ["-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-fno-sanitize-recover"]
    command = [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", *strict, code, "-o", library]
    subprocess.run(list(map(str, command)), check=True)
    return ctypes.CDLL(str(library))


def launcher(folder):
    """`kernels.Launch` for NumPy's arrays."""
    library = compiled(folder)

    def launch(expression, count, arguments):
        assert count == arguments[-1] > 0
        passed = []
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                assert argument.flags.c_contiguous
                passed.append(ctypes.c_void_p(argument.ctypes.data))
            else:
                kind = ctypes.c_double if isinstance(argument, float) else ctypes.c_longlong
                passed.append(kind(argument))
        getattr(library, f"run_{symbol(expression)}")(*passed)

    return launch


def host_kernels(folder):
    """`Kernels` of NumPy's arrays."""
    kept = functools.cache(lambda make, *arguments: make(*arguments))
    return Kernels(np, kept, launcher(folder))
