"""Kernels of visits, pairs and ways, each against what NumPy says in float64."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.extend import Tally
from tracer_experiments.instruments.binning import Bins, Counts

DTYPES = st.sampled_from([np.float32, np.float64])
MANY = settings(max_examples=60)
#: bins of which zero is an edge, an end or no edge at all, one bin, and uneven ones
EDGES = [
    *(np.linspace(-2, 2, 101), np.linspace(-1, 1, 41), np.linspace(0, 1, 8)),
    *(np.linspace(-1, 1, 4), np.linspace(-1, 1, 2), np.array([-3.0, -0.5, 0.0, 0.25, 7.0])),
]


def numbers(rng, shape, dtype, kinds):
    """Normal numbers of several sizes, among them some of these kinds."""
    values = rng.standard_normal(shape) * rng.choice([1e-3, 0.1, 3], shape)
    some = rng.random(shape) < 0.2
    return np.where(some, rng.choice(kinds, shape), values).astype(dtype)


def counted(values, tally):
    """What a tally counts, by `np.histogram` of what is clipped to the outermost edges."""
    edges, scaled = tally.edges, (values * values.dtype.type(tally.scale)).astype(np.float64)
    column = np.zeros(values.shape[1], int) if tally.column is None else tally.column
    rows = np.broadcast_to(column, values.shape)
    there = ~np.isnan(scaled)
    clipped = np.clip(scaled, edges[0], edges[-1])
    each = [np.histogram(clipped[there & (rows == row)], edges)[0] for row in range(tally.rows)]
    return np.array(each), int((~there).sum())


@st.composite
def matrices(draw, kinds=(0.0, -0.0, 1.0, 0.04, -0.04, 2.0, np.inf, -np.inf, np.nan)):
    """`[N, P]` with numbers that are peculiar, tallies of it, and the generator."""
    samples = draw(st.sampled_from([0, 1, 2, 9, 70]))
    width = draw(st.sampled_from([0, 1, 15, 16, 17, 130, 1000, 4097, 9000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = numbers(rng, (samples, width), draw(DTYPES), np.array(kinds))
    tallies = []
    for _ in range(draw(st.integers(0, 3))):
        rows = draw(st.sampled_from([1, 2, 7]))
        column = rng.integers(0, rows, width) if rows > 1 else None
        scale = draw(st.sampled_from([1.0, 64.0, 1 / 3, 0.1]))
        tallies.append(Tally(draw(st.sampled_from(EDGES)), scale, column, rows))
    return x, tallies, rng


@MANY
@given(matrices(), st.integers(0, 3), st.booleans())
def test_a_visit_finds_what_numpy_does(kernels, drawn, number, squares):
    x, tallies, rng = drawn
    directions = [rng.standard_normal(x.shape[1]).astype(x.dtype) for _ in range(number)]
    found = kernels.visit(x, directions, tallies, squares)
    with np.errstate(all="ignore"):
        wide, bound = x.astype(np.float64), 20 * x.shape[1] * np.finfo(x.dtype).eps
        np.testing.assert_allclose(found.norms, (wide**2).sum(1), rtol=bound)
        exact = np.reshape([wide @ d for d in directions], (number, len(x)))
        size = np.reshape([abs(wide) @ abs(d) for d in directions], (number, len(x)))
        apart = abs(found.dots - exact) <= bound * size
        assert (apart | (found.dots == exact) | (np.isnan(found.dots) & ~np.isfinite(size))).all()
        if squares:
            np.testing.assert_allclose(found.squares, (wide**2).sum(0), rtol=1e3 * bound + 1e-5)
        else:
            assert found.squares is None
        for tally, (counts, missing) in zip(tallies, found.counts, strict=True):
            expected, nan = counted(x, tally)
            np.testing.assert_array_equal(counts, expected)
            assert missing == nan


@MANY
@given(matrices(kinds=(0.0, -0.0, 1.0, 0.04, -2.0)), st.sampled_from([0, 1, 3, 16, 40]))
def test_products_are_counted_as_if_they_were_made(kernels, drawn, outputs):
    left, tallies, rng = drawn
    left = np.ascontiguousarray(left[:, :200])
    right = numbers(rng, (len(left), outputs), left.dtype, np.array([0.0, -1.0, 0.5]))
    products = right[:, :, None] * left[:, None]
    products = products.reshape(len(left), outputs * left.shape[1])
    for tally in tallies:
        column = None if tally.rows == 1 else rng.integers(0, tally.rows, products.shape[1])
        tally = tally._replace(column=column)
        if tally.scale < 1:  # as signs of products do not tell what underflows
            tally = tally._replace(scale=1.0)
        counts = kernels.count_products(left, right, tally)
        np.testing.assert_array_equal(counts, counted(products, tally)[0])


@given(drawn=matrices())
def test_counts_of_numpy_and_of_the_kernel_are_the_same(kernels, drawn):
    x, _, rng = drawn
    bins, column = Bins(-1.0, 1.0, 40), rng.integers(0, 5, x.shape[1])
    for columns in (None, column):
        slow = Counts(bins, 1 if columns is None else 5)
        with np.errstate(all="ignore"):
            slow.add(x, 64.0, columns)
        tally = Tally(bins.edges, 64.0, columns, slow.columns)
        [(counts, missing)] = kernels.visit(x, tallies=[tally]).counts
        np.testing.assert_array_equal(counts, slow.result())
        assert missing == slow.nan


@MANY
@given(
    sizes=st.tuples(*[st.sampled_from([0, 1, 5, 16, 33, 70])] * 3),
    others=st.lists(st.sampled_from([0, 1, 11, 12, 50, 100]), max_size=3),
    dtype=DTYPES,
    seed=st.integers(0, 2**32),
)
def test_pairs_are_products_of_gram_matrices(kernels, sizes, others, dtype, seed):
    rng, (samples, inputs, outputs) = np.random.default_rng(seed), sizes

    def factors(count):
        shapes = (count, inputs), (count, outputs)
        return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)

    (left, right), several = factors(samples), [factors(count) for count in others]
    others = [*others, samples, samples // 2]
    several += [(left, right), (left[: samples // 2], right[: samples // 2])]
    found = kernels.pairs(left, right, several)
    assert found.shape == (len(others), samples)
    for dots, (a, b) in zip(found, several, strict=True):
        a, b = a.astype(np.float64), b.astype(np.float64)
        exact = ((a @ left.T) * (b @ right.T)).sum(0)
        size = ((abs(a) @ abs(left).T) * (abs(b) @ abs(right).T)).sum(0)
        assert (abs(dots - exact) <= 50 * np.finfo(dtype).eps * size).all()


def test_rows_that_lie_in_memory_in_another_order_are_taken(kernels):
    rng = np.random.default_rng(0)
    x, left, right = (np.asfortranarray(rng.standard_normal((9, size))) for size in (30, 6, 5))
    tally = Tally(np.linspace(-2, 2, 101), 1.0)
    found = kernels.visit(x, [x[0]], [tally], True)
    np.testing.assert_allclose(found.norms, (x**2).sum(1))
    np.testing.assert_allclose(found.dots[0], x @ x[0])
    np.testing.assert_array_equal(found.counts[0][0], counted(x, tally)[0])
    products = (right[:, :, None] * left[:, None]).reshape(9, 30)
    counts = kernels.count_products(left, right, tally)
    np.testing.assert_array_equal(counts, counted(products, tally)[0])
    dots = kernels.pairs(left, right, [(left, right)])
    np.testing.assert_allclose(dots[0], products @ products.sum(0))


@given(
    shape=st.sampled_from([(0,), (1,), (17,), (3, 5), (300, 301)]),
    given=st.tuples(*[st.booleans()] * 3),
    dtype=DTYPES,
)
def test_a_way_is_the_norm_of_differences(kernels, shape, given, dtype):
    rng = np.random.default_rng(0)
    now, before, first = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    copy = np.full(shape, 7, dtype) if given[2] else None
    before, first = (
        a if is_there else None for a, is_there in zip((before, first), given, strict=False)
    )
    found = kernels.travel(now, before, first, copy)
    for square, from_there in zip(found, (before, first), strict=True):
        exact = 0.0 if from_there is None else ((now - from_there).astype(np.float64) ** 2).sum()
        assert square == pytest.approx(exact, rel=100 * float(np.finfo(dtype).eps))
    assert copy is None or (copy == now).all()


def test_results_are_the_same_bits_for_any_number_of_threads(kernels, monkeypatch):
    rng = np.random.default_rng(0)
    x, column = rng.standard_normal((70, 30_000)).astype(np.float32), rng.integers(0, 3, 30_000)
    left, right = (rng.standard_normal((70, n)).astype(np.float32) for n in (120, 250))
    tally = Tally(EDGES[0], 1.0, column, 3)

    def made():
        visit = kernels.visit(x, [x[0], x[1]], [tally, Tally(EDGES[1])], squares=True)
        yield from (visit.norms, visit.dots, visit.squares)
        yield from (counts for counts, _ in visit.counts)
        yield kernels.visit(x, [x[0]]).dots
        yield kernels.pairs(left, right, [(left, right), (left[:13], right[:13])])
        yield kernels.count_products(left, right, tally)
        yield np.array(kernels.travel(x, x[::-1].copy(), None, None))

    every = []
    for count in (1, 2, 3):
        monkeypatch.setattr("tracer_native.library.threads", lambda count=count: count)
        every.append([array.tobytes() for array in made()])
    for one, other in itertools.pairwise(every):
        assert one == other


def test_what_does_not_fit_is_left_to_numpy(kernels):
    x, d = np.ones((4, 6)), np.ones(6)
    assert kernels.visit(x, [d]) is not None
    for wrong in (x.astype(np.float16), x[0], x.astype(int)):
        assert kernels.visit(wrong) is None
    for wrong in (d[:5], d.astype(np.float32)):
        assert kernels.visit(x, [wrong]) is None
    assert kernels.pairs(x, x, [(x, x[:3])]) is None
    assert kernels.pairs(x, x, [(x, x[:, :5].copy())]) is None
    assert kernels.pairs(x, x[:3], []) is None
    assert kernels.count_products(x, x[:3], Tally(EDGES[0])) is None
    assert kernels.travel(x, x[:3], None, None) is None
    assert kernels.travel(x, x.T, None, None) is None
