"""What measured: the processor, its kernels, threads, versions, and settings that matter."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tracer.arrays.openblas import function

from . import curvature
from .measure import PEERS, installed
from .processes import THREADS

CPU = Path("/proc/cpuinfo")
#: how variables begin that change what runs
DECIDING = ("OPENBLAS_", "OMP_", "MKL_", "TRACER_", "GOTO_")
#: what holds OpenBLAS to kernels of another processor
FORCING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


@dataclass(frozen=True)
class Environment:
    """Where and with what a run was; nothing in it names the machine."""

    date: str
    processor: str
    linear_algebra: str
    versions: str
    settings: dict[str, str]

    @property
    def text(self) -> str:
        """The same in a sentence."""
        told = [self.processor, self.linear_algebra, f"{THREADS} threads", self.versions]
        if self.settings:
            set_to = " ".join(f"`{name}={value}`" for name, value in self.settings.items())
            told.append(f"and {set_to}")
        return ", ".join(told)


def here() -> Environment:
    """Today, in this process."""
    return Environment(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        processor=_processor(),
        linear_algebra=_linear_algebra(),
        versions=_versions(),
        settings={k: v for k, v in sorted(os.environ.items()) if k.startswith(DECIDING)},
    )


def warning(environment: Environment) -> str | None:
    """What to be told of a run whose products do not run as the processor could; None if they do.

    PyTorch brings other linear algebra, which these settings do not hold back.
    """
    forced = [name for name in FORCING if name in environment.settings]
    if not forced:
        return None
    unset = " ".join(f"-u {name}" for name in forced)
    return (
        f"{' and '.join(forced)} decide which kernels NumPy's products run, and PyTorch's do not "
        f"follow: measure with `env {unset} python -m tests.benchmarks`"
    )


def _processor() -> str:
    """Model, cores that may be used, architecture and system."""
    lines = CPU.read_text().splitlines() if CPU.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return ", ".join([*models[:1], f"{cores} cores, {platform.machine()} {platform.system()}"])


def _linear_algebra() -> str:
    """The library of NumPy's products, and the processor that its kernels are for."""
    told = []
    for name in ("openblas_get_config", "openblas_get_corename"):
        found = function(name)
        if found is None:
            return "NumPy without OpenBLAS"
        found[0].restype = ctypes.c_char_p
        told.append(found[0]().decode())
    return f"{' '.join(told[0].split()[:2])} with kernels for {told[1]}"


def _versions() -> str:
    """Python, NumPy and the peers that are installed."""
    packages = ["numpy", *(package for name, package in PEERS.items() if installed(name))]
    if curvature.has_backpack():
        packages.append("backpack-for-pytorch")
    found = [f"{package} {metadata.version(package)}" for package in packages]
    return ", ".join([f"Python {platform.python_version()}", *found])
