"""Values that coincide: right where a function is smooth, NaN with a warning where it is not."""

import warnings

import numpy as np
import pytest

import tracer
from tracer.testing import numerical_jacobian

RNG = np.random.default_rng(0)
UNDEFINED = pytest.warns(RuntimeWarning, match="NaN in the derivative of")


def rotated(values, seed=0):
    """A symmetric matrix with these eigenvalues."""
    values = np.asarray(values, float)
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T


def symmetric_gradient(f, a):
    """The gradient in the space of symmetric matrices, for one that fills a triangle alone."""
    g = tracer.grad(f)(a)
    return (g + g.swapaxes(-1, -2)) / 2


def numerical(f, a):
    """The same by central differences along symmetric directions."""

    def of_symmetric(x):
        return np.reshape(f((x + x.T) / 2), (1,))

    slope, _ = numerical_jacobian(of_symmetric, a)
    return slope.reshape(a.shape)


G = RNG.standard_normal((4, 4))
TIED = {
    "the identity": np.eye(4),
    "two of four": rotated([1.0, 1.0, 2.0, 3.0]),
    "two pairs": rotated([1.0, 1.0, 3.0, 3.0]),
    "zero": np.zeros((4, 4)),
    "rank one": rotated([0.0, 0.0, 0.0, 2.0]),
}


def values_sum(a):
    return np.sum(np.linalg.eigvalsh(a) ** 2)


def values_of_both(a):
    w, _ = np.linalg.eigh(a)
    return np.sum(np.exp(w)) * w.sum()


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("f", [values_sum, values_of_both])
def test_symmetric_functions_of_eigenvalues(f, name):
    a = TIED[name]
    np.testing.assert_allclose(symmetric_gradient(f, a), numerical(f, a), atol=1e-6)


@pytest.mark.parametrize("columns", [slice(0, 2), slice(2, 4), slice(None)])
def test_projectors_on_whole_clusters(columns):
    def f(a):
        v = np.linalg.eigh(a)[1][:, columns]
        return np.sum(v @ v.T * G)

    a = TIED["two pairs"]
    np.testing.assert_allclose(symmetric_gradient(f, a), numerical(f, a), atol=1e-6)


