"""`tracer.scipy` by SciPy's names: its values, and the derivatives of differences."""

import inspect
import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.special
import scipy.stats

import tracer
from tracer.arrays.backend_cupy import CUPY
from tracer.record import dispatch, leaving
from tracer.scipy import integrate, linalg, sparse, special, stats
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 0.8, (2, 3))
EDGES = np.array([-3.0, -1.0, -0.5, 0.0, 0.2, 0.7, 1.0, 1.5, 3.0, np.nan])
COUNTS = np.array([-1, 0, 1, 2, 5, 0.5, 7])

#: continuous ones -> shapes
SHAPES = {
    **{name: [] for name in "cauchy expon laplace norm uniform".split()},
    "beta": [1.7, 2.3],
    "chi2": [3.1],
    "gamma": [2.3],
    "lognorm": [0.7],
    "t": [3.5],
}
DISCRETE = {"bernoulli": [0.3], "binom": [5, 0.3], "poisson": [2.3]}
#: names of shapes without a derivative: of integrals, and of all methods
CONSTANT = {"beta": 2, "chi2": 1, "gamma": 1, "t": 1}


def test_what_is_there():
    assert set(special.__all__) <= set(dir(scipy.special))
    assert {*SHAPES, *DISCRETE, "dirichlet", "multivariate_normal"} == set(stats.__all__)
    assert leaving.MIRRORED["scipy.stats"].split() == sorted(stats.__all__)
    assert leaving.MIRRORED["scipy.integrate"].split() == sorted(integrate.__all__)
    others = {name for name in special.__all__ if name not in {*dispatch.SPECIAL, "jn"}}
    assert set(leaving.MIRRORED["scipy.special"].split()) == others | {"polygamma"}
    assert tracer.scipy.stats.norm is stats.norm


def test_what_is_recorded_names_the_users_line():
    with tracer.Tape() as tape:
        x = tracer.parameter(X)
        special.softmax(x, axis=1)
        stats.norm.logpdf(x, 0.5, 2.0)
        linalg.solve_triangular(x[:, :2], x[:, 1])
        sparse.csr_matrix((x[0, :2], [0, 1], [0, 1, 2]), shape=(2, 2)) @ x
    assert {node.source.split(":")[0] for node in tape.nodes if not node.op.leaf} == {
        "test_scipy.py"
    }


@pytest.mark.parametrize("name", sorted(special.UFUNCS))
def test_a_ufunc_by_its_name(name):
    if name == "polygamma":
        return
    mirror, ufunc = getattr(special, name), getattr(scipy.special, name)
    numbers = [2, 3, 0.4][3 - ufunc.nin :] if ufunc.nin > 1 else [0.4]
    expected = ufunc(*numbers)
    np.testing.assert_allclose(mirror(*numbers), expected, rtol=1e-14)
    np.testing.assert_allclose(mirror(*numbers[:-1], [0.4, 0.4])[1], expected, rtol=1e-14)
    traced = mirror(*numbers[:-1], tracer.parameter(np.array([0.4])))
    assert isinstance(traced, tracer.Tensor)
    np.testing.assert_allclose(traced.data, [expected])


# -- functions that are no ufuncs ---------------------------------------------------------------

