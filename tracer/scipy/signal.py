"""`scipy.signal` for tensors: convolutions, correlations and linear filters.

The signatures and the values are SciPy's, of complex numbers, too. Those by sums are `convolve` and
`correlate` with `method="direct"`, `convolve2d` and `correlate2d`; the others are by Fourier
transforms, along the `axes` that they are given.
"""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import narrowed, widened
from tracer.errors import ShapeError
from tracer.operations.arguments import one_axis, operand, raw, several_axes
from tracer.operations.convolving import Convolve
from tracer.operations.filtering import Feedback, along_last
from tracer.operations.products import conjugate
from tracer.record import hints

__all__ = [
    *("convolve", "convolve2d", "correlate", "correlate2d", "fftconvolve", "lfilter"),
    "oaconvolve",
]

MODES = ("full", "same", "valid")
#: boundaries of SciPy's -> modes of `np.pad`
BOUNDARIES = {
    **dict.fromkeys(("fill", "pad"), "constant"),
    **dict.fromkeys(("wrap", "circular"), "wrap"),
    **dict.fromkeys(("symm", "symmetric"), "symmetric"),
}


def convolve(in1, in2, mode="full", method="auto"):
    """The convolution of two arrays along all axes."""
    x, y = _pair(in1, in2, "convolve", mode)
    if method not in ("auto", "direct", "fft"):
        raise ValueError(f"`method` of convolve is 'auto', 'direct' or 'fft', got {method!r}")
    if not x.ndim:
        return x * y
    _fits(x.shape, y.shape, mode, range(x.ndim))
    dtype = np.result_type(x.dtype, y.dtype)
    if dtype.kind not in "fc":  # whose sums are exact
        method = "direct"
    if method == "auto":
        choose = backend.of(raw(x)).scipy("signal", "choose_conv_method")
        method = choose(raw(x), raw(y), mode)
    if method == "fft":
        return narrowed(fftconvolve(x, y, mode), dtype)
    return _part(Convolve(x, y), x.shape, y.shape, mode, range(x.ndim))


def correlate(in1, in2, mode="full", method="auto"):
    """The correlation of two arrays along all axes: of a convolution with the second reversed."""
    x, y = _pair(in1, in2, "correlate", mode)
    return convolve(x, _reversed(y), mode, method)


def fftconvolve(in1, in2, mode="full", axes=None):
    """The convolution along `axes`, by Fourier transforms; the others are broadcast."""
    x, y = _pair(in1, in2, "fftconvolve", mode)
    if not x.ndim:
        return x * y
    along = range(x.ndim) if axes is None else _places(axes, x.ndim)
    along = [i for i in along if x.shape[i] != 1 and y.shape[i] != 1]
    pairs = list(zip(x.shape, y.shape, strict=True))
    if any(m != n and 1 not in (m, n) for i, (m, n) in enumerate(pairs) if i not in along):
        raise ShapeError(
            f"fftconvolve takes arrays that broadcast along the other axes, got {list(x.shape)} "
            f"and {list(y.shape)} with axes={axes}"
        )
    _fits(x.shape, y.shape, mode, along)
    return _part(_by_transforms(x, y, along), x.shape, y.shape, mode, along)


def oaconvolve(in1, in2, mode="full", axes=None):
    """The same as `fftconvolve`, which SciPy computes of long arrays by pieces."""
    return fftconvolve(in1, in2, mode, axes)


