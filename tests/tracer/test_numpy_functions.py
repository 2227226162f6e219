"""NumPy's functions on tensors, by name: the values of NumPy, the slopes of central differences."""

import functools
import inspect
import operator
import string
import warnings

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tracer
from tracer.errors import ShapeError, TracingError
from tracer.operations.flat import NOT_DIFFERENTIABLE
from tracer.record import dispatch
from tracer.record.axes import SAMPLED, position_of, samples_of
from tracer.testing import agree, check_gradients, numerical_jacobian

RNG = np.random.default_rng(0)
A, B = RNG.uniform(0.3, 0.9, (3, 4)), RNG.uniform(1.2, 1.9, (3, 4))  # in order: below one, above
ROW, COLUMN, NUMBER = RNG.uniform(1.2, 1.9, 4), RNG.uniform(0.3, 0.9, (3, 1)), np.array(1.3)
T = RNG.uniform(0.3, 0.9, (2, 3, 4))
M = RNG.random((3, 3)) + 2 * np.eye(3)
STACK = RNG.random((2, 3, 3)) + 2 * np.eye(3)
REAL = STACK + STACK.swapaxes(1, 2) + 0.2 * RNG.random((2, 3, 3))  # with real eigenvalues
SYSTEM = (RNG.random((6, 6)) + 3 * np.eye(6)).reshape(2, 3, 2, 3)
INTS = np.array([[0, 3, 3, 1], [2, 2, 0, 1], [1, 0, 2, 3]])

UNARY = (
    "absolute arccos arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad degrees exp exp2 "
    "expm1 fabs floor log log10 log1p log2 negative positive rad2deg radians reciprocal rint sign "
    "sin sinh sqrt square tan tanh trunc"
).split()
BINARY = (
    "add arctan2 copysign divide float_power floor_divide fmax fmin fmod hypot logaddexp "
    "logaddexp2 maximum minimum multiply power remainder subtract"
).split()
SPECIAL = (
    "cbrt dawsn digamma entr erf erfc erfcinv erfcx erfinv exp1 exp10 exp2 expi expit expm1 exprel "
    "gamma gammaln gammasgn i0 i0e i1 i1e j0 j1 k0 k1 log1p log_expit log_ndtr logit ndtr ndtri "
    "psi rgamma y0 y1"
).split()
#: functions of `scipy.special` of several arguments: those of all of them, and of the last one
OF_TWO = "beta betaln kl_div rel_entr xlog1py xlogy".split()
OF_LAST = {
    **{name: [1.5] for name in "iv ive jv kv kve yv gammainc gammaincc".split()},
    "yn": [2],
    "stdtr": [3.5],
    "hyp1f1": [1.7, 2.3],
    **{name: [1.7, 2.3] for name in ("betainc", "betaincc")},
}


def of(name):
    return getattr(np, name)


def of_floats(result):
    """The floats of a least-squares result."""
    x, left, _, singular_values = result
    return x, left, singular_values


def in_parts(z):
    """Complex numbers as their real and imaginary parts, real ones as they are."""
    return (np.real(z), np.imag(z)) if np.iscomplexobj(z) else z


