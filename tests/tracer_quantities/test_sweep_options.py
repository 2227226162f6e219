"""Options of `backward`: budgets, generators, reductions; and what one sweep costs."""

import tracemalloc

import numpy as np
import pytest
from brute_force import CURVATURE, FIRST_ORDER, SAMPLED, Problem, assert_close
from zoo import draw

import tracer
from tracer import registry
from tracer_layers.functional import cross_entropy, mse_loss
from tracer_quantities import KFAC, DiagGGNExact, DiagGGNMC

ALL = (*FIRST_ORDER, *CURVATURE, *SAMPLED, "kflr", "kfac")


def comparable(value):
    return value.dense() if isinstance(value, tracer.Kronecker) else value


@pytest.mark.parametrize("name", ["mlp", "transposed", "einsum_in_groups", "outputs_at_positions"])
@pytest.mark.parametrize("budget", [1, 700, 5e3, np.inf])
def test_a_memory_budget_changes_no_result(name, budget):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(0))
    problem = Problem(function, parameters, inputs, axes)
    quantities = [q for q in ALL if name != "outputs_at_positions" or not q.startswith("kf")]
    expected = problem.backward(quantities, rng=np.random.default_rng(1))
    results = problem.backward(quantities, rng=np.random.default_rng(1), memory_budget=budget)
    for quantity, values in expected.items():
        assert list(results[quantity]) == list(values)
        for key, value in values.items():
            mine = comparable(results[quantity][key])
            assert_close(mine, comparable(value), f"{quantity} of {key}")


def peak_of(loss_of, quantities, budget, *arrays):
    """Most bytes in use at once during a sweep, beyond what the tape and the results hold."""
    with tracer.Tape() as tape:
        leaves = [tracer.parameter(a) for a in arrays]
        loss = loss_of(*leaves)
    tracemalloc.start()
    try:
        results = tape.backward(loss, quantities, memory_budget=budget)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert results
    return peak - kept


def test_the_budget_bounds_the_rows_of_many_classes():
    """100 rows of a hidden layer `[64, 256]` take 13 MB."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((64, 32)), rng.integers(0, 100, 64)
    arrays = rng.standard_normal((32, 256)), rng.standard_normal((256, 100))

    def loss_of(w, v):
        return cross_entropy(np.tanh(tracer.batch(x) @ w) @ v, labels)

    budget = 2 << 20
    seeds = 100 * 64 * 100 * 8
    assert peak_of(loss_of, ("diag_ggn_exact",), None, *arrays) > 12e6
    assert peak_of(loss_of, ("diag_ggn_exact",), budget, *arrays) < 2 * seeds + 2 * budget


def test_the_budget_bounds_the_products_of_several_uses():
    """The dense gradients of 128 samples take 128 x 128 x 128 x 8 bytes = 17 MB."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((128, 3, 128))

    def loss_of(w):
        return np.mean(np.square(tracer.batch(x) @ w))

    arrays = (rng.standard_normal((128, 128)),)
    budget = 1 << 20
    operands = 2 * x.nbytes
    for quantity in ("sum_grad_squared", "variance"):
        assert peak_of(loss_of, (quantity,), budget, *arrays) < 3 * operands + 3 * budget


def test_the_budget_bounds_the_rows_of_kronecker_factors():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((64, 32)), rng.integers(0, 100, 64)
    arrays = rng.standard_normal((32, 256)), rng.standard_normal((256, 100))

    def loss_of(w, v):
        return cross_entropy(np.tanh(tracer.batch(x) @ w) @ v, labels)

    seeds, factors = 100 * 64 * 100 * 8, (256 * 256 + 100 * 100 + 256 * 256 + 32 * 32) * 8
    budget = 2 << 20
    assert peak_of(loss_of, ("kflr",), budget, *arrays) < 2 * seeds + 2 * budget + 2 * factors


# -- one sweep -------------------------------------------------------------------------------------

calls = []


@tracer.operation("test_counted_tanh")
class CountedTanh(tracer.Elementwise):
    saves = ("output",)

    def forward(x):
        return np.tanh(x)

    def vjp(node, g):
        calls.append(len(g))
        y = node.output
        return (g * (1 - y * y),)


def counted_problem():
    rng = np.random.default_rng(0)
    return Problem(
        lambda p, given: CountedTanh(given[0] @ p["w"]) @ p["v"],
        {"w": rng.standard_normal((3, 4)), "v": rng.standard_normal((4, 2))},
        [rng.standard_normal((5, 3))],
    )


def test_all_quantities_together_are_one_sweep_of_stacked_rows():
    calls.clear()
    counted_problem().backward(ALL)
    assert calls == [1 + 2 + 1]  # the gradient, two exact rows, one sampled row


def test_chunks_are_as_few_as_the_budget_allows():
    calls.clear()
    counted_problem().backward(("diag_ggn_exact",), memory_budget=1)
    assert calls == [1, 1]


def test_the_gradient_alone_is_one_row():
    calls.clear()
    counted_problem().backward(("grad", "grad_batch", "variance"))
    assert calls == [1]


