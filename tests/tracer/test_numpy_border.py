"""At the border with NumPy: what it hands to a tensor is right, or refused in a sentence.

Every function and ufunc that NumPy dispatches is called here with a tensor in each place that may
hold one, and every option of those that have a rule with a value that is not its default. The
functions are listed from NumPy itself, so that a new one is examined too.
"""

import inspect
import warnings

import numpy as np
import pytest
import scipy.special

import tracer
from tracer.arrays.trees import flatten
from tracer.record import dispatch
from tracer.testing import agree

RNG = np.random.default_rng(0)
A, B = RNG.uniform(0.3, 0.9, (3, 4)), RNG.uniform(1.2, 1.9, (3, 4))  # in order: below one, above
ROW, COLUMN, NUMBER = RNG.uniform(1.2, 1.9, 4), RNG.uniform(0.3, 0.9, (3, 1)), np.array(1.3)
T = RNG.uniform(0.3, 0.9, (2, 3, 4))
M = RNG.random((3, 3)) + 2 * np.eye(3)
S = M @ M.T
STACK = RNG.random((2, 3, 3)) + 2 * np.eye(3)
THREE = ROW[:3]
INTS = np.array([[0, 3, 3, 1], [2, 2, 0, 1], [1, 0, 2, 3]])
NANS = np.where(A > 0.7, A, np.nan)
MASK = A > 0.5
i64, f32, zero_d = np.int64, np.float32, np.array(1)