#: "function: which arguments" -> (a function of arrays or of tensors, the arrays)
CASES = {
    **{f"{name}: of one": (getattr(np, name), A) for name in UNARY},
    **{f"{name}: of a number": (getattr(np, name), A[0, 0]) for name in UNARY},
    "arccosh: of one": (np.arccosh, B),
    **{f"{name}: same shapes": (getattr(np, name), A, B) for name in BINARY},
    **{f"{name}: broadcast": (getattr(np, name), ROW, COLUMN) for name in BINARY},
    **{f"{name}: 0-d": (getattr(np, name), NUMBER, A) for name in BINARY},
    **{
        f"{name}: a number": (lambda x, name=name: of(name)(x, 1.7) + of(name)(1.7, x), A)
        for name in BINARY
    },
    **{
        f"{name}: a list": (lambda x, name=name: of(name)(x, [2.5, 1.7, 2.1, 3.3]), A)
        for name in BINARY
    },
    **{f"{name}: of one": (getattr(scipy.special, name), A) for name in SPECIAL},
    **{f"{name}: broadcast": (getattr(scipy.special, name), A, ROW) for name in OF_TWO},
    **{f"{name}: of the last": (functools.partial(getattr(scipy.special, name), *given), A)
       for name, given in OF_LAST.items()},
    **{f"{name}: of a number": (functools.partial(getattr(scipy.special, name), *given), A[0, 0])
       for name, given in OF_LAST.items()},
    "sinc: of one": (np.sinc, A),
    "sinc: near zero": (np.sinc, np.array([1e-3, 0.0, -2e-3, 0.5])),
    # NumPy's own `fix` warns from 2.5 on that it is deprecated; on tensors it does not
    "fix: of one": (lambda x: (np.fix if isinstance(x, tracer.Tensor) else np.trunc)(x), A),
    # operators and methods
    "operators: arithmetic": (
        lambda x, y: (x + y) * (x - y) / y**2 + -x % 1.1 + +y + abs(-x), A, B),
    "operators: reflected": (lambda x: (1 + x) * (2 - x) / (3 / x) + 2.0**x + 5 % x, A),
    "operators: powers": (lambda x: x**2 + x**0.5 + x**3 + x**-1 + x**1.5, A),
    "operators: floor": (lambda x: x + x // 0.25 + 2 // x, A),
    "operators: of arrays": (lambda x: B + x + (B - x) * (B / x) @ (A.T @ x), A),
    "operators: comparisons": (lambda x: (x < 0.5) * x + (x >= 0.5) * x**2 + (x != 0) * x, A),
    "methods: shapes": (
        lambda x: x.reshape(4, 3).T.ravel().reshape((2, 6)).transpose(1, 0).swapaxes(0, 1).copy(),
        A),
    "methods: reductions": (
        lambda x: x.sum(1) + x.mean(axis=1) * x.max(1) / x.min(1) + x.std(1) * x.var(1) + x.prod(1),
        A),
    "methods: others": (
        lambda x: x.clip(0.4, 0.8).cumsum(0).cumprod(1).take([0, 2], 1).repeat(2, axis=0).squeeze()
        + x.diagonal().sum() * x.dot(x.T).trace() * x.flatten()[:2] + x.round(1)[0, 0], A),
    "methods: matrices": (lambda x: x.mT + x.T.T.mT, A),
    # choices
    "where: three": (lambda x, y: np.where(A > 0.5, x, y), A, ROW),
    "where: a number": (lambda x: np.where(x > 0.5, x * 2, 0), A),
    "select: two": (lambda x: np.select([x > 0.7, x > 0.5], [x, x**2], 0.25), A),
    "clip: numbers": (lambda x: np.clip(x, 0.4, 0.8), A),
    "clip: one side": (lambda x: np.clip(x, None, 0.6) + np.clip(x, 0.5, None), A),
    "clip: by name": (lambda x: np.clip(x, min=0.4, max=0.8), A),
    "clip: arrays": (lambda x, y: np.clip(x, y, 0.9 * B), A, 0.5 * ROW),
    "fmax: NaN": (lambda x: np.fmax(np.where(A > 0.5, x, np.nan), 0.6), A),
    "heaviside: a list": (lambda h: np.heaviside([[0.0], [1.0], [-1.0]], h), A),
    "nan_to_num: finite": (np.nan_to_num, A),
    "nan_to_num: NaN": (lambda x: np.nan_to_num(np.where(A > 0.5, x, np.nan), nan=2.0), A),
    "astype: float64": (lambda x: np.astype(x, np.float64), A),
    "copy: of one": (np.copy, A),
    "round: decimals": (lambda x: x + np.round(x, 1), A),
    "around: decimals": (lambda x: x + np.around(x, 1), A),
    # reductions
    **{
        f"{name}: {title}": (lambda x, name=name, k=kwargs: of(name)(x, **k), T)
        for name in "sum mean prod max min amax amin var std".split()
        for title, kwargs in {
            "all": {}, "one axis": {"axis": 1}, "negative axis": {"axis": -1},
            "axes": {"axis": (0, -1)}, "keepdims": {"axis": (1,), "keepdims": True},
            "all, keepdims": {"keepdims": True},
        }.items()
    },
    **{f"{name}: empty axes": (lambda x, name=name: of(name)(x, axis=()), T)
       for name in "sum mean prod max min".split()},
    **{f"{name}: 0-d": (lambda x, name=name: of(name)(x), NUMBER)
       for name in "sum mean prod max min".split()},
    "sum: dtype float64": (lambda x: np.sum(x, dtype=np.float64), A),
    "var: ddof": (lambda x: np.var(x, axis=0, ddof=1) + np.std(x, 0, ddof=2), A),
    "var: correction": (lambda x: np.var(x, axis=0, correction=1), A),
    "bincount: weights": (lambda x: np.bincount(INTS.ravel(), np.ravel(x), 7), A),
    "histogram: weights": (lambda x: np.histogram(B, [1.2, 1.4, 1.7], weights=x)[0], A),
    "histogram: density": (lambda x: np.histogram(B, 3, weights=x, density=True)[0], A),
    "histogram: edges": (lambda x: np.histogram(x, 5)[1], A),
    "prod: zeros": (lambda x: np.prod(x, axis=1), A * (A > 0.5)),
    "ptp: axis": (lambda x: np.ptp(x, axis=1, keepdims=True), A),
    "average: plain": (lambda x: np.average(x, axis=1), A),
    "average: weights": (lambda x, w: np.average(x, axis=1, weights=w), A, ROW),
    "average: a list of weights": (lambda x: np.average(x, axis=0, weights=[1, 2, 3]), A),
    "average: raw weights": (lambda x: np.average(x, weights=B), A),
    "median: odd": (lambda x: np.median(x, axis=0), A),
    "median: even": (lambda x: np.median(x, axis=1, keepdims=True), A),
    "median: axes": (lambda x: np.median(x, axis=(0, -1), keepdims=True), T),
    "median: all": (np.median, A),
    "cumsum: axis": (lambda x: np.cumsum(x, axis=-2), T),
    "cumsum: flat": (np.cumsum, T),
    "cumprod: axis": (lambda x: np.cumprod(x, axis=1), T),
    "cumprod: flat": (np.cumprod, A),
    "diff: twice": (lambda x: np.diff(x, n=2, axis=-1), A),
    "diff: ends": (lambda x, y: np.diff(x, axis=0, prepend=y, append=0.5), A, ROW[None]),
    "trace: offset": (lambda x: np.trace(x, offset=1), A),
    "trace: axes": (lambda x: np.trace(x, axis1=-2, axis2=-1), STACK),
    "add.reduce: axis": (lambda x: np.add.reduce(x, axis=1, keepdims=True), A),
    "multiply.reduce: axis": (lambda x: np.multiply.reduce(x, axis=-1), A),
    "maximum.reduce: default": (np.maximum.reduce, A),
    "minimum.reduce: all": (lambda x: np.minimum.reduce(x, axis=None), A),
    "logaddexp.reduce: axis": (lambda x: np.logaddexp.reduce(x, axis=1), A),
    "add.accumulate: axis": (lambda x: np.add.accumulate(x, axis=1), A),
    "multiply.accumulate: default": (np.multiply.accumulate, A),
    "add.reduceat: axis": (lambda x: np.add.reduceat(x, [0, 2, 1], axis=1), A),
    # points between others
    "linspace: numbers": (lambda x, y: np.linspace(x, y, 5), NUMBER, NUMBER * 2),
    "linspace: arrays": (lambda x, y: np.linspace(x, y, 4, False, axis=-1), A, ROW),
    "meshgrid: two": (np.meshgrid, ROW, NUMBER * ROW[:3]),
    **{f"{name}: of one": (getattr(np, name), A) for name in ("real", "real_if_close", "angle")},
    "conjugate: of one": (np.conjugate, A),
    "imag: of complex": (lambda x: np.imag(x * x * (1 + 0.5j)), A),
    "angle: of complex": (lambda x: np.angle(x + 1j * x * x, deg=True), A),
    **{
        f"{name}: in parts": (lambda x, name=name: in_parts(getattr(np.fft, name)(x)), A)
        for name in (
            "fft fft2 fftn fftshift hfft ifft ifft2 ifftn ifftshift ihfft irfft irfft2 irfftn "
            "rfft rfft2 rfftn"
        ).split()
    },
    "interp: all": (np.interp, A, np.array([0.2, 0.5, 0.7]), ROW[:3]),
    "trapezoid: points": (lambda y, x: np.trapezoid(y, x), A, np.sort(ROW)),
    "gradient: points": (lambda f, x: np.gradient(f, 0.5, x), A, np.sort(ROW)),
    "gradient: second order": (
        lambda f, x: np.gradient(f, x, axis=1, edge_order=2), A, np.sort(ROW)),
    "ediff1d: ends": (lambda x, y: np.ediff1d(x, y, 0.5), A, ROW),
    "unwrap: jumps": (np.unwrap, 9 * ROW),
    "vander: columns": (lambda x: np.vander(x, 3), ROW),
    "polyval: both": (np.polyval, ROW[:3], A),
    "polyfit: both": (lambda x, y: np.polyfit(x, y, 2), ROW, A.T),
    "polyfit: weights": (lambda x, y, w: np.polyfit(x, y, 1, w=w), ROW, A[0], B[0]),
    **{f"{name}: {mode}": (lambda a, v, f=name, m=mode: of(f)(a, v, m), ROW, A[0, :3])
       for name in ("convolve", "correlate") for mode in ("full", "same", "valid")},
    # editing
    "append: axis": (lambda x, y: np.append(x, y, axis=1), A, COLUMN),
    "delete: several": (lambda x: np.delete(x, [0, 2], axis=1), A),
    "insert: one": (lambda x, y: np.insert(x, 1, y, axis=0), A, ROW),
    "insert: several": (lambda x, y: np.insert(x, [0, 2, 2], y, axis=1), A, A[:, :3]),
    "block: nested": (lambda x, y: np.block([[x, y], [B, y]]), A, COLUMN),
    "diagflat: offset": (lambda x: np.diagflat(x, 1), ROW),
    "dsplit: at": (lambda x: np.dsplit(x, [1]), T),
    "apply_along_axis: matrices": (
        lambda x: np.apply_along_axis(lambda v: np.outer(v, v), 1, x), A),
    # estimates
    **{f"{name}: axis": (lambda x, name=name: of(name)(np.where(A > 0.5, x, np.nan), axis=1), A)
       for name in (
           "nansum nanprod nanmax nanmin nanmean nanvar nanstd nancumsum nancumprod").split()},
    "cumulative_sum: start": (lambda x: np.cumulative_sum(x, axis=1, include_initial=True), A),
    "cumulative_prod: start": (lambda x: np.cumulative_prod(x, axis=0, include_initial=True), A),
    "quantile: several": (lambda x: np.quantile(x, [0.2, 0.9], axis=1), A),
    "percentile: axes": (lambda x: np.percentile(x, 35.0, axis=(0, 2), keepdims=True), T),
    "cov: two": (np.cov, A, B),
    "corrcoef: columns": (lambda x: np.corrcoef(x, rowvar=False)[0, 1:], A),
    **{f"{name}: where": (lambda x, name=name: of(name)(x, axis=1, where=A > 0.5, initial=0.6), A)
       for name in "sum prod max min".split()},
    **{f"{name}: where": (lambda x, name=name: of(name)(x, axis=1, where=A > 0.4), A)
       for name in "mean var std".split()},
    "divmod: both": (np.divmod, B, A),
    "modf: of one": (lambda x: np.modf(5 * x), A),
    "ldexp: ints": (lambda x: np.ldexp(x, INTS), A),
    "subtract.outer: two": (np.subtract.outer, A, ROW),
    **{f"{name}.accumulate: axis": (lambda x, name=name: of(name).accumulate(x, axis=1), A)
       for name in ("maximum", "minimum", "logaddexp")},
    **{f"{name}.reduceat: axis": (lambda x, name=name: of(name).reduceat(x, [0, 2, 1], axis=1), A)
       for name in ("maximum", "minimum", "multiply", "logaddexp")},
    # products
    "einsum: of lists": (lambda x, y: np.einsum(x, [0, 1], y, [1], [0]), A, ROW),
    "matmul: matrices": (np.matmul, A, A.T),
    "matmul: vectors": (np.matmul, ROW, ROW),
    "matmul: vector and matrix": (lambda x, y: x @ y + y.T @ x, ROW, A.T),
    "matmul: stacks": (np.matmul, STACK, T),
    "matmul: a list": (
        lambda x: np.matmul(x, [1.0, 2.0, 0.5, -1.0]) + [[1.0, 0.0, 2.0]] @ x @ ROW, A),
    "matmul: broadcast": (np.matmul, T[:, None], A.T),
    "vecdot: stacks": (np.vecdot, T, ROW),
    "matvec: stacks": (lambda x, y: np.matvec(x, y), T, ROW),
    "vecmat: stacks": (lambda x, y: np.vecmat(x, y), ROW[:3], T),
    "dot: matrices": (np.dot, A, A.T),
    "dot: a stack": (np.dot, A, T.swapaxes(1, 2)),
    "dot: a number": (np.dot, NUMBER, A),
    "vdot: matrices": (np.vdot, A, B),
    "inner: matrices": (np.inner, A, B),
    "inner: a number": (np.inner, A, NUMBER),
    "outer: matrices": (np.outer, A, ROW),
    "kron: matrices": (np.kron, A, M[:2]),
    "kron: ranks": (np.kron, ROW, M),
    "cross: vectors": (np.cross, M, M[0]),
    "cross: axis": (lambda x, y: np.cross(x, y, axis=0), M, STACK[0]),
    "tensordot: two": (lambda x, y: np.tensordot(x, y, 2), T, A),
    "tensordot: none": (lambda x, y: np.tensordot(x, y, 0), ROW, COLUMN),
    "tensordot: axes": (
        lambda x, y: np.tensordot(x, y, ([0, -1], [1, 0])), T, T.transpose(2, 0, 1)),
    "einsum: implicit": (lambda x, y: np.einsum("ij,kj", x, y), A, B),
    "einsum: ellipsis": (lambda x, y: np.einsum("...ij,j...->i...", x, y), T, ROW),
    "einsum: three": (lambda x, y, z: np.einsum("ij,ij,j->i", x, y, z), A, B, ROW),
    "einsum: a list": (lambda x: np.einsum("ij,j", x, [1.0, 2.0, 0.5, -1.0]), A),
    "einsum: diagonal": (lambda x: np.einsum("bii->bi", x), STACK),
    "einsum: optimize": (lambda x, y: np.einsum("ij,kj->", x, y, optimize=True), A, B),
    # shapes
    "reshape: unknown": (lambda x: np.reshape(x, (-1, 2)), A),
    "reshape: Fortran": (lambda x: np.reshape(x, (4, 3), order="F"), A),
    "reshape: int": (lambda x: np.reshape(x, 12), A),
    "ravel: plain": (np.ravel, A),
    "ravel: Fortran": (lambda x: np.ravel(x, order="F"), A),
    "transpose: plain": (np.transpose, T),
    "transpose: axes": (lambda x: np.transpose(x, (1, -1, 0)), T),
    "matrix_transpose: stack": (np.matrix_transpose, T),
    "swapaxes: negative": (lambda x: np.swapaxes(x, 0, -1), T),
    "moveaxis: one": (lambda x: np.moveaxis(x, -1, 0), T),
    "moveaxis: several": (lambda x: np.moveaxis(x, (0, 1), (-1, 0)), T),
    "rollaxis: start": (lambda x: np.rollaxis(x, 2, 1), T),
    "expand_dims: several": (lambda x: np.expand_dims(x, (0, -1)), A),
    "squeeze: all": (np.squeeze, A[None, :, None]),
    "squeeze: one": (lambda x: np.squeeze(x, axis=-2), A[None, :, None]),
    "atleast_1d: 0-d": (np.atleast_1d, NUMBER),
    "atleast_2d: vector": (np.atleast_2d, ROW),
    "atleast_3d: matrix": (np.atleast_3d, A),
    "broadcast_to: shape": (lambda x: np.broadcast_to(x, (2, 3, 4)), ROW),
    "broadcast_arrays: two": (np.broadcast_arrays, ROW, COLUMN),
    "concatenate: axis": (lambda x, y: np.concatenate([x, y, A], axis=-1), A, COLUMN),
    "concatenate: flat": (lambda x, y: np.concatenate([x, y], axis=None), A, ROW),
    "concatenate: a list": (lambda x: np.concatenate([x, [1.0, 2.0]]), ROW),
    "stack: a list": (lambda x: np.stack([[1.0, 2.0, 0.5, -1.0], x]), ROW),
    "stack: last": (lambda x, y: np.stack([x, y, B], axis=-1), A, B),
    "stack: numbers": (lambda x: np.stack([x[0, 0], x[1, 2]]), A),
    "vstack: ranks": (lambda x, y: np.vstack([x, y]), A, ROW),
    "hstack: vectors": (lambda x, y: np.hstack([x, y]), ROW, ROW),
    "hstack: matrices": (lambda x, y: np.hstack([x, y]), A, COLUMN),
    "dstack: matrices": (lambda x, y: np.dstack([x, y]), A, B),
    "column_stack: ranks": (lambda x, y: np.column_stack([x, y]), A.T, ROW),
    "split: equal": (lambda x: np.split(x, 2, axis=1), A),
    "split: at": (lambda x: np.split(x, [1, 2]), A),
    "array_split: unequal": (lambda x: np.array_split(x, 2), A),
    "hsplit: equal": (lambda x: np.hsplit(x, 2), A),
    "vsplit: at": (lambda x: np.vsplit(x, [1]), A),
    "unstack: axis": (lambda x: np.unstack(x, axis=1), A),
    "flip: all": (np.flip, T),
    "flip: axes": (lambda x: np.flip(x, (0, -1)), T),
    "flipud: matrix": (np.flipud, A),
    "fliplr: matrix": (np.fliplr, A),
    "roll: flat": (lambda x: np.roll(x, 5), A),
    "roll: axes": (lambda x: np.roll(x, (1, -2), axis=(0, 1)), A),
    "roll: one shift": (lambda x: np.roll(x, 1, axis=(0, 1)), A),
    "rot90: thrice": (lambda x: np.rot90(x, 3) + np.rot90(x, -1), A),
    "pad: constant": (lambda x: np.pad(x, ((1, 0), (2, 1)), constant_values=3.0), A),
    **{f"pad: {mode}": (lambda x, mode=mode: np.pad(x, 2, mode=mode), A)
       for mode in ("edge", "reflect", "symmetric", "wrap")},
    "pad: wider than the array": (lambda x: np.pad(x, (7, 6), mode="reflect"), ROW),
    "tile: number": (lambda x: np.tile(x, 2), A),
    "tile: more axes": (lambda x: np.tile(x, (2, 1, 3)), A),
    "repeat: flat": (lambda x: np.repeat(x, 2), A),
    "repeat: axis": (lambda x: np.repeat(x, 3, axis=-1), A),
    "repeat: each": (lambda x: np.repeat(x, [2, 0, 1], axis=0), A),
    # selections
    "getitem: slices": (lambda x: x[..., ::-2][None, 1], T),
    "getitem: ints": (lambda x: x[INTS[:, 0] % 2, :, INTS[:, 1]], T),
    "getitem: booleans": (lambda x: x[A > 0.5], A),
    "getitem: list": (lambda x: x[[2, 0, 2], 1:], A),
    "take: flat": (lambda x: np.take(x, INTS), A),
    "take: axis": (lambda x: np.take(x, [[1, 2], [2, 0]], axis=-2), A),
    "take: modes": (
        lambda x: np.take(x, [5, -1], 1, mode="wrap") * np.take(x, [9, -2], 1, mode="clip"), A),
    "compress": (lambda x: np.compress([True, False, True], x, axis=0), A),
    "extract": (lambda x: np.extract(A > 0.5, x), A),
    "take_along_axis: axis": (lambda x: np.take_along_axis(x, INTS, axis=1), A),
    "take_along_axis: flat": (lambda x: np.take_along_axis(x, INTS[0], axis=None), A),
    "take_along_axis: broadcast": (lambda x: np.take_along_axis(x, INTS[:1], axis=-1), A),
    "full_like: a number": (lambda x: np.full_like(x, x[0, 0]), A),
    "unique: flat": (lambda x: np.unique(np.concatenate([x, x[:1]])), A),
    "unique: axis": (lambda x: np.unique(x[:, [0, 2, 0]], axis=1), A),
    "unique: more": (lambda x: np.unique(x[[0, 2, 0]], True, True, True)[0], A),
    "sort: axis": (lambda x: np.sort(x, axis=0), A),
    "sort: flat": (lambda x: np.sort(x, axis=None), A),
    "partition: axis": (lambda x: np.sort(np.partition(x, 2, axis=1)[:, :3], axis=1), A),
    "diagonal: offset": (lambda x: np.diagonal(x, -1), A),
    "diagonal: axes": (lambda x: np.diagonal(x, 0, 0, 2), STACK),
    "diag: of a matrix": (lambda x: np.diag(x, 1), A),
    "diag: of a vector": (lambda x: np.diag(x, -2), ROW),
    "tril: offset": (lambda x: np.tril(x, 1), T),
    "triu: offset": (lambda x: np.triu(x, -1), T),
    # linear algebra
    "linalg.inv: stack": (np.linalg.inv, STACK),
    "linalg.solve: matrix": (np.linalg.solve, M, A),
    "linalg.solve: vector": (np.linalg.solve, M, ROW[:3]),
    "linalg.solve: stacks": (np.linalg.solve, STACK, A),
    "linalg.cholesky: lower": (lambda x: np.linalg.cholesky(x @ x.T), M),
    "linalg.cholesky: upper": (lambda x: np.linalg.cholesky(x @ x.T, upper=True), M),
    "linalg.det: stack": (np.linalg.det, STACK),
    "linalg.slogdet: negative": (lambda x: np.linalg.slogdet(-x).logabsdet, M),
    "linalg.norm: plain": (np.linalg.norm, A),
    "linalg.norm: keepdims": (lambda x: np.linalg.norm(x, keepdims=True), A),
    "linalg.norm: frobenius": (lambda x: np.linalg.norm(x, "fro", axis=(0, 2)), T),
    **{f"linalg.norm: order {p}": (lambda x, p=p: np.linalg.norm(x, p, axis=-1, keepdims=True), A)
       for p in (1, 2, 3.5, np.inf, -np.inf)},
    "linalg.norm: matrix 1": (lambda x: np.linalg.norm(x, 1), A),
    "linalg.norm: matrix inf": (lambda x: np.linalg.norm(x, np.inf, axis=(-2, -1)), T),
    "linalg.matrix_power: three": (lambda x: np.linalg.matrix_power(x, 3), M),
    "linalg.matrix_power: negative": (lambda x: np.linalg.matrix_power(x, -2), STACK),
    "linalg.matrix_power: zero": (lambda x: np.linalg.matrix_power(x, 0) + x, M),
    "linalg.multi_dot: three": (lambda x, y: np.linalg.multi_dot([x, y, x]), A, A.T),
    "linalg.eigh: lower": (np.linalg.eigh, M),
    "linalg.eigh: upper": (lambda x: np.linalg.eigh(x, UPLO="U"), STACK),
    "linalg.eigvalsh: upper": (lambda x: np.linalg.eigvalsh(x, "u"), STACK),
    "linalg.eig: stack": (np.linalg.eig, REAL),
    "linalg.eigvals: stack": (np.linalg.eigvals, REAL),
    **{f"linalg.svd: {title}": (lambda x: np.linalg.svd(x, full_matrices=False), x)
       for title, x in {"tall": A.T, "wide": A, "stack": T}.items()},
    "linalg.svd: square": (np.linalg.svd, STACK),
    "linalg.svd: values": (lambda x: np.linalg.svd(x, compute_uv=False), T),
    "linalg.svd: hermitian": (
        lambda x: np.linalg.svd((x + x.T) / 2 - 2 * np.eye(3), hermitian=True), M),
    "linalg.svdvals: stack": (np.linalg.svdvals, T),
    **{f"linalg.qr: {title}": (np.linalg.qr, x)
       for title, x in {"tall": A.T, "wide": A, "stack": T, "square": M}.items()},
    "linalg.qr: triangle": (lambda x: np.linalg.qr(x, mode="r"), A.T),
    "linalg.qr: complete": (lambda x: np.linalg.qr(x, mode="complete"), A),
    **{f"linalg.pinv: {title}": (np.linalg.pinv, x)
       for title, x in {"tall": A.T, "wide": A, "stack": T, "square": M}.items()},
    "linalg.pinv: hermitian": (lambda x: np.linalg.pinv(x, hermitian=True), M),
    "linalg.lstsq: tall": (lambda a, b: of_floats(np.linalg.lstsq(a, b, rcond=None)), A.T, B.T),
    "linalg.lstsq: wide": (lambda a, b: of_floats(np.linalg.lstsq(a, b, 1e-8)), A, COLUMN[:, 0]),
    **{f"linalg.cond: {p}": (lambda x, p=p: np.linalg.cond(x, p), STACK)
       for p in (None, 2, -2, 1, np.inf, "fro", "nuc")},
    "linalg.cond: wide": (np.linalg.cond, T),
    **{f"linalg.norm: matrix {p}, axes": (lambda x, p=p: np.linalg.norm(x, p, (2, 0), True), T)
       for p in (2, -2, "nuc")},
    **{f"linalg.matrix_norm: {p}": (lambda x, p=p: np.linalg.matrix_norm(x, ord=p), T)
       for p in ("fro", "nuc", 2, -2, 1, np.inf)},
    "linalg.matrix_norm: keepdims": (lambda x: np.linalg.matrix_norm(x, keepdims=True), T),
    "linalg.vector_norm: all": (lambda x: np.linalg.vector_norm(x, keepdims=True, ord=3), T),
    "linalg.vector_norm: axes": (lambda x: np.linalg.vector_norm(x, axis=(0, -1), ord=1), T),
    "linalg.vector_norm: axis": (lambda x: np.linalg.vector_norm(x, axis=1), T),
    "linalg.tensorsolve: axes": (
        lambda a, b: np.linalg.tensorsolve(a, b, axes=(0, 2)),
        SYSTEM.transpose(2, 0, 3, 1), A[:2, :3]),
    "linalg.tensorinv: two": (lambda a: np.linalg.tensorinv(a, 2), SYSTEM),
    "linalg.trace: offset": (lambda x: np.linalg.trace(x, offset=1), T),
    "linalg.diagonal: offset": (lambda x: np.linalg.diagonal(x, offset=-1), T),
    "linalg.outer: vectors": (np.linalg.outer, ROW, A[0]),
    "linalg.cross: axis": (lambda x, y: np.linalg.cross(x, y, axis=0), M, STACK[0]),
    "linalg.vecdot: axis": (lambda x, y: np.linalg.vecdot(x, y, axis=0), A, B),
    "linalg.matmul: stacks": (np.linalg.matmul, STACK, T),
    "linalg.tensordot: two": (lambda x, y: np.linalg.tensordot(x, y, axes=2), T, A),
    "linalg.matrix_transpose: stack": (np.linalg.matrix_transpose, T),
}  # fmt: skip

#: what came after NumPy 2.0, or is about to go -> whether it is here
HERE = {f"{name}: {title}": dispatch.in_numpy(name) is not None for name, title in {
    "fix": "of one", "matvec": "stacks", "vecmat": "stacks", "unstack": "axis",
    "trapezoid": "points", "cumulative_sum": "start", "cumulative_prod": "start",
}.items()} | {"clip: by name": "min" in inspect.signature(np.clip).parameters}  # fmt: skip
CASES = {case: value for case, value in CASES.items() if HERE.get(case, True)}


def parts(value):
    """The arrays of a function's value."""
    return list(value) if isinstance(value, list | tuple) else [value]


def as_one(function):
    """The function with its arrays flattened into one."""
    return lambda *arrays: np.concatenate([np.ravel(v) for v in parts(function(*arrays))])


def check(function, arrays):
    """Value, shapes, gradient by every argument; and the second derivative along a direction."""
    expected = parts(function(*arrays))
    with tracer.Tape():
        found = parts(function(*map(tracer.parameter, arrays)))
    for got, value in zip(found, expected, strict=True):
        assert isinstance(got, tracer.Tensor)
        agree("the value", got.data, value, 1e-12, 0)
    flat = as_one(function)
    value, pullback = tracer.vjp(flat, *arrays)
    g = np.random.default_rng(1).standard_normal(value.shape)
    for k, (x, got) in enumerate(zip(arrays, pullback(g), strict=True)):

        def of_one(y, k=k):
            return flat(*arrays[:k], y, *arrays[k + 1 :])

        slope, _ = numerical_jacobian(of_one, np.asarray(x))
        agree(f"the gradient of argument {k}", got, np.tensordot(g, slope, 1), 1e-7, 1e-8)
        direction = np.random.default_rng(2).standard_normal(np.shape(x))
        _, moved = tracer.jvp(of_one, (x,), (direction,))
        expected = np.tensordot(slope, direction, np.ndim(x))
        agree(f"the jvp of argument {k}", moved, expected, 1e-7, 1e-8)


@pytest.mark.parametrize("case", list(CASES))
def test_function(case):
    function, *arrays = CASES[case]
    check(function, arrays)


@pytest.mark.parametrize("case", list(CASES))
def test_second_derivatives(case):
    """Of both modes and of each over the other, by all arguments together."""
    function, *arrays = CASES[case]
    floats = [np.asarray(x, float) for x in arrays]
    check_gradients(as_one(function), tuple(range(len(floats))), order=2)(*floats)


def of_nothing(case):
    """The function, its arguments without rows, and NumPy's values of these; None if refused."""
    function, *arrays = CASES[case]
    empty = [np.asarray(x, float)[:0] if np.ndim(x) else np.asarray(x, float) for x in arrays]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return function, empty, parts(function(*empty))
        except Exception:
            return None


#: NumPy 2.5 interpolates between no points, at no places
REFUSED_OF_NOTHING = ("interp: all",)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c not in REFUSED_OF_NOTHING and of_nothing(c) is not None]
)
def test_empty_arrays(case):
    """Where NumPy has a value of no rows, it is that, and there are derivatives of its shape."""
    function, empty, expected = of_nothing(case)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        with tracer.Tape():
            found = parts(function(*map(tracer.parameter, empty)))
        for got, value in zip(found, expected, strict=True):
            got = got.data if isinstance(got, tracer.Tensor) else got
            assert got.dtype == np.asarray(value).dtype
            np.testing.assert_array_equal(got, value)
        output, pullback = tracer.vjp(as_one(function), *empty)
        gradients = pullback(np.ones_like(output))
        assert [g.shape for g in gradients] == [x.shape for x in empty]


