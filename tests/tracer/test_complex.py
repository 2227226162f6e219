"""Complex numbers: every function of NumPy with them, conventions, and what is never cut off.

That operations are right for complex numbers, or refuse them, is in `test_operations`.
"""

import warnings

import numpy as np
import pytest
from test_numpy_functions import CASES, as_one, parts

import tracer
from tracer import TracerError, TracingError
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((3, 4)) + 1j * RNG.standard_normal((3, 4))
X = RNG.uniform(0.3, 0.9, (3, 4))


def kinds(values):
    return [np.asarray(v.data if isinstance(v, tracer.Tensor) else v).dtype.kind for v in values]


# -- all functions ------------------------------------------------------------------------------


#: what NumPy or SciPy refuses, or drops parts of, and tensors take
TAKEN = {"exp2: of one", "gradient: points", "gradient: second order"}


#: what older versions of NumPy give complex, with an imaginary part of zero
COMPLEX_THERE = set()
if np.linalg.cond(1j * np.eye(2), 1).dtype.kind == "c":
    COMPLEX_THERE = {f"linalg.cond: {p}" for p in ("1", "inf", "fro", "nuc")}
COMPARED = {name: case for name, case in CASES.items() if name not in COMPLEX_THERE}


def places(count):
    """All arguments, and each alone."""
    return [range(count), *([i] for i in range(count) if count > 1)]


WITH_PLACES = [
    (name, i) for name, (_, *arrays) in COMPARED.items() for i in range(len(places(len(arrays))))
]


def complexified(name, which):
    """A case with complex numbers in some places."""
    rng = np.random.default_rng(1)
    function, *arrays = COMPARED[name]
    chosen = places(len(arrays))[which]
    given = [
        x + 1j * rng.uniform(0.2, 0.6, np.shape(x)) if i in chosen else x
        for i, x in enumerate(map(np.asarray, arrays))
    ]
    rest = [i for i in range(len(given)) if i not in chosen]
    return function, given, rest