#: the function -> calls of it: their arguments, of which every array of floats is in turn a tensor.
#: Those that begin with ! are refused, those with ? in some places (not all are dispatched); those
#: that NumPy refuses are refused as well.
CALLS = {
    # choices and conversions
    "where": ["MASK, A, B", "A > 0.5, A, 0.0", "INTS, ROW, COLUMN", "[True, False, 1, 0], A, B",
              "A"],
    "select": ["[MASK], [A], 0.5", "?[A > 0.7, A > 0.5], [A, B], default=ROW",
               "[A > 0.7, A > 0.5], [A, B], default=2.0", "[INTS], [A]",
               "[MASK, MASK], [A]", "[], []"],
    "clip": ["A, 0.4, 0.8", "A, None, 0.6", "A, 0.5 * ROW, B", "A, max=0.5", "A, min=0.5, max=B",
             "A, [0.4, 0.5, 0.6, 0.7], None", "A, i64(0), f32(0.5)", "A", "A, 0.4, min=0.3",
             "!A, 0.4, 0.8, dtype=f32", "!A, 0.4, 0.8, where=MASK", "A, 0.8, 0.4", "ROW, A, B"],
    "nan_to_num": ["A", "NANS, nan=2.0", "A / 0.0, posinf=3.0, nan=1.0", "-A / 0.0, neginf=-3.0",
                   "!A, copy=False", "NANS, True, 0.5"],
    "astype": ["A, float", "A, np.float64, copy=False", "10 * A, int", "A, bool", "A, complex",
               "A, np.dtype('f8')"],
    "copy": ["A", "A.T, order='F'", "A, order='A'"],
    "round": ["A, 1", "A, decimals=i64(1)", "100 * A, -1", "A"],
    "around": ["A, 1", "A, decimals=2"],
    "sinc": ["A"],
    "full_like": ["?A, NUMBER", "?A, ROW", "A, 3.0, dtype=int", "?A, NUMBER, dtype=int",
                  "?A, NUMBER, shape=(2, 2)", "?A, ROW, order='F'", "A, [1, 2, 3, 4]"],
    "copyto": ["!A.copy(), B", "!A.copy(), B, where=MASK, casting='no'"],
    "fix": ["A"],
    "zeros_like": ["A", "A, dtype=int", "A, order='F'", "A, shape=5"],
    "ones_like": ["A", "A, dtype=int", "A, order='F'", "A, shape=5"],
    "empty_like": ["A, dtype=int, shape=0, order='F'"],
    # reductions
    **{name: ["A", "A, 1", "A, i64(0)", "A, axis=zero_d", "T, axis=(0, i64(-1))",
              "A, axis=-1, keepdims=1",
              "A, axis=2", "A, axis=-3", "A, axis=(0, 0)", "A, initial=2.0", "A, 0, initial=-2.0",
              "A, where=MASK, initial=0.5", "A, 1, where=MASK",
              "A, 1, where=MASK, initial=0.1, keepdims=True", "np.zeros((0, 2)), 0, initial=0.5"]
       for name in ("max", "min", "amax", "amin")},
    "sum": ["10 * A, dtype=int", "A, 0, float", "A, i64(1)", "A, where=MASK, initial=2.0",
            "A, 0, where=MASK[0]",
            "A, keepdims=1"],
    "prod": ["10 * A, dtype=int", "A, 0, float", "A, i64(1)", "A, where=MASK, initial=2.0",
             "A, 0, where=MASK[0]",
             "A, keepdims=1"],
    "mean": ["A", "A, i64(0)", "A, 0, float", "A, dtype=int", "A, keepdims=1", "A, where=MASK",
             "A, 1, where=MASK, keepdims=True", "A, 0, where=A > 0.8"],
    "var": ["A", "A, i64(0)", "A, 0, float", "A, ddof=1, keepdims=1", "A, correction=2",
            "!10 * A, dtype=int", "A, ddof=1, correction=1", "A, where=MASK",
            "A, 1, where=MASK, keepdims=True", "A, 0, where=A > 0.8",
            "A, mean=np.full((1, 1), 0.3)", "A, 1, where=A > 0.35, ddof=1, mean=COLUMN"],
    "std": ["A", "A, i64(0)", "A, 0, float", "A, ddof=1, keepdims=1", "A, correction=2",
            "!10 * A, dtype=int", "A, ddof=1, correction=1", "A, where=MASK",
            "A, 1, where=MASK, keepdims=True", "A, 0, where=A > 0.8",
            "A, mean=np.full((1, 1), 0.3)", "A, 1, where=A > 0.35, ddof=1, mean=COLUMN"],
    "ptp": ["A", "A, i64(0)", "A, axis=1, keepdims=1"],
    "average": ["A", "A, i64(1)", "A, weights=B", "A, 1, ROW", "A, i64(0), [1, 2, 3]",
                "A, weights=ROW",
                "A, 0, ROW", "T, (2, 0), T[:, 0].T", "T, (0, 2), T[:, 0], keepdims=True",
                "!A, returned=True", "A, (0, 1), B", "[1.0, 2.0, 3.0, 4.0], weights=ROW"],
    "median": ["A", "A, i64(0)", "A, (0, 1)", "A, axis=1, keepdims=1", "NANS, axis=1", "A, 3",
               "A, overwrite_input=True"],
    "cumsum": ["A", "A, i64(0)", "A, axis=-1, dtype=float", "10 * A, dtype=int", "A, 2"],
    "cumprod": ["A", "A, i64(0)", "A, axis=-1, dtype=float", "10 * A, dtype=int", "A, 2"],
    "trace": ["A", "A, i64(1)", "STACK, 0, i64(-2), i64(-1)", "T, axis1=2, axis2=0, offset=-1",
              "10 * A, dtype=int", "A, 0, 0, 0", "A, 0, 0, 2"],
    **{name: ["A > 0.5", "A - 0.5, i64(0)", "A, axis=1, keepdims=1, where=MASK"]
       for name in ("all", "any")},
    **{name: ["A", "A, i64(0)", "A, axis=1, keepdims=1"]
       for name in ("argmax", "argmin", "nanargmax", "nanargmin")},
    "count_nonzero": ["A", "A, i64(0)", "A, axis=1, keepdims=1"],
    # comparisons and searches
    "allclose": ["A, A", "A, A + 0.1, 0.5, 0.0", "NANS, NANS, atol=0.0, equal_nan=True"],
    "isclose": ["A, A", "A, A + 0.1, 0.5, 0.0", "NANS, NANS, rtol=0.1, atol=0.1, equal_nan=True"],
    "array_equal": ["A, A", "NANS, NANS, equal_nan=True"],
    "array_equiv": ["A, A[:1]"],
    **{name: ["A"] for name in ("argwhere", "nonzero", "flatnonzero", "isneginf", "isposinf",
                                "isreal", "iscomplex",
                                "isrealobj", "iscomplexobj", "shape", "ndim", "min_scalar_type")},
    "size": ["A, 1", "A"],
    "result_type": ["A, 'f4'", "A, ROW"],
    "can_cast": ["'f8', 'f4', casting='same_kind'", "'f4', to='f8'"],
    "array_repr": ["A, 40, 2, True", "A, max_line_width=40, precision=2, suppress_small=True"],
    "array_str": ["A, 40, 2, True"],
    "argsort": ["A", "A, i64(0), kind='stable'", "A, stable=True", "A, order=None",
                "A, descending=True"],
    "argpartition": ["A, 1", "A, 1, 0, kind='introselect', order=None"],
    "searchsorted": ["np.sort(ROW), A", "np.sort(ROW), B, side='right'",
                     "ROW, B, sorter=np.argsort(ROW)"],
    "digitize": ["A, [0.4, 0.6]", "B, np.sort(ROW), right=True"],
    "unique": ["A", "A, axis=1", "A, True, True, True, axis=i64(0), sorted=True",
               "[0.2, 0.7, 0.2], return_index=True, return_inverse=True, return_counts=True",
               "NANS, equal_nan=False", "A, axis=2"],
    "bincount": ["INTS[0], ROW", "INTS[0], weights=ROW, minlength=7", "[0, -1], [1.0, 2.0]",
                 "[0, 1, 1, 0], weights=ROW, minlength=i64(5)", "A"],
    "histogram": ["A", "A, 4", "A, [0.3, 0.5, 0.9]", "A, 3, (0.2, 0.8)", "A, 4, weights=B",
                  "A, 4, weights=B, density=True",
                  "A, 3, range=(0.4, 0.7), density=True, weights=B",
                  "A, 'sturges'", "A, np.array([0.1, 0.5, 0.95])",
                  "A, np.array([0.1, 0.5, 0.95]), density=True, weights=B"],
    "i0": ["A"],
    # points between others
    "linspace": ["A, B, 5", "NUMBER, 2.0", "A, ROW, i64(3), endpoint=False", "A, 2, num=1",
                 "A, B, 4, retstep=True, axis=-1", "ROW, 7, 0", "NUMBER, 5, 4, dtype=int",
                 "A, B, 3, True, False, f32", "A, B, -1", "A, B, 3, device='cpu'", "0, NUMBER, 3"],
    "meshgrid": ["ROW, THREE", "ROW, THREE, A[0], indexing='ij'",
                 "ROW, THREE, sparse=True, copy=False",
                 "ROW", "ROW, 1.5", "ROW, ROW, indexing='no'"],
    "interp": ["A, np.array([0.2, 0.5, 1.0]), THREE", "B, np.array([0.2, 0.5, 1.0]), THREE",
               "A, np.array([0.5, 0.6, 0.7]), THREE, left=-1.0, right=2.0",
               "NUMBER, [1.0, 2.0], [3.0, 5.0]",
               "A, np.array([0.1, 0.25, 0.35]), THREE, period=0.5", "A, THREE, ROW",
               "A, [0.5], [1.0]",
               "np.array([0.5, 0.7]), np.array([0.4, 0.75]), np.array([1.0, 2.0]), None, 3.0"],
    "trapezoid": ["A", "A, dx=0.5, axis=i64(0)", "A, ROW", "A, np.sort(B, 1)", "A, THREE, axis=0",
                  "A, np.sort(B, 0), 1.0, 0", "ROW, dx=NUMBER"],
    "gradient": ["ROW", "A", "A, 0.5", "A, 0.5, 2.0", "A, axis=1", "A, axis=(1,)",
                 "T, axis=(0, -1)",
                 "A, np.sort(ROW), axis=-1", "A, np.array([0.1, 0.5, 0.6]), np.sort(ROW)",
                 "A, edge_order=2",
                 "A, np.array([0.1, 0.5, 0.6]), 0.5, edge_order=2", "A, 1.0, 2.0, 3.0",
                 "A, ROW[:2], axis=0",
                 "A, NUMBER, axis=0", "A, edge_order=3", "NUMBER"],
    "ediff1d": ["A", "ROW, to_end=NUMBER, to_begin=[0.5, 1.0]", "A, ROW, THREE"],
    "unwrap": ["9 * ROW", "np.array([0.0, 4.0, 9.0, -3.0])", "9 * A, axis=0", "9 * A, 4.0, i64(1)",
               "A, period=0.3"],
    "vander": ["ROW", "ROW, 3", "ROW, N=i64(2), increasing=True", "A", "ROW, 0"],
    "polyval": ["THREE, A", "THREE, NUMBER", "[1.0, 2.0], ROW"],
    "polyfit": ["ROW, THREE[0] * A[0], 1", "ROW, A.T, 2", "ROW, A[0], 1, w=B[0]",
                "!ROW, A[0], 1, full=True",
                "!ROW, A[0], 1, cov=True", "!ROW, A[0], 1, rcond=1e-3",
                "ROW, A.T, 1, None, False, B[0]"],
    "convolve": ["ROW, THREE", "THREE, ROW", "ROW, THREE, 'same'", "THREE, ROW, mode='same'",
                 "ROW, THREE, 'valid'",
                 "ROW, A", "ROW, [1.0, 2.0], 'valid'", "THREE, ROW, 'valid'", "ROW, NUMBER",
                 "ROW, ROW[:2], 'same'"],
    "correlate": ["ROW, THREE", "THREE, ROW", "ROW, THREE, 'same'", "THREE, ROW, mode='same'",
                  "ROW, THREE, 'full'",
                  "ROW[:2], THREE, 'same'", "THREE, ROW[:2], 'same'", "THREE, ROW, 'full'",
                  "ROW, A",
                  "ROW[:2], ROW, 'same'", "ROW, ROW[:2], 'same'"],
    # editing
    "append": ["A, B", "A, COLUMN, axis=1", "A, B, i64(0)", "ROW, [1.0, 2.0]", "A, 1.5",
               "A, ROW, 0"],
    "delete": ["A, 1", "A, 1, 0", "A, [0, 2], axis=1", "A, slice(None, None, 2), 1",
               "A, MASK[0], 1", "A, 7, 0",
               "A, -1, i64(1)", "A, [], 0"],
    "insert": ["ROW, 1, NUMBER", "ROW, 2, THREE", "ROW, [1, 3], [0.5, 0.7]", "A, 1, ROW, 0",
               "A, 1, THREE, axis=1",
               "A, [0, 2], 0.5, 1", "A, [1, 1], B[:2], 0", "A, 1, 0.5", "A, [1], B[:2], 0",
               "A, [1], COLUMN, 1",
               "A, slice(0, 2), B[:2], 0", "A, 1, COLUMN, 1", "A, -1, ROW, 0", "A, 9, ROW, 0",
               "A, [0, 1], ROW[:2], 1"],
    "block": ["[A, B]", "[[A, COLUMN], [B, COLUMN]]", "[[A], [ROW]]", "A", "[ROW, THREE, NUMBER]",
              "[[A, B], A]",
              "[A, [B]]", "[]"],
    "diagflat": ["ROW", "A[:2, :2], -1", "[1.0, 2.0], k=1"],
    "dsplit": ["T, 2", "T, [1, 3]", "A, 2"],
    "apply_along_axis": ["lambda v: np.sum(v**2), 0, A", "lambda v: v[:2] * 2, 1, A",
                         "np.diag, i64(1), A",
                         "lambda v: np.outer(v, v), 1, T", "np.sum, 2, A", "np.cumsum, -1, T"],
    # estimates
    **{name: ["NANS", "NANS, 0", "NANS, axis=(0, 1), keepdims=True", "A, 1", "NANS, 1, initial=0.5",
              "NANS, 0, where=MASK, initial=0.1"] for name in ("nanmax", "nanmin")},
    **{name: ["NANS", "NANS, 0", "NANS, axis=(0, 1), keepdims=True", "A, 1", "NANS, 1, initial=0.5",
              "NANS, 0, float, where=MASK, initial=0.1"] for name in ("nansum", "nanprod")},
    **{name: ["NANS", "NANS, 0", "NANS, axis=(0, 1), keepdims=True", "A, 1", "NANS, i64(1)",
              "NANS, 0, where=MASK",
              "NANS, 0, float", *([] if name == "nanmean" else [
                  "NANS, 1, ddof=1", "NANS, 1, correction=1", "!NANS, 1, mean=0.5"])]
       for name in ("nanmean", "nanvar", "nanstd")},
    "nancumsum": ["NANS", "NANS, 0", "NANS, axis=1, dtype=float"],
    "nancumprod": ["NANS", "NANS, 0", "NANS, axis=1, dtype=float"],
    "cumulative_sum": ["ROW", "A, axis=0", "A, axis=1, include_initial=True, dtype=float", "A"],
    "cumulative_prod": ["ROW", "A, axis=0", "A, axis=1, include_initial=True, dtype=float", "A"],
    **{name: [f"A, {q}", f"A, {q}, 0", f"A, [{q}, 0.0, 1.0], axis=1, keepdims=True",
              f"T, {q}, (0, 2)",
              f"NANS, {q}, 0", f"A, [[{q}, 0.1]], i64(1)", f"!A, {q}, method='lower'",
              f"!A, {q}, weights=B",
              f"A, {q}, overwrite_input=True", f"A, -{q}", f"A, {q}, None, None, False, 'linear'",
              f"ROW, [{q}]"]
       for name, q in (("quantile", 0.3), ("percentile", 30.0))},
    "cov": ["A", "A, rowvar=False", "ROW", "A, B", "ROW, A[0]", "A, bias=True", "A, ddof=0",
            "A, fweights=[1, 2, 0, 3]", "A, aweights=np.array([1, 2, 1, 3])",
            "A, None, True, False, 1, [1, 2, 1, 3], [2, 1, 1, 2]",
            "A, dtype=f32", "T", "A, ROW, rowvar=False"],
    "corrcoef": ["A", "A, rowvar=False", "ROW", "A, B", "A, dtype=float"],
    # products
    "dot": ["A, A.T", "A, ROW", "NUMBER, A", "A, T.swapaxes(1, 2)", "A, B"],
    "vdot": ["A, B", "A, ROW"],
    "inner": ["A, B", "A, ROW", "A, NUMBER", "A, COLUMN"],
    "outer": ["A, ROW", "[1.0, 2.0], ROW"],
    "kron": ["A, M[:2]", "ROW, M", "NUMBER, A"],
    "cross": ["M, THREE", "M, STACK[0], axis=0", "M, M.T, i64(0), 1, axisc=0",
              "M, M.T, axisa=1, axisb=0",
              "!A[:, :2], M[:, :2]", "M, M, axis=2", "[1.0, 2.0, 3.0], THREE"],
    "tensordot": ["T, A", "T, A, i64(2)", "T, T, ([0, -1], [0, 2])", "T, A, axes=(1, 0)", "A, B, 1",
                  "COLUMN, A, ([0, 1], [0, 1])", "A, B, ((0,), (i64(0),))", "A, B, 5",
                  "A, B, axes=np.array([[0], [0]])", "T, T, ((0, 0), (0, 0))", "A, ROW, 0"],
    "einsum": ["'ij,kj', A, B", "'...ij,j...->i...', T, ROW", "'ij,ij', A, COLUMN",
               "!'ij,kj', A, B, dtype=f32", "!'ij,kj', A, B, casting='no'", "A, [0, 1], B, [2, 1]",
               "A, [0, 1], B, [2, 1], [2]",
               "T, [..., 1], ROW, [1], [...]", "A, [0, -1], B, [2, 1]", "M, [0, 0]",
               "'ij,kj->', A, B, optimize=True", "!'ij,kj', A, B, order='F'", "'ij,j', A, A",
               "'ij,jk', A, B", "'ii', A"],
    # shapes
    "reshape": ["A, (2, 6)", "A, -1", "A, i64(12)", "A, [i64(3), -1]", "A, (4, 3), order='F'",
                "A, (5, -1)",
                "!A, (2, 6), order='A'", "A, (2, 6), order='K'", "A, (2, 6), copy=True",
                "!A, (2, 6), copy=False", "A, (2, 6), 1", "A, shape=(6, 2)"],
    "ravel": ["A", "A, 'F'", "!A, 'K'", "!A, order='A'", "A, 1"],
    "transpose": ["T", "T, (i64(1), -1, 0)", "T, axes=(0, 2, 1)", "T, (0, 1)", "T, (0, 0, 1)",
                  "T, (0, 1, 3)"],
    "permute_dims": ["T, axes=(i64(1), -1, 0)"],
    "matrix_transpose": ["T"],
    "swapaxes": ["T, i64(0), -1", "T, axis1=0, axis2=1", "T, 0, 3", "T, -4, 0"],
    "moveaxis": ["T, i64(0), -1", "T, (0, 1), [-1, 0]", "T, source=0, destination=2", "T, 0, 3",
                 "T, 3, 0",
                 "T, (0, 0), (1, 2)", "T, (0, 1), 2", "T, np.array([0, 1]), np.array([2, 0])",
                 "T, -4, 0", "T, (0, 1), (2, 2)"],
    "rollaxis": ["T, i64(2)", "T, 2, start=1", "T, 0, 3", "T, 0, -1", "T, 3", "T, 0, 4",
                 "T, 0, -4"],
    "expand_dims": ["A, 0", "A, axis=(i64(0), -1)", "A, 4", "A, (0, 0)"],
    "squeeze": ["A[None]", "A[None, :, None], axis=i64(0)", "A, axis=0", "A[None], 5"],
    **{name: ["ROW", "NUMBER, ROW", "A, NUMBER, [1.0, 2.0]"]
       for name in ("atleast_1d", "atleast_2d", "atleast_3d")},
    "broadcast_to": ["ROW, (3, 4)", "NUMBER, shape=i64(3)", "ROW, (4, 3)"],
    "broadcast_arrays": ["ROW, COLUMN", "ROW, 2.0"],
    "concatenate": ["[A, B]", "(A, COLUMN), axis=i64(1)", "[A, ROW], None", "[A, B], 2",
                    "[A, B], dtype=float", "[A, B], dtype=f32, casting='safe'", "[A, B], dtype=int",
                    "[10 * A, B], dtype=int, casting='unsafe'", "[A, [[1, 2, 3, 4]]]"],
    "stack": ["[A, B]", "[A, B], axis=i64(-1)", "[A, B], 3", "[A, B], dtype=int", "[A, ROW]",
              "[10 * A, B], dtype=int, casting='unsafe'"],
    **{name: ["[A, B]", "(ROW, ROW)", "[10 * A, B], dtype=int, casting='unsafe'",
              "[A, B], dtype=int"]
       for name in ("vstack", "hstack")},
    "dstack": ["[A, B]", "(ROW, ROW)"],
    "column_stack": ["[A, THREE]", "(ROW, ROW)"],
    "split": ["A, 2, 1", "A, i64(3)", "A, 3, axis=i64(-1)", "A, [1, 2]", "A, 2", "A, 0", "A, 2, 2",
              "A, -1",
              "A, np.array([1, -1]), 1", "A, zero_d"],
    "array_split": ["A, 2", "A, i64(3), 1", "A, [2, 1, 7], axis=1", "A, 0", "A, 2, 2", "A, 7"],
    "hsplit": ["A, 2", "ROW, [1]", "A, 3"],
    "vsplit": ["A, 3", "A, [1]", "ROW, 2", "A, 2"],
    "unstack": ["A", "A, axis=i64(1)", "A, axis=2"],
    "flip": ["T", "T, i64(0)", "T, axis=(0, -1)", "T, 3", "T, (0, 0)"],
    "flipud": ["A"],
    "fliplr": ["A", "ROW"],
    "roll": ["A, 5", "A, (1, i64(-2)), axis=(0, 1)", "A, 1, axis=(0, 1)", "A, 1, i64(-1)",
             "A, 1, 2",
             "A, (1, 2)", "A, (1, 2), 0", "A, 1, (0, 0)", "A, 1, -3", "A, [1, 2, 3], [0, 1]"],
    "rot90": ["A", "A, i64(3)", "T, k=-1, axes=(1, -1)", "T, 1, (0, 3)", "T, 1, (0, 0)", "!A, 1.5"],
    "pad": ["A, 1", "A, ((1, 0), (2, 1)), 'edge'", "A, (1, 2), mode='wrap'",
            "A, 1, constant_values=3.0",
            "A, 1, 'constant', constant_values=((1, 2), (3, 4))", "?A, 1, constant_values=NUMBER",
            "!A, 1, 'linear_ramp', end_values=NUMBER", "!A, 1, 'mean', stat_length=2", "A, -1",
            "!A, 1, 'reflect', reflect_type='odd'", "A, 1, 'foo'", "A, 1.5",
            "A, 1, 'edge', constant_values=2"],
    "tile": ["A, 2", "A, (2, i64(1), 3)", "A, reps=[2]", "A, -1", "A, zero_d", "A, 0",
             "A, (1, -1)"],
    "repeat": ["A, 2", "A, i64(3), axis=i64(-1)", "A, [2, 0, 1], axis=0", "A, 2, 2", "A, -1",
               "A, 2, -3",
               "A, [1, 2], 0", "A, [2], 1", "!A, 1.5", "A, zero_d, 0"],
    "diff": ["A", "A, n=i64(2), axis=i64(0)", "A, 1, 0, ROW[None], 0.5",
             "A, prepend=1.0, append=COLUMN",
             "A, 0", "A, -1", "A, axis=2", "A, 0, prepend=1.0", "[1.0, 2.0], append=NUMBER", "A, 9",
             "NUMBER"],
    # selections
    "take": ["A, INTS", "A, (0, 2), axis=0", "A, [True, False, True], 0", "A, i64(1), axis=i64(1)",
             "A, [], 0", "A, (0, 1)", "A, [5, -1], 1, mode='wrap'", "A, [9, -2], 1, mode='clip'",
             "A, 1, 2",
             "A, [9], 1", "!A, [0.5]", "A, [0], 1, mode='foo'", "A, ((0, 1), (1, 0)), 1",
             "A, zero_d, -3",
             "A, zero_d, 0", "[1.0, 2.0], INTS % 2"],
    "compress": ["[True, False, True], A", "[False, True], A, axis=i64(0)", "A[0] > 0.5, A, 1",
                 "[[True]], A", "[False] * 2, A, -1", "[False] * 9 + [True], A, 0"],
    "extract": ["A > 0.5, A", "[0, 1, 1], ROW[:3]"],
    "take_along_axis": ["A, INTS", "A, INTS, axis=i64(1)", "A, INTS[0], None", "A, INTS[:1], 1",
                        "A, INTS, 2",
                        "A[:1], INTS, 1", "A, INTS[0], 0", "A, INTS * 1.0, 1", "A, INTS > 1, 1",
                        "A, INTS + 9, 1"],
    "sort": ["A", "A, i64(0)", "A, axis=None", "A, kind='heapsort'", "A, stable=True", "A, 2",
             "A, order='x'", "NANS", "A, descending=True", "NANS, 1, descending=True"],
    "partition": ["ROW, 1", "ROW, i64(1), i64(0)", "ROW, (1, 2), axis=None, kind='introselect'",
                  "A, 1, 2",
                  "A, 9", "A, 1, order='x'"],
    "diagonal": ["A", "A, i64(-1)", "STACK, 0, i64(-2), i64(-1)", "T, offset=1, axis1=2, axis2=0",
                 "T, 0, 1, 1",
                 "A, 0, 0, 2", "A, 9"],
    "diag": ["A", "A, i64(1)", "ROW, k=-2", "T", "NUMBER"],
    "tril": ["A", "T, k=i64(1)"],
    "triu": ["A", "T, k=i64(-1)"],
    # linear algebra
    # complex numbers; `test_complex` has these as arguments
    "real": ["A"], "imag": ["A"], "real_if_close": ["A", "A, 50"],
    "angle": ["A", "A - 0.5, deg=True"],
    "fft.fft": ["A", "A, 3", "A, n=i64(6), axis=0, norm='ortho'", "ROW", "!A, 0", "!A, norm='no'"],
    "fft.ifft": ["A", "A, 3", "A, n=6, axis=0, norm='forward'"],
    "fft.rfft": ["A", "A, 3", "A, n=6, axis=0, norm='ortho'", "!A * 1j"],
    "fft.irfft": ["A", "A, 3", "A, n=6, axis=0, norm='forward'", "!COLUMN"],
    "fft.hfft": ["A", "A, 3", "A, n=6, axis=0, norm='ortho'"],
    "fft.ihfft": ["A", "A, 3", "A, n=6, axis=0, norm='forward'"],
    **{f"fft.{name}": ["T", "T, (2, 3), (0, -1)", "T, axes=(1, 2), norm='ortho'",
                       "T, s=(3, 5), axes=(-2, -1)", "!T, (2, 3), (0, 1, 2)", "!T, axes=5",
                       "!T, axes=()"]
       for name in ("fft2", "ifft2", "fftn", "ifftn", "rfft2", "irfft2", "rfftn", "irfftn")},
    "fft.fftshift": ["T", "T, 1", "T, axes=(0, 2)"],
    "fft.ifftshift": ["T", "T, 1", "T, axes=(0, 2)"],
    "linalg.inv": ["M", "STACK"],
    "linalg.det": ["M", "STACK"],
    "linalg.slogdet": ["M"],
    "linalg.solve": ["M, A", "M, THREE", "STACK, M", "M, [1.0, 2.0, 3.0]"],
    "linalg.cholesky": ["M"],
    "linalg.norm": [
        "A", "A, axis=i64(0)", "A, axis=zero_d", "A, None, (0, 1), 1", "T, 'fro', (0, i64(-1))",
        "T, axis=(2,)",
        *(f"A, {p}, axis=1" for p in ("1", "2", "3", "2.5", "-1", "-2", "0", "np.inf", "-np.inf",
        "i64(3)")),
        *(f"A, {p}" for p in ("1", "-1", "np.inf", "-np.inf", "'fro'", "'f'", "'foo'",
        "3")), "T, 2", "T",
        *(f"A, {p}" for p in ("2", "-2", "'nuc'", "i64(2)")), "T, 'nuc', (i64(0), -1), True",
        "A, 'fro', 1", "A, None, (0, 0)",
        "T, axis=(0, 1, 2)",
        "A, 2, axis=2", "A, ord=1, keepdims=1", "[[1.0, 2.0]], axis=(), keepdims=True"],
    "linalg.matrix_power": ["M, i64(3)", "STACK, -2", "M, 0", "M, 2.5", "M, 2.0", "A, 2"],
    "linalg.multi_dot": ["[A, A.T, A]", "[ROW, A.T, THREE]"],
    "linalg.eigh": ["M", "STACK, 'U'", "M, UPLO='l'", "M, 'foo'", "A"],
    "linalg.eigvalsh": ["M", "STACK, 'U'", "M, UPLO='l'", "M, 'foo'", "A"],
    "linalg.eig": ["M + M.T", "A", "M - 3 * M.T"],
    "linalg.eigvals": ["M + M.T", "M - 3 * M.T", "ROW"],
    "linalg.svd": ["M", "A, False", "A, 0, 1", "T, full_matrices=False", "A, True, False", "!A",
                   "M + M.T - 3 * np.eye(3), True, True, True", "M, False, False, hermitian=True",
                   "ROW", "A, False, True, True"],
    "linalg.svdvals": ["A", "T", "ROW"],
    "linalg.qr": ["A", "A.T, 'reduced'", "T, mode='r'", "A, 'complete'", "!A.T, 'complete'",
                  "!M, 'raw'", "M, 'foo'", "ROW"],
    "linalg.pinv": ["A", "T, 1e-10", "A, rcond=zero_d * 1e-10", "A, rtol=None", "M, None, True",
                    "A, rtol=1e-5", "A, 1e-5, rtol=1e-5", "?A, np.array([1e-5])", "ROW"],
    "linalg.lstsq": ["A.T, T[0].T", "A, THREE", "A, THREE, 1e-9", "A, THREE, rcond=-1",
                     "A, A, None", "A, ROW", "T, T", "M, THREE"],
    "linalg.cond": ["M", "A", "T, 2", "STACK, -2", "STACK, p=np.inf", "M, 'fro'", "M, 'nuc'",
                    "A, 1", "ROW", "M, 'foo'"],
    "linalg.matrix_rank": ["A", "T, 0.5", "M, None, True", "M, hermitian=True, rtol=0.1",
                           "M, tol=THREE[0] * 1e-3", "ROW"],
    "linalg.matrix_norm": ["A", "T, keepdims=True", "T, ord='nuc'", "ROW", "A, ord=3"],
    "linalg.vector_norm": ["A", "T, axis=(0, i64(-1))", "T, axis=i64(1), keepdims=True, ord=3",
                           "T, ord=np.inf", "NUMBER", "T, axis=3"],
    "linalg.tensorsolve": ["np.eye(6).reshape(2, 3, 6) + 1, INTS[:2, :3] * 0.5",
                           "np.eye(6).reshape(6, 2, 3) + 1, np.arange(6.0), axes=(0,)", "A, ROW"],
    "linalg.tensorinv": ["np.eye(6).reshape(2, 3, 6) + 1", "np.eye(6).reshape(6, 2, 3) + 1, i64(1)",
                         "np.eye(6).reshape(6, 2, 3) + 1, ind=1", "M, 0", "A, 1"],
    "linalg.trace": ["A", "T, offset=i64(1)", "M, dtype=np.float32", "ROW"],
    "linalg.diagonal": ["A", "T, offset=-1", "ROW"],
    "linalg.outer": ["ROW, A[0]", "ROW, [1.0, 2.0]", "A, ROW"],
    "linalg.cross": ["M, M[0]", "M, STACK[0], axis=0", "M, M, axis=i64(-1)", "A, A"],
    "linalg.vecdot": ["A, ROW", "A, 2 * A, axis=0", "A, THREE"],
    "linalg.matmul": ["A, A.T", "ROW, ROW", "A, A"],
    "linalg.tensordot": ["T, A, axes=2", "A, A, axes=((0, 1), (0, 1))", "A, ROW, axes=1"],
    "linalg.matrix_transpose": ["A", "T", "ROW"],
}  # fmt: skip


