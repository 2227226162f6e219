"""The C++ compilers that are here, and how one makes a library."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: seconds that a compiler may take: the first time, zig compiles its libraries, too
PATIENCE = 600

SOURCE = Path(__file__).parent / "source"
MAIN = "kernels.cpp"

FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
#: for the processor that it is compiled on. Left to themselves, compilers use half of AVX-512.
TUNED = {
    "x86_64": ("-march=native", "-mprefer-vector-width=512"),
    "AMD64": ("-march=native", "-mprefer-vector-width=512"),
    "aarch64": ("-mcpu=native",),
    "arm64": ("-mcpu=native",),
}.get(platform.machine(), ())


class CompilerError(Exception):
    """A compiler is missing or failed; the message says which, and how."""


@dataclass(frozen=True)
class Compiler:
    """A command, as `("g++",)`, and the first line of what it says of its version."""

    command: tuple[str, ...]
    version: str

    def compile(self, target: Path) -> None:
        """Write the library. `CompilerError` says what went wrong, in one line."""
        run = [*self.command, *FLAGS, *TUNED, str(SOURCE / MAIN), "-o", str(target)]
        try:
            done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompilerError(f"{self} failed: {error}") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            told = next((line for line in lines if "error" in line), lines[-1])
            raise CompilerError(f"{self} failed: {told.strip()}")

    def __str__(self) -> str:
        return shlex.join(self.command)


def has_zig() -> bool:
    """Whether the extra `native` is installed, which has a compiler."""
    return importlib.util.find_spec("ziglang") is not None


def found() -> Iterator[Compiler]:
    """The compilers that are here and say their version, in the order in which they are tried."""
    commands = [tuple(shlex.split(os.environ.get("CXX", "")))]
    commands += [(name,) for name in ("g++", "clang++", "c++") if shutil.which(name)]
    if has_zig():
        commands.append((sys.executable, "-m", "ziglang", "c++"))
    for command in filter(None, commands):
        try:
            said = subprocess.run(
                [*command, "--version"], capture_output=True, text=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        yield Compiler(command, next(iter(said.stdout.splitlines()), ""))
