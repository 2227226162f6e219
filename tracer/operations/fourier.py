"""`np.fft` on tensors: three transforms along one axis, and what is written in terms of them.

A transform of n elements is a symmetric matrix F with `F[k,j] = exp(-2 pi i j k / n)` times the
norm. An axis of another length is cut, or filled with zeros, before.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError
from tracer.operations.arguments import integer, one_axis, operand, several_axes
from tracer.operations.shapes import slice_of
from tracer.record.axes import POOLED
from tracer.record.dispatch import implements, refuse_out
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import by_stacks

#: a norm -> that of the transposed transform, whose factor is n times the inverse one's
DUAL = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


class Transform(Operation):
    """A transform of `count` elements along a negative `axis`."""

    saves = ()
    linear = True
    takes_complex = True
    plain_options = True
    jvp = staticmethod(by_stacks)

    @staticmethod
    def batch_axis(node, axes):
        return POOLED if axes[0] - len(node.shape) == node.params["axis"] else axes[0]

    @staticmethod
    def flops(node):
        count = max(node.params["count"], 1)
        lines = math.prod(node.shape) // max(node.shape[node.params["axis"]], 1)
        return 5 * lines * count * max(count - 1, 1).bit_length()


def _back(node, stack):
    """A cotangent of what was transformed, as long as the input is."""
    axis = node.params["axis"]
    size, given = node.input_shape(0)[axis], stack.shape[axis]
    if given >= size:
        return slice_of(stack, axis, 0, size) if given > size else stack
    return np.pad(stack, [(0, size - given if i == axis else 0) for i in range(-stack.ndim, 0)])


def _options(node, **others):
    return {"n": node.params["count"], "axis": node.params["axis"], **others}


@operation("fft")
class Fft(Transform):
    def forward(x, *, count, axis, norm, inverse):
        return (np.fft.ifft if inverse else np.fft.fft)(x, count, axis, norm)

    def vjp(node, g):
        """g_x[v,j] = sum_k F[k,j] g[v,k], the same transform, since F is symmetric."""
        transform = np.fft.ifft if node.params["inverse"] else np.fft.fft
        return (_back(node, transform(g, **_options(node, norm=node.params["norm"]))),)

    def examples(rng):
        x = rng.random((2, 5))
        return [
            ((x,), {"count": n, "axis": axis, "norm": norm, "inverse": inverse})
            for n, axis, norm, inverse in (
                (5, -1, "backward", False), (3, -1, "ortho", False), (7, -1, "forward", True),
                (2, -2, "backward", True),
            )
        ]  # fmt: skip


def _halves(like, count, axis, inside):
    """1 for the frequencies that a real transform has once, and `inside` for the others."""
    weights = np.full(count // 2 + 1, inside)
    weights[0] = 1
    if count % 2 == 0:
        weights[-1] = 1
    weights = backend.of(like).from_host(weights.astype(np.empty(0, like.dtype).real.dtype))
    return weights.reshape(-1, *(1,) * (-1 - axis))


@operation("rfft")
class Rfft(Transform):
    """The first half of the transform of real numbers, of which the other is the conjugate."""

    def forward(x, *, count, axis, norm):
        return np.fft.rfft(x, count, axis, norm)

    def vjp(node, g):
        """g_x[v,j] = Re(sum_k F[k,j] g[v,k]) over the half that there is.

        That is the inverse transform of conj(g), halved where it adds a frequency twice.
        """
        count, axis = node.params["count"], node.params["axis"]
        whole = np.conj(g) * _halves(g, count, axis, 0.5)
        norm = DUAL[node.params["norm"]]
        return (_back(node, np.fft.irfft(whole, **_options(node, norm=norm))),)

    def examples(rng):
        x = rng.random((2, 5))
        return [
            ((x,), {"count": n, "axis": axis, "norm": norm})
            for n, axis, norm in (
                (5, -1, "backward"), (4, -1, "ortho"), (8, -1, "forward"), (1, -2, "backward"),
            )
        ]  # fmt: skip


@operation("irfft")
class Irfft(Transform):
    """Real numbers from the first half of their transform."""

    def forward(x, *, count, axis, norm):
        return np.fft.irfft(x, count, axis, norm)

    def vjp(node, g):
        """g_z[v,k] = c[k] sum_j conj(F[k,j]) g[v,j], with c 2 where k stands for two frequencies.

        The imaginary part of those that it stands for alone makes no difference.
        """
        count, axis, norm = (node.params[name] for name in ("count", "axis", "norm"))
        half = np.conj(np.fft.rfft(g, **_options(node, norm=DUAL[norm])))
        return (_back(node, half * _halves(half, count, axis, 2)),)

    def examples(rng):
        z = rng.random((2, 4)) + 1j * rng.random((2, 4))
        return [
            ((z,), {"count": n, "axis": axis, "norm": norm})
            for n, axis, norm in (
                (6, -1, "backward"), (5, -1, "ortho"), (9, -1, "forward"), (2, -2, "backward"),
            )
        ]  # fmt: skip


# -- NumPy's functions --------------------------------------------------------------------------


def _norm(norm):
    norm = "backward" if norm is None else norm
    if not isinstance(norm, str) or norm not in DUAL:
        raise ShapeError(f'norm of np.fft is "backward", "ortho" or "forward", got {norm!r}')
    return norm


def _line(a, n, axis, half=False):
    """The array, the number of elements along an axis, and that axis, as a negative one.

    Of a `half` of a transform, they are those of the whole.
    """
    a = operand(a)
    axis = one_axis(axis, a.ndim)
    if n is None:
        n = 2 * (a.shape[axis] - 1) if half else a.shape[axis]
    n = integer(n, "`n` of np.fft")
    if n < 1:
        raise ShapeError(f"np.fft transforms one element or more along an axis, got {n}")
    return a, n, axis


def _along(inverse):
    def transform(a, n=None, axis=-1, norm=None, out=None):
        refuse_out("fft", out)
        a, n, axis = _line(a, n, axis)
        return Fft(a, count=n, axis=axis, norm=_norm(norm), inverse=inverse)

    return transform


fft = implements(np.fft.fft)(_along(inverse=False))
ifft = implements(np.fft.ifft)(_along(inverse=True))


@implements(np.fft.rfft)
def rfft(a, n=None, axis=-1, norm=None, out=None):
    refuse_out("fft.rfft", out)
    a, n, axis = _line(a, n, axis)
    if a.dtype.kind == "c":
        raise ShapeError("np.fft.rfft takes real numbers, got complex ones: use np.fft.fft")
    return Rfft(a, count=n, axis=axis, norm=_norm(norm))


@implements(np.fft.irfft)
def irfft(a, n=None, axis=-1, norm=None, out=None):
    refuse_out("fft.irfft", out)
    a, n, axis = _line(a, n, axis, half=True)
    if a.dtype.kind != "c":
        a = a.astype(np.result_type(a.dtype, np.complex64))
    return Irfft(a, count=n, axis=axis, norm=_norm(norm))


@implements(np.fft.hfft)
def hfft(a, n=None, axis=-1, norm=None, out=None):
    return irfft(np.conj(operand(a)), n, axis, DUAL[_norm(norm)], out)


@implements(np.fft.ihfft)
def ihfft(a, n=None, axis=-1, norm=None, out=None):
    return np.conj(rfft(a, n, axis, DUAL[_norm(norm)], out))


def _lines(a, s, axes, half=False):
    """The array, the axes to be transformed, and how many elements each is to have."""
    a = operand(a)
    if axes is None:
        axes = range(-(a.ndim if s is None else len(s)), 0)
    axes = [one_axis(axis, a.ndim) for axis in axes]
    if s is None:
        counts = [a.shape[axis] for axis in axes]
        if half and counts:
            counts[-1] = 2 * (counts[-1] - 1)
    else:
        counts = [a.shape[x] if n is None or n == -1 else n for n, x in zip(s, axes, strict=False)]
        if len(s) != len(axes):
            raise ShapeError(f"np.fft got {len(s)} numbers of elements for {len(axes)} axes")
    if not axes:
        raise ShapeError("np.fft transforms along one axis or more, got none")
    return a, axes, counts


def _several(inverse, default=None):
    one = ifft if inverse else fft

    def transform(a, s=None, axes=default, norm=None, out=None):
        refuse_out("fft", out)
        a, axes, counts = _lines(a, s, axes)
        for axis, n in zip(reversed(axes), reversed(counts), strict=True):
            a = one(a, n, axis, norm)
        return a

    return transform


fftn, ifftn = (implements(f)(_several(i)) for f, i in ((np.fft.fftn, False), (np.fft.ifftn, True)))
fft2, ifft2 = (
    implements(f)(_several(i, (-2, -1))) for f, i in ((np.fft.fft2, False), (np.fft.ifft2, True))
)


def _several_real(default=None):
    def transform(a, s=None, axes=default, norm=None, out=None):
        refuse_out("fft", out)
        a, axes, counts = _lines(a, s, axes)
        a = rfft(a, counts[-1], axes[-1], norm)
        for axis, n in zip(reversed(axes[:-1]), reversed(counts[:-1]), strict=True):
            a = fft(a, n, axis, norm)
        return a

    return transform


def _several_to_real(default=None):
    def transform(a, s=None, axes=default, norm=None, out=None):
        refuse_out("fft", out)
        a, axes, counts = _lines(a, s, axes, half=True)
        for axis, n in zip(axes[:-1], counts[:-1], strict=True):
            a = ifft(a, n, axis, norm)
        return irfft(a, counts[-1], axes[-1], norm)

    return transform


rfftn, rfft2 = (
    implements(f)(_several_real(axes))
    for f, axes in ((np.fft.rfftn, None), (np.fft.rfft2, (-2, -1)))
)
irfftn, irfft2 = (
    implements(f)(_several_to_real(axes))
    for f, axes in ((np.fft.irfftn, None), (np.fft.irfft2, (-2, -1)))
)


def _shift(sign):
    def shift(x, axes=None):
        x = operand(x)
        axes = range(-x.ndim, 0) if axes is None else several_axes(axes, x.ndim)
        return np.roll(x, [sign * (x.shape[axis] // 2) for axis in axes], tuple(axes))

    return shift


fftshift, ifftshift = (
    implements(f)(_shift(sign)) for f, sign in ((np.fft.fftshift, 1), (np.fft.ifftshift, -1))
)

OPERATIONS = [Fft, Rfft, Irfft]
