"""CuPy, the array library of NVIDIA's GPUs; it is imported when it is first asked for.

What CuPy lacks, or does in many launches, are the kernels of `tracer.arrays.kernels`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from tracer.arrays import kernel_source as backend_source
from tracer.arrays.backend import Backend, forget_constants
from tracer.arrays.kernels import Kernels
from tracer.arrays.links import Links
from tracer.arrays.types import Array, Generator
from tracer.errors import TracerError

INSTALL = (
    "pip install 'trace-net[cuda12]' for a driver of CUDA 12, or 'trace-net[cuda13]' for CUDA 13"
)

NCCL = "pip install nvidia-nccl-cu12 for a driver of CUDA 12, or nvidia-nccl-cu13 for CUDA 13"

LIBRARIES = (
    "pip install 'cupy-cuda12x[ctk]' for a driver of CUDA 12, or 'cupy-cuda13x[ctk]' for CUDA 13, "
    "or install the CUDA Toolkit"
)


class CuPyBackend(Backend):
    """CuPy's arrays, on the device `cuda`: the current GPU, which CUDA_VISIBLE_DEVICES chooses."""

    name = "cupy"
    device = "cuda"
    asynchronous = True
    #: the number of the GPU that was chosen; None: the first one
    _chosen: int | None = None

    @property
    def namespace(self) -> ModuleType:  # type: ignore[override]
        return importlib.import_module("cupy")

    def problem(self) -> str | None:
        """Why there is no GPU to compute on; that CuPy can be imported does not say that it works.

        Without a driver, or CUDA's libraries, it can be, too.
        """
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed: {INSTALL}"
        try:
            cupy = self.namespace
        except Exception as error:  # a broken installation raises errors of many types
            return f"CuPy cannot be imported ({type(error).__name__}: {error}): {INSTALL}"
        if not cupy.cuda.is_available():
            return (
                f"CuPy {cupy.__version__} finds no GPU: `nvidia-smi` tells whether the driver does"
            )
        try:
            importlib.import_module("cupy.cublas")
        except ImportError as error:
            reason = str(error).partition(":")[0]
            return f"CuPy {cupy.__version__} lacks CUDA's libraries ({reason}): {LIBRARIES}"
        return None

    def describe(self) -> str:
        """CuPy's version and the GPUs, or the `problem`: for people."""
        if self.problem() is not None:
            return super().describe()
        runtime = self.namespace.cuda.runtime
        gpus = map(runtime.getDeviceProperties, range(runtime.getDeviceCount()))
        return f"{super().describe()} on {', '.join(gpu['name'].decode() for gpu in gpus)}"

    def wait(self) -> None:
        self.namespace.cuda.get_current_stream().synchronize()

    def to_host(self, array: Any) -> np.ndarray:
        return array.get()

    def from_host(self, array: Array) -> Array:
        if self._chosen is None:
            return self.namespace.asarray(array)
        with self.namespace.cuda.Device(self._chosen):  # which each thread chooses by itself
            return self.namespace.asarray(array)

    def device_count(self) -> int:
        return self.namespace.cuda.runtime.getDeviceCount()

    def use_device(self, number: int) -> str:
        """Make it the current one of this thread, and that where other threads send arrays."""
        device = self.namespace.cuda.Device(number)
        device.use()
        self._chosen = number
        forget_constants()
        return device.pci_bus_id

    def links_problem(self) -> str | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy's own word on what is missing
            try:
                importlib.import_module("cupyx.distributed")
                there = importlib.import_module("cupy.cuda.nccl").available
            except Exception as error:  # a broken installation raises errors of many types
                return f"cupyx.distributed cannot be imported ({type(error).__name__}: {error})"
        return None if there else f"CuPy finds no NCCL: {NCCL}"

    def links(self, size: int, rank: int, host: str, port: int) -> Links:
        """NCCL's, between GPUs of one machine or of several."""
        made = importlib.import_module("cupyx.distributed").NCCLBackend
        with warnings.catch_warnings():  # it forks where processes meet, beside threads of BLAS
            warnings.simplefilter("ignore", DeprecationWarning)
            return made(size, rank, host, port)

    def free_memory(self) -> int | None:
        """What the device has free, and what CuPy's pool keeps of it and no array uses."""
        free, _ = self.namespace.cuda.Device().mem_info
        return free + self.namespace.get_default_memory_pool().free_bytes()

    def generator(self, seed: int | None) -> Generator:
        return self.namespace.random.default_rng(seed)

    def kernels(self, like: Array) -> Kernels | None:
        return self._kernels if like.dtype.name in backend_source.TYPES else None

    @functools.cached_property
    def _kernels(self) -> Kernels:
        return Kernels(self.namespace, self.constant, _launch)

    def scipy(self, package: str, function: str) -> Callable[..., Array]:
        """A function of a package of `cupyx.scipy`; `TracerError` for one that it lacks."""
        found = getattr(importlib.import_module(f"cupyx.scipy.{package}"), function, None)
        if found is None:
            raise TracerError(
                f"CuPy has no scipy.{package}.{function}: compute it on the host, of "
                f"tracer.to_device(x, 'cpu')"
            )
        return found

    @property
    def linear_operator(self) -> Any:
        return importlib.import_module("cupyx.scipy.sparse.linalg").LinearOperator


#: threads of a block, and the most blocks: a thread takes several elements of larger arrays
THREADS, BLOCKS = 256, 1 << 16


def _launch(expression: str, count: int, arguments: tuple[Any, ...]) -> None:
    """Run a kernel on the current stream; see `kernels.Launch`."""
    typed = (a if hasattr(a, "shape") else NUMBERS[type(a)](a) for a in arguments)
    _kernel(expression)((min(-(-count // THREADS), BLOCKS),), (THREADS,), tuple(typed))


NUMBERS: dict[type, Any] = {int: np.int64, float: np.float64}


@functools.cache
def _kernel(expression: str) -> Any:
    """A compiled kernel; CuPy keeps it on disk for the next process."""
    module = CUPY.namespace.RawModule(
        code=backend_source.SOURCE, options=("--std=c++17",), name_expressions=(expression,)
    )
    return module.get_function(expression)


CUPY = CuPyBackend()