def names_of(module):
    for name in sorted(dir(module)):
        if not name.startswith("_"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield name, getattr(module, name)


MODULES = {
    "": np,
    "linalg.": np.linalg,
    "fft.": np.fft,
    "emath.": np.emath,
    "strings.": getattr(np, "strings", np.char),
    "stride_tricks.": np.lib.stride_tricks,
    "lib.": np.lib,
}
#: what NumPy dispatches on the type of its arguments
FUNCTIONS, UFUNCS = {}, {}
for prefix, module in MODULES.items():
    for name, value in names_of(module):
        if isinstance(value, np.ufunc):
            UFUNCS.setdefault(value, prefix + name)
        elif hasattr(value, "_implementation") and callable(value):
            FUNCTIONS.setdefault(prefix + name, value)


def parameters(function):
    """The parameters of a function by name; none where it is written in C without their text."""
    try:
        return inspect.signature(function).parameters
    except ValueError:
        return {}


def evaluated(text):
    """The arguments of a call that is written as text."""
    with np.errstate(all="ignore"):
        return eval(f"(lambda *args, **kwargs: (args, kwargs))({text})", globals())


def refused(error):
    """Whether this library's own sentence is in the chain of an error."""
    while error is not None and not isinstance(error, tracer.TracerError):
        error = error.__cause__ or error.__context__
    return error is not None and len(str(error)) > 20


def total(value):
    """A number that every float of nested results has a part in."""
    rng, out = np.random.default_rng(3), 0.0
    for leaf in flatten(value)[0]:
        kind = getattr(leaf.dtype, "kind", "") if hasattr(leaf, "dtype") else ""
        if isinstance(leaf, float | int) or (kind and kind in "fiub"):
            shape = np.shape(leaf)
            out = out + np.sum(rng.standard_normal(shape) * leaf)
        elif kind == "c":
            for part in (np.real(leaf), np.imag(leaf)):
                out = out + np.sum(rng.standard_normal(np.shape(leaf)) * part)
    return out


def same_values(got, expected):
    found, right = flatten(got)[0], flatten(expected)[0]
    assert len(found) == len(right)
    for one, other in zip(found, right, strict=True):
        one = one.data if isinstance(one, tracer.Tensor) else one
        if hasattr(other, "dtype") and other.dtype.kind in "fc":
            assert one.dtype == other.dtype
            assert np.shape(one) == np.shape(other)
            rounding = np.finfo(other.dtype).eps
            np.testing.assert_allclose(one, other, rtol=1e4 * rounding, atol=100 * rounding)
        elif hasattr(other, "dtype"):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other or one is other


def quiet(function):
    def call(*args, **kwargs):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*args, **kwargs)

    return call


