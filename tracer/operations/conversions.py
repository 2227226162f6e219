"""Conversion to other dtypes."""

import numpy as np

from tracer.arrays.dtypes import is_half
from tracer.errors import TracingError
from tracer.record.dispatch import implements
from tracer.record.operation import Elementwise, operation
from tracer.record.tensor import Tensor


@operation("astype")
class Astype(Elementwise):
    """Conversion to another dtype; no gradient flows through integers and booleans."""

    saves = ()
    linear = True
    takes_complex = True

    def forward(x, dtype):
        if x.dtype.kind == "c" and dtype.kind not in "cb":
            raise TracingError(
                f"astype({dtype}) would drop the imaginary part of complex numbers, and with it "
                f"the derivative: write np.real(z), np.imag(z) or abs(z)"
            )
        return x.astype(dtype)

    def vjp(node, g):
        """g in the dtype of x, in its own for x of half precision; 0 of ints and booleans.

        Of complex numbers made of real ones it is the real part.
        """
        if node.dtype.kind not in "fc":
            return None, None
        dtype = node.parents[0].dtype
        if g.dtype.kind == "c" and dtype.kind != "c":
            g = np.real(g)
        return g if is_half(dtype) else g.astype(dtype), None  # what is kept in half precision

    def jvp(node, tangents):
        """t in the dtype of the output, in its own for an output of half precision."""
        return tangents[0] if is_half(node.dtype) else tangents[0].astype(node.dtype)

    def examples(rng):
        z = rng.random(3) + 1j * rng.random(3)
        return [((rng.random(3), np.dtype(np.float64)), {}), ((z, np.dtype(complex)), {})]


@implements(np.astype)
def astype(x, dtype, /, *, copy=True, device=None):
    dtype = np.dtype(dtype)
    if dtype.kind not in "fciub":
        raise TracingError(
            f"astype({dtype}) makes no numbers of a tensor: convert its array, "
            f"tensor.data.astype({dtype.str!r}), where no derivative is wanted"
        )
    if not copy and x.dtype == dtype:
        return x  # as NumPy gives the array itself
    out = Astype(x, dtype)
    if dtype.kind not in "fc" and isinstance(out, Tensor) and out.node is not None:
        out.node.wants = False  # it may be an index, or a number that a loop counts to
    return out


def _method_astype(self, dtype, order="K", casting="unsafe", subok=True, copy=True):
    """The tensor in another dtype; without a gradient in integers and booleans."""
    if not np.can_cast(self.dtype, dtype, casting):
        raise TracingError(f"astype from {self.dtype} to {dtype} breaks casting={casting!r}")
    return astype(self, dtype, copy=copy)


Tensor.astype = _method_astype

OPERATIONS = [Astype]
