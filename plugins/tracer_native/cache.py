"""Where built libraries are kept, and which is for this text, these flags and this processor.

A file is named `kernels-KEY-COMPILER-DIGEST`: a hash of text, flags and processor, one of the
compiler's version, and one of the content, which tells a damaged file. So no compiler has to be
asked to find a library. One that is built is written beside and renamed: processes that do so at
once do not see each other's halves.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from functools import cache
from pathlib import Path

from tracer_native.compilers import FLAGS, SOURCE, TUNED, Compiler

SUFFIX = ".so"


def folder() -> Path:
    """The user's cache: of `XDG_CACHE_HOME`, or the platform's place."""
    home = os.environ.get("XDG_CACHE_HOME")
    if home:
        base = Path(home)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path.home() / ".cache"
    return base / "trace-net" / "kernels"


def _hash(*texts: str | bytes) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() if isinstance(text, str) else text)
        digest.update(b"\0")
    return digest.hexdigest()[:16]


@cache
def key() -> str:
    """A hash of the source, the flags and the processor."""
    sources = [path.read_bytes() for path in sorted(SOURCE.iterdir()) if path.is_file()]
    return _hash(*sources, *FLAGS, *TUNED, processor())


def processor() -> str:
    """What a processor is called and can do, as far as the system says without being asked long."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read(1 << 14).split("\n\n")[0].splitlines()
    except OSError:
        lines = [platform.processor()]
    told = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    kept = [line for line in lines if line.startswith(told)]
    return "\n".join([platform.system(), platform.machine(), *(kept or lines)])


def all_built() -> list[Path]:
    """Every library in the cache, also those of other texts and processors."""
    return sorted(folder().glob(f"kernels-*{SUFFIX}"))


def built() -> list[Path]:
    """The libraries for this text and processor, the newest first."""
    paths = folder().glob(f"kernels-{key()}-*{SUFFIX}")
    return sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)


def is_whole(path: Path) -> bool:
    """Whether a library's content is what its name says."""
    return path.stem.rsplit("-", 1)[-1] == _hash(path.read_bytes())


def build(compiler: Compiler) -> Path:
    """Compile into the cache. `CompilerError`, or `OSError` where it cannot be written."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="building-") as beside:
        made = Path(beside) / f"kernels{SUFFIX}"
        compiler.compile(made)
        name = f"kernels-{key()}-{_hash(compiler.version)}-{_hash(made.read_bytes())}{SUFFIX}"
        os.replace(made, place / name)
    return place / name
