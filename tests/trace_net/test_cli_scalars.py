"""Numbers of quantities' values: kinds, forms, eigenvalues and overlays, against dense matrices."""

import networkx as nx
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from trace_net import spectra
from trace_net.errors import UsageError
from trace_net.overlays import QuantityOverlay, find_overlay
from trace_net.scalars import SCALARS, scalars
from trace_net.values import form, kind
from tracer import Kronecker

rng = np.random.default_rng(0)
SHAPES = {"w": (4, 3), "b": (4,)}


def positive(size, rank=None):
    root = rng.standard_normal((size, rank or size))
    return root @ root.T


BLOCKS = {
    "pair": Kronecker((positive(4), positive(3)), (4, 3)),
    "single": Kronecker((positive(4),), (4,)),
    "groups": Kronecker((positive(2), positive(3), positive(2), positive(3)), (4, 3)),
}
DENSE = {
    "norm": np.linalg.norm,
    "max": np.max,
    "min": np.min,
    "mean": np.mean,
    "trace": np.trace,
    "condition": np.linalg.cond,
}


def scalar_of(quantity, scalar, value, shape=(4, 3)):
    return scalars(quantity, scalar, {"p": value}, {"p": shape}).get("p")


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_number_of_a_kronecker_block_is_that_of_its_matrix(name, scalar):
    block = BLOCKS[name]
    found = scalar_of("kfac", scalar, block, block.shape)
    assert found == pytest.approx(DENSE[scalar](block.dense()), rel=1e-9)


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_number_of_a_diagonal_is_that_of_the_diagonal_or_of_its_elements(scalar):
    diagonal = rng.random((4, 3)) + 0.1
    matrix = np.diag(diagonal.reshape(-1))
    expected = DENSE[scalar](matrix if scalar in ("trace", "condition") else diagonal)
    assert scalar_of("diag_ggn_exact", scalar, diagonal) == pytest.approx(expected)


@pytest.mark.parametrize("scalar", ["trace", "condition"])
def test_a_number_of_pairs_of_samples_is_that_of_their_matrix(scalar):
    matrix = positive(5)
    assert scalar_of("batch_dot", scalar, matrix) == pytest.approx(DENSE[scalar](matrix))


@pytest.mark.parametrize("scalar", ["trace", "condition"])
@pytest.mark.parametrize("shape", [(4, 3), (5, 4, 3), (5,)])
def test_what_is_no_matrix_has_neither_trace_nor_condition(scalar, shape):
    assert scalar_of("grad", scalar, np.ones(shape)) is None


def test_a_singular_matrix_has_an_infinite_condition_number():
    block = Kronecker((positive(4, rank=2), positive(3)), (4, 3))
    assert scalar_of("kfac", "condition", block) == np.inf
    assert spectra.of_eigenvalues(spectra.eigenvalues(block.factors[0])).rank == 2


def test_values_that_are_not_finite_stay_so():
    factor = np.full((3, 3), np.nan)
    assert np.isnan(scalar_of("kfac", "condition", Kronecker((factor,), (3,)), (3,)))
    assert np.isnan(scalar_of("grad", "norm", factor))


def test_an_empty_array_has_a_norm_and_no_extremes():
    empty = np.zeros((0, 3))
    assert scalar_of("grad", "norm", empty, (0, 3)) == 0
    assert scalar_of("grad", "max", empty, (0, 3)) is None


@pytest.mark.parametrize(
    ("leading", "expected"), [((), "elements"), ((5,), "stack"), ((2, 5), "stack")]
)
def test_the_form_of_arrays_follows_from_their_shapes(leading, expected):
    values = {name: np.zeros(leading + shape) for name, shape in SHAPES.items()}
    assert form(values, SHAPES) == expected


def test_the_forms_of_numbers_of_samples():
    assert form(dict.fromkeys(SHAPES, np.zeros(5)), SHAPES) == "samples"
    assert form(dict.fromkeys(SHAPES, np.zeros((5, 5))), SHAPES) == "pairs"
    assert form(dict.fromkeys(SHAPES, np.zeros((5, 7))), SHAPES) == ""
    assert form({"w": np.zeros((3, 4)), "b": np.zeros(3)}, SHAPES) == ""