def examine(function, args, kwargs, must=None):
    """A call with a tensor in each place: NumPy's values and the slopes of differences, or refused.

    `must` be "right" or "refused"; else either will do. What NumPy refuses is refused, where its
    own words will do.
    """
    function = quiet(function)
    leaves, structure = flatten((args, kwargs))
    numpys = ()
    try:
        expected = function(*args, **kwargs)
    except Exception:
        expected, must, numpys = None, "refused", (TypeError, ValueError, IndexError)
    places = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype == float]

    def with_value(i, value):
        made, options = structure.build([*leaves[:i], value, *leaves[i + 1 :]])
        return function(*made, **options)

    for i in places:
        try:
            with tracer.Tape():
                found = with_value(i, tracer.parameter(leaves[i]))
            gradient = quiet(tracer.grad(lambda v, i=i: total(with_value(i, v))))(leaves[i])
        except Exception as error:
            if not refused(error) and not isinstance(error, numpys):
                raise
            if must == "right":
                raise
            continue
        assert must != "refused", f"place {i} is not refused: {found}"
        same_values(found, expected)
        single = any(getattr(x, "dtype", None) == np.float32 for x in flatten(expected)[0])
        size, rtol = (4e-3, 1e-2) if single else (1e-6, 1e-5)
        slopes = np.zeros(leaves[i].shape)
        for k in np.ndindex(slopes.shape):
            step = np.zeros(slopes.shape)
            step[k] = size
            above, below = (total(with_value(i, leaves[i] + s * step)) for s in (1, -1))
            slopes[k] = (above - below) / (2 * size)
        known = ~np.isnan(slopes)
        agree(f"the gradient of place {i}", gradient[known], slopes[known], rtol, rtol / 10)


