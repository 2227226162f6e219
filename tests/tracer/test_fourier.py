"""`np.fft` and its mirror of SciPy's: values, derivatives of both modes, stacks, samples."""

import numpy as np
import pytest
import scipy.fft

import tracer
from tracer import ShapeError
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))
Z = X + 1j * RNG.standard_normal(X.shape)

#: of one axis, and of several; those that take real numbers alone, and those that give them
LINES = "fft ifft rfft irfft hfft ihfft".split()
SEVERAL = "fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn".split()
OF_REAL = {"rfft", "ihfft", "rfft2", "rfftn"}
NORMS = [None, "backward", "ortho", "forward"]


def given(name):
    return [X] if name in OF_REAL else [Z, X]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [None, 1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("name", LINES)
def test_one_axis(name, n, norm):
    for axis in (-1, 1, 0):
        for x in given(name):

            def transform(x, axis=axis):
                return getattr(np.fft, name)(x, n, axis, norm)

            small = x[:2, :3, :3] if axis else x[:, :2, :1]
            found, _ = tracer.vjp(transform, small)
            np.testing.assert_array_equal(found, transform(small))
            check_gradients(transform, order=1)(small)


@pytest.mark.parametrize("norm", NORMS[1:])
@pytest.mark.parametrize(
    "options",
    [{}, {"s": (2, 6), "axes": (0, 1)}, {"axes": (1, 0)}, {"s": (-1, 3), "axes": (-2, -1)}],
)
@pytest.mark.parametrize("name", SEVERAL)
def test_several_axes(name, options, norm):
    for x in given(name):

        def transform(x):
            return getattr(np.fft, name)(x, norm=norm, **options)

        small = x[:2, :2, :3]
        found, _ = tracer.vjp(transform, small)
        np.testing.assert_allclose(found, transform(small), atol=1e-15)
        check_gradients(transform, order=1)(small)


@pytest.mark.parametrize("name", [*LINES, *SEVERAL, "fftshift", "ifftshift"])
def test_second_derivatives(name):
    x = given(name)[0][:2, 0, :3]
    check_gradients(lambda x: abs(getattr(np.fft, name)(x)) ** 2, order=2)(x)


@pytest.mark.parametrize("axes", [None, 1, (0, 2), (-1,)])
@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
def test_shifts(name, axes):
    shift = getattr(np.fft, name)
    np.testing.assert_array_equal(tracer.vjp(lambda z: shift(z, axes), Z)[0], shift(Z, axes))
    check_gradients(lambda z: shift(z, axes), order=1)(Z[:2, :3, :3])


@pytest.mark.parametrize("name", [*LINES, *SEVERAL])
def test_stacks_and_single_precision(name):
    """A Jacobian, whose rows go through the rules together, is the transform of unit arrays."""
    x = given(name)[0][0, :2, :3]
    function = getattr(np.fft, name)
    matrix = tracer.jacobian(lambda x: function(x, norm="ortho"))(x.real)
    eye = np.eye(x.size).reshape(x.size, *x.shape)
    columns = np.stack([function(unit, norm="ortho") for unit in eye], -1)
    np.testing.assert_allclose(matrix, columns.reshape(matrix.shape), atol=1e-14)
    single = x.astype(np.complex64 if x.dtype.kind == "c" else np.float32)
    found, pullback = tracer.vjp(function, single)
    assert found.dtype == function(single).dtype
    assert found.dtype.itemsize == (8 if found.dtype.kind == "c" else 4)
    assert pullback(found)[0].dtype == single.dtype


@pytest.mark.parametrize("name", LINES)
def test_no_lines_and_one_element(name):
    for shape in ((0, 3), (2, 1)):
        x = np.ones(shape) if name in OF_REAL else np.ones(shape, complex)
        found, pullback = tracer.vjp(lambda x: getattr(np.fft, name)(x, 4), x)
        (gradient,) = pullback(np.ones_like(found))
        assert (gradient.shape, gradient.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.fft.fft(x[..., :0]), "one element or more along an axis, got 0"),
        (lambda x: np.fft.fft(x, 0), "one element or more"),
        (lambda x: np.fft.fft(x, 2.5), "an integer, got 2.5"),
        (lambda x: np.fft.irfft(x[..., :1]), "one element or more along an axis, got 0"),
        (lambda x: np.fft.fft(x, norm="none"), '"backward", "ortho" or "forward", got'),
        (lambda x: np.fft.fft(x, axis=3), "axis 3 is out of range"),
        (lambda x: np.fft.fft(x[0, 0, 0]), "out of range for an array with 0 axes"),
        (lambda x: np.fft.fft2(x[0, 0]), "out of range"),
        (lambda x: np.fft.fftn(x, (2, 2), (0,)), "2 numbers of elements for 1 axes"),
        (lambda x: np.fft.fftn(x, axes=()), "one axis or more"),
        (lambda x: np.fft.rfft(x * 1j), r"real numbers, got complex ones: use np\.fft\.fft"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ShapeError, match=message):
        tracer.grad(lambda x: np.sum(abs(call(x))))(X)


def test_frequencies_are_plain():
    np.testing.assert_array_equal(np.fft.fftfreq(4), [0.0, 0.25, -0.5, -0.25])


# -- SciPy's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", tracer.scipy.fft.__all__)
def test_the_mirror_has_the_values_and_slopes_of_scipys(name):
    ours, scipys = getattr(tracer.scipy.fft, name), getattr(scipy.fft, name)
    options = [{}] if name.endswith("shift") else [{}, {"norm": "ortho", "workers": 1}]
    if name in LINES:
        options.append({"n": 3, "axis": 0, "overwrite_x": True})
    elif name in SEVERAL:
        options += [{"axes": (0, 2)}, {"s": (3, 2), "axes": (1, 0)}]
        options += [{"s": (2, 3)}] if name[-1] == "n" else []
    for x in given(name):
        for some in options:
            found, _ = tracer.vjp(lambda x, some=some: ours(x, **some), x)
            np.testing.assert_allclose(found, scipys(x, **some), atol=1e-14)
            np.testing.assert_allclose(ours(x, **some), scipys(x, **some), atol=1e-14)
        check_gradients(ours, order=1)(x[:2, :2, :3])


def test_scipys_own_names_its_mirror():
    words = r"tracer\.scipy\.fft\.rfft|tensor\.data\.flags"  # which an older SciPy asks for first
    with tracer.Tape(), pytest.raises((tracer.TracingError, tracer.HintError), match=words):
        scipy.fft.rfft(tracer.parameter(X))


# -- samples ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["fft", "rfft", "irfft", "fft2", "fftshift"])
def test_samples_are_followed_past_the_axes_of_a_transform(name, axis):
    """Each sample's gradient is that of the sample alone."""
    x, w = X[:, :, :3], RNG.standard_normal((4, 3) if axis == 0 else (3, 3))

    def loss(w, x):
        h = np.expand_dims(w, axis) * x
        moved = np.moveaxis(h, axis, 0)
        return np.sum(abs(getattr(np.fft, name)(moved)) ** 2)

    with tracer.Tape() as tape:
        value = loss(tracer.parameter(w, name="w"), tracer.batch(x, axis=axis))
    found = tape.backward(value, "grad_batch")["grad_batch"]["w"]
    for i in range(x.shape[axis]):
        alone = np.take(x, [i], axis)
        np.testing.assert_allclose(found[i], tracer.grad(loss)(w, alone), atol=1e-12)


def test_a_transform_along_the_samples_pools_them():
    with tracer.Tape() as tape:
        w = tracer.parameter(X[0], name="w")
        loss = np.sum(abs(np.fft.fft(tracer.batch(X) * w, axis=0)) ** 3)
    found = tape.backward(loss, ("grad", "grad_batch"))
    expected = tracer.grad(lambda w: np.sum(abs(np.fft.fft(X * w, axis=0)) ** 3))(X[0])
    np.testing.assert_allclose(found["grad"]["w"], expected)
    np.testing.assert_allclose(found["grad_batch"]["w"].sum(0), expected)
