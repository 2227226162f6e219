"""The algebra of parameter cotangents, each contraction against the dense array `U[v, n, *p]`."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
from tracer import (
    Cotangent,
    Dense,
    Gather,
    Kronecker,
    Mixed,
    Outer,
    QuantityError,
    Reindexed,
    Summed,
)
from tracer.arrays.parallel import threads
from tracer.cotangents import Coupled, Deferred, base, collect, contractions, outer

SIZE = st.integers(1, 3)


# -- each class with its definition, by explicit loops -----------------------------------------


def draw_outer(rng, v, n, t, o, i, dtype):
    groups = int(rng.integers(1, 3))
    left = rng.standard_normal((n, t, groups, i)).astype(dtype)
    right = rng.standard_normal((v, n, t, groups, o)).astype(dtype)
    shape = (groups * o, i)
    dense = np.zeros((v, n, groups, o, i))
    for row, sample, use, g in np.ndindex(v, n, t, groups):
        dense[row, sample, g] += np.outer(right[row, sample, use, g], left[sample, use, g])
    given_left = left if rng.integers(2) else lambda samples: left[samples]
    return Outer(given_left, right, shape), dense.reshape(v, n, *shape)


def draw_gather(rng, v, n, t, o, i, dtype):
    index = rng.integers(0, i + 1, (n, t))
    right = rng.standard_normal((v, n, t, o)).astype(dtype)
    dense = np.zeros((v, n, i + 1, o))
    for row, sample, use in np.ndindex(v, n, t):
        dense[row, sample, index[sample, use]] += right[row, sample, use]
    return Gather(index, right, (i + 1, o)), dense


def draw_summed(rng, v, n, t, o, i, dtype):
    terms = rng.standard_normal((v, n, t, o)).astype(dtype)
    dense = np.zeros((v, n, o))
    for use in range(t):
        dense += terms[:, :, use]
    return Summed(terms), dense


def draw_dense(rng, v, n, t, o, i, dtype):
    array = rng.standard_normal((v, n, o, i)).astype(dtype)
    return Dense(array), array


def draw_transposed(rng, *sizes):
    inner, dense = draw_outer(rng, *sizes)
    return inner.permuted((1, 0)), np.swapaxes(dense, -1, -2)


def draw_sliced(rng, *sizes):
    """A weight of which a linear map uses all but the first row: what lies there gets zeros."""
    inner, dense = draw_outer(rng, *sizes)
    shape = (inner.shape[0] + 1, inner.shape[1])

    def pull(stack):
        return np.concatenate([np.zeros_like(stack[:, :1]), stack], 1)

    place = Reindexed(inner, shape, pull=pull, push=lambda d: d[1:], key="tail")
    return place, np.stack([pull(rows) for rows in dense])


def draw_mixed(rng, v, n, t, o, i, dtype):
    gather, first = draw_gather(rng, v, n, t, o, i, dtype)
    array = rng.standard_normal((v, n, i + 1, o)).astype(dtype)
    outer, second = draw_outer(rng, v, n, t, o, i + 1, dtype)
    if outer.shape != (o, i + 1):
        return Mixed([gather, Dense(array)]), first + array
    uses = [gather, Dense(array), outer.permuted((1, 0))]
    return Mixed(uses), first + array + np.swapaxes(second, -1, -2)


def draw_deferred(rng, v, n, t, o, i, dtype):
    array = rng.standard_normal((v, n, o, i)).astype(dtype)

    def make(rows, samples):
        return array[rows][:, samples]

    return Deferred(make, range(v), np.arange(n), (o, i), array.dtype, array[0, 0].nbytes), array


def draw_coupled(rng, v, n, t, o, i, dtype):
    """A row for each of n samples, which reaches the parameter through all of them."""
    draw = draw_outer if rng.integers(2) else draw_deferred
    inner, dense = draw(rng, v * n, n, t, o, i, dtype)
    return Coupled(inner, n), dense.sum(1).reshape(v, n, *inner.shape)


DRAWS = {
    "Outer": draw_outer,
    "Gather": draw_gather,
    "Summed": draw_summed,
    "Dense": draw_dense,
    "Reindexed by transposition": draw_transposed,
    "Reindexed by slicing": draw_sliced,
    "Mixed": draw_mixed,
    "Deferred": draw_deferred,
    "Coupled": draw_coupled,
}


def weighed(u, signs):
    """`u^2` of row v and sample n times `signs[v, n]`."""
    return u * u * signs.reshape(*signs.shape, *(1,) * (u.ndim - 2))


CONTRACTIONS = {
    "total": (lambda c, s, d: c.total(), lambda u, s, d: u.sum(1)),
    "batch_total": (lambda c, s, d: c.batch_total(), lambda u, s, d: u.sum(1)),
    "per_sample": (lambda c, s, d: c.per_sample(), lambda u, s, d: u),
    "sum_of_squares": (lambda c, s, d: c.sum_of_squares(), lambda u, s, d: (u * u).sum((0, 1))),
    "sum_of_squares with signs": (
        lambda c, s, d: c.sum_of_squares(s),
        lambda u, s, d: weighed(u, s).sum((0, 1)),
    ),
    "per_sample_squares": (lambda c, s, d: c.per_sample_squares(), lambda u, s, d: (u * u).sum(0)),
    "per_sample_squares with signs": (
        lambda c, s, d: c.per_sample_squares(s),
        lambda u, s, d: weighed(u, s).sum(0),
    ),
    "squared_norms": (
        lambda c, s, d: c.squared_norms(),
        lambda u, s, d: (u.reshape(*u.shape[:2], -1) ** 2).sum(-1),
    ),
    "gram": (
        lambda c, s, d: c.gram(),
        lambda u, s, d: np.tensordot(
            u.reshape(*u.shape[:2], -1), u.reshape(*u.shape[:2], -1), ((2,), (2,))
        ),
    ),
    "project": (
        lambda c, s, d: c.project(d),
        lambda u, s, d: u.reshape(*u.shape[:2], -1) @ d.reshape(-1),
    ),
}


def assert_contractions(cotangent, dense, rng, dtype):
    """All contractions equal those of `dense` and have the cotangent's dtype."""
    assert (cotangent.rows, cotangent.samples, *cotangent.shape) == dense.shape
    signs = rng.choice([-1.0, 1.0], (len(dense), rng.choice([1, dense.shape[1]]))).astype(dtype)
    direction = rng.standard_normal(dense.shape[2:]).astype(dtype)
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    for name, (contract, reference) in CONTRACTIONS.items():
        value = contract(cotangent, signs, direction)
        expected = reference(dense, signs, direction)
        assert value.dtype == dtype, name
        np.testing.assert_allclose(
            value, expected, rtol=tolerance, atol=tolerance, err_msg=name, strict=False
        )
        assert value.shape == expected.shape, name


