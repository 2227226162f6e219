"""Where Kronecker-factored blocks are exact, they equal the dense Gauss-Newton block."""

import numpy as np
import pytest
from brute_force import Problem, assert_close

import tracer
import tracer_layers as nn
from tracer import QuantityError, registry
from tracer_layers.functional import embedding, mse_loss
from tracer_quantities import KFAC, KFLR


def rng():
    return np.random.default_rng(0)


def weights(generator):
    return {
        "w": generator.standard_normal((3, 4)),
        "b": generator.standard_normal(4),
        "v": generator.standard_normal((2, 4)),
        "c": generator.standard_normal(2),
    }


def deep_linear(w, b, v, c, x):
    return (x @ w + b) @ v.T + c


def assert_exact(problem, block):
    results = problem.backward((block,))["kflr"]
    for name, blocks in problem.ggn_batch().items():
        assert_close(results[name].dense(), blocks.sum(0), name)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_kflr_of_a_deep_linear_network_with_squared_error(reduction, sharing):
    generator = rng()
    problem = Problem(
        lambda p, given: deep_linear(*p.values(), *given),
        weights(generator),
        [generator.standard_normal((5, 3))],
        reduction=reduction,
    )
    assert_exact(problem, KFLR(sharing=sharing))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_expand_is_exact_where_the_loss_sums_over_positions(reduction):
    """Eschenhagen et al. 2023, proposition 1."""
    generator = rng()
    problem = Problem(
        lambda p, given: deep_linear(*p.values(), *given),
        weights(generator),
        [generator.standard_normal((4, 3, 3))],
        reduction=reduction,
    )
    assert_exact(problem, KFLR(sharing="expand"))


@pytest.mark.parametrize("scale", [1.0, 1 / 3])
def test_reduce_is_exact_where_positions_are_summed_with_a_scale(scale):
    """Eschenhagen et al. 2023, proposition 2."""
    generator = rng()
    problem = Problem(
        lambda p, given: scale * np.sum(deep_linear(*p.values(), *given), axis=1),
        weights(generator),
        [generator.standard_normal((4, 3, 3))],
    )
    assert_exact(problem, KFLR(sharing="reduce"))


@pytest.mark.parametrize("lookup", [embedding, lambda ids, table: table[ids]])
def test_a_table_of_a_linear_network_is_exact(lookup):
    """Inputs are one-hot vectors: the block of a table is that of a linear map."""
    generator = rng()
    ids = generator.integers(0, 5, 6)
    problem = Problem(
        lambda p, given: lookup(given[0], p["t"]) @ p["v"],
        {"t": generator.standard_normal((5, 3)), "v": generator.standard_normal((3, 2))},
        [ids],
    )
    assert_exact(problem, KFLR())


def test_kfac_is_kflr_with_the_sampled_rows_of_the_sweep():
    generator = rng()
    problem = Problem(
        lambda p, given: deep_linear(*p.values(), *given),
        weights(generator),
        [generator.standard_normal((5, 3))],
        kind="cross_entropy",
    )
    asked = (KFAC(mc_samples=3), KFLR())
    results = problem.backward(asked, rng=np.random.default_rng(2))
    roots = problem.backward((sampled("sqrt_ggn_mc", 3),), rng=np.random.default_rng(2))[
        "sqrt_ggn_mc"
    ]
    for name in ("b", "c"):
        flat = roots[name].reshape(-1, roots[name].shape[-1])
        assert_close(results["kfac"][name].factors[0], flat.T @ flat, name)
    for name, bias in (("w", "b"), ("v", "c")):
        output, inputs = results["kfac"][name].factors
        assert_close(output, results["kfac"][bias].factors[0], name)
        assert_close(inputs, results["kflr"][name].factors[1], name)


def sampled(name, samples):
    return registry.quantities[name](mc_samples=samples)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
def test_sampled_quantities_converge_to_the_exact_ones(kind):
    """At 1/sqrt(M): five standard errors of 40,000 samples."""
    generator = rng()
    problem = Problem(
        lambda p, given: np.tanh(given[0] @ p["w"] + p["b"]) @ p["v"],
        {
            "w": generator.standard_normal((2, 3)),
            "b": generator.standard_normal(3),
            "v": generator.standard_normal((3, 2)),
        },
        [generator.standard_normal((3, 2))],
        kind=kind,
    )
    names = ("diag_ggn_mc", "diag_ggn_mc_batch", "kfac")
    results = problem.backward(
        [sampled(name, 40_000) for name in names], rng=np.random.default_rng(3)
    )
    exact = problem.backward(("diag_ggn_exact", "diag_ggn_exact_batch", "kflr"))
    for name in problem.parameters:
        for mine, other in (("diag_ggn_mc", "diag_ggn_exact"),
                            ("diag_ggn_mc_batch", "diag_ggn_exact_batch")):  # fmt: skip
            assert_close(results[mine][name], exact[other][name], f"{mine} of {name}", 0.05)
        assert_close(
            results["kfac"][name].dense(), exact["kflr"][name].dense(), f"kfac of {name}", 0.05
        )