WEIGHTS = np.array([[1.0, 0.0, 2.0], [0.5, -0.25, 3.0]])
FUNCTIONS = {
    "logsumexp": [{}, {"axis": 0}, {"axis": (0, -1), "keepdims": True}, {"b": WEIGHTS},
                  {"axis": 1, "b": WEIGHTS}, {"axis": 1, "b": WEIGHTS, "keepdims": True}],
    "softmax": [{}, {"axis": 0}, {"axis": (0, 1)}],
    "log_softmax": [{}, {"axis": -1}],
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function(name):
    mirror, function = getattr(special, name), getattr(scipy.special, name)
    given = inspect.signature(function).parameters
    assert list(inspect.signature(mirror).parameters) == list(given)
    for options in FUNCTIONS[name]:
        np.testing.assert_allclose(mirror(X, **options), function(X, **options), rtol=1e-13)
        check_gradients(lambda x, o=options: mirror(x, **o))(X)
        single = mirror(tracer.parameter(X.astype(np.float32)), **{**options, "axis": 0})
        assert single.dtype == (np.float64 if "b" in options else np.float32)
    np.testing.assert_allclose(mirror([1, 2]), function([1, 2]), rtol=1e-14)


def test_weights_of_logsumexp_and_signs():
    b = np.array([1.0, -2.0, 0.0])
    a = np.array([1000.0, 1000.0, 3000.0])
    log, sign = special.logsumexp(a, b=b, return_sign=True)
    assert (log, sign) == (1000.0, -1.0)
    assert np.isnan(special.logsumexp(a, b=b))
    check_gradients(lambda a, b: special.logsumexp(a, 0, b, return_sign=True)[0])(X[0], b + 0.1)
    nothing, zero = special.logsumexp(np.zeros(2), b=np.array([1.0, -1.0]), return_sign=True)
    assert (nothing, zero) == (-np.inf, 0.0)
    with tracer.Tape() as tape:
        x = tracer.batch(X)
        w = tracer.parameter(np.ones(3), name="w")
        loss = np.sum(special.logsumexp(x * w, axis=1, b=WEIGHTS + 1))
    rows = tape.backward(loss, quantities=("grad_batch",))["grad_batch"]["w"]
    for row, sample, weight in zip(rows, X, WEIGHTS + 1, strict=True):
        slope = tracer.grad(lambda v, s=sample, b=weight: special.logsumexp(s * v, b=b))(np.ones(3))
        np.testing.assert_allclose(row, slope)


def test_polygamma_and_multigammaln():
    for n in (0, 1, 3):
        np.testing.assert_allclose(special.polygamma(n, X), scipy.special.polygamma(n, X))
        check_gradients(lambda x, n=n: special.polygamma(n, x))(X + 1)
    np.testing.assert_allclose(special.multigammaln(3.5, 3), scipy.special.multigammaln(3.5, 3))
    check_gradients(lambda a: special.multigammaln(a, 3))(X + 3)
    with pytest.raises(tracer.TracingError, match="one order"):
        special.polygamma([1, 2], X)
    with pytest.raises(ValueError, match=r"a > \(d - 1\) / 2"):
        special.multigammaln(0.5, 3)


def test_tails():
    """Where the naive formulas overflow, or lose all digits."""
    far = np.array([-40.0, -5.0, 0.0, 5.0, 40.0])
    slope, bend = tracer.grad(lambda x: np.sum(special.log_ndtr(x))), tracer.hessian
    np.testing.assert_allclose(slope(far)[0], 40.024969, rtol=1e-8)
    assert np.isfinite(np.diag(bend(lambda x: np.sum(special.log_ndtr(x)))(far))).all()
    np.testing.assert_allclose(tracer.grad(special.exprel)(np.array(1e-9)), 0.5, rtol=1e-8)
    assert tracer.grad(special.i1)(np.array(0.0)) == tracer.grad(special.j1)(np.array(0.0)) == 0.5
    third = tracer.grad(tracer.grad(tracer.grad(special.j1)))(np.array(0.0))
    np.testing.assert_allclose(third, -3 / 8)


@pytest.mark.parametrize("name", ["ellipk", "nothing_of_that_name"])
def test_what_special_has_not(name):
    with pytest.raises(AttributeError, match=f"tracer.scipy.special.*{name}"):
        getattr(special, name)


def test_what_cupy_lacks_says_so(monkeypatch):
    there = ModuleType("cupyx.scipy.special")
    there.erf = scipy.special.erf
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", there)
    assert CUPY.special("erf") is scipy.special.erf
    with pytest.raises(tracer.TracerError, match=r"CuPy has no scipy.special.jv: .*to_device"):
        CUPY.special("jv")


# -- densities ----------------------------------------------------------------------------------


def methods():
    return [
        (name, method)
        for name in {**SHAPES, **DISCRETE}
        for method in getattr(stats, name).methods
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "method"), methods())
def test_values_of_a_density(name, method):
    ours = getattr(getattr(stats, name), method)
    theirs = getattr(getattr(scipy.stats, name), method)
    x, shapes = (EDGES, SHAPES[name]) if name in SHAPES else (COUNTS, DISCRETE[name])
    moved = (
        [{}, {"loc": 0.3, "scale": 1.7}, {"scale": -1.0}] if name in SHAPES else [{}, {"loc": 1}]
    )
    with np.errstate(all="ignore"):
        for options in moved:
            np.testing.assert_allclose(
                ours(x, *shapes, **options), theirs(x, *shapes, **options), rtol=1e-12
            )
        if name in SHAPES or "logcdf" not in method:  # SciPy's own of no probabilities are 0
            wrong = [-shape for shape in shapes]
            np.testing.assert_allclose(ours(x, *wrong), theirs(x, *wrong), rtol=1e-12)
        positional = [*shapes, 1, *([2.0] if name in SHAPES else [])]
        np.testing.assert_allclose(ours(x, *positional), theirs(x, *positional), rtol=1e-12)
        frozen = getattr(getattr(stats, name)(*shapes), method)
        np.testing.assert_allclose(frozen(x), theirs(x, *shapes), rtol=1e-12)
    assert np.shape(ours(0.4, *shapes)) == ()
    assert ours([], *shapes).shape == (0,)