def test_rows_are_named_as_a_plugin_registers_them():
    class Named(DiagGGNExact):
        name, rows = "named", "ggn_exact"

    results = counted_problem().backward((Named(), "diag_ggn_exact"))
    for key, value in results["diag_ggn_exact"].items():
        np.testing.assert_array_equal(results["named"][key], value)
    with pytest.raises(tracer.RegistryError, match=r"ggn_exakt.*Did you mean 'ggn_exact'"):
        counted_problem().backward((type("Misspelt", (Named,), {"rows": "ggn_exakt"}),))


# -- generators ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SAMPLED, "kfac"])
def test_a_generator_makes_sampled_quantities_reproducible(name):
    problem = counted_problem()
    first, again, other = (
        comparable(problem.backward((name,), rng=np.random.default_rng(seed))[name]["w"])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_shared_generator_is_seeded():
    problem = counted_problem()
    values = []
    for _ in range(2):
        tracer.seed(3)
        values.append(problem.backward(("diag_ggn_mc",))["diag_ggn_mc"]["w"])
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("samples", [0, -1, 1.5, "2"])
def test_a_number_of_samples_that_is_none_is_refused(samples):
    with pytest.raises(tracer.QuantityError, match="mc_samples"):
        KFAC(mc_samples=samples)


# -- reductions ------------------------------------------------------------------------------------


def test_a_reduction_replaces_values_inside_the_sweep():
    problem = counted_problem()
    seen = []

    def first_row(name, value):
        seen.append(name)
        return value[0]

    results = problem.backward(("grad_batch", "grad"), reduce={"grad_batch": first_row})
    assert sorted(seen) == ["v", "w"]
    assert_close(results["grad_batch"]["w"], problem.grad_batch()["w"][0], "w")
    assert results["grad"]["w"].shape == (3, 4)


def test_a_reduction_never_keeps_two_large_values():
    """Ten parameters' `grad_batch` take 80 MB together."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 100))

    def loss_of(*weights):
        h = tracer.batch(x)
        for w in weights:
            h = np.tanh(h @ w)
        return np.mean(h)

    arrays = [rng.standard_normal((100, 100)) / 10 for _ in range(10)]
    with tracer.Tape() as tape:
        loss = loss_of(*(tracer.parameter(a) for a in arrays))
    tracemalloc.start()
    try:
        tape.backward(loss, ("grad_batch",), reduce={"grad_batch": lambda name, value: value.sum()})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25e6


def test_a_reduction_of_what_is_not_asked_is_refused():
    with pytest.raises(tracer.QuantityError, match=r"'variance'.*not asked"):
        counted_problem().backward(("grad",), reduce={"variance": lambda n, v: v})


# -- what is asked ---------------------------------------------------------------------------------


def test_a_misspelt_quantity_is_suggested():
    with pytest.raises(
        tracer.RegistryError, match=r"did you mean 'variance'|Did you mean 'variance'"
    ):
        counted_problem().backward(("varience",))


def test_a_quantity_asked_twice_is_refused():
    with pytest.raises(tracer.QuantityError, match=r"'grad'.*twice"):
        counted_problem().backward(("grad", "grad"))
    with pytest.raises(tracer.QuantityError, match=r"'diag_ggn_mc'.*twice"):
        counted_problem().backward((DiagGGNMC(2), DiagGGNMC(3)))


@pytest.mark.parametrize("asked", [3, [3], [np.sum]])
def test_what_is_no_quantity_is_refused(asked):
    with pytest.raises((tracer.QuantityError, TypeError), match=r"quantit|iterable"):
        counted_problem().backward(asked)


def test_one_name_or_class_may_stand_alone():
    problem = counted_problem()
    assert list(problem.backward("grad")) == ["grad"]
    assert list(problem.backward(DiagGGNMC())) == ["diag_ggn_mc"]
    assert list(problem.backward((DiagGGNMC,))) == ["diag_ggn_mc"]


def test_an_unreached_parameter_has_zeros_of_every_quantity():
    with tracer.Tape() as tape:
        x = tracer.batch(np.ones((4, 3)))
        w, u = tracer.parameter(np.ones((3, 2)), name="w"), tracer.parameter(np.ones((5, 6)), "u")
        b = tracer.parameter(np.ones(7), name="b")
        output = x @ w
        unused = np.sum(u * u) + np.sum(b)
        loss = mse_loss(output, np.zeros((4, 2))) + 0 * unused.detach()
    results = tape.backward(loss, ALL)
    for name, shape in (("u", (5, 6)), ("b", (7,))):
        for quantity, values in results.items():
            value = comparable(values[name])
            assert not value.any(), quantity
            if quantity.startswith("k"):
                assert value.shape == (np.prod(shape),) * 2
            else:
                reached = values["w"].shape
                expected = reached[: len(reached) - 2] + shape
                assert value.shape == (reached if quantity in SCALARS else expected), quantity


SCALARS = ("batch_l2", "batch_dot")


def test_single_precision_stays():
    with tracer.Tape() as tape:
        x = tracer.batch(np.ones((4, 3), "f4"))
        w = tracer.parameter(np.ones((3, 2), "f4"), name="w")
        loss = cross_entropy(np.tanh(x @ w * 0.5), np.array([0, 1, 1, 0]))
    for quantity, values in tape.backward(loss, ALL).items():
        value = values["w"]
        kinds = value.factors if isinstance(value, tracer.Kronecker) else (value,)
        assert {array.dtype for array in kinds} == {np.dtype("f4")}, quantity


def test_registered_quantities_are_those_of_the_contract():
    assert set(ALL) <= set(registry.quantities)