@pytest.mark.parametrize("kind", DRAWS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    v=SIZE,
    n=SIZE,
    t=st.integers(1, 4),
    o=SIZE,
    i=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    budget=st.sampled_from([None, 1, 200, 1 << 30]),
)
def test_contractions_equal_the_dense_definition(kind, seed, v, n, t, o, i, dtype, budget):
    rng = np.random.default_rng(seed)
    cotangent, dense = DRAWS[kind](rng, v, n, t, o, i, dtype)
    cotangent.within(budget)
    assert_contractions(cotangent, dense, rng, dtype)


@pytest.mark.parametrize("kind", DRAWS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), n=st.integers(2, 5), t=st.integers(1, 3))
def test_selected_rows_and_samples_are_those_of_the_dense_array(kind, seed, n, t):
    rng = np.random.default_rng(seed)
    cotangent, dense = DRAWS[kind](rng, 3, n, t, 2, 3, np.float64)
    picked = rng.integers(0, n, 4)
    assert_contractions(cotangent.select(slice(1, 3)), dense[1:3], rng, np.float64)
    assert_contractions(cotangent.select(samples=slice(1, n)), dense[:, 1:], rng, np.float64)
    assert_contractions(cotangent.select(slice(0, 2), picked), dense[:2, picked], rng, np.float64)
    rows = np.array([2, 0])
    for some in (rows, slice(None, None, 2)):
        again = cotangent.select(some, picked).select(rows[1:], slice(1, 3))
        assert_contractions(again, dense[some][:, picked][:1, 1:3], rng, np.float64)


