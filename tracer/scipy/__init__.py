"""SciPy's functions that do not hand tensors over, by SciPy's names.

`scipy.special.gammaln(t)` and other ufuncs take tensors themselves. What makes plain arrays of its
arguments is here: `tracer.scipy.special.logsumexp(t)`, `tracer.scipy.stats.norm.logpdf(t)`,
`tracer.scipy.linalg.solve_triangular(a, t)`. The signatures and the values are SciPy's; arrays give
arrays, and tensors are recorded.
"""

from pathlib import Path

from tracer.record.frames import INTERNAL_FILES
from tracer.scipy import linalg, sparse, special, stats

__all__ = ["linalg", "sparse", "special", "stats"]

INTERNAL_FILES.update(map(str, Path(__file__).parent.rglob("*.py")))