@pytest.mark.parametrize(
    "case", [c for c, (_, x, *_) in CASES.items() if len(np.atleast_1d(x)) > 1]
)
def test_gradients_of_single_samples(case):
    """The rows of the first argument as samples: each has its part of the gradient, or none has."""
    function, x, *rest = CASES[case]
    flat, x = as_one(function), np.asarray(x, float)
    weights = np.random.default_rng(0).standard_normal(flat(x, *rest).size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that samples are followed by a row for each
        with tracer.Tape() as tape:
            w = tracer.parameter(np.array(1.0), name="w")
            loss = np.sum(np.real(flat(tracer.batch(x) * w, *rest)) * weights)  # eig's are complex
        try:
            found = tape.backward(loss, quantities=("grad_batch",))["grad_batch"]["w"]
        except tracer.BatchError:
            return
    factors = np.ones((len(x), *[1] * (x.ndim - 1)))
    each = tracer.grad(lambda v: np.sum(np.real(flat(x * v, *rest)) * weights))(factors)
    np.testing.assert_allclose(found, each.reshape(-1), rtol=1e-9, atol=1e-11)


def test_every_function_has_a_case():
    tables = (dispatch.UFUNCS, dispatch.FUNCTIONS)
    known = {f.__name__ for t in tables for f, h in t.items() if h not in NOT_DIFFERENTIABLE}
    known -= {"copyto"}  # refused, with a sentence of its own
    known |= {name for name in dispatch.SPECIAL if name != "polygamma"}  # in SciPy, no ufunc
    known |= {f"{ufunc.__name__}.{method}" for ufunc, method in dispatch.METHODS}
    cased = {case.split(":")[0].removeprefix("linalg.") for case in CASES}
    assert known <= cased, f"no case for {sorted(known - cased)}"


@pytest.mark.parametrize("function", [tracer.erf, tracer.expit, tracer.log_expit, tracer.logsumexp])
def test_functions_of_tracer(function):
    check(function, [A])


def test_index_set_and_add():
    check(lambda x, y: tracer.index_set(x, (slice(None), [0, 2]), y), [A, COLUMN])
    check(lambda x, y: tracer.index_add(x, ([0, 2, 0], [1, 1, 1]), y), [A, ROW[:3]])
    check(lambda x: tracer.index_set(x, A > 0.5, 0.0), [A])


#: functions whose values no gradient flows through give NumPy's own values
VALUES = {
    "all": (np.all, A > 0.5), "any": (lambda x: np.any(x > 0.8, axis=0), A),
    "allclose": (np.allclose, A, A), "isclose": (np.isclose, A, B),
    "array_equal": (np.array_equal, A, B), "array_equiv": (np.array_equiv, A, A),
    "argmax": (lambda x: np.argmax(x, axis=1), A), "argmin": (np.argmin, A),
    "nanargmax": (np.nanargmax, A), "nanargmin": (np.nanargmin, A),
    "argsort": (np.argsort, A), "argpartition": (lambda x: np.argpartition(x, 1), A),
    "argwhere": (lambda x: np.argwhere(x - 0.5), A), "nonzero": (np.nonzero, A),
    "count_nonzero": (np.count_nonzero, A), "where": (np.where, A),
    "searchsorted": (lambda x: np.searchsorted(np.sort(x), 0.5), ROW),
    "digitize": (lambda x: np.digitize(x, [0.5, 0.7]), A),
    "bincount": (lambda x: np.bincount(x.astype(int)), ROW),
    "histogram": (lambda x: np.histogram(x, [0.1, 0.5, 0.9]), A),
    "greater": (np.greater, A, B), "greater_equal": (np.greater_equal, A, B),
    "less": (np.less, A, B), "less_equal": (np.less_equal, A, B),
    "equal": (np.equal, A, B), "not_equal": (np.not_equal, A, B),
    "logical_and": (np.logical_and, A, B), "logical_or": (np.logical_or, A, B),
    "logical_xor": (np.logical_xor, A, B), "logical_not": (np.logical_not, A),
    "isfinite": (np.isfinite, A), "isinf": (np.isinf, A), "isnan": (np.isnan, A),
    "isneginf": (np.isneginf, A), "isposinf": (np.isposinf, A), "signbit": (np.signbit, A),
    "isreal": (np.isreal, A), "iscomplex": (np.iscomplex, A), "isrealobj": (np.isrealobj, A),
    "iscomplexobj": (np.iscomplexobj, A),
    "shape": (np.shape, A), "ndim": (np.ndim, A), "size": (np.size, A),
    "result_type": (lambda x: str(np.result_type(x, np.float32)), A),
    "can_cast": (lambda x: np.can_cast(x.dtype, np.float32), A),
    "zeros_like": (np.zeros_like, A), "ones_like": (np.ones_like, A),
    "full_like": (lambda x: np.full_like(x, 3), A),
    "empty_like": (lambda x: np.empty_like(x).shape, A),
    "bitwise_and": (lambda x: np.bitwise_and((x * 9).astype(int), 3), A),
    "bitwise_or": (lambda x: np.bitwise_or(4, (x * 9).astype(int)), A),
    "bitwise_xor": (lambda x: (x * 9).astype(int) ^ 5, A),
    "left_shift": (lambda x: 1 << (x * 9).astype(int), A),
    "right_shift": (lambda x: np.right_shift((x * 9).astype(int), 1), A),
    "invert": (lambda x: ~(x * 9).astype(int), A),
    "array_repr": (np.array_repr, A), "array_str": (np.array_str, A),
}  # fmt: skip


@pytest.mark.parametrize("name", list(VALUES))
def test_values_without_a_gradient(name):
    function, *arrays = VALUES[name]
    got = function(*map(tracer.Tensor, arrays))
    for one, other in zip(parts(got), parts(function(*arrays)), strict=True):
        assert not isinstance(one, tracer.Tensor)
        np.testing.assert_array_equal(one, other)


# -- float32 ------------------------------------------------------------------------------------


#: what SciPy computes in double precision beside a Python number, and this library in single
WIDENED = {"gammainc", "gammaincc", "yn"}


@pytest.mark.parametrize("case", [case for case in CASES if "float64" not in case])
def test_float32_stays(case):
    function, *arrays = CASES[case]
    arrays = [np.asarray(x, np.float32) for x in arrays]
    raw = parts(function(*arrays))
    found, pullback = tracer.vjp(as_one(function), *arrays)
    if case.split(":")[0] not in WIDENED:
        assert found.dtype == np.concatenate([np.ravel(v) for v in raw]).dtype
    else:
        assert found.dtype == np.float32
    assert {g.dtype for g in pullback(np.ones_like(found))} == {np.dtype(np.float32)}


# -- random arguments ---------------------------------------------------------------------------

SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3)
few = settings(max_examples=25, derandomize=True)


