"""Which library runs: one from the cache, or where that is asked for one that is built now."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tracer_native import cache, compilers
from tracer_native.compilers import CompilerError
from tracer_native.library import Library

#: the variable that has kernels built where there are none (1), or turns them off (0)
VARIABLE = "TRACER_NATIVE"


def is_off() -> bool:
    return os.environ.get(VARIABLE) == "0"


def is_asked_for() -> bool:
    """Whether kernels are built where they are needed: by the variable or by the extra."""
    return not is_off() and (os.environ.get(VARIABLE) == "1" or compilers.has_zig())


def load() -> Library | None:
    """A library for this processor; None, and a line on stderr that says why, if there is none."""
    try:
        paths = cache.built()
        for path in paths:
            if cache.is_whole(path):
                return Library(path)
        if is_asked_for():
            return Library(build())
        if paths:
            say(f"{paths[0]} is damaged: `trace-net kernels build` makes it anew")
    except (OSError, AttributeError, CompilerError) as error:
        say(str(error))
    return None


def build() -> Path:
    """Build with the first compiler that can. `CompilerError`, `OSError`."""
    failures = []
    for compiler in compilers.found():
        try:
            return cache.build(compiler)
        except CompilerError as error:
            failures.append(str(error))
    if failures:
        raise CompilerError(failures[0])
    raise CompilerError(
        "there is no C++ compiler: install g++ or clang, or `pip install 'trace-net[native]'`"
    )


def say(text: str) -> None:
    """Tell on stderr, in one line, why NumPy goes on alone."""
    line = " ".join(text.split())
    print(f"trace-net: no compiled kernels, NumPy goes on: {line}", file=sys.stderr)