EVERY_CALL = [(name, text) for name, calls in CALLS.items() for text in calls]


@pytest.mark.parametrize(("name", "text"), EVERY_CALL, ids=[f"{n}({t})" for n, t in EVERY_CALL])
def test_a_call(name, text):
    if name not in FUNCTIONS:
        pytest.skip(f"this NumPy has no {name}")
    args, kwargs = evaluated(text.lstrip("!?"))
    try:
        inspect.signature(FUNCTIONS[name]).bind(*args, **kwargs)
    except ValueError:
        pass
    except TypeError:
        pytest.skip("this NumPy has no such argument")
    examine(FUNCTIONS[name], args, kwargs, {"!": "refused", "?": None}.get(text[:1], "right"))


#: arguments that change no value of a plain array
WITHOUT_MEANING = {"subok", "device", "out"}
#: those that NumPy has deprecated, and its oldest version here still has
DEPRECATED = {
    *("corrcoef: bias", "corrcoef: ddof"),
    *("percentile: interpolation", "quantile: interpolation"),
}


def test_every_argument_of_a_rule_is_tried():
    missing = []
    for name, function in FUNCTIONS.items():
        if function not in dispatch.FUNCTIONS or name == "linalg.cholesky":
            continue
        tried = set()
        for text in CALLS.get(name, CALLS.get(function.__name__, [])):
            args, kwargs = evaluated(text.lstrip("!?"))
            tried |= {*list(parameters(function))[: len(args)], *kwargs}
        for parameter in parameters(function).values():
            named = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if named and parameter.name not in tried | WITHOUT_MEANING:
                missing.append(f"{name}: {parameter.name}")
    assert not set(missing) - DEPRECATED


