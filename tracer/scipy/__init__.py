"""SciPy's functions that do not hand tensors over, by SciPy's names.

`scipy.special.gammaln(t)` and other ufuncs take tensors themselves. What makes plain arrays of its
arguments is here: `tracer.scipy.special.logsumexp(t)`, `tracer.scipy.stats.norm.logpdf(t)`. The
signatures and the values are SciPy's; arrays give arrays, and tensors are recorded.
"""

from tracer.scipy import fft, special, stats

__all__ = ["fft", "special", "stats"]