def numpys(function, given):
    """NumPy's values, None where it refuses these, or drops parts of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            return parts(function(*given))
        except (TypeError, ValueError, np.exceptions.ComplexWarning):
            return None


@pytest.mark.parametrize(("name", "which"), WITH_PLACES)
def test_a_function_is_right_or_refuses(name, which):
    examine(name, which, order=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "which"), WITH_PLACES)
def test_second_derivatives_of_a_function(name, which):
    examine(name, which, order=2)


def examine(name, which, order):
    function, given, _ = complexified(name, which)
    expected, whole = numpys(function, given), as_one(function)
    try:
        found, _ = tracer.vjp(whole, *given)
    except TracerError:
        return
    except (TypeError, ValueError):
        assert expected is None
        return
    if expected is None:
        assert name in TAKEN
        return
    np.testing.assert_allclose(found, np.concatenate([np.ravel(v) for v in expected]))
    assert set(kinds(expected)) == set(kinds(parts(function(*map(tracer.Tensor, given)))))
    with np.errstate(all="ignore"):
        check_gradients(whole, order=order)(*given)


@pytest.mark.parametrize(
    ("name", "which"), [(n, i) for n, i in WITH_PLACES if i and complexified(n, i)[2]]
)
def test_complex_constants_beside_real_variables(name, which):
    """A real variable has a real gradient, whatever it meets."""
    function, given, rest = complexified(name, which)
    expected = numpys(function, given)

    def of_the_rest(*some):
        new = list(given)
        for i, x in zip(rest, some, strict=True):
            new[i] = x
        return as_one(function)(*new)

    some = [given[i] for i in rest]
    with warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            found, pullback = tracer.vjp(of_the_rest, *some)
        except TracerError:
            return
        except (TypeError, ValueError):
            assert expected is None
            return
        assert {g.dtype for g in pullback(np.ones_like(found))} == {np.dtype(float)}
        if expected is None:
            assert name in TAKEN
            return
        np.testing.assert_allclose(found, np.concatenate([np.ravel(v) for v in expected]))
        check_gradients(of_the_rest, order=1)(*some)


@pytest.mark.parametrize("name", COMPARED)
def test_values_of_complex_tensors_that_want_no_gradient(name):
    function, given, _ = complexified(name, 0)
    expected = numpys(function, given)
    try:
        found = parts(function(*map(tracer.Tensor, given)))
    except (TracerError, TypeError, ValueError, np.exceptions.ComplexWarning):
        return
    if expected is not None:
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.data if hasattr(one, "data") else one, other, rtol=1e-9)
        assert kinds(found) == kinds(expected)


#: what there is no case for above, and what is peculiar
OTHERS = {
    "real": np.real,
    "imag": np.imag,
    "conj": np.conj,
    "angle": np.angle,
    "degrees": lambda z: np.angle(z, deg=True),
    "attributes": lambda z: z.real * z.imag + z.conj() * z.conjugate(),
    "sign": np.sign,
    "left half": lambda z: np.arccosh(-abs(z.real) + 1j * z.imag),
    "a real power": lambda z: z**1.7,
    "a complex power": lambda z: z ** (0.3 + 1j),
    "a number's power": lambda z: (-2.0) ** z,
    "its own power": lambda z: z**z,
    "square of size": lambda z: abs(z) ** 2,
    "norm": np.linalg.norm,
    "vdot": lambda z: np.vdot(z, z[::-1]),
    "vecdot": lambda z: np.vecdot(z, 1j * z),
    "correlate": lambda z: np.correlate(z[0], z[1, :2], "full"),
    "var": lambda z: np.var(z, axis=1, ddof=1, where=X > 0.4),
    "std": np.std,
    "nanstd": np.nanstd,
    "cov": np.cov,
    "corrcoef": np.corrcoef,
    "array": lambda z: tracer.array([z[0, 0], 1j, z[1, 1].real]),
    "at": lambda z: tracer.at(z)[1].set(z[0] * 2) + tracer.at(z)[0, [1, 1]].add(z[0, 0]),
    "interp": lambda z: np.interp([0.5, 1.2, 2.0], [0.0, 1.0, 2.0, 3.0], z[0]),
    "real_if_close": np.real_if_close,
    "of a real part": lambda z: np.real_if_close(z.real + 0j),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("shape", [(3, 4), (2, 3), (1, 2)])
def test_other_functions(name, shape):
    function, z = OTHERS[name], Z[: shape[0], : shape[1]]
    try:
        expected = function(z)
    except (ValueError, IndexError):
        pytest.skip("of other shapes")
    np.testing.assert_allclose(np.asarray(tracer.vjp(function, z)[0]), expected)
    if np.isfinite(expected).all() and (name, shape) != ("corrcoef", (1, 2)):  # which is 1
        check_gradients(function, order=3 if shape == (1, 2) else 2)(z)


@pytest.mark.parametrize("function", [np.real, np.imag, np.conj, np.angle, np.abs, np.sign])
@pytest.mark.parametrize("x", [X, X[0, 0], X[:0]])
def test_parts_of_real_numbers(function, x):
    found, pullback = tracer.vjp(function, x)
    np.testing.assert_array_equal(found, function(x))
    slope = 1.0 if function in (np.real, np.conj, np.abs) else 0.0
    np.testing.assert_array_equal(pullback(np.ones_like(found))[0], slope * np.ones_like(x))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0)])
def test_no_axes_and_no_elements(shape):
    z = np.full(shape, 0.5 + 0.3j)
    for function in (np.real, np.imag, np.conj, np.angle, np.abs, np.exp, np.sign, np.sum):
        found, pullback = tracer.vjp(function, z)
        (gradient,) = pullback(np.ones_like(found))
        assert (gradient.shape, gradient.dtype) == (shape, z.dtype)
        check_gradients(function, order=2)(z) if z.size else None
    assert tracer.jacobian(np.exp)(z).shape == shape * 2


# -- conventions --------------------------------------------------------------------------------


def test_the_gradient_of_a_real_function_is_by_x_less_i_times_that_by_y():
    x, y = np.array(0.3), np.array(-0.7)

    def function(z):
        return np.sum(np.real(z) ** 3 * np.imag(z) + np.abs(z) ** 2)

    gradient = tracer.grad(function)(x + 1j * y)
    np.testing.assert_allclose(gradient, (3 * x**2 * y + 2 * x) - 1j * (x**3 + 2 * y))


def test_the_gradient_by_real_numbers_is_real():
    gradient = tracer.grad(lambda x: np.sum(np.abs(np.exp(1j * x) + x) ** 2))(X)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, 2 * X - 2 * X * np.sin(X) + 2 * np.cos(X))


def test_cotangents_pair_without_conjugates():
    w = RNG.standard_normal((3, 4)) + 1j * RNG.standard_normal((3, 4))
    _, pullback = tracer.vjp(np.exp, Z)
    np.testing.assert_allclose(pullback(w)[0], w * np.exp(Z))
    moved = tracer.jvp(np.exp, (Z,), (w,))[1]
    np.testing.assert_allclose(moved, w * np.exp(Z))


def test_the_complex_derivative():
    z = Z[0]
    np.testing.assert_allclose(
        tracer.holomorphic_grad(lambda z: np.sum(np.sin(z) ** 2))(z), np.sin(2 * z)
    )
    second = tracer.holomorphic_grad(lambda z: tracer.holomorphic_grad(np.exp)(z) ** 2)
    np.testing.assert_allclose(second(0.3j), 2 * np.exp(0.6j))
    tree = tracer.holomorphic_grad(lambda p, x: p["a"] * x * p["b"] ** 2)({"a": 1j, "b": 2j}, 3.0)
    assert {key: complex(value) for key, value in tree.items()} == {"a": -12 + 0j, "b": -12 + 0j}


@pytest.mark.parametrize("function", [np.conj, np.real, np.abs, lambda z: z * np.conj(z)])
def test_where_there_is_no_complex_derivative(function):
    def number(z):
        return np.sum(function(z)) + 0j

    for transform in (tracer.holomorphic_grad, tracer.jacobian):
        with pytest.raises(TracingError, match="no complex derivative by argument 0"):
            transform(number)(Z)


def test_jacobians():
    z, matrix = Z[0], np.fft.fft(np.eye(4))
    np.testing.assert_allclose(tracer.jacobian(np.fft.fft)(z), matrix, atol=1e-15)
    by_real = tracer.jacobian(np.fft.fft)(z.real)
    np.testing.assert_allclose(by_real, matrix, atol=1e-15)
    of_real = tracer.jacobian(lambda z: abs(z) ** 2)(z)
    np.testing.assert_allclose(of_real, np.diag(2 * np.conj(z)))
    mixed = tracer.jacobian(lambda p: p["x"] * p["z"])({"x": z.real, "z": z})
    np.testing.assert_allclose(mixed["x"], np.diag(z))
    np.testing.assert_allclose(mixed["z"], np.diag(z.real))
    assert tracer.jacobian(lambda z: np.exp(z))(z.astype(np.complex64)).dtype == np.complex64
    assert tracer.jacobian(lambda x: x * 1j)(z.real.astype(np.float32)).dtype == np.complex64


def test_products_with_the_hessian():
    v = Z[1]
    found = tracer.hvp(lambda z: np.sum(abs(z) ** 4))(Z[0], v)
    step = 1e-5
    slope = tracer.grad(lambda z: np.sum(abs(z) ** 4))
    differences = (slope(Z[0] + step * v) - slope(Z[0] - step * v)) / (2 * step)
    np.testing.assert_allclose(found, differences, rtol=1e-8)


def test_sizes_are_smooth_where_they_can_be_and_zero_at_zero():
    z = np.array([0j, 3 + 4j])
    np.testing.assert_allclose(tracer.grad(lambda z: np.sum(abs(z)))(z), [0, 0.6 - 0.8j])
    np.testing.assert_allclose(tracer.grad(lambda z: np.sum(abs(z) ** 2))(z), [0, 6 - 8j])
    np.testing.assert_allclose(
        tracer.hvp(lambda z: np.sum(abs(z) ** 2))(z, z + 1), 2 * np.conj(z + 1)
    )
    np.testing.assert_allclose(tracer.grad(np.linalg.norm)(z), [0, 0.6 - 0.8j])


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_single_precision_stays(dtype):
    x = (X if dtype is np.float32 else Z).astype(dtype)
    made = []

    def function(x):
        y = np.exp(1j * x) * x + np.fft.fft(x) / (2 + 1j)
        made.extend([y, np.real(y), np.angle(y), y**2, y**1.5, 2.0**y, np.sign(y), np.var(y)])
        return np.sum(abs(y) ** 2) + np.sum(np.angle(y)) + np.std(y)

    gradient = tracer.grad(function)(x)
    assert gradient.dtype == dtype
    assert {t.dtype for t in made} == {np.dtype(np.float32), np.dtype(np.complex64)}
    assert tracer.hvp(function)(x, x).dtype == dtype


# -- nothing is cut off in silence --------------------------------------------------------------


def test_a_complex_value_has_no_gradient():
    for value in (lambda z: np.sum(z), lambda z: 1j):
        with pytest.raises(TracingError, match=r"real value, got the complex.*holomorphic_grad"):
            tracer.grad(value)(Z)
    with tracer.Tape() as tape:
        w = tracer.parameter(X)
        loss = np.sum(w * 1j)
    for quantity in ("grad", "grad_batch", "diag_h"):
        with pytest.raises(TracingError, match=r"a loss of real numbers.*np\.real"):
            tape.backward(loss, quantity)


def test_complex_directions_of_real_numbers():
    with pytest.raises(TracingError, match=r"a tangent is an array of real numbers.*np\.real"):
        tracer.jvp(np.sin, (X,), (Z,))
    with pytest.raises(TracingError, match=r"a cotangent is an array of real numbers"):
        tracer.vjp(np.abs, Z)[1](Z)
    (gradient,) = tracer.vjp(np.exp, Z)[1](X)
    np.testing.assert_allclose(gradient, X * np.exp(Z))


def test_parameters_are_real():
    with pytest.raises(TracingError, match=r"real numbers, got complex128\[3, 4\].*a \+ 1j \* b"):
        tracer.parameter(Z)
    parts = {"a": X, "b": 2 * X}
    with tracer.Tape() as tape:
        a, b = (tracer.parameter(x, name=name) for name, x in parts.items())
        loss = np.sum(abs(a + 1j * b) ** 2)
    found = tape.backward(loss)["grad"]
    np.testing.assert_allclose(found["a"], 2 * X)
    np.testing.assert_allclose(found["b"], 4 * X)


@pytest.mark.parametrize(
    "cutting",
    [
        lambda z: z.astype(float),
        lambda z: z.astype(int),
        lambda z: np.sum(z, dtype=float),
        lambda z: tracer.index_set(X, (0, 0), z[0, 0]),
        lambda z: tracer.at(X)[0].max(z[0]),
        lambda z: np.insert(X, 0, z[0], axis=0),
        lambda z: np.ediff1d(X, to_end=z[0]),
        lambda z: np.full_like(X, z[0, 0]),
        lambda z: np.interp(X, z[0].real, z[0].real, left=z[0, 0]).astype(float),
        lambda z: np.histogram(X, weights=z),
        lambda z: np.bincount([0, 1, 1, 0], weights=z[0]),
        lambda z: tracer.scipy.special.logsumexp(z),
        lambda z: tracer.scipy.stats.norm.logpdf(X, z),
        lambda z: np.quantile(z, 0.5),
        np.fabs,
        np.degrees,
        np.fft.rfft,
        np.max,
        lambda z: np.maximum(z, 0),
    ],
)
def test_imaginary_parts_are_not_dropped(cutting):
    def function(z):
        return np.sum(abs(cutting(z)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((TracerError, TypeError)):  # ours, or NumPy's own
            tracer.grad(function)(Z)


def test_an_operator_in_place_keeps_the_dtype():
    def adding(x):
        y = x * 1
        y += 1j
        return np.sum(abs(y) ** 2)

    np.testing.assert_allclose(tracer.grad(adding)(Z), 2 * np.conj(Z + 1j))
    with pytest.raises(TracingError, match=r"keeps the dtype float64 of t.*complex128"):
        tracer.grad(adding)(X)


# -- operations of others -----------------------------------------------------------------------


def of_others(forward, vjp, **rules):
    """An operation as a plugin makes it."""
    rules = {"forward": forward, "vjp": vjp, "__module__": "a_plugin", **rules}
    return tracer.operation("made")(type("Made", (tracer.Operation,), rules))


@pytest.mark.parametrize(
    ("forward", "vjp"),
    [
        (lambda z: 2 * z, lambda node, g: (2 * g,)),
        (lambda z: abs(z) ** 2, lambda node, g: (2 * g * node.inputs[0],)),
    ],
    ids=["to complex", "to real"],
)
def test_an_operation_that_says_nothing_refuses_complex_numbers(forward, vjp):
    op = of_others(forward, vjp)
    np.testing.assert_allclose(tracer.grad(lambda x: np.sum(op(x)))(X), vjp_at(vjp, X))
    for transform, *args in ((tracer.grad, Z), (tracer.hvp, Z, Z)):
        with pytest.raises(TracingError, match=r"made (gives|takes) complex.*takes_complex = True"):
            transform(lambda z: np.sum(abs(op(z))))(*args)
    inner = tracer.grad(lambda z: np.sum(abs(z) ** 2))
    with pytest.raises(TracingError, match=r"made .*takes_complex = True"):
        tracer.grad(lambda z: np.sum(abs(op(inner(z)))))(Z)


def vjp_at(vjp, x):
    node = type("Node", (), {"inputs": (x,)})
    return vjp(node, np.ones_like(x))[0]


def test_an_operation_that_takes_complex_numbers():
    op = of_others(
        lambda z: z * z,
        lambda node, g: (2 * g * node.inputs[0],),
        takes_complex=True,
        examples=lambda rng: [((rng.random((2, 3)),), {})],
    )
    np.testing.assert_allclose(tracer.grad(lambda z: np.sum(abs(op(z))))(Z), 2 * np.conj(Z))
    check_gradients(op, order=3)(Z)
    found = tracer.testing.check_operation(op)
    assert found["complex numbers"] == "numerical derivatives"


def test_the_kit_finds_rules_that_hold_for_real_numbers_alone():
    size = of_others(
        lambda z: abs(z) ** 2,
        lambda node, g: (2 * g * node.inputs[0],),
        takes_complex=True,
        examples=lambda rng: [((rng.random((2, 3)),), {})],
    )
    with pytest.raises(AssertionError, match="with complex numbers: the first derivative"):
        tracer.testing.check_operation(size)
    refusing = of_others(
        np.floor,
        lambda node, g: (0 * g,),
        takes_complex=True,
        examples=lambda rng: [((rng.random((2, 3)),), {})],
    )
    with pytest.raises(AssertionError, match="refuses complex numbers at all examples"):
        tracer.testing.check_operation(refusing)