WRITING = [n for n, f in FUNCTIONS.items() if "out" in parameters(f)]


@pytest.mark.parametrize("name", [n for n in WRITING if CALLS.get(n)])
def test_results_are_not_written_into_arrays(name):
    args, kwargs = evaluated(CALLS[name][0])
    expected = quiet(FUNCTIONS[name])(*args, **kwargs)
    out = np.zeros_like(expected)
    examine(FUNCTIONS[name], args, {**kwargs, "out": out})
    if out.dtype.kind == "f":
        assert not out.any() or np.array_equal(out, expected)
    with tracer.Tape(), pytest.raises(tracer.TracerError):
        FUNCTIONS[name](*args, **kwargs, out=tracer.Tensor(np.zeros_like(expected)))


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if n not in CALLS])
def test_a_function_without_a_case(name):
    """It has no rule, and says so whichever argument is a tensor."""
    function, tensor = FUNCTIONS[name], tracer.parameter(A)
    if function in {FUNCTIONS.get(other) for other in CALLS}:
        return
    assert function not in dispatch.FUNCTIONS, f"{name} has a rule and no case here"
    known = parameters(function).values()
    required = [p for p in known if p.default is p.empty and p.kind != p.VAR_KEYWORD]
    for place in range(max(1, len(required))):
        args = [A.copy()] * place + [tensor] + [A.copy()] * (len(required) - place - 1)
        try:
            with tracer.Tape():
                found = quiet(function)(*args)
        except Exception as error:
            if not refused(error):  # NumPy is given what it takes no arrays as
                with pytest.raises((TypeError, ValueError, IndexError)):
                    quiet(function)(*[A.copy()] * len(args))
        else:
            pytest.fail(f"place {place} is not refused: {found}")


@pytest.mark.parametrize("ufunc", UFUNCS, ids=UFUNCS.values())
def test_a_ufunc(ufunc):
    choices = [(A, B), (B, A), (A, ROW), (COLUMN, NUMBER), (NANS, B), (A, 1.7), (A, [1, 2, 3, 4])]
    for arrays in choices:
        examine(ufunc, arrays[: ufunc.nin], {})
    arrays = (A, B, A, B)[: ufunc.nin]
    for options in (
        {"where": MASK}, {"dtype": float}, {"dtype": np.float32}, {"dtype": int}, {"order": "F"},
        {"casting": "no"}, {"casting": "unsafe", "dtype": int}, {"dtype": complex},
        {"out": np.zeros_like(A)}, {"axis": 0}, {"axes": [(0, 1)] * 3}, {"keepdims": True},
    ):  # fmt: skip
        examine(ufunc, arrays, options)


@pytest.mark.parametrize("ufunc", UFUNCS, ids=UFUNCS.values())
def test_methods_of_a_ufunc(ufunc):
    if ufunc.signature is not None or ufunc.nout != 1:
        return
    if ufunc.nin == 2:
        for options in (
            {}, {"axis": 1}, {"axis": np.int64(-1)}, {"axis": 2}, {"dtype": float}, {"dtype": int},
            {"axis": None}, {"keepdims": True}, {"initial": 2.0}, {"where": MASK, "initial": 0.5},
            {"out": np.zeros(4)},
        ):  # fmt: skip
            examine(ufunc.reduce, (A,), options)
        for options in ({}, {"axis": 1}, {"axis": 2}, {"dtype": float}, {"dtype": int}):
            examine(ufunc.accumulate, (A,), options)
            examine(ufunc.reduceat, (A, [0, 2, 1]), options)
        examine(ufunc.accumulate, (A,), {"axis": None})
        examine(ufunc.reduceat, (A, [0, -1]), {})
        examine(ufunc.outer, (A, ROW), {})
    values = (np.ones((2, 4)),) if ufunc.nin == 2 else ()
    if ufunc.nin <= 2:
        examine(lambda a, *b: ufunc.at(a, [0, 1], *b), (A.copy(), *values), {}, "refused")


