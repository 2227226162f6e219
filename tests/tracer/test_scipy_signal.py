"""`tracer.scipy.signal`: SciPy's values of every mode, and the derivatives of differences."""

import itertools

import numpy as np
import pytest
import scipy.signal

import tracer
from tracer.record import leaving
from tracer.scipy import signal
from tracer.testing import check_gradients

RNG = np.random.default_rng(0)
MODES = ("full", "same", "valid")
PAIRS = [
    ((5,), (3,)),
    ((3,), (5,)),
    ((4,), (4,)),
    ((6,), (1,)),
    ((4, 5), (2, 3)),
    ((2, 2), (4, 5)),
    ((4, 1), (3, 2)),
    ((3, 4, 2), (2, 2, 1)),
]


def drawn(shape, kind=float):
    x = RNG.normal(size=shape)
    return x if kind is float else x + 1j * RNG.normal(size=shape)


def taken(function, *args, **options):
    """What a function gives, or that it refuses."""
    try:
        return function(*args, **options)
    except ValueError:
        return None


def agree(name, *args, **options):
    ours = taken(getattr(signal, name), *args, **options)
    theirs = taken(getattr(scipy.signal, name), *args, **options)
    assert (ours is None) == (theirs is None), (name, ours, theirs)
    if theirs is not None:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)
    return theirs


def test_what_is_there():
    assert set(signal.__all__) <= set(scipy.signal.__all__)
    assert leaving.MIRRORED["scipy.signal"].split() == sorted(signal.__all__)


@pytest.mark.parametrize("kinds", list(itertools.product((float, complex), repeat=2)))
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_it_has_the_values_of_scipy(first, second, kinds):
    x, y = (drawn(shape, kind) for shape, kind in zip((first, second), kinds, strict=True))
    seen = []
    for mode in MODES:
        for name, method in itertools.product(("convolve", "correlate"), ("auto", "direct", "fft")):
            seen.append(agree(name, x, y, mode=mode, method=method))
        seen += [agree(name, x, y, mode=mode) for name in ("fftconvolve", "oaconvolve")]
        if len(first) != 2:
            continue
        for name, boundary in itertools.product(
            ("convolve2d", "correlate2d"), ("fill", "wrap", "symm")
        ):
            seen.append(agree(name, x, y, mode=mode, boundary=boundary))
        seen.append(agree("convolve2d", x, y, mode=mode, fillvalue=0.7))
    assert any(each is not None for each in seen)


@pytest.mark.parametrize("axes", [0, -1, [1], [0, 2], (2, 1), None])
@pytest.mark.parametrize("mode", MODES)
def test_it_convolves_along_the_axes_that_it_is_given(axes, mode):
    x = drawn((3, 4, 5))
    others = [drawn(s) for s in ((1, 2, 1), (2, 1, 5), (3, 4, 5), (1, 1, 7), (5, 4, 2))]
    seen = [
        agree(name, *pair, mode=mode, axes=axes)
        for name in ("fftconvolve", "oaconvolve")
        for y in others
        for pair in ((x, y), (y, x))
    ]
    assert any(each is not None for each in seen)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.int64])
def test_it_has_the_dtypes_of_scipy(dtype):
    x, y = (np.round(9 * drawn(shape)).astype(dtype) for shape in ((3, 4), (2, 2)))
    for name in ("convolve", "correlate", "fftconvolve", "oaconvolve", "convolve2d"):
        ours, theirs = getattr(signal, name)(x, y), getattr(scipy.signal, name)(x, y)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


CASES = {
    **{
        f"{name}: {mode}, {method}": (name, (4,), (3,), {"mode": mode, "method": method})
        for name in ("convolve", "correlate")
        for mode in MODES
        for method in ("direct", "fft")
    },
    "convolve: two axes": ("convolve", (3, 3), (2, 2), {"method": "direct"}),
    "convolve: the second is larger": ("convolve", (2,), (4,), {"mode": "valid"}),
    "fftconvolve: one axis": ("fftconvolve", (3, 2), (1, 4), {"axes": 1}),
    "fftconvolve: two": ("fftconvolve", (3, 2), (2, 2), {"mode": "same"}),
    "oaconvolve": ("oaconvolve", (5,), (2,), {}),
    **{
        f"{name}: {boundary}": (name, (3, 2), (2, 2), {"boundary": boundary, "mode": "same"})
        for name in ("convolve2d", "correlate2d")
        for boundary in ("fill", "wrap", "symm")
    },
    "convolve2d: filled": ("convolve2d", (2, 2), (2, 2), {"fillvalue": 0.7}),
    "correlate2d: valid": ("correlate2d", (2, 2), (3, 2), {"mode": "valid"}),
}


@pytest.mark.parametrize("case", CASES)
def test_its_derivatives_are_those_of_differences(case):
    name, first, second, options = CASES[case]

    def function(x, y):
        return np.sin(getattr(signal, name)(x, y, **options))

    check_gradients(function)(drawn(first), drawn(second))


@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve"])
def test_the_slope_by_complex_numbers(name):
    x, y, dx, dy = (drawn(n, complex) for n in (4, 3, 4, 3))
    function, step = getattr(signal, name), 1e-6
    value, pullback = tracer.vjp(function, x, y)
    g = drawn(value.shape, complex)
    slopes = pullback(g)
    moved = function(x + step * dx, y + step * dy) - function(x - step * dx, y - step * dy)
    along = sum(np.sum(slope * d) for slope, d in zip(slopes, (dx, dy), strict=True))
    np.testing.assert_allclose(along.real, np.sum(g * moved).real / (2 * step), rtol=1e-7)
    tangent = tracer.jvp(function, (x, y), (dx, dy))[1]
    np.testing.assert_allclose(tangent, moved / (2 * step), rtol=1e-7)