@few
@given(SHAPES, st.sampled_from([np.multiply, np.divide, np.maximum, np.arctan2, np.power]))
def test_broadcasting(shapes, function):
    rng = np.random.default_rng(0)
    check(function, [rng.uniform(0.5, 1.5, shape) for shape in shapes.input_shapes])


@st.composite
def indices(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=4))
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    few = hnp.array_shapes(max_dims=2, max_side=3)
    advanced = hnp.integer_array_indices(shape, result_shape=few)
    mask = hnp.arrays(bool, shape)
    return shape, draw(st.one_of(basic, advanced, mask))


@few
@given(indices())
def test_indexing(drawn):
    shape, index = drawn
    x = np.random.default_rng(0).random(shape)
    check(lambda x: x[index], [x])


@few
@given(indices(), st.integers(0, 2))
def test_the_samples_axis_is_followed_through_indexing(drawn, axis):
    """Each sample's gradient, found by the engine's tracking or else by masked rows."""
    shape, index = drawn
    axis %= len(shape)
    x = np.random.default_rng(0).random(shape)
    node = recorded(lambda x: x[index], x)
    found = node.op.batch_axis(node, [axis])
    if isinstance(found, int):
        moved = x.copy()
        np.moveaxis(moved, axis, 0)[0] += 1
        changed = np.moveaxis(np.asarray(moved[index] != x[index]), found, 0)
        assert len(changed) == shape[axis]
        assert not changed[1:].any()


