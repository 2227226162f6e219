"""The compiled kernels as functions of NumPy's arrays, and what each of them is for.

Each module is beside one header in `source/`: it says for which arrays and sizes a kernel is, and
makes room for its results.
"""

from __future__ import annotations

from tracer_native import loading
from tracer_native.kernels.convolution import Convolutions
from tracer_native.kernels.elementwise import Elementwise
from tracer_native.kernels.pooling import Pooling
from tracer_native.kernels.recurrent import Recurrent
from tracer_native.kernels.rows import Rows
from tracer_native.kernels.visits import Visits
from tracer_native.library import Library


class Kernels(Convolutions, Pooling, Elementwise, Rows, Visits, Recurrent):
    """Those of a library: of the one given, or of the one in the cache."""

    name = "native"

    def __init__(self, library: Library | None = None):
        if library is not None:
            self._call = library

    def ready(self) -> bool:
        if not hasattr(self, "_call") and (library := loading.load()) is not None:
            self._call = library
        return hasattr(self, "_call")

    def describe(self) -> str:
        if hasattr(self, "_call"):
            return str(self._call.path)
        built = loading.cache.built()
        if built:
            return str(built[0])
        return "none are built: `trace-net kernels build` does it"