def test_the_kind_of_a_value():
    operator = aslinearoperator(np.eye(2))
    values = (np.ones(2), BLOCKS["pair"], operator, np.sum, None)
    assert list(map(kind, values)) == ["array", "kronecker", "operator", "function", "object"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanczos_finds_the_eigenvalue_of_largest_magnitude(dtype):
    diagonal = np.linspace(-2, 1, 500).astype(dtype)
    diagonal[7] = -9
    operator = LinearOperator((500, 500), matvec=lambda v: diagonal * v.ravel(), dtype=dtype)
    assert spectra.dense(operator) is None
    assert spectra.extreme_eigenvalue(operator) == pytest.approx(-9, rel=0.01)


def test_lanczos_on_zero_or_nan_knows_nothing():
    for factor in (0.0, np.nan):
        operator = LinearOperator(
            (300, 300), matvec=lambda v, factor=factor: factor * v.ravel(), dtype=np.float64
        )
        found = spectra.extreme_eigenvalue(operator)
        assert found is None or found == pytest.approx(0)


def test_a_large_matrix_is_not_decomposed(monkeypatch):
    monkeypatch.setattr(spectra, "LARGEST", 3)
    assert spectra.eigenvalues(np.eye(4)) is None
    assert scalar_of("kfac", "condition", BLOCKS["pair"]) is None


def graph_of(*kinds):
    graph = nx.MultiDiGraph()
    for i, (name, shape) in enumerate(SHAPES.items()):
        common = {"op": "", "shape": list(shape)}
        if "parameter" in kinds:
            graph.add_node(f"n{i}", kind="parameter", label=name, **common)
        if "cotangent" in kinds:
            graph.add_node(f"d{i}", kind="cotangent", label=f"∇ {name}", of=f"n{i}", **common)
    graph.add_node("n9", kind="operation", op="tanh", label="tanh", shape=[4])
    graph.add_node("d9", kind="cotangent", op="tanh", label="∇ w", of="n9", shape=[4])
    return graph


@pytest.mark.parametrize("kinds", [("parameter",), ("cotangent",), ("parameter", "cotangent")])
def test_an_overlay_colours_parameters_and_their_cotangents(kinds):
    results = {"diag_h": {"w": np.full((4, 3), -2.0), "b": np.arange(4.0)}}
    values = QuantityOverlay("diag_h", "max").values(graph_of(*kinds), results)
    expected = {"n0": -2, "n1": 3, "d0": -2, "d1": 3}
    letters = {"parameter": "n", "cotangent": "d"}
    kept = {letters[kind] for kind in kinds}
    assert values == {node: value for node, value in expected.items() if node[0] in kept}


def test_an_overlay_of_what_has_no_arrays_is_empty():
    operator = aslinearoperator(np.eye(2))
    assert QuantityOverlay("ggn").values(graph_of("parameter"), {"ggn": operator}) == {}
    assert QuantityOverlay("hmp").values(graph_of("parameter"), {"hmp": {"w": np.sum}}) == {}
    assert QuantityOverlay("kfac").values(graph_of("parameter"), {}) == {}


def test_an_overlay_is_a_registered_one_or_a_quantity_with_a_scalar():
    assert find_overlay("grad_norm").label == "gradient norm"
    assert find_overlay("kfac").label == "norm of kfac"
    assert find_overlay("kfac:condition").label == "condition number of kfac"
    assert find_overlay("batch_l2:mean").quantities == ("batch_l2",)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("grad_nrom", "'grad_norm'"),
        ("batchl2:max", "'batch_l2'"),
        ("kfac:conditon", "'condition'"),
        ("kfac:", ""),
    ],
)
def test_a_misspelt_overlay_gets_a_suggestion(name, suggested):
    with pytest.raises(UsageError) as raised:
        find_overlay(name)
    assert suggested in raised.value.message
    assert "trace" in raised.value.hint


def test_an_overlay_that_is_no_quantity_takes_no_scalar():
    with pytest.raises(UsageError, match="'grad_norm' is no quantity and takes no 'max'"):
        find_overlay("grad_norm:max")