def convolve2d(in1, in2, mode="full", boundary="fill", fillvalue=0):
    """The convolution of matrices, of which the first goes on beyond its edges by `boundary`."""
    x, y = _matrices(in1, in2, "convolve2d", mode)
    if mode == "valid":
        return _part(Convolve(x, y), x.shape, y.shape, mode, (0, 1))
    whole = _beyond(x, y, boundary, fillvalue)
    return _centre(whole, x.shape, [(n - 1) // 2 for n in y.shape]) if mode == "same" else whole


def correlate2d(in1, in2, mode="full", boundary="fill", fillvalue=0):
    """The correlation of matrices, of which the first goes on beyond its edges by `boundary`."""
    x, y = _matrices(in1, in2, "correlate2d", mode)
    if mode == "valid":
        first_is_larger = all(m >= n for m, n in zip(x.shape, y.shape, strict=True))
        other = np.flip(conjugate(y)) if first_is_larger else np.flip(y)
        x = x if first_is_larger else conjugate(x)  # SciPy's conjugates the smaller one
        return _part(Convolve(x, other), x.shape, y.shape, mode, (0, 1))
    whole = _beyond(x, _reversed(y), boundary, fillvalue)
    return _centre(whole, x.shape, [n // 2 for n in y.shape]) if mode == "same" else whole


def lfilter(b, a, x, axis=-1, zi=None):
    """A signal filtered along an axis: `a[0] y[n] = sum b[j] x[n - j] - sum_{j>0} a[j] y[n - j]`.

    With an initial state `zi`, as long along the axis as the longer filter less one, the result is
    `(y, zf)`, with the state at the end.
    """
    b, a, x = (operand(v) for v in (b, a, x))
    b, a = (np.reshape(v, (1,)) if not v.ndim else v for v in (b, a))
    for name, taps in (("b", b), ("a", a)):
        if taps.ndim != 1 or not len(taps):
            raise ShapeError(f"`{name}` of lfilter is a vector, got {list(taps.shape)}")
    if not raw(a)[0]:
        raise ValueError("a[0] of lfilter divides the others, and is not zero")
    if not x.ndim:
        raise ShapeError("`x` of lfilter has one axis or more, got a number")
    axis = one_axis(axis, x.ndim)
    b, a = _floats(b / a[0]), _floats(a / a[0])
    x = np.moveaxis(x, axis, -1)
    count, order = x.shape[-1], max(len(a), len(b)) - 1
    into = _extended(along_last(x, b), count + order)
    if zi is not None:
        into = into + _extended(_state(zi, x, axis, order), count + order)
    y = Feedback(into[..., :count], a)
    if zi is None:
        return np.moveaxis(y, -1, axis)
    ahead = (into - _extended(along_last(y, a), count + order))[..., count:]
    return np.moveaxis(y, -1, axis), np.moveaxis(ahead, -1, axis)


# -- arguments ------------------------------------------------------------------------------------


def _pair(in1, in2, name, mode):
    x, y = operand(in1), operand(in2)
    if x.ndim != y.ndim:
        raise ShapeError(
            f"{name} takes two arrays of as many axes, got {list(x.shape)} and {list(y.shape)}"
        )
    if mode not in MODES:
        raise ValueError(f"`mode` of {name} is 'full', 'same' or 'valid', got {mode!r}")
    if not math.prod(x.shape) or not math.prod(y.shape):
        raise ShapeError(
            f"{name} takes arrays of one element or more, got {list(x.shape)} and {list(y.shape)}"
        )
    return x, y


def _matrices(in1, in2, name, mode):
    x, y = _pair(in1, in2, name, mode)
    if x.ndim != 2:
        raise ShapeError(f"{name} takes two matrices, got {list(x.shape)} and {list(y.shape)}")
    _fits(x.shape, y.shape, mode, (0, 1))
    return x, y


def _fits(first, second, mode, axes):
    """Of a "valid" part, one array is at least as large as the other along all axes."""
    if mode != "valid":
        return
    larger = {first[i] > second[i] for i in axes if first[i] != second[i]}
    if len(larger) > 1:
        raise ShapeError(
            f"mode='valid' takes one array that is at least as large as the other along every "
            f"axis, got {list(first)} and {list(second)}"
        )


def _places(axes, rank):
    places = [axis + rank for axis in several_axes(axes, rank)]
    if not places:
        raise ValueError("`axes` of fftconvolve, when given, names one axis or more")
    return places


def _floats(a):
    return a if a.dtype.kind in "fc" else a.astype(float)


def _reversed(a):
    return conjugate(np.flip(a))


# -- parts ----------------------------------------------------------------------------------------


def _part(whole, first, second, mode, axes):
    """What `mode` says of a full convolution of arrays of these shapes along these axes."""
    if mode == "full":
        return whole
    shape = list(first)
    if mode == "valid":
        shape = list(whole.shape)
        for i in axes:
            shape[i] = abs(first[i] - second[i]) + 1
    return _centre(whole, shape, [(n - m) // 2 for n, m in zip(whole.shape, shape, strict=True)])


def _centre(whole, shape, starts):
    return whole[tuple(slice(i, i + n) for i, n in zip(starts, shape, strict=True))]


def _by_transforms(x, y, axes):
    """The full convolution along these axes, of transforms of lengths that are fast."""
    if not axes:
        return x * y
    x, y = widened(_floats(x)), widened(_floats(y))
    is_real = x.dtype.kind != "c" and y.dtype.kind != "c"
    sizes = {i: x.shape[i] + y.shape[i] - 1 for i in axes}
    fast = backend.of(raw(x)).scipy("fft", "next_fast_len")
    lengths = [fast(n, is_real) for n in sizes.values()]
    if is_real:
        product = np.fft.rfftn(x, lengths, axes) * np.fft.rfftn(y, lengths, axes)
        out = np.fft.irfftn(product, lengths, axes)
    else:
        product = np.fft.fftn(x, lengths, axes) * np.fft.fftn(y, lengths, axes)
        out = np.fft.ifftn(product, lengths, axes)
    return out[tuple(slice(sizes.get(i)) for i in range(out.ndim))]


def _beyond(x, y, boundary, fillvalue):
    """The full convolution of matrices, the first of which goes on beyond its edges."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"`boundary` is 'fill', 'wrap' or 'symm', got {boundary!r}")
    kind = BOUNDARIES[boundary]
    if kind == "constant" and type(fillvalue) in (int, float) and not fillvalue:
        return Convolve(x, y)
    if np.ndim(fillvalue):
        raise ValueError(f"`fillvalue` is a number, got an array of shape {np.shape(fillvalue)}")
    around = [(n - 1, n - 1) for n in y.shape]
    options = {"constant_values": fillvalue} if kind == "constant" else {}
    wide = np.pad(x, around, mode=kind, **options)
    return _part(Convolve(wide, y), wide.shape, y.shape, "valid", (0, 1))


def _extended(a, size):
    """With zeros behind, along the last axis, up to this size."""
    missing = size - a.shape[-1]
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, missing)]) if missing else a


def _state(zi, x, axis, order):
    """The initial state of a filter, along the last axis, in the shape of the others."""
    zi = operand(zi)
    wanted = (*x.shape[:-1], order)
    if zi.ndim == x.ndim:
        zi = np.moveaxis(zi, axis, -1)
        if zi.shape[-1] == order and all(
            n in (1, m) for n, m in zip(zi.shape, wanted, strict=True)
        ):
            return np.broadcast_to(zi, wanted)
    raise ShapeError(
        f"`zi` of lfilter has {order} elements along the axis and the other axes of x, "
        f"{list(wanted)} with the axis last, got {list(zi.shape)}"
    )


def __getattr__(name):
    way = None if name.startswith("_") else "scipy.signal has it for arrays, as of tensor.data"
    raise hints.missing("module 'tracer.scipy.signal'", name, way, __all__)