def recorded(function, x):
    with tracer.Tape() as tape:
        function(tracer.parameter(x))
    return tape.nodes[-1]


@st.composite
def einsums(draw):
    letters = string.ascii_lowercase[:4]
    sizes = dict(zip(letters, draw(st.tuples(*[st.integers(1, 3)] * 4)), strict=True))
    operands = draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=3))
    used = sorted(set("".join(operands)))
    output = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
    return f"{','.join(operands)}->{''.join(output)}", [[sizes[c] for c in o] for o in operands]


@few
@given(einsums())
def test_einsum(drawn):
    subscripts, shapes = drawn
    arrays = [np.random.default_rng(i).uniform(0.5, 1, shape) for i, shape in enumerate(shapes)]
    check(lambda *arrays: np.einsum(subscripts, *arrays), arrays)


@few
@given(hnp.array_shapes(max_dims=4, max_side=3), st.data())
def test_reductions(shape, data):
    axes = data.draw(st.one_of(st.none(), hnp.valid_tuple_axes(len(shape))))
    keepdims = data.draw(st.booleans())
    function = data.draw(st.sampled_from([np.sum, np.mean, np.max, np.prod, np.var]))
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    check(lambda x: function(x, axis=axes, keepdims=keepdims), [x])


@few
@given(hnp.array_shapes(max_dims=4, max_side=4), st.data())
def test_the_samples_axis_is_followed_through_reshaping(shape, data):
    x = np.arange(float(np.prod(shape))).reshape(shape)
    sizes = data.draw(st.permutations([n for s in shape for n in ((2, 2) if s == 4 else (s,))]))
    axis = data.draw(st.integers(0, len(shape) - 1))
    node = recorded(lambda x: np.reshape(x, sizes), x)
    found = node.op.batch_axis(node, [axis]) if node.op.name == "reshape" else None
    if isinstance(found, SAMPLED):
        of_sample = np.moveaxis(np.indices(shape)[axis].reshape(sizes), position_of(found), 0)
        samples = samples_of(found, len(of_sample))
        assert all((part == n).all() for n, part in zip(samples, of_sample, strict=True))