@pytest.mark.parametrize("kind", DRAWS)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), count=st.integers(2, 4))
def test_uses_are_summed_before_they_are_squared(kind, seed, count):
    rng = np.random.default_rng(seed)
    uses, dense = [], 0
    while len(uses) < count:
        use, array = DRAWS[kind](rng, 2, 3, int(rng.integers(1, 3)), 2, 3, np.float64)
        if not uses or use.shape == uses[0].shape:
            uses.append(use)
            dense = dense + array
    assert_contractions(uses[0].combine(uses[1:]), dense, rng, np.float64)
    assert_contractions(collect(uses), dense, rng, np.float64)


def test_uses_of_one_kind_stay_of_that_kind():
    rng = np.random.default_rng(0)

    def outer():
        return Outer(
            rng.standard_normal((3, 2, 1, 4)), rng.standard_normal((2, 3, 2, 1, 5)), (5, 4)
        )

    merged = outer().combine([outer(), outer()])
    assert isinstance(merged, Outer)
    assert merged.uses == 6
    turned = collect([outer().permuted((1, 0)), outer().permuted((1, 0))])
    assert isinstance(turned, Reindexed)
    assert isinstance(turned.inner, Outer)
    mixed = collect([outer(), Dense(np.zeros((2, 3, 5, 4))), outer()])
    assert isinstance(mixed, Mixed)
    assert sorted(type(use).__name__ for use in mixed.uses) == ["Dense", "Outer"]


def test_what_comes_through_no_sample_counts_in_the_total_alone():
    rng = np.random.default_rng(1)
    cotangent, dense = draw_outer(rng, 2, 3, 2, 2, 3, np.float64)
    cotangent.unbatched = rng.standard_normal((2, *cotangent.shape))
    np.testing.assert_allclose(cotangent.total(), dense.sum(1) + cotangent.unbatched)
    np.testing.assert_allclose(cotangent.batch_total(), dense.sum(1))
    np.testing.assert_allclose(cotangent.per_sample(), dense)


def test_an_identity_permutation_is_the_cotangent_itself():
    cotangent, _ = draw_outer(np.random.default_rng(2), 1, 1, 1, 2, 2, np.float64)
    assert cotangent.permuted((0, 1)) is cotangent


def test_a_left_operand_given_as_a_function_is_made_block_by_block_and_only_if_needed():
    array = np.arange(18.0).reshape(6, 3, 1, 1)
    made = []

    def left(samples):
        made.append(len(array[samples]))
        return array[samples]

    right = np.random.default_rng(0).standard_normal((1, 6, 3, 1, 4))
    cotangent = Outer(left, right, (4, 1))
    assert cotangent.select(slice(0, 1)).rows == 1
    assert not made
    # two samples' products, inputs and temporaries, on each thread
    cotangent.budget = threads() * 2 * 3 * 8 * (4 + 3)
    expected = Outer(array, right, (4, 1))
    np.testing.assert_allclose(cotangent.total(), expected.total())
    np.testing.assert_allclose(cotangent.sum_of_squares(), expected.sum_of_squares())
    assert max(made) == 2
    assert sum(made) == 12


def test_base_class_contractions_serve_a_class_with_two_methods():
    class Scaled(Cotangent):
        """`per_sample` and `select` alone."""

        def __init__(self, array):
            self.array = array
            self.rows, self.samples = array.shape[:2]
            self.shape, self.dtype = array.shape[2:], array.dtype

        def per_sample(self):
            return self.array

        def select(self, rows=slice(None), samples=slice(None)):
            return Scaled(self.array[rows][:, samples])

    rng = np.random.default_rng(3)
    array = rng.standard_normal((2, 5, 3, 2))
    for budget in (None, 1):
        cotangent = Scaled(array)
        cotangent.budget = budget
        assert_contractions(cotangent, array, rng, np.float64)


# -- Kronecker factors ---------------------------------------------------------------------------