@pytest.mark.parametrize(("name", "method"), methods())
def test_derivatives_of_a_density(name, method):
    """By all arguments, broadcast against each other, in both precisions and within a batch."""
    function, column = getattr(getattr(stats, name), method), RNG.uniform(0.9, 1.1, (2, 1))
    if name in SHAPES:
        of_density = method in ("logpdf", "pdf")
        given = [X, *(s * column for s in SHAPES[name]), -0.1 * column, 1.3 * column[0]]
        constant = [] if of_density else range(1, 1 + CONSTANT.get(name, 0))
        asked = tuple(i for i in range(len(given)) if i not in constant)
    else:
        counts = [[0, 0, 0], [0, 0, 0]] if method == "logsf" else [[0, 1, 1], [1, 0, 0]]
        given = [np.array(counts), *DISCRETE[name]]
        given[-1] = given[-1] * column
        constant, asked = range(1, len(given) - 1), (len(given) - 1,)
    check_gradients(function, asked)(*given)
    single = [np.asarray(x).astype(np.float32) for x in given]
    gradients = tracer.grad(lambda *a: np.sum(function(*a)), asked)(*single)
    assert {g.dtype for g in gradients} == {np.dtype(np.float32)}
    for i in constant:
        with pytest.raises(tracer.TracingError, match="has no derivative by"):
            tracer.grad(lambda *a: np.sum(function(*a)), i)(*[np.asarray(x, float) for x in given])


@pytest.mark.parametrize("name", SHAPES)
def test_no_gradient_is_nan_outside_of_the_support(name):
    family, x = getattr(stats, name), np.array([-0.5, 0.3, 0.7, 1.5])
    every = tuple(range(1 + len(SHAPES[name])))
    for method in ("logpdf", "pdf"):
        function = getattr(family, method)
        gradients = tracer.grad(lambda *a, f=function: np.sum(f(*a)[1:3]), every)(x, *SHAPES[name])
        assert all(np.isfinite(g).all() for g in gradients)
        gradients = tracer.grad(lambda *a, f=function: np.sum(f(*a)), every)(x, *SHAPES[name])
        assert all(np.isfinite(g).all() for g in gradients)


def test_samples_of_a_density_are_known():
    with tracer.Tape() as tape:
        x = tracer.batch(np.array([[0.3], [-0.5], [0.8]]))
        w = tracer.parameter(np.array([2.0]), name="w")
        loss = -np.sum(stats.gamma.logpdf(np.where(x > 0, x, 0.1) * w, 2.3, scale=np.exp(w)))
    rows = tape.backward(loss, quantities=("grad_batch",))["grad_batch"]["w"]
    for row, sample in zip(rows, [0.3, 0.1, 0.8], strict=True):
        slope = tracer.grad(lambda v, s=sample: -stats.gamma.logpdf(s * v, 2.3, scale=np.exp(v)))
        np.testing.assert_allclose(row[0], slope(2.0))


@pytest.mark.parametrize("k", [0, 1, 4, 5])
def test_counts_at_the_ends(k):
    for method in stats.binom.methods:
        function = getattr(stats.binom, method)
        assert np.isfinite(tracer.grad(lambda p, f=function: f(k, 5, p))(0.3))


def test_arguments_of_a_density():
    for act, words in (
        (lambda: stats.gamma.logpdf(X), "takes .x, a, loc=, scale=., and lacks"),
        (lambda: stats.norm.logpdf(X, sigma=1), "got 'sigma'"),
        (lambda: stats.norm.logpdf(X, 0, 1, 2), "got more"),
        (lambda: stats.norm.logpdf(X, 0, loc=1), "got 'loc'"),
    ):
        with pytest.raises(TypeError, match=words):
            act()
    with pytest.raises(AttributeError, match=r"it has logpdf, pdf.*scipy\.stats\.norm has others"):
        stats.norm.rvs(size=3)


# -- of vectors ---------------------------------------------------------------------------------

M = RNG.random((3, 3))
COV, MEAN, POINTS = M @ M.T + np.eye(3), RNG.random(3), RNG.random((4, 3))


@pytest.mark.parametrize("x", [POINTS, POINTS[0], POINTS.reshape(2, 2, 3)], ids=np.shape)
@pytest.mark.parametrize(
    "moments", [(MEAN, COV), (None, COV), (MEAN, 2.0), (MEAN, [1.0, 2.0, 0.5]), (MEAN,)]
)
@pytest.mark.parametrize("method", ["logpdf", "pdf"])
def test_a_normal_of_vectors(method, moments, x):
    ours = getattr(stats.multivariate_normal, method)
    theirs = getattr(scipy.stats.multivariate_normal, method)
    np.testing.assert_allclose(ours(x, *moments), theirs(x, *moments), rtol=1e-12)
    assert np.shape(ours(x, *moments)) == np.shape(theirs(x, *moments))
    if None not in [type(m) if m is not None else None for m in moments]:
        given = [np.asarray(m, float) for m in moments]
        check_gradients(ours, tuple(range(1 + len(given))))(x, *given)


