"""SciPy's functions that do not hand tensors over, by SciPy's names.

`scipy.special.gammaln(t)` and other ufuncs take tensors themselves. What makes plain arrays of its
arguments is here: `tracer.scipy.special.logsumexp(t)`, `tracer.scipy.stats.norm.logpdf(t)`,
`tracer.scipy.linalg.solve_triangular(a, t)`, `tracer.scipy.signal.lfilter(b, a, t)`,
`tracer.scipy.integrate.odeint(f, t, times)`. The signatures and the values are SciPy's; arrays give
arrays, and tensors are recorded.
`tracer.scipy.optimize` gives SciPy's solvers the derivatives of functions that are written in
NumPy's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.record.frames import INTERNAL_FILES
from tracer.scipy import fft, linalg, signal, sparse, special, stats

if TYPE_CHECKING:
    from tracer.scipy import integrate, optimize

__all__ = ["fft", "integrate", "linalg", "optimize", "signal", "sparse", "special", "stats"]

INTERNAL_FILES.update(map(str, Path(__file__).parent.rglob("*.py")))
#: what imports SciPy, and is loaded when it is first asked for
_LATE = ("integrate", "optimize")


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'tracer.scipy' has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"tracer.scipy.{name}")