def test_the_largest_components_of_a_matrix_of_low_rank():
    """Values and vectors of them; nothing of the cluster of zeros is used."""

    def f(a):
        w, v = np.linalg.eigh(a)
        return np.sum((v[:, -2:] * np.sqrt(w[-2:])) @ v[:, -2:].T * G)

    a = rotated([0.0, 0.0, 1.0, 3.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = symmetric_gradient(f, a)

    def smooth(a):  # the part of rank two that is nearest
        w, v = np.linalg.eigh(a)
        return np.sum((v[:, 2:] * np.sqrt(w[2:])) @ v[:, 2:].T * G)

    np.testing.assert_allclose(got, numerical(smooth, a), atol=1e-6)


def logarithm(a):
    w, v = np.linalg.eigh(a)
    return (v * np.log(w)) @ v.T


def vector(a):
    return np.linalg.eigh(a)[1][0, 0]


def split(a):
    v = np.linalg.eigh(a)[1][:, :1]
    return np.sum(v @ v.T * G)


UNDEFINED_AT_TIES = {
    "the largest eigenvalue": lambda a: np.linalg.eigvalsh(a)[-1],
    "the least eigenvalue": lambda a: np.linalg.eigvalsh(a)[0],
    "an entry of a vector": vector,
    "a projector that splits the cluster": split,
    "a function of the matrix": lambda a: np.sum(logarithm(a) * G),
    "an entry of a function of the matrix": lambda a: logarithm(a)[0, 1],
    "an entry of the matrix again": lambda a: np.prod(np.linalg.eigh(a)[0]) * vector(a),
}


@pytest.mark.parametrize("name", UNDEFINED_AT_TIES)
@pytest.mark.parametrize("a", [np.eye(4), rotated([1.0, 1.0, 1.0, 1.0 + 1e-15])], ids=str)
def test_what_is_undefined_at_ties_is_not_a_number(name, a):
    f = UNDEFINED_AT_TIES[name]
    with UNDEFINED as caught:
        assert np.isnan(tracer.grad(f)(a)).any()
    assert caught[0].filename == __file__
    apart = a + np.diag([0.0, 0.1, 0.3, 0.6])
    assert np.isfinite(tracer.grad(f)(apart)).all()


def test_only_the_matrix_with_ties_is_undefined():
    a = np.stack([np.diag([1.0, 2.0]), np.eye(2)])
    with UNDEFINED:
        g = tracer.grad(lambda x: np.sum(np.linalg.eigvalsh(x)[:, -1]))(a)
    np.testing.assert_array_equal(g[0], [[0, 0], [0, 1]])
    assert np.isnan(g[1]).any()


def test_forward_over_ties_says_that_it_cannot_tell():
    with UNDEFINED:
        _, moved = tracer.jvp(lambda a: np.sum(np.linalg.eigvalsh(a)), (np.eye(3),), (np.eye(3),))
    assert np.isnan(moved)


def test_second_derivatives_at_ties_are_right_or_not_a_number():
    def trace(a):
        return np.sum(np.linalg.eigvalsh(a))

    eye = np.eye(3)
    second = tracer.grad(lambda a: np.sum(tracer.grad(trace)(a) * G[:3, :3]))
    np.testing.assert_array_equal(second(eye), np.zeros((3, 3)))
    with UNDEFINED:
        squares = tracer.grad(lambda a: np.sum(tracer.grad(values_sum)(a) * G[:3, :3]))(eye)
    assert np.isnan(squares).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [2, 5, 20, 80, 200])
def test_ties_are_known_at_any_size(size, dtype):
    """Of computed eigenvalues, which differ by rounding."""
    values = np.repeat([1.0, 5.0], [size // 2, size - size // 2])
    a = rotated(values, size).astype(dtype)
    g = tracer.grad(lambda x: np.sum(np.linalg.eigvalsh(x) ** 2))(a)
    full = (g + g.T) / 2
    np.testing.assert_allclose(full, 2 * a, atol=3e3 * np.finfo(dtype).eps)

    def projector(x):
        v = np.linalg.eigh(x)[1][:, : size // 2]
        return np.sum((v @ v.T)[0])

    found = symmetric_gradient(projector, a)
    p, row = (5 * np.eye(size) - rotated(values, size)) / 4, np.zeros((size, size))
    row[0] = 1
    direct = -p @ (row + row.T) / 2 @ (np.eye(size) - p) / 4
    np.testing.assert_allclose(found, direct + direct.T, atol=1e3 * np.finfo(dtype).eps)


# -- singular values ------------------------------------------------------------------------------

Q = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
P = np.linalg.qr(RNG.standard_normal((3, 3)))[0]


def matrix(values, rows=4):
    return (Q[:rows, : len(values)] * values) @ P[: len(values)]


def differences(f, a):
    slope, _ = numerical_jacobian(lambda x: np.reshape(f(x), (1,)), a)
    return slope.reshape(a.shape)


def polar(a):
    u, _, v = np.linalg.svd(a, full_matrices=False)
    return np.sum(u @ v * G[:, :3])


def squares(a):
    return np.sum(np.linalg.svdvals(a) ** 2)


def truncated(a):
    u, s, v = np.linalg.svd(a, full_matrices=False)
    return np.sum((u[:, :2] * s[:2]) @ v[:2] * G[: len(a), :3])


@pytest.mark.parametrize(
    ("f", "values"),
    [
        (polar, [2.0, 2.0, 2.0]),
        (polar, [2.0, 2.0, 1.0]),
        (squares, [2.0, 2.0, 1.0]),
        (squares, [2.0, 0.0, 0.0]),
        (truncated, [3.0, 2.0, 0.0]),
        (lambda a: np.linalg.norm(a, "nuc"), [2.0, 2.0, 1.0]),
    ],
)
def test_smooth_functions_of_singular_values(f, values):
    a = matrix(np.array(values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = tracer.grad(f)(a)
    np.testing.assert_allclose(got, differences(f, a), atol=1e-6)


@pytest.mark.parametrize(
    ("f", "values"),
    [
        (polar, [2.0, 1.0, 0.0]),
        (lambda a: np.linalg.svdvals(a)[0], [2.0, 2.0, 1.0]),
        (lambda a: np.linalg.svdvals(a)[-1], [2.0, 1.0, 0.0]),
        (lambda a: np.linalg.svd(a, full_matrices=False)[0][0, 1], [2.0, 2.0, 1.0]),
        (lambda a: np.linalg.svd(a, full_matrices=False)[2][0, 0], [2.0, 2.0, 1.0]),
        (lambda a: np.sum(np.prod(np.linalg.svd(a, full_matrices=False)[1])), [2.0, 1.0, 0.0]),
    ],
)
def test_what_is_undefined_of_singular_values(f, values):
    with UNDEFINED:
        assert np.isnan(tracer.grad(f)(matrix(np.array(values)))).any()


def test_norms_have_subgradients():
    """Of the largest singular value the mean over all that are that, of zeros zero."""
    a = matrix(np.array([2.0, 2.0, 1.0]))
    u, _, v = np.linalg.svd(a, full_matrices=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_two = tracer.grad(lambda x: np.linalg.norm(x, 2))
        np.testing.assert_allclose(by_two(a), u[:, :2] @ v[:2] / 2, atol=1e-12)
        for ord in (2, -2, "nuc"):
            found = tracer.grad(lambda x, ord=ord: np.linalg.norm(x, ord))(np.zeros((2, 3)))
            np.testing.assert_array_equal(found, np.zeros((2, 3)))
        rank_two = matrix(np.array([2.0, 1.0, 0.0]))
        u, _, v = np.linalg.svd(rank_two, full_matrices=False)
        found = tracer.grad(lambda x: np.linalg.norm(x, "nuc"))(rank_two)
        np.testing.assert_allclose(found, u[:, :2] @ v[:2], atol=1e-12)


def test_a_cotangent_that_turns_no_vectors_cannot_tell():
    """The same cotangent from a function without a derivative and from one that is constant."""
    d = np.array([1.0, 2.0, 3.0])

    def jumping(v):
        return np.sum(v * np.diag(d))

    def constant(v):
        return np.sum((v @ v.T) * np.diag(d)) / 2

    v = np.linalg.eigh(np.eye(3))[1]
    np.testing.assert_array_equal(tracer.grad(jumping)(v), tracer.grad(constant)(v))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in (jumping, constant):
            found = tracer.grad(lambda a, f=function: f(np.linalg.eigh(a)[1]))(np.eye(3))
            np.testing.assert_array_equal(found, np.zeros((3, 3)))


# -- eigenvalues of any matrix, QR, and ranks -----------------------------------------------------


def test_eigenvalues_that_coincide_of_a_matrix_without_symmetry():
    a = np.array([[1.0, 0.0, 0.0], [0.3, 2.0, 0.0], [0.2, 0.0, 2.0]])
    found = tracer.grad(lambda x: np.real(np.sum(np.linalg.eigvals(x) ** 2)))(a)
    np.testing.assert_allclose(found, 2 * a.T, atol=1e-12)
    with UNDEFINED:
        tracer.grad(lambda x: np.real(np.linalg.eigvals(x)[1]))(a)


@pytest.mark.parametrize("a", [[[1.0, 1.0], [0.0, 1.0]], [[1.0, 1.0], [1e-16, 1.0]]])
def test_a_matrix_without_a_basis_of_eigenvectors(a):
    with UNDEFINED as caught:
        found = tracer.grad(lambda x: np.real(np.sum(np.linalg.eigvals(x))))(np.array(a))
    assert "no basis" in str(caught[0].message)
    assert np.isnan(found).any()


def test_qr_of_dependent_columns_is_refused_by_name():
    a = np.stack([np.eye(3)[:, :2], np.ones((3, 2))])
    with pytest.raises(tracer.ShapeError, match="columns are independent"):
        tracer.grad(lambda x: np.sum(np.linalg.qr(x)[1]))(a)


WIDE = RNG.standard_normal((2, 4))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(np.linalg.pinv(x.T @ x, 1e-10) * G),
        lambda x: np.sum(np.linalg.pinv(x.T @ x @ G[:, :3], 1e-10) * G[:3]),
        lambda x: np.sum(np.linalg.lstsq(x.T @ x, G[0], rcond=1e-10)[0] * G[1]),
        lambda x: np.sum(np.linalg.lstsq(x.T @ x, G, rcond=1e-10)[0] * G),
    ],
)
def test_pseudoinverses_of_less_than_full_rank(f):
    """Their derivatives are those along matrices of the same rank, and a warning says that."""
    with pytest.warns(RuntimeWarning, match="along matrices of the same rank"):
        found = tracer.grad(f)(WIDE)
    np.testing.assert_allclose(found, differences(f, WIDE), rtol=1e-5, atol=1e-6)