# -- norms --------------------------------------------------------------------------------------

ZERO, POINT = np.zeros(2), np.array([3.0, -4.0])
norm = np.linalg.norm

#: a norm -> the half of its square's Hessian
NORMS = {
    "norm": (norm, np.eye(2)),
    "norm of rows": (lambda x: norm(np.reshape(x, (1, 2)), axis=np.int64(1))[0], np.eye(2)),
    "frobenius": (lambda x: norm(np.reshape(x, (2, 1)), "fro"), np.eye(2)),
    "hypot": (lambda x: np.hypot(x[0], x[1]), np.eye(2)),
    "abs": (lambda x: abs(x[0]), np.diag([1.0, 0.0])),
    "std": (np.std, np.array([[0.25, -0.25], [-0.25, 0.25]])),
}
SQUARES = {
    "power": lambda y: y**2,
    "power of a float": lambda y: y**2.0,
    "power of NumPy's": lambda y: np.power(y, np.float64(2)),
    "np.square": np.square,
    "np.float_power": lambda y: np.float_power(y, 2),
    "multiply": lambda y: y * y,
    "np.multiply": lambda y: np.multiply(y, y),
    "scaled": lambda y: (y / 3.0) ** 2 * 9.0,
    "scaled inside": lambda y: np.square(2.0 * y) / 4.0,
}


@pytest.mark.parametrize("of", NORMS)
def test_a_norm_at_zero_has_the_gradient_zero(of):
    np.testing.assert_array_equal(tracer.grad(NORMS[of][0])(ZERO), ZERO)


@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("of", NORMS)
def test_the_square_of_a_norm_is_smooth(of, square):
    norm, half = NORMS[of]

    def function(x):
        return SQUARES[square](norm(x))

    for x in (ZERO, POINT):
        np.testing.assert_allclose(tracer.grad(function)(x), 2 * half @ x, rtol=1e-14)
        np.testing.assert_allclose(tracer.hessian(function)(x), 2 * half, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(
            tracer.hvp(function)(x, POINT), 2 * half @ POINT, rtol=1e-13, atol=1e-14
        )


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, np.inf])
def test_vector_norms_at_zero(p):
    for f in (lambda x: norm(x, p), lambda x: np.sum(norm(np.reshape(x, (2, 1)), p, axis=1))):
        np.testing.assert_array_equal(tracer.grad(f)(ZERO), ZERO)


def test_a_vector_of_norms_times_itself():
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])

    def f(x):
        y = norm(x, axis=1)
        return y @ y

    hessian = tracer.hessian(f)(rows).reshape(4, 4)
    np.testing.assert_allclose(hessian, 2 * np.eye(4), rtol=1e-14, atol=1e-15)


def test_the_root_alone_stays_the_root():
    with np.errstate(divide="ignore"):
        assert tracer.grad(np.sqrt)(0.0) == np.inf


# -- powers, extremes, conversions --------------------------------------------------------------


def test_powers_at_their_edges():
    def by_base(x, y):
        return float(tracer.grad(lambda x: np.sum(x ** np.array(y)))(x))

    def by_exponent(x, y):
        return float(tracer.grad(lambda y: np.array(x) ** y)(y))

    assert by_base(0.0, 0.0) == 0 == tracer.grad(lambda x: x**0)(0.0)
    assert [by_base(0.0, y) for y in (1.0, 2.0, 3.0)] == [1, 0, 0]
    assert by_base(-2.0, 3.0) == 12
    for zero in (np.array(0.0), 0.0):
        assert tracer.grad(lambda y, x=zero: x**y)(2.0) == 0
    assert np.isnan(tracer.grad(lambda y: (-2.0) ** y)(2.0))  # no real powers beside integers
    assert np.isnan(by_exponent(-2.0, 2.0))
    np.testing.assert_allclose(by_exponent(2, 3.0), 8 * np.log(2))
    np.testing.assert_allclose(tracer.grad(lambda y: 2**y)(-1.0), 0.5 * np.log(2))
    mixed = tracer.grad(lambda y: tracer.grad(lambda x: x**y)(2.0))  # d2/dxdy at y = 0 is 1 / x
    assert mixed(0.0) == 0.5


def test_nan_among_extremes():
    x = np.array([[1.0, np.nan, 0.3], [0.2, 0.1, 0.4]])
    value, gradient = tracer.value_and_grad(lambda x: np.sum(np.fmax(x, 0.5) + np.fmin(x, 0.5)))(x)
    np.testing.assert_allclose(value, np.sum(np.where(np.isnan(x), 1.0, x + 0.5)))
    np.testing.assert_array_equal(gradient, np.where(np.isnan(x), 0.0, 1.0))
    for extreme, winner in ((np.max, 2), (np.min, 1)):
        gradient = tracer.grad(lambda x, f=extreme: np.sum(f(x, axis=1)))(x)
        np.testing.assert_array_equal(gradient, [[0, 1, 0], np.eye(3)[winner]])
    assert np.isnan(np.median(tracer.Tensor(x)).data)


def test_nan_on_both_sides_shares_the_gradient():
    for extreme in (np.fmax, np.fmin):
        gradient = tracer.grad(lambda x, f=extreme: np.sum(f(x, x)))(np.array([np.nan, 2.0]))
        np.testing.assert_array_equal(gradient, [1.0, 1.0])


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_angles_of_numbers_whose_squares_are_none(scale):
    """d arctan2(y, x) = (x dy - y dx) / (x**2 + y**2), here of (4, 3) times the scale."""
    dy, dx = tracer.grad(np.arctan2, argnums=(0, 1))(4.0 * scale, 3.0 * scale)
    np.testing.assert_allclose([dy * scale, dx * scale], [3 / 25, -4 / 25], rtol=1e-14)


def test_the_logarithm_of_a_sum_of_nothing_has_no_slope():
    rows = np.array([[-np.inf, -np.inf], [0.0, -np.inf]])
    for f in (
        lambda x: tracer.logsumexp(x, axis=1)[1],
        lambda x: np.logaddexp(x[:, 0], x[:, 1])[1],
        lambda x: np.logaddexp2(x[:, 0], x[:, 1])[1],
    ):
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(tracer.grad(f)(rows), [[0, 0], [1, 0]])
            assert not tracer.hessian(f)(rows).any()


def test_no_gradient_flows_through_integers():
    x = np.array([1.5, 2.5])
    for dtype in (int, np.uint8, bool, np.float64):
        gradient = tracer.grad(lambda x, d=dtype: np.sum(x.astype(d) * x))(x)
        right = x.astype(dtype) if dtype is not np.float64 else 2 * x
        np.testing.assert_array_equal(gradient, right)
    with tracer.Tape():
        count = np.sum(tracer.parameter(x)).astype(int)
        assert len(range(count)) == 4


# -- indices ------------------------------------------------------------------------------------

