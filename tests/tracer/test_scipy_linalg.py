"""`tracer.scipy.linalg` by SciPy's names: its values, and the derivatives of differences."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.linalg

import tracer
from tracer.record import leaving
from tracer.scipy import linalg
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
M = RNG.random((3, 3)) + 2 * np.eye(3)
N = RNG.random((3, 3)) + 2 * np.eye(3)
P = M @ M.T
B, ROW = RNG.random((3, 2)), RNG.random(3)
STACK = np.stack([M, N])
BANDS = RNG.random((4, 5)) + 4 * (np.arange(4) == 2)[:, None]
HALF = RNG.random((3, 5)) + 4 * (np.arange(3) == 2)[:, None]
LONG = RNG.random((5, 2))


def lower_half(solver, ab, b):
    return solver(ab[::-1], b, lower=True)


#: "function: which" -> (a function of `scipy.linalg` or its mirror and of arrays, the arrays)
CASES = {
    **{f"solve: {way}, {b.ndim}": (lambda f, a, b, way=way: f(a, b, assume_a=way), a, b)
       for b in (B, ROW)
       for way, a in {"gen": M, "sym": M + M.T, "pos": P, "lower triangular": M,
                      "upper triangular": M}.items()},
    "solve: transposed": (lambda f, a, b: f(a, b, transposed=True), M, B),
    "solve: lower": (lambda f, a, b: f(a, b, lower=True, assume_a="her"), M, B),
    **{f"solve_triangular: {trans}, {lower}, {unit}": (
        lambda f, a, b, o=(trans, lower, unit): f(a, b, *o), M, B)
       for trans in (0, "T") for lower in (True, False) for unit in (True, False)},
    "solve_triangular: vector": (lambda f, a, b: f(a, b), M, ROW),
    "cholesky: upper": (lambda f, a: f(a), P),
    "cholesky: lower": (lambda f, a: f(a, lower=True), P),
    "cho_factor: upper": (lambda f, a: np.triu(f(a)[0]), P),
    "cho_factor: lower": (lambda f, a: np.tril(f(a, lower=True)[0]), P),
    "cho_solve: upper": (lambda f, c, b: f((c, False), b), M, B),
    "cho_solve: lower": (lambda f, c, b: f((c, True), b), M, ROW),
    "lu_factor: square": (lambda f, a: f(a)[0], M[::-1].copy()),
    **{f"lu_solve: {trans}": (
        lambda f, lu, b, trans=trans: f((lu, np.array([2, 2, 2])), b, trans), M, B)
       for trans in (0, 1, 2)},
    "lu_solve: vector": (lambda f, lu, b: f((lu, np.array([1, 2, 2])), b), M, ROW),
    "solve_banded: matrix": (lambda f, ab, b: f((1, 2), ab, b), BANDS, LONG),
    "solve_banded: vector": (lambda f, ab, b: f((2, 1), ab[::-1], b), BANDS, LONG[:, 0]),
    "solveh_banded: upper": (lambda f, ab, b: f(ab, b), HALF, LONG),
    "solveh_banded: lower": (lower_half, HALF, LONG[:, 0]),
    "solve_sylvester: three": (lambda f, a, b, q: f(a, b, q), M, N[:2, :2], B),
    "solve_continuous_lyapunov: two": (lambda f, a, q: f(a, q), M, N),
    "solve_lyapunov: two": (lambda f, a, q: f(a, q), M, N),
    "solve_toeplitz: both": (lambda f, c, r, b: f((c, r), b), M[0][::-1].copy(), ROW, B),
    "solve_toeplitz: one": (lambda f, c, b: f(c, b), np.array([3.0, 0.4, 0.7]), ROW),
    "toeplitz: one": (lambda f, c: f(c), ROW),
    "toeplitz: both": (lambda f, c, r: f(c, r), ROW, LONG[:, 0]),
    "block_diag: three": (lambda f, a, b, c: f(a, b, c), M, ROW, np.array(0.7)),
    "inv: one": (lambda f, a: f(a), M),
    "det: one": (lambda f, a: f(a), M),
    "svd: tall": (lambda f, a: f(a, full_matrices=False), B),
    "svd: values": (lambda f, a: f(a, compute_uv=False), B),
    "svdvals: tall": (lambda f, a: f(a), B),
    "eigh: lower": (lambda f, a: f(a), M),
    "eigh: upper": (lambda f, a: f(a, lower=False), M),
    "eigh: two": (lambda f, a, b: f(a, b + 3 * np.eye(3)), M, N),
    "eigh: by index": (lambda f, a: f(a, subset_by_index=[1, 2]), M),
    "eigh: by value": (lambda f, a: f(a, subset_by_value=[0.5, 2.5], eigvals_only=True), M),
    "eigvalsh: two": (lambda f, a, b: f(a, b + 3 * np.eye(3), lower=False), M, N),
    "qr: economic": (lambda f, a: f(a, mode="economic"), B),
    "qr: triangle": (lambda f, a: f(a, mode="r"), B),
    "qr: square": (lambda f, a: f(a), M),
    "qr: wide": (lambda f, a: f(a), B.T),
    "norm: nuc": (lambda f, a: f(a, "nuc"), B),
    "norm: vector": (lambda f, a: f(a, 3), ROW),
    "pinv: tall": (lambda f, a: f(a), B),
    "pinv: rtol": (lambda f, a: f(a, rtol=1e-9), B.T),
    "expm: one": (lambda f, a: f(a), M),
    "sqrtm: one": (lambda f, a: f(a), M),
    "logm: one": (lambda f, a: f(a), M),
}  # fmt: skip

#: those of stacks of matrices, each of which is what a matrix has
STACKS = {
    **{name: (lambda f, a: f(a), STACK)
       for name in "cholesky det eigh expm inv logm qr sqrtm svd svdvals".split()},
    "cho_solve": (lambda f, c, b: f((c, True), b), STACK, np.stack([B, 2 * B])),
    "lu_factor": (lambda f, a: f(a)[0], STACK[:, ::-1].copy()),
    "lu_solve": (lambda f, a, b: f(linalg.lu_factor(a), b), STACK, np.stack([B, 2 * B])),
    "solve": (lambda f, a, b: f(a, b), STACK, np.stack([B, 2 * B])),
    "solve_triangular": (lambda f, a, b: f(a, b, 1), STACK, np.stack([B, 2 * B])),
    "solve_banded": (
        lambda f, ab, b: f((1, 2), ab, b), np.stack([BANDS, 2 * BANDS]), np.stack([LONG, LONG])),
    "solveh_banded": (lambda f, ab, b: f(ab, b), np.stack([HALF, 2 * HALF]), np.stack([LONG] * 2)),
    "solve_sylvester": (
        lambda f, a, b, q: f(a, b, q), STACK, STACK[:, :2, :2].copy(), np.stack([B, 2 * B])),
    "solve_toeplitz": (
        lambda f, c, b: f(c, b), np.array([[3.0, 0.4, 0.7], [2.0, 0.1, 0.3]]), np.stack([B] * 2)),
}  # fmt: skip
POSITIVE = {"cholesky"}


def parts(value):
    return list(value) if isinstance(value, tuple) else [value]


def joined(function, name):
    """The function of arrays with its results as one vector."""
    mirror = getattr(linalg, name)
    return lambda *arrays: np.concatenate([np.ravel(v) for v in parts(function(mirror, *arrays))])


def same_up_to_signs(name, found, expected):
    found = [x.data if isinstance(x, tracer.Tensor) else x for x in parts(found)]
    for got, value in zip(found, parts(expected), strict=True):
        if name.startswith("eigh"):  # vectors up to a sign
            got, value = abs(got), abs(value)
        np.testing.assert_allclose(got, value, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_a_function(case):
    function, *arrays = CASES[case]
    name = case.split(":")[0]
    theirs = getattr(scipy.linalg, name)
    if case == "solve: lower":
        expected = function(theirs, np.tril(M) + np.tril(M, -1).T, B)
    elif case.startswith("solve: ") and "triangular" in case:
        triangle = np.tril(M) if "lower" in case else np.triu(M)
        expected = np.linalg.solve(triangle, arrays[1])
    elif name == "inv":
        expected = np.linalg.inv(M)
    else:
        expected = function(theirs, *arrays)
    mirror = getattr(linalg, name)
    same_up_to_signs(case, function(mirror, *arrays), expected)
    with tracer.Tape():
        found = function(mirror, *map(tracer.parameter, arrays))
    assert all(isinstance(x, tracer.Tensor) for x in parts(found))
    same_up_to_signs(case, found, expected)
    of_all = tuple(range(len(arrays)))
    check_gradients(joined(function, name), of_all, order=2)(*arrays)


@pytest.mark.parametrize("name", STACKS)
def test_a_stack(name):
    function, *arrays = STACKS[name]
    if name in POSITIVE:
        arrays = [x @ x.swapaxes(-1, -2) for x in arrays]
    mirror = getattr(linalg, name)
    found = parts(function(mirror, *arrays))
    for i in range(2):
        alone = parts(function(mirror, *(x[i] for x in arrays)))
        for got, value in zip(found, alone, strict=True):
            np.testing.assert_allclose(got[i], value, rtol=1e-12, atol=1e-14)
    check_gradients(joined(function, name), tuple(range(len(arrays))), order=2)(*arrays)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_stays_that(case):
    function, *arrays = CASES[case]
    mirror = getattr(linalg, case.split(":")[0])
    if "two" in case:
        function = (lambda f, a, b: f(a, b)) if "eig" in case else function
        arrays[1] = P if "eig" in case else arrays[1]
    single = [np.asarray(x, np.float32) for x in arrays]
    leaves = [tracer.parameter(x, name=str(i)) for i, x in enumerate(single)]
    with tracer.Tape() as tape:
        found = function(mirror, *leaves)
        loss = sum(np.sum(part * part) for part in parts(found))
    assert all(part.dtype == np.float32 for part in parts(found))
    gradients = tape.backward(loss)["grad"]
    wide = tracer.grad(
        lambda *xs: sum(np.sum(p * p) for p in parts(function(mirror, *xs))),
        tuple(range(len(arrays))),
    )(*map(np.asarray, arrays))
    for i, right in enumerate(wide):
        assert gradients[str(i)].dtype == np.float32
        scale = max(abs(right).max(), 1)
        np.testing.assert_allclose(gradients[str(i)], right, rtol=2e-3, atol=2e-4 * scale)


#: functions that take matrices of no rows
EMPTY = {
    **{name: [np.zeros((0, 0))] for name in "cholesky expm inv lu_factor svdvals".split()},
    **{name: [np.zeros((0, 0)), np.zeros((0, 2))] for name in ("solve", "solve_triangular")},
    "solve_sylvester": [np.zeros((0, 0)), np.eye(2), np.zeros((0, 2))],
    "block_diag": [np.zeros((0, 2)), np.ones((1, 1))],
}


@pytest.mark.parametrize("name", EMPTY)
def test_no_rows(name):
    mirror = getattr(linalg, name)
    _, pull = tracer.vjp(lambda *xs: parts(mirror(*xs))[0], *EMPTY[name])
    cotangent = np.ones_like(parts(mirror(*EMPTY[name]))[0])
    assert [np.shape(g) for g in pull(cotangent)] == [x.shape for x in EMPTY[name]]


@pytest.mark.parametrize("name", ["expm", "logm", "sqrtm", "lu_factor", "solve_triangular"])
def test_half_precision_goes_through_single(name):
    a = M.astype(np.float16)
    given = [a, B.astype(np.float16)] if name == "solve_triangular" else [a]
    found = parts(getattr(linalg, name)(*map(tracer.parameter, given)))[0]
    right = parts(getattr(linalg, name)(*(x.astype(float) for x in given)))[0]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.data, right, rtol=1e-2, atol=1e-2)


def test_what_is_there():
    assert set(linalg.__all__) <= set(dir(scipy.linalg))
    assert leaving.MIRRORED["scipy.linalg"].split() == sorted(linalg.__all__)
    assert {case.split(":")[0] for case in CASES} == set(linalg.__all__)
    assert tracer.scipy.linalg is linalg


@pytest.mark.parametrize("name", linalg.__all__)
def test_signatures_are_scipys(name):
    """But for arguments that SciPy is about to drop."""
    theirs = inspect.signature(getattr(scipy.linalg, name)).parameters
    ours = inspect.signature(getattr(linalg, name)).parameters
    if name == "eigvalsh":
        assert list(ours)[:2] == list(theirs)[:2]
        return
    gone = {"disp", "blocksize", "turbo", "eigvals", "cond", "rcond"}
    if set(theirs) - gone <= set(ours):  # an older SciPy has fewer
        shared = [p for p in ours if p in theirs]
        assert shared == [p for p in theirs if p not in gone]
    else:
        raise AssertionError(set(theirs) - gone - set(ours))


def refused(function, words, error=tracer.TracerError):
    gradient = tracer.grad(lambda x: np.sum(parts(function(x))[0]))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # SciPy warns of what is singular
        with pytest.raises(error, match=words):
            gradient(M)


def test_refusals():
    refused(lambda x: linalg.sqrtm(x * np.diag([1.0, 1, 0])), "singular")
    refused(lambda x: linalg.eigh(x, type=2), "type=1")
    refused(lambda x: linalg.qr(x, pivoting=True), "without pivoting")
    refused(lambda x: linalg.qr(x[:, :2]), "economic")
    refused(lambda x: linalg.solve(x, ROW, assume_a="banded"), "solve_banded")
    refused(lambda x: linalg.solve_banded((1, 0), x, ROW), "takes 2 bands")
    refused(lambda x: linalg.lu_factor(x[:2]), "square matrices")
    refused(lambda x: linalg.pinv(x, atol=1.0), "atol")
    refused(lambda x: linalg.solve(x / 0.0, ROW), "infs or NaNs", ValueError)
    refused(lambda x: scipy.linalg.expm(x), r"write tracer\.scipy\.linalg\.expm")
    refused(lambda x: scipy.linalg.solve_triangular(M, x), r"tracer\.scipy\.linalg\.solve_tri")
    refused(lambda x: linalg.cholesky(-x), "positive definite", np.linalg.LinAlgError)
    refused(lambda x: linalg.solveh_banded(-x, ROW), "positive definite", np.linalg.LinAlgError)
    with pytest.raises(AttributeError, match=r"tracer.scipy.linalg.*schur"):
        linalg.schur  # noqa: B018


def test_functions_of_matrices_where_eigenvalues_coincide():
    """Where `V @ np.diag(h(w)) @ V.T` has no derivative that can be told."""
    for function in (linalg.expm, linalg.logm, linalg.sqrtm):
        check_gradients(function, order=2)(np.eye(3) * 1.3)
        jordan = np.array([[1.3, 1.0], [0.0, 1.3]])
        check_gradients(function, order=2)(jordan)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 30.0])
def test_the_logarithm_of_matrices_far_from_the_identity(scale):
    """The derivative of the exponential and of the logarithm are inverse."""
    a, e = scale * P, RNG.random((3, 3))
    _, moved = tracer.jvp(linalg.logm, (a,), (e,))
    back = scipy.linalg.expm_frechet(scipy.linalg.logm(a), moved, compute_expm=False)
    np.testing.assert_allclose(back, e, rtol=1e-10)