def test_several_kinds_of_sampled_rows_have_their_own_samples():
    generator = rng()
    problem = Problem(
        lambda p, given: deep_linear(*p.values(), *given),
        weights(generator),
        [generator.standard_normal((5, 3))],
    )
    results = problem.backward(
        (sampled("sqrt_ggn_mc", 2), sampled("diag_ggn_mc", 5)), rng=np.random.default_rng(4)
    )
    assert results["sqrt_ggn_mc"]["w"].shape == (2, 5, 3, 4)
    assert (results["diag_ggn_mc"]["w"] >= 0).all()


def test_a_parameter_that_no_linear_map_uses_has_no_factors():
    generator = rng()
    problem = Problem(
        lambda p, given: given[0] * np.sin(p["m"]),
        {"m": generator.standard_normal((1, 3))},
        [generator.standard_normal((4, 3))],
    )
    with pytest.raises(QuantityError, match=r"\[1, 3\].*diag_ggn_exact"):
        problem.backward(("kflr",))


# -- arithmetic of blocks --------------------------------------------------------------------------


def kronecker_blocks(seed, dtype=float):
    """Blocks of a map, a bias, a map in groups, a table, of which a part is used, and a slice."""
    generator = np.random.default_rng(seed)
    model = nn.ModuleDict(
        {
            "table": nn.Embedding(5, 3),
            "map": nn.Linear(3, 4),
            "groups": nn.Conv1d(4, 2, 1, groups=2),
        }
    ).to(dtype)
    part = tracer.parameter(np.ones((4, 3), dtype), name="part")
    with tracer.Tape() as tape:
        h = model["table"](tracer.batch(generator.integers(0, 4, 6))) * part[1]
        h = model["groups"](np.tanh(model["map"](h))[:, :, None])
        loss = mse_loss(h, np.zeros(h.shape, dtype))
    return tape.backward(loss, "kflr")["kflr"]


@pytest.mark.parametrize("number", [0.3, 2, np.float64(0.5), np.float32(-1)])
def test_a_block_times_a_number(number):
    for name, block in kronecker_blocks(0, np.float32).items():
        for scaled in (number * block, block * number, block / (1 / number)):
            expected = np.float32(number) * block.dense()
            assert scaled.dense().dtype == np.float32
            np.testing.assert_allclose(scaled.dense(), expected, rtol=1e-5, err_msg=name)


def test_running_averages_are_of_each_factor():
    old, new = kronecker_blocks(0), kronecker_blocks(1)
    for name, block in old.items():
        average = block.running_average(new[name], 0.9)
        for mean, a, b in zip(average.factors, block.factors, new[name].factors, strict=True):
            np.testing.assert_allclose(mean, 0.9 * a + 0.1 * b)
        same = block.running_average(block)
        np.testing.assert_allclose(same.dense(), block.dense())


def refused(make):
    with pytest.raises(QuantityError) as caught:
        make()
    return str(caught.value)


def test_sums_and_other_products_of_blocks_are_refused():
    blocks = kronecker_blocks(0)
    weight, bias = blocks["map.weight"], blocks["map.bias"]
    for add in (lambda: weight + weight, lambda: 1 - weight, lambda: sum([bias, bias])):
        assert "running_average" in refused(add)
    for multiply in (lambda: weight * bias, lambda: np.ones(3) * weight, lambda: weight / None):
        assert "numbers" in refused(multiply)
    assert "one parameter" in refused(lambda: weight.running_average(bias))
    assert "0 to 1" in refused(lambda: weight.running_average(weight, 95))


@pytest.mark.parametrize("factor", [np.zeros((2, 2)), np.eye(2) - 0.5, np.ones((2, 2))])
def test_a_singular_block_asks_for_damping(factor):
    for factors, shape in (((factor,), (2,)), ((factor, np.eye(3)), (2, 3))):
        block = tracer.Kronecker(factors, shape)
        assert "damping" in refused(block.inverse)
        assert np.isfinite(block.inverse(1e-3).dense()).all()