INDICES = [
    0, np.int64(1), np.array(1), np.uint8(2), [0, 2], [True, False, True], (0, 2), ((0, 2),),
    ([0, 2], [1, 1]), (slice(None), [True, False, True, False]), A > 0.5, (A[:, 0] > 0.5, 1), True,
    np.bool_(False), [], ([], 0), (None, [1, 0]), ..., (), (INTS[:, :2] % 3, slice(1, 3)),
    (slice(np.int64(0), np.int64(2)), np.int8(-1)),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=map(repr, INDICES))
def test_an_index(index):
    examine(lambda x: x[index], (A,), {}, "right")
    examine(lambda x: np.copy(x[index]) + 2.0 * x[index], (A,), {}, "right")


def test_an_index_that_changes_afterwards():
    places, listed = np.array([0, 2]), [0, 2]

    def f(x):
        y = x[places] + x[listed] + np.take(x, places, axis=0)
        places[:] = 1
        listed[:] = [1, 1]
        return np.sum(y)

    expected = np.zeros((3, 4))
    expected[[0, 2]] = 3
    np.testing.assert_array_equal(tracer.grad(f)(A), expected)


def test_the_last_of_several_values_for_one_place_counts():
    gradient = tracer.grad(lambda v: np.sum(tracer.index_set(np.zeros(3), [1, 1], v)))(ROW[:2])
    np.testing.assert_array_equal(gradient, [0, 1])
    with pytest.raises(tracer.ShapeError, match="index_set puts float64 into int64"):
        tracer.grad(lambda v: np.sum(tracer.index_set(np.zeros(3, int), 0, v)))(0.5)


# -- methods ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "hint"),
    [
        (lambda x: x.flatten(1), "reshape"),
        (lambda x: x.ravel(1), "reshape"),
        (lambda x: np.ravel(x, 1), "reshape"),
        (lambda x: x.flatten(0, 1), r"x\.reshape\(\*x\.shape"),
        (lambda x: x.squeeze(0, 1), r"np\.squeeze\(a, axis=None\)"),
        (lambda x: x.sum(1, True), "takes a dtype there"),
        (lambda x: x.sum(True), "an axis is an integer, got True"),
        (lambda x: np.sum(x, axis=1.0), "an axis is an integer, got 1.0"),
        (lambda x: pow(x, 2, 3), "% m"),
        (lambda x: x[[slice(0, 1)]], r"go into a tuple, x\[a, b\]"),
        (lambda x: setattr(x, "shape", (4, 3)), r"tensor\.reshape\(\(4, 3\)\)"),
        (lambda x: x.flatten("K"), "order='C' or 'F'"),
        (lambda x: x.reshape(4, 3, order="A"), "order='C' or 'F'"),
        (lambda x: x.astype(complex).astype(float), r"np\.real\(z\), np\.imag\(z\)"),
        (lambda x: x.astype(int, casting="safe"), "casting"),
        (lambda x: np.split(x, 2), "np.array_split"),
        (lambda x: np.nan_to_num(np.ones(3) * x[0, 0], nan=x[0, 0]), "np.where"),
    ],
)
def test_what_is_refused_says_what_to_write(act, hint):
    with tracer.Tape(), pytest.raises(tracer.TracerError, match=hint):
        act(tracer.parameter(A))


@pytest.mark.parametrize(
    "name",
    "nonzero searchsorted compress choose argpartition flags strides itemsize base "
    "byteswap ctypes dump dumps getfield setfield setflags tofile to_device".split(),
)
def test_what_tensors_have_not_of_arrays_has_a_hint(name):
    with pytest.raises(tracer.TracerError, match=name):
        getattr(tracer.parameter(np.ones(3)), name)


def test_a_tensor_is_divided_with_a_rest_and_contains_as_an_array_does():
    x = tracer.parameter(A)
    for found, right in zip(divmod(x, 0.3), divmod(A, 0.3), strict=True):
        np.testing.assert_array_equal(found.data, right)
    for found, right in zip(divmod(3.0, x), divmod(3.0, A), strict=True):
        np.testing.assert_array_equal(found.data, right)
    assert A[0, 0] in x
    assert 17.0 not in x
    with tracer.Tape() as tape:
        loss = np.sum(divmod(x, 0.3)[1])
    np.testing.assert_array_equal(tape.backward(loss)["grad"][x], 1)


def test_lists_beside_tensors_in_functions_of_scipy():
    gradient = tracer.grad(lambda x: np.sum(scipy.special.xlogy([1.0, 2.0, 3.0, 4.0], x)))(A)
    np.testing.assert_allclose(gradient, [1, 2, 3, 4] / A)


def test_axes_of_products_are_moved():
    w = tracer.parameter(np.ones((3, 3)))
    with pytest.raises(tracer.TracingError, match=r"moveaxis before, or write np\.einsum"):
        np.matmul(w, w, axes=[(0, 1), (0, 1), (0, 1)])
    with pytest.raises(tracer.TracingError, match=r"moveaxis before, or write np\.einsum"):
        np.vecdot(w, w, axis=0)


NESTED = {
    "numbers": lambda x, array: array([x[0, 0], 1.0, x[1, 2]]),
    "a matrix": lambda x, array: array([[x[0, 0], -x[0, 1]], [x[0, 1], 2]]),
    "rows": lambda x, array: array([x[0], np.arange(4), [1, 2, x[1, 1], 3]]),
    "tuples": lambda x, array: array(((x[0],), (x[1],))),
    "by itself": lambda x, array: array(x),
    "of one": lambda x, array: array([[[x]]]),
    "in another dtype": lambda x, array: array([x[0], x[1]], dtype=np.float32),
    "with ints of NumPy": lambda x, array: array([np.int8(3), x[0, 0], True]),
}


@pytest.mark.parametrize("name", NESTED)
def test_arrays_of_nested_lists_that_hold_tensors(name):
    a = np.arange(12.0).reshape(3, 4) / 7
    make = NESTED[name]
    w = tracer.parameter(a)
    with tracer.Tape() as tape:
        made = make(w, tracer.array)
        assert isinstance(made, tracer.Tensor)
        assert made is not w
        loss = np.sum(made**3)
    expected = make(a, np.array)
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made.data, expected)
    numeric = np.zeros_like(a)
    for i in np.ndindex(a.shape):
        step = np.zeros_like(a)
        step[i] = 1e-2
        high, low = (np.sum(make(a + s, np.array).astype(float) ** 3) for s in (step, -step))
        numeric[i] = (high - low) / 2e-2
    np.testing.assert_allclose(tape.backward(loss)["grad"][w], numeric, rtol=1e-3, atol=1e-3)


def test_arrays_of_nested_lists_follow_samples_and_refuse_the_rest():
    assert type(tracer.array([[1, 2.0]])) is np.ndarray
    x, w = np.array([1.0, 2.0, 3.0]), tracer.parameter(np.array(2.0))
    with tracer.Tape() as tape:
        h = tracer.batch(x) * w
        loss = np.sum(tracer.array([h, h * w]) ** 2)
        with pytest.raises(tracer.ShapeError, match=r"one shape beside each other.*\[\] and \[3\]"):
            tracer.array([h, w])
        with pytest.raises(tracer.TracingError, match=r"takes numbers.*'a'"):
            tracer.array([w, "a"])
    values = tape.backward(loss, ("grad_batch",))["grad_batch"][w]
    np.testing.assert_allclose(values, x**2 * (2 * 2 + 4 * 2**3))
