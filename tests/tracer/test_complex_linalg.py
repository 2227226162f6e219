"""Linear algebra of complex matrices: numerical derivatives, phases of vectors, ties, nothing.

That each operation is right for complex numbers at its examples is in `test_operations`; functions
of NumPy and of SciPy with complex numbers in each place are in `test_complex` and below.
"""

import warnings

import numpy as np
import pytest
import scipy.linalg

import tracer
from tracer.scipy import linalg
from tracer.testing import check_gradients

UNDEFINED = pytest.warns(RuntimeWarning, match="NaN in the derivative of")


def random(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


A, B = random(3, 3), random(3, 2, seed=1)


def positive(a):
    """A Hermitian matrix that is positive definite."""
    return a @ np.conj(np.swapaxes(a, -1, -2)) + np.eye(a.shape[-1], dtype=a.dtype)


def joined(*parts):
    return np.concatenate([np.ravel(part) + 0j for part in parts])


# -- decompositions, whose vectors have the phase that LAPACK gives them --------------------------


SHAPES = [(2, 3), (4, 7), (3, 9), (9, 3), (3, 3), (2, 2, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_singular_values_and_vectors(shape):
    def function(a):
        return joined(*np.linalg.svd(a, full_matrices=False))

    check_gradients(function, order=2 if shape == (2, 3) else 1)(random(*shape))


@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigenvalues_and_vectors_of_hermitian_matrices(triangle):
    def function(a):
        w, v = np.linalg.eigh(a, triangle)
        assert w.dtype.kind == "f"
        return joined(w, v)

    check_gradients(function, order=2)(A)
    check_gradients(function, order=1)(random(2, 3, 3))
    check_gradients(lambda a: np.linalg.eigvalsh(a, triangle), order=2)(A)


@pytest.mark.parametrize("a", [A, random(2, 3, 3), A.real, A[:1, :1]], ids=["c", "stack", "r", "1"])
def test_eigenvalues_and_vectors(a):
    check_gradients(lambda a: joined(*np.linalg.eig(a)), order=2 if a.ndim == 2 else 1)(a)
    check_gradients(np.linalg.eigvals, order=2)(a)


def test_a_real_matrix_with_real_eigenvalues_has_real_ones():
    a = np.array([[2.0, 1.0], [0.5, -1.0]])
    w, v = tracer.vjp(np.linalg.eig, a)[0]
    assert w.dtype == np.linalg.eig(a)[0].dtype
    assert v.dtype == np.linalg.eig(a)[1].dtype


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(upper):
    """One triangle is read, and of the diagonal the real part."""

    def function(a):
        return np.linalg.cholesky(a, upper=upper)

    check_gradients(function, order=2)(positive(A))
    check_gradients(lambda a: function(positive(a)), order=1)(random(2, 3, 3))
    (g,) = tracer.vjp(function, positive(A))[1](B @ B.T)
    assert not g[np.tril_indices(3, -1) if upper else np.triu_indices(3, 1)].any()


def test_the_determinant_and_its_parts():
    check_gradients(np.linalg.det, order=2)(A)
    check_gradients(lambda a: joined(*np.linalg.slogdet(a)), order=2)(random(2, 3, 3))
    sign, logarithm = tracer.vjp(np.linalg.slogdet, A)[0]
    np.testing.assert_allclose(sign * np.exp(logarithm), np.linalg.det(A))
    singular = B @ random(2, 3, seed=2)
    found = tracer.holomorphic_grad(np.linalg.det)(singular)
    units = np.eye(9).reshape(9, 3, 3) * 1e-6
    slopes = np.linalg.det(singular + units) - np.linalg.det(singular - units)
    np.testing.assert_allclose(found, slopes.reshape(3, 3) / 2e-6, atol=1e-8)


OTHERS = {
    "pinv": (np.linalg.pinv, random(4, 2)),
    "pinv hermitian": (lambda a: np.linalg.pinv(positive(a), hermitian=True), A),
    "qr": (lambda a: joined(*np.linalg.qr(a)), random(4, 2)),
    "qr wide": (lambda a: joined(*np.linalg.qr(a)), random(2, 4)),
    "lstsq": (lambda a, b: joined(*np.linalg.lstsq(a, b)[:2]), random(4, 2), random(4, 3)),
    "nuclear norm": (lambda a: np.linalg.norm(a, "nuc"), random(4, 3)),
    "norm 2": (lambda a: np.linalg.norm(a, 2), random(4, 3)),
    "cond": (np.linalg.cond, A),
    "svd hermitian": (
        lambda a: joined(*np.linalg.svd(positive(a), hermitian=True)[1:2]),
        A,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_functions(name):
    function, *given = OTHERS[name]
    check_gradients(function, order=2)(*given)


# -- SciPy's, values and derivatives --------------------------------------------------------------


SCIPYS = {
    "cho_solve": lambda m, a, b: m.cho_solve(m.cho_factor(positive(a)), b),
    "cho_solve lower": lambda m, a, b: m.cho_solve(m.cho_factor(positive(a), True), b),
    "cholesky": lambda m, a, b: m.cholesky(positive(a)),
    "solve_triangular T": lambda m, a, b: m.solve_triangular(a, b, 1),
    "solve_triangular C": lambda m, a, b: m.solve_triangular(a, b, "C", lower=True),
    "lu_solve": lambda m, a, b: m.lu_solve(m.lu_factor(a), b),
    "lu_solve C": lambda m, a, b: m.lu_solve(m.lu_factor(a), b, 2),
    "lyapunov": lambda m, a, b: m.solve_continuous_lyapunov(a, a @ a),
    "toeplitz": lambda m, a, b: m.toeplitz(a[0]) @ b,
    "solve_toeplitz": lambda m, a, b: m.solve_toeplitz(a[0] + np.array([5, 0, 0]), b),
    "solve her": lambda m, a, b: m.solve(a, b, assume_a="her"),
    "solve sym": lambda m, a, b: m.solve(a, b, assume_a="sym"),
    "solve pos": lambda m, a, b: m.solve(positive(a), b, assume_a="pos"),
    "solve_banded": lambda m, a, b: m.solve_banded((1, 1), a + 3 * np.eye(3)[[1, 0, 2]], b),
    "solveh_banded": lambda m, a, b: m.solveh_banded(np.stack([a[0], np.real(a[1]) ** 2 + 9]), b),
    "solve_sylvester": lambda m, a, b: m.solve_sylvester(a, a[:2, :2], b),
    "sqrtm": lambda m, a, b: m.sqrtm(a),
    "logm": lambda m, a, b: m.logm(a),
    "expm": lambda m, a, b: m.expm(a),
    "eigh of two": lambda m, a, b: abs(m.eigh(positive(a), positive(a.T))[1]),
}


@pytest.mark.parametrize("name", SCIPYS)
def test_a_function_of_scipy(name):
    function = SCIPYS[name]
    np.testing.assert_allclose(
        np.asarray(tracer.vjp(lambda a, b: function(linalg, a, b) + 0 * b[0, 0], A, B)[0]),
        function(scipy.linalg, A, B),
        rtol=1e-9,
        atol=1e-12,
    )
    check_gradients(lambda a, b: function(linalg, a, b), order=1)(A, B)


@pytest.mark.parametrize("name", ["sqrtm", "logm"])
def test_a_function_of_a_real_matrix_that_is_complex(name):
    a = np.diag([-1.0, 2.0, -3.0]) + 0.1 * A.real
    found = tracer.vjp(getattr(linalg, name), a)[0]
    np.testing.assert_allclose(found, getattr(scipy.linalg, name)(a), atol=1e-12)
    check_gradients(getattr(linalg, name), order=2)(a)


# -- phases, ties, precision, nothing -------------------------------------------------------------


def test_what_depends_on_a_phase_that_nothing_fixes(monkeypatch):
    """As where another library chooses phases at random."""
    eigh = np.linalg.eigh

    def turned(a, uplo):
        w, v = eigh(a, uplo)
        return w, v * np.exp(1j * np.arange(1, 4))

    monkeypatch.setattr(np.linalg, "eigh", turned)
    op = tracer.registry.operations["eigh"]

    def vectors(a):
        return op(a, upper=False)[:, 1:]

    with UNDEFINED as caught:
        found = tracer.grad(lambda a: np.sum(np.real(vectors(a))))(positive(A))
    assert "phase" in str(caught[0].message)
    assert np.isnan(found).any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tracer.grad(lambda a: np.sum(abs(vectors(a)) ** 4))(positive(A))
    monkeypatch.undo()
    np.testing.assert_allclose(
        found, tracer.grad(lambda a: np.sum(abs(np.linalg.eigh(a)[1]) ** 4))(positive(A))
    )


def test_ties():
    q = np.linalg.qr(A)[0]
    tied = (q * [1.0, 1.0, 3.0]) @ np.conj(q.T)
    weights = positive(random(3, 3, seed=3))

    def of_projector(a):
        v = np.linalg.eigh(a)[1][:, :2]
        return np.sum(np.real((v @ np.conj(v.T)) * weights))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tracer.grad(of_projector)(tied)
        assert np.isfinite(tracer.grad(lambda a: np.sum(np.linalg.eigvalsh(a)))(tied)).all()
    t = positive(random(3, 3, seed=4))
    slope = (of_projector(tied + 1e-6 * t) - of_projector(tied - 1e-6 * t)) / 2e-6
    np.testing.assert_allclose(np.real(np.sum(found * t)), slope, rtol=1e-6)
    with UNDEFINED:
        assert np.isnan(tracer.grad(lambda a: np.linalg.eigvalsh(a)[0])(tied)).any()
    with UNDEFINED:
        found = tracer.grad(lambda a: np.sum(abs(np.linalg.eigh(a)[1]) ** 4))(tied)
    assert np.isnan(found).any()


DECOMPOSED = [
    lambda a: np.linalg.eigh(a)[1],
    lambda a: np.linalg.eig(a)[1],
    lambda a: np.linalg.svd(a, full_matrices=False)[0],
    lambda a: np.linalg.svd(a, compute_uv=False),
    lambda a: np.linalg.cholesky(positive(a)),
    lambda a: np.linalg.slogdet(a)[0],
    lambda a: np.linalg.slogdet(a)[1],
    np.linalg.det,
    np.linalg.pinv,
    lambda a: np.linalg.qr(a)[0],
]


@pytest.mark.parametrize("function", DECOMPOSED)
def test_single_precision_stays_and_nothing_is_fine(function):
    single = A.astype(np.complex64)
    value, pullback = tracer.vjp(function, single)
    assert value.dtype in (np.dtype(np.complex64), np.dtype(np.float32))
    (found,) = pullback(np.ones_like(value))
    assert found.dtype == np.complex64
    (expected,) = tracer.vjp(function, A)[1](np.ones_like(value, dtype=np.result_type(value, 1.0)))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    for shape in ((0, 0), (0, 3, 3)):
        value, pullback = tracer.vjp(function, np.zeros(shape, complex))
        assert pullback(value)[0].shape == shape