@pytest.mark.parametrize("x", [0.3, np.array([0.3, 0.7])], ids=np.shape)
def test_a_normal_of_one_coordinate(x):
    ours, theirs = stats.multivariate_normal.logpdf, scipy.stats.multivariate_normal.logpdf
    np.testing.assert_allclose(ours(x, 0.5, 2.0), theirs(x, 0.5, 2.0))
    check_gradients(ours)(x, 0.5, 2.0)


def test_entropies():
    ours, theirs = stats.multivariate_normal, scipy.stats.multivariate_normal
    np.testing.assert_allclose(ours.entropy(MEAN, COV), theirs.entropy(MEAN, COV))
    check_gradients(lambda c: ours.entropy(None, c))(COV)
    alpha = np.array([1.2, 2.0, 3.5])
    np.testing.assert_allclose(stats.dirichlet.entropy(alpha), scipy.stats.dirichlet.entropy(alpha))
    check_gradients(stats.dirichlet.entropy)(alpha)


@pytest.mark.parametrize("method", ["logpdf", "pdf"])
def test_a_dirichlet(method):
    alpha, x = np.array([1.2, 2.0, 3.5]), RNG.dirichlet([1, 1, 1], 4).T
    ours = getattr(stats.dirichlet, method)
    theirs = getattr(scipy.stats.dirichlet, method)
    for points in (x, x[:, 0], x[:2]):
        np.testing.assert_allclose(ours(points, alpha), theirs(points, alpha), rtol=1e-12)
        check_gradients(ours, "alpha")(points, alpha)
    check_gradients(ours)(x[:2], alpha)
    check_gradients(lambda y, a: ours(special.softmax(y, 0), a))(x, alpha)


def test_vectors_that_do_not_fit():
    alpha = np.array([1.2, 2.0, 3.5])
    for act, words in (
        (lambda: stats.multivariate_normal.logpdf(POINTS, MEAN, np.eye(2)), "covariance of shape"),
        (lambda: stats.multivariate_normal.logpdf(np.ones(2), MEAN, COV), "3 coordinates, got"),
        (lambda: stats.multivariate_normal.logpdf(MEAN, MEAN, COV, True), "singular"),
        (lambda: stats.dirichlet.logpdf(np.ones(5) / 5, alpha), "3 coordinates along its first"),
        (lambda: stats.dirichlet.logpdf([0.5, 0.5, 0.5], alpha), "sums up to one"),
        (lambda: stats.dirichlet.logpdf([0.5, 0.2, 0.3], -alpha), "above zero"),
    ):
        with pytest.raises((ValueError, tracer.TracingError), match=words):
            act()


def test_a_sum_that_has_a_weight_of_zero_has_a_slope_by_it():
    a, b = np.array([[0.3, 2.0, -1.0], [1.0, 0.5, 30.0]]), np.array([[1.0, 0, 2], [0.5, 1, 0]])
    slope = tracer.grad(lambda b: np.sum(special.logsumexp(a, 1, b)))(b)
    np.testing.assert_allclose(slope, np.exp(a - special.logsumexp(a, 1, b, True)), rtol=1e-12)
    check_gradients(lambda a: special.logsumexp(a, 1, b))(a)
    far = np.array([1000.0, 0.0, np.inf, np.nan])
    value, slope = tracer.value_and_grad(lambda b: special.logsumexp(far, b=b))(
        np.array([0, 1.0, 0, 0])
    )
    assert value == 0
    assert np.isfinite(slope[:2]).all()


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_the_logarithm_of_no_sum_at_all(shape):
    a = np.zeros(shape)
    for weights in ({}, {"b": a}):
        want = np.full(shape[:-1], -np.inf)  # older SciPy raises for no elements
        np.testing.assert_array_equal(special.logsumexp(a, axis=-1, **weights), want)
        slope = tracer.grad(lambda a, w=weights: np.sum(special.logsumexp(a, -1, **w)))(a)
        assert slope.shape == shape


def test_infinitely_many_degrees_of_freedom():
    x, df = np.array([-1.0, 0.3, 2.0]), np.array([np.inf, 3.5, 1e12])
    slope = tracer.grad(lambda x: np.sum(special.stdtr(df, x)))(x)
    np.testing.assert_allclose(slope, scipy.stats.t.pdf(x, df), rtol=1e-7)
    check_gradients(lambda x: special.stdtr(np.inf, x))(x)


@pytest.mark.parametrize("module", ["fft", "integrate", "linalg", "optimize", "special"])
def test_what_a_mirror_lacks_says_who_has_it(module):
    mirror = getattr(tracer.scipy, module)
    with pytest.raises(AttributeError, match=rf"no attribute 'dcts'.*scipy\.{module} has it"):
        mirror.dcts  # noqa: B018