# -- refusals -----------------------------------------------------------------------------------


def w():
    return tracer.parameter(A)


def set_item():
    w()[0] = 1.0


def add_into_an_array():
    a = B.copy()
    a += w()


def add_into_an_item():
    a = B.copy()
    a[0] = w()[0]


REFUSALS = {
    "item assignment": (set_item, r"tracer.at\(x\)\[index\].set"),
    "an item of an array": (add_into_an_item, "tensor.data"),
    "+= into an array": (add_into_an_array, r"a = np.add\("),
    "out=": (lambda: np.exp(w(), out=np.empty_like(A)), "existing array"),
    "out= of clip": (lambda: np.clip(w(), 0, 1, out=np.empty_like(A)), "existing array"),
    "out= of dot": (lambda: np.dot(w(), A.T, out=np.empty((3, 3))), "existing array"),
    "out= of concatenate": (lambda: np.concatenate([w()], out=np.empty_like(A)), "existing array"),
    "out= of a function": (lambda: np.sum(w(), out=np.empty(())), "existing array"),
    "np.asarray": (lambda: np.asarray(w()), "tensor.data"),
    "np.array of a list": (lambda: np.array([w(), w()]), r"tracer.array\("),
    "a ragged list": (lambda: np.add(w(), [[1.0], [1.0, 2.0]]), "objects"),
    "an object array": (lambda: w() + np.array([None, 1.0, 2.0, 3.0]), "objects"),
    "an object array of floats": (lambda: w() * ROW.astype(object), "objects"),
    "objects in a product": (lambda: w() @ ROW.astype(object), "objects"),
    "integers": (lambda: tracer.parameter([1, 2]), "astype"),
    "booleans": (lambda: tracer.parameter(A > 0), "astype"),
    "a batch of objects": (lambda: tracer.batch(np.array([None])), "objects"),
    "geomspace": (lambda: np.geomspace(w(), 2), "numpy.geomspace has no rule.*tracer.operation"),
    "put": (lambda: np.put(w(), [0], 1.0), r"np.put is not recorded.*tracer.at"),
    "full matrices": (lambda: np.linalg.svd(w()), "full_matrices=False"),
    "a complete basis": (lambda: np.linalg.qr(w().T, mode="complete"), "mode='reduced'"),
    "a ufunc of SciPy": (lambda: scipy.special.ellipk(w()), r"scipy\.special\.ellipk has no rule"),
    "an order": (lambda: scipy.special.jv(w(), 2.0), "jv has no derivative by its argument `v`"),
    "a shape": (lambda: scipy.special.gammainc(w(), 2.0), "gammainc has no derivative by .* `a`"),
    "another shape": (lambda: scipy.special.betainc(2.0, w(), 0.5), "betainc .* `b`.*detach"),
    "a ufunc without a rule": (lambda: np.gcd(w(), 2), "np.gcd has no rule"),
    "a method without a rule": (lambda: np.hypot.reduce(w()), "hypot.reduce has no rule"),
    "ufunc.at": (lambda: np.add.at(B.copy(), [0], w()), r"x = tracer.at\(x\)\[index\].add"),
    "where= of a ufunc": (lambda: np.add(w(), B, where=A > 0.5), "np.where"),
    "a method of a quantile": (lambda: np.quantile(w(), 0.5, method="lower"), "linear"),
    "an index of floats": (lambda: w()[np.array([0.0, 1.0])], "astype"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(REFUSALS))
def test_refusal(what):
    act, hint = REFUSALS[what]
    with tracer.Tape(), pytest.raises(TracingError, match=hint):
        act()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: w() @ w(), r"matmul got float64\[3, 4\], float64\[3, 4\]"),
        (lambda: w() + np.ones(5), r"add got float64\[3, 4\], float64\[5\]"),
        (lambda: np.sum(w(), axis=2), "axis 2 is out of range"),
        (lambda: np.reshape(w(), (5, -1)), "cannot reshape"),
        (lambda: np.einsum("ij,jk->ik", w()), "names 2 operands, got 1"),
        (lambda: w()[7], "getitem got"),
    ],
)
def test_shapes_that_do_not_fit(act, message):
    with tracer.Tape(), pytest.raises(ShapeError, match=message):
        act()


