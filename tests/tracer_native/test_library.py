"""What headers offer is what the library tells of itself."""

import re
import subprocess

import pytest

from tracer_native import compilers
from tracer_native.library import DTYPES

OFFERED = {
    name
    for path in compilers.SOURCE.glob("*.hpp")
    for name in re.findall(r"^EXPORT\((\w+)\)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_what_headers_offer_is_there_for_every_dtype(kernels):
    assert OFFERED
    assert set(kernels._call._functions) == {(name, d) for name in OFFERED for d in DTYPES}


@pytest.mark.parametrize(
    ("argument", "is_known"),
    [
        *((given, True) for given in ("T* x", "const int64_t& x", "double x", "bool x", "long x")),
        *((given, False) for given in ("T x", "unsigned x", "std::vector<T> x")),
    ],
)
def test_arguments_of_unknown_types_are_told_by_the_compiler(kernels, tmp_path, argument, is_known):
    text = f"""
    #include <cstdint>
    #include "exports.hpp"
    namespace kernels {{
    template <typename T> void added({argument}, int threads) {{}}
    EXPORT(added)
    }}
    """
    compiler = next(compilers.found())
    run = [*compiler.command, "-std=c++17", "-I", str(compilers.SOURCE), "-x", "c++", "-c", "-"]
    target = str(tmp_path / "added.o")
    done = subprocess.run(
        [*run, "-o", target], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == is_known, done.stderr
    assert is_known or "takes no argument of this type" in done.stderr