def factors_by_formula(left, right, sharing):
    """QUANTITIES, "Kronecker factors", in loops: `left [N, T, I]`, `right [V, N, T, O]`."""
    (n, t, i), (v, _, _, o) = left.shape, right.shape
    input_factor, output_factor = np.zeros((i, i)), np.zeros((o, o))
    if sharing == "expand":
        for sample, use in np.ndindex(n, t):
            a = left[sample, use]
            input_factor += np.outer(a, a) / (n * t)
        for row, sample, use in np.ndindex(v, n, t):
            b = right[row, sample, use]
            output_factor += np.outer(b, b)
    else:
        for sample in range(n):
            a = sum(left[sample, use] for use in range(t)) / t
            input_factor += np.outer(a, a) / n
        for row, sample in np.ndindex(v, n):
            b = sum(right[row, sample, use] for use in range(t))
            output_factor += np.outer(b, b)
    return output_factor, input_factor


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("uses", [1, 3])
def test_factors_of_a_linear_map(sharing, uses):
    rng = np.random.default_rng(4)
    left, right = rng.standard_normal((3, uses, 4)), rng.standard_normal((2, 3, uses, 5))
    block = Outer(left[:, :, None], right[:, :, :, None], (5, 4)).kronecker(sharing)
    output_factor, input_factor = factors_by_formula(left, right, sharing)
    np.testing.assert_allclose(block.factors[0], output_factor)
    np.testing.assert_allclose(block.factors[1], input_factor)
    np.testing.assert_allclose(block.dense(), np.kron(output_factor, input_factor))


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_of_groups_are_pairs_and_the_block_is_block_diagonal(sharing):
    rng = np.random.default_rng(5)
    left, right = rng.standard_normal((3, 2, 2, 4)), rng.standard_normal((2, 3, 2, 2, 5))
    block = Outer(left, right, (10, 4)).kronecker(sharing)
    assert len(block.factors) == 4
    dense = np.zeros((40, 40))
    for g in range(2):
        pair = factors_by_formula(left[:, :, g], right[:, :, :, g], sharing)
        dense[20 * g : 20 * (g + 1), 20 * g : 20 * (g + 1)] = np.kron(*pair)
    np.testing.assert_allclose(block.dense(), dense)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_of_a_bias(sharing):
    rng = np.random.default_rng(6)
    terms = rng.standard_normal((2, 3, 4, 5))
    (factor,) = Summed(terms).kronecker(sharing).factors
    expected, _ = factors_by_formula(np.ones((3, 4, 1)), terms, sharing)
    np.testing.assert_allclose(factor, expected)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_of_a_table_are_those_of_a_linear_map_on_one_hot_inputs(sharing):
    rng = np.random.default_rng(7)
    index, right = rng.integers(0, 4, (3, 2)), rng.standard_normal((2, 3, 2, 5))
    block = Gather(index, right, (4, 5)).kronecker(sharing)
    one_hot = np.eye(4)[index]
    linear = Outer(one_hot[:, :, None], right[:, :, :, None], (5, 4)).permuted((1, 0))
    np.testing.assert_allclose(block.dense(), linear.kronecker(sharing).dense())
    for mine, other in zip(block.factors, linear.kronecker(sharing).factors, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_dense_is_in_the_row_major_order_of_a_transposed_weight():
    """With one sample, one row and one use the block is u u^T exactly."""
    rng = np.random.default_rng(8)
    left, right = rng.standard_normal((1, 1, 1, 4)), rng.standard_normal((1, 1, 1, 1, 3))
    cotangent = Outer(left, right, (3, 4)).permuted((1, 0))
    u = cotangent.per_sample().reshape(-1)
    np.testing.assert_allclose(cotangent.kronecker().dense(), np.outer(u, u))


def test_dense_is_in_the_row_major_order_of_a_permuted_weight_of_three_axes():
    rng = np.random.default_rng(9)
    left, right = rng.standard_normal((1, 1, 1, 6)), rng.standard_normal((1, 1, 1, 1, 4))
    cotangent = Outer(left, right, (4, 2, 3)).permuted((2, 0, 1))
    assert cotangent.shape == (3, 4, 2)
    u = cotangent.per_sample().reshape(-1)
    np.testing.assert_allclose(cotangent.kronecker().dense(), np.outer(u, u))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_an_index_of_few_bits_is_that_of_many(dtype):
    """Positions in the table and in its samples are beyond what the dtype holds."""
    rng = np.random.default_rng(0)
    index, right = rng.integers(0, 200, (3, 4)), rng.standard_normal((2, 3, 4, 300))
    few, many = (Gather(i, right, (200, 300)) for i in (index.astype(dtype), index))
    for name in ("total", "per_sample", "squared_norms", "sum_of_squares", "per_sample_squares"):
        np.testing.assert_array_equal(getattr(few, name)(), getattr(many, name)())
    for sharing in ("expand", "reduce"):
        pairs = zip(few.kronecker(sharing).factors, many.kronecker(sharing).factors, strict=True)
        for found, expected in pairs:
            np.testing.assert_array_equal(found, expected)


def test_one_sample_of_a_table_is_exact():
    rng = np.random.default_rng(10)
    cotangent = Gather(np.array([[2]]), rng.standard_normal((1, 1, 1, 3)), (4, 3))
    u = cotangent.per_sample().reshape(-1)
    np.testing.assert_allclose(cotangent.kronecker().dense(), np.outer(u, u))


@pytest.mark.parametrize(
    "cotangent",
    [
        Dense(np.zeros((1, 1, 2, 2))),
        Mixed(
            [Dense(np.zeros((1, 1, 2, 2))), Gather(np.array([[0]]), np.ones((1, 1, 1, 2)), (2, 2))]
        ),
    ],
    ids=["Dense", "Mixed"],
)
def test_a_matrix_without_a_linear_map_has_no_factors(cotangent):
    with pytest.raises(QuantityError, match=r"\[2, 2\].*diag_ggn_exact"):
        cotangent.kronecker()


@pytest.mark.parametrize("kind", [Dense, Mixed])
def test_the_factor_of_a_vector_is_the_block_itself(kind):
    rng = np.random.default_rng(11)
    array = rng.standard_normal((2, 3, 4))
    cotangent = Dense(array) if kind is Dense else Mixed([Dense(array), Dense(array)])
    u = (array if kind is Dense else 2 * array).reshape(-1, 4)
    np.testing.assert_allclose(cotangent.kronecker().dense(), u.T @ u)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("kind", ["outer", "table", "permuted"])
def test_factors_are_of_the_uses_that_are_present(kind, sharing):
    """Each sample's uses are cut where it ends; the inputs of the rest are arbitrary."""
    rng, lengths = np.random.default_rng(0), [2, 4, 1]
    there = np.arange(4) < np.array(lengths)[:, None]
    right = np.where(there[..., None], rng.standard_normal((2, 3, 4, 2)), 0)
    index, left = rng.integers(0, 5, (3, 4)), rng.standard_normal((3, 4, 3))

    def uses(some):
        if kind == "table":
            return Gather(index[:, some], right[:, :, some], (5, 2)).among(there[:, some])
        outer = Outer(left[:, some, None], right[:, :, some, None], (2, 3))
        return (outer.permuted((1, 0)) if kind == "permuted" else outer).among(there[:, some])

    order = np.array([2, 0, 1])
    found = collect([uses(slice(3)), uses(slice(3, 4))]).select(samples=order).kronecker(sharing)
    left = np.eye(5)[index] if kind == "table" else left
    if sharing == "expand":
        a, b = left[there], right[:, there].reshape(-1, 2)
    else:
        a = np.stack([x[:t].mean(0) for x, t in zip(left, lengths, strict=True)])
        b = right.sum(2).reshape(-1, 2)
    np.testing.assert_allclose(found.factors[0], b.T @ b, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.factors[1], a.T @ a / len(a), rtol=1e-12, atol=1e-14)


def test_independent_time_steps_are_those_of_expand():
    """E[T] A_0 (x) G_0 per sample, for N samples, by its own definition."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((3, 4, 2)), rng.standard_normal((1, 3, 4, 5))
    found = Outer(left[:, :, None], right[:, :, :, None], (5, 2)).kronecker("independent")
    a, b = left.reshape(-1, 2), right.reshape(-1, 5)
    steps, samples = 4, 3
    block = samples * steps * np.kron(b.T @ b / len(b), a.T @ a / len(a))
    np.testing.assert_allclose(found.dense(), block, rtol=1e-12)


def test_an_unknown_sharing_is_refused():
    with pytest.raises(QuantityError, match=r"expand.*reduce.*independent"):
        Dense(np.zeros((1, 1, 2))).kronecker("average")


def positive(rng, size):
    root = rng.standard_normal((size, size + 2))
    return root @ root.T


@pytest.fixture(params=["matrix", "vector", "groups", "table"])
def block(request):
    rng = np.random.default_rng(12)
    match request.param:
        case "matrix":
            return Kronecker((positive(rng, 3), positive(rng, 4)), (3, 2, 2))
        case "vector":
            return Kronecker((positive(rng, 3),), (3,))
        case "groups":
            factors = tuple(positive(rng, n) for n in (2, 3, 2, 3))
            return Kronecker(factors, (4, 3))
    return Kronecker(
        (positive(rng, 3), positive(rng, 4)),
        (4, 3),
        pull=lambda stack: np.swapaxes(stack.reshape(-1, 3, 4), 1, 2),
    )


def test_matvec_is_the_product_with_the_dense_block(block):
    vector = np.random.default_rng(13).standard_normal(block.shape)
    expected = (block.dense() @ vector.reshape(-1)).reshape(block.shape)
    np.testing.assert_allclose(block.matvec(vector), expected)
    np.testing.assert_allclose(block.matvec(vector.reshape(-1)), expected.reshape(-1))


def test_the_inverse_without_damping_is_the_inverse_of_the_dense_block(block):
    identity = block.inverse().dense() @ block.dense()
    np.testing.assert_allclose(identity, np.eye(len(identity)), atol=1e-7)


def test_damping_is_balanced_between_the_factors(block):
    """Martens and Grosse 2015, section 6.3: pi^2 = (tr A / dim A) / (tr B / dim B)."""
    damping = 0.3
    inverse = block.inverse(damping)
    for (b, a), (b_inverse, a_inverse) in zip(block.pairs, inverse.pairs, strict=True):
        if a is None:
            np.testing.assert_allclose(np.linalg.inv(b_inverse), b + damping * np.eye(len(b)))
            continue
        pi = math.sqrt((np.trace(a) / len(a)) / (np.trace(b) / len(b)))
        root = math.sqrt(damping)
        np.testing.assert_allclose(np.linalg.inv(a_inverse), a + pi * root * np.eye(len(a)))
        np.testing.assert_allclose(np.linalg.inv(b_inverse), b + root / pi * np.eye(len(b)))


def test_a_singular_block_inverts_with_damping():
    block = Kronecker((np.zeros((2, 2)), np.zeros((3, 3))), (2, 3))
    np.testing.assert_allclose(block.inverse(0.25).dense(), 4 * np.eye(6))


def test_negative_damping_is_refused():
    with pytest.raises(QuantityError, match=r"damping.*-1"):
        Kronecker((np.eye(2),), (2,)).inverse(-1.0)


def test_eigenvalues_of_the_factors_rebuild_them(block):
    for factor, (values, vectors) in zip(block.factors, block.eigh(), strict=True):
        np.testing.assert_allclose(vectors * values @ vectors.T, factor, atol=1e-10)


def test_a_vector_of_another_shape_is_refused():
    with pytest.raises(QuantityError, match=r"\[2, 3\].*\[4\]"):
        Kronecker((np.eye(2), np.eye(3)), (2, 3)).matvec(np.ones(4))


# -- blocks on several threads ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5000, 3), (40, 31), (1, 8), (6, 1), (0, 4)])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_second_moment_in_parts_is_the_product(shape, workers, monkeypatch):
    monkeypatch.setattr(contractions, "divided", lambda multiplications: workers)
    monkeypatch.setattr(contractions, "MOST_COLUMNS", 7)
    rows = np.random.default_rng(0).standard_normal(shape)
    found = contractions.second_moment(rows)
    np.testing.assert_allclose(found, np.einsum("ki,kj->ij", rows, rows), rtol=1e-12, atol=1e-11)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("signed", [False, True])
def test_contractions_in_blocks_on_threads_are_the_definitions(signed, monkeypatch):
    """Blocks of two samples; the signs of a block are those of its samples."""
    rng = np.random.default_rng(1)
    left, right = rng.standard_normal((11, 3, 1, 4)), rng.standard_normal((2, 11, 3, 1, 5))
    cotangent = Outer(lambda samples: left[samples], right, (5, 4))
    u = np.einsum("vntgo,ntgi->vnoi", right, left)
    signs = rng.choice([-1.0, 1.0], (2, 11)) if signed else None
    squares = u * u if signs is None else signs[:, :, None, None] * u * u
    monkeypatch.setattr(base, "BLOCK_BYTES", 2 * 3 * cotangent._bytes_per_sample())
    assert len(cotangent._sample_slices()) == 6
    direction = rng.standard_normal((5, 4))
    for _ in range(3):
        for found, expected in [
            (cotangent.total(), u.sum(1)),
            (cotangent.per_sample(), u),
            (cotangent.sum_of_squares(signs), squares.sum((0, 1))),
            (cotangent.per_sample_squares(signs), squares.sum(0)),
            (cotangent.squared_norms(), (u * u).sum((2, 3))),
            (cotangent.project(direction), (u * direction).sum((2, 3))),
            (cotangent.kronecker().factors[1], np.einsum("nti,ntj->ij", *[left[:, :, 0]] * 2) / 33),
        ]:
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("uses", [1, 3])
def test_products_of_samples_are_written_block_by_block(uses, groups, monkeypatch):
    monkeypatch.setattr(base, "BLOCK_BYTES", 1)
    monkeypatch.setattr(outer, "FRESH", 0)
    rng = np.random.default_rng(1)
    left = rng.standard_normal((5, uses, groups, 4))
    right = rng.standard_normal((2, 5, uses, groups, 3))
    made = []

    def given(samples):
        made.append(samples)
        return left[samples]

    found = Outer(given, right, (groups * 3, 2, 2)).per_sample()
    expected = np.einsum("vntgo,ntgi->vngoi", right, left)
    expected = expected.reshape(2, 5, groups * 3, 2, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert sorted(some.start for some in made) == [0, 0, 1, 2, 3, 4]  # one more, to see what it is


@pytest.mark.parametrize("made_on_demand", [False, True])
@pytest.mark.parametrize("uses", [1, 3])
def test_products_of_samples_of_tensors_are_recorded_also_where_they_are_many(
    made_on_demand, uses, monkeypatch
):
    monkeypatch.setattr(base, "BLOCK_BYTES", 1)
    monkeypatch.setattr(outer, "FRESH", 0)
    rng = np.random.default_rng(1)
    left, right = rng.standard_normal((5, uses, 1, 4)), rng.standard_normal((2, 5, uses, 1, 3))
    with tracer.Tape():
        x = tracer.parameter(left)
        given = (lambda samples: x[samples]) if made_on_demand else x
        found = Outer(given, right, (3, 4)).per_sample()
    assert isinstance(found, tracer.Tensor)
    np.testing.assert_allclose(found.data, np.einsum("vntgo,ntgi->vnoi", right, left))


def test_results_of_blocks_are_the_same_at_every_call(monkeypatch):
    monkeypatch.setattr(base, "BLOCK_BYTES", 1)
    rng = np.random.default_rng(2)
    left = rng.standard_normal((30, 3, 1, 4)).astype(np.float32)
    right = rng.standard_normal((2, 30, 3, 1, 5)).astype(np.float32)
    cotangent = Outer(lambda samples: left[samples], right, (5, 4))
    first = cotangent.total(), cotangent.sum_of_squares()
    for _ in range(20):
        np.testing.assert_array_equal(cotangent.total(), first[0])
        np.testing.assert_array_equal(cotangent.sum_of_squares(), first[1])


def reordered():
    """An `Outer` of inputs `[2, 3]` for a parameter whose inputs are `[3, 2]`, and its array."""
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal((4, 2, 1, 6)), rng.standard_normal((1, 4, 2, 1, 5))
    order = np.arange(6).reshape(2, 3).T.reshape(-1)
    cotangent = Reindexed(
        Outer(left, right, (5, 2, 3)),
        (5, 3, 2),
        pull=lambda stack: np.swapaxes(stack, 2, 3),
        push=lambda direction: np.swapaxes(direction, 1, 2),
        key="swapped",
        factors=lambda factors: (factors[0], factors[1][order][:, order]),
    )
    u = np.einsum("vntgo,ntgi->vnoi", right, left)[..., order].reshape(1, 4, 5, 3, 2)
    return cotangent, u


def test_kronecker_factors_in_the_order_of_the_parameter():
    cotangent, u = reordered()
    np.testing.assert_allclose(cotangent.per_sample(), u, atol=1e-12)
    block = cotangent.kronecker()
    natural = Outer(cotangent.inner.left, cotangent.inner.right, (5, 6)).kronecker()
    order = np.arange(30).reshape(5, 2, 3).transpose(0, 2, 1).reshape(-1)
    np.testing.assert_allclose(block.dense(), natural.dense()[order][:, order], atol=1e-12)


def test_what_is_reindexed_keeps_its_structure_beside_another():
    """So that a union of shards takes no more memory than its parts."""
    cotangent, u = reordered()
    joined = cotangent.beside(reordered()[0])
    assert isinstance(joined, Reindexed)
    assert isinstance(joined.inner, Outer)
    np.testing.assert_allclose(joined.per_sample(), np.concatenate([u, u], 1), atol=1e-12)