def test_a_refusal_leaves_the_array_as_it_was():
    a = B.copy()
    with pytest.raises(TracingError):
        operator.iadd(a, w())
    np.testing.assert_array_equal(a, B)


# -- higher orders ------------------------------------------------------------------------------


def test_tanh_to_order_three():
    x, t = A, np.tanh(A)
    f = np.tanh
    for closed in (1 - t**2, -2 * t * (1 - t**2), (1 - t**2) * (6 * t**2 - 2)):
        f = tracer.grad(lambda x, f=f: np.sum(f(x)))
        np.testing.assert_allclose(f(x), closed, rtol=1e-13)


def test_a_network_to_order_three():
    """Against complex steps of its own closed form of one order less."""
    weights, x = RNG.standard_normal((4, 3)), RNG.standard_normal(4)

    def network(v):
        return np.sum(np.exp(-np.tanh(x @ weights * v) * v))

    def by_steps(f, v):
        return np.array([f(v + 1e-100j * e).imag / 1e-100 for e in np.eye(len(v))])

    v = np.array([0.3, -0.8, 1.2])
    np.testing.assert_allclose(tracer.grad(network)(v), by_steps(network, v), rtol=1e-13)

    def closed_gradient(v):
        t = np.tanh(x @ weights * v)
        return -np.exp(-t * v) * (t + v * (1 - t * t) * (x @ weights))

    np.testing.assert_allclose(tracer.hessian(network)(v), by_steps(closed_gradient, v), rtol=1e-12)
    third = tracer.jacobian(tracer.hessian(network))(v)
    a = x @ weights
    for i in range(3):
        t, u = np.tanh(a[i] * v[i]), v[i]
        s = a[i] * (1 - t * t)
        # q = t v, and its derivatives by v
        q1, q2 = t + u * s, 2 * s - 2 * u * a[i] * t * s
        q3 = -6 * a[i] * t * s - 2 * u * a[i] * (s * s + t * -2 * a[i] * t * s)
        expected = np.exp(-t * u) * (-(q1**3) + 3 * q1 * q2 - q3)
        np.testing.assert_allclose(third[i, i, i], expected, rtol=1e-11)
    assert np.count_nonzero(abs(third) > 1e-12) == 3