def test_the_samples_of_a_batch_are_known():
    x, taps = drawn((4, 6)), drawn(3)
    for function in (
        lambda x, taps: signal.convolve(x, taps[None], "same", "direct"),
        lambda x, taps: signal.fftconvolve(x, taps[None], "same"),
        lambda x, taps: signal.lfilter(taps, [1.0, 0.4], x),
    ):
        with tracer.Tape() as tape:
            p = tracer.parameter(taps, "taps")
            loss = np.sum(np.sin(function(tracer.batch(x), p)))
        rows = tape.backward(loss, ("grad_batch",))["grad_batch"]["taps"]
        each = [
            tracer.grad(lambda t, n=n, f=function: np.sum(np.sin(f(x[n : n + 1], t))))(taps)
            for n in range(len(x))
        ]
        np.testing.assert_allclose(rows, each, rtol=1e-10)


# -- filters --------------------------------------------------------------------------------------

FILTERS = [
    ([1.0], [1.0]),
    ([0.5, 0.2, -0.1], [1.0]),
    ([0.5], [2.0, -0.6, 0.3]),
    ([0.5, 0.2, -0.1, 0.4], [2.0, -0.6]),
    ([0.5, 0.2], [2.0, -0.6, 0.3, 0.1, -0.2]),
]


@pytest.mark.parametrize(("b", "a"), FILTERS)
@pytest.mark.parametrize("kind", [float, complex])
def test_a_filter_has_the_values_of_scipy(b, a, kind):
    b, a = np.array(b), np.array(a)
    order = max(len(a), len(b)) - 1
    for shape, axis in (((6,), -1), ((2, 6), 1), ((6, 2), 0), ((2, 3, 2), 1), ((2,), 0)):
        x = drawn(shape, kind)
        agree("lfilter", b, a, x, axis=axis)
        size = list(shape)
        size[axis] = order
        states = [drawn(size, kind)]
        if len(shape) > 1:
            states.append(states[0][:1] if axis % len(shape) else states[0][:, :1])
        for zi in states:
            ours, theirs = (f.lfilter(b, a, x, axis, zi) for f in (signal, scipy.signal))
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.shape == other.shape
                np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("b", "a"), FILTERS[1:])
def test_the_derivatives_of_a_filter(b, a):
    b, a, x = np.array(b), np.array(a), drawn((2, 4))
    check_gradients(lambda b, a, x: np.sin(signal.lfilter(b, a, x)))(b, a, x)

    def with_state(b, a, x, zi):
        y, zf = signal.lfilter(b, a, x, 0, zi)
        return np.sin(np.concatenate([y, zf]))

    check_gradients(with_state)(b, a, x, drawn((max(len(a), len(b)) - 1, 4)))


def test_a_filter_is_fitted():
    """The taps of a filter that fed back are found again from what it made."""
    x = drawn(60)
    wanted = signal.lfilter([0.5, 0.2], [1.0, -0.6], x)

    def away(p):
        return signal.lfilter(p[:2], np.concatenate([np.ones(1), p[2:]]), x) - wanted

    p = np.array([0.4, 0.1, -0.5])
    for _ in range(8):  # steps of Gauss and Newton
        p = p - np.linalg.lstsq(tracer.jacobian(away)(p), away(p))[0]
    np.testing.assert_allclose(p, [0.5, 0.2, -0.6], rtol=1e-8)


# -- what is refused ------------------------------------------------------------------------------

X, TAPS = np.ones(4), np.ones(2)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: signal.convolve(X, TAPS[None]), r"as many axes, got \[4\] and \[1, 2\]"),
        (lambda: signal.convolve(X, TAPS, "middle"), "'full', 'same' or 'valid', got 'middle'"),
        (lambda: signal.convolve(X, TAPS, "full", "slow"), "'auto', 'direct' or 'fft', got 'slow'"),
        (lambda: signal.convolve(X, X[:0]), r"one element or more, got \[4\] and \[0\]"),
        (lambda: signal.convolve(np.ones((2, 4)), np.ones((4, 2)), "valid"), "at least as large"),
        (lambda: signal.fftconvolve(np.ones((2, 4)), np.ones((3, 2)), axes=1), "that broadcast"),
        (lambda: signal.fftconvolve(X, TAPS, axes=[]), "names one axis or more"),
        (lambda: signal.convolve2d(X, TAPS), "takes two matrices"),
        (lambda: signal.convolve2d(X[None], X[None], "full", "open"), "or 'symm', got 'open'"),
        (lambda: signal.lfilter([[1.0]], [1.0], X), r"a vector, got \[1, 1\]"),
        (lambda: signal.lfilter([1.0], [0.0, 1.0], X), "is not zero"),
        (lambda: signal.lfilter(TAPS, TAPS, X, zi=X), r"has 1 elements along the axis"),
        (lambda: signal.lfilter(TAPS, TAPS, 1.0), "one axis or more"),
    ],
)
def test_what_is_refused_says_what_was_expected(act, words):
    with pytest.raises((ValueError, tracer.ShapeError), match=words):
        act()


@pytest.mark.parametrize("name", signal.__all__)
def test_scipys_own_names_the_mirror(name):
    arguments = {"lfilter": [[1.0], [1.0]]}.get(name, [])
    others = [] if arguments else [np.ones((2, 2))]
    with tracer.Tape():
        x = tracer.parameter(np.ones((2, 2)))
        with pytest.raises(Exception, match=rf"write tracer\.scipy\.signal\.{name}"):
            getattr(scipy.signal, name)(*arguments, x, *others)