@pytest.mark.parametrize(
    "a",
    [[[1.0, 2.0], [2.0, 4.0]], np.zeros((2, 2)), [np.eye(3), np.ones((3, 3)), np.diag([1, 2, 0])]],
)
def test_the_determinant_of_singular_matrices(a):
    a = np.array(a, dtype=float)
    n = a.shape[-1]
    cofactors = np.empty_like(a)
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(a, i, -2), j, -1)
            cofactors[..., i, j] = (-1) ** (i + j) * np.linalg.det(minor)
    gradient = tracer.grad(lambda x: np.sum(np.linalg.det(x)))(a)
    np.testing.assert_allclose(gradient, cofactors, atol=1e-12)


def test_the_logarithm_of_the_determinant_of_a_singular_matrix():
    with pytest.raises(tracer.TracerError, match="singular"):
        tracer.grad(lambda x: np.linalg.slogdet(x)[1])(np.ones((2, 2)))


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle(upper):
    a = np.array([[4.0, 9.0], [1.0, 3.0]]) if not upper else np.array([[4.0, 1.0], [9.0, 3.0]])
    value, pull = tracer.vjp(lambda x: np.linalg.cholesky(x, upper=upper), a)
    np.testing.assert_allclose(value, np.linalg.cholesky(a, upper=upper))
    gradient = pull(np.ones((2, 2)))
    for index in np.ndindex(2, 2):
        d = np.zeros((2, 2))
        d[index] = 1e-6
        high, low = (np.linalg.cholesky(a + s * d, upper=upper).sum() for s in (1, -1))
        found = gradient[0][index] if isinstance(gradient, tuple) else gradient[index]
        np.testing.assert_allclose(found, (high - low) / 2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("...ii,...i->...", [(1, 2, 2), (4, 2)]),
        ("...ii,...->...i", [(1, 2, 2), (3,)]),
        ("...,ba...->...", [(2,), (3, 1, 1)]),
        ("...iji,...k->...j", [(1, 2, 3, 2), (4, 2)]),
        ("ijk,ij->", [(2, 3, 4), (1, 3)]),
        ("ijk,ij->i", [(1, 3, 4), (2, 3)]),
        ("...ii,i...->...", [(3, 2, 2), (1, 1)]),
        ("...ii,...i->...", [(0, 2, 2), (1, 2)]),
    ],
)
def test_axes_of_one_element_in_einsum_meet_repeated_and_summed_letters(subscripts, shapes):
    rng = np.random.default_rng(0)
    operands = [rng.random(shape) for shape in shapes]
    for i, array in enumerate(operands):

        def f(x, i=i):
            parts = [x if j == i else other for j, other in enumerate(operands)]
            return np.sum(np.einsum(subscripts, *parts) ** 2)

        numeric = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            step = np.zeros_like(array)
            step[place] = 1e-5
            numeric[place] = (f(array + step) - f(array - step)) / 2e-5
        np.testing.assert_allclose(tracer.grad(f)(array), numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.2.0", reason="was one variable")
def test_covariances_of_the_columns_of_one_row():
    row, column = np.array([[1.0, 2.0, 4.0]]), np.array([[3.0], [1.0], [5.0], [2.0]])
    with tracer.Tape():
        for m, y in ((row, None), (column, np.ones((1, 4)))):
            got = np.cov(tracer.parameter(m), y, rowvar=False, ddof=0)
            np.testing.assert_array_equal(got.data, np.cov(m, y, rowvar=False, ddof=0))
