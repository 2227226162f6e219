"""The kit's checks of what plugins provide besides operations, and what these find."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import Quantity, registry
from tracer.extend import GGNMonteCarlo, Overlay, Renderer, Rows, ggn_exact
from tracer.testing import (
    BruteForce,
    brute_force,
    check_backend,
    check_layer,
    check_overlay,
    check_quantity,
    check_renderer,
    check_rows,
)

# -- quantities ---------------------------------------------------------------------------------


class Zeros(Quantity):
    name = "zeros"
    lists_samples = False

    def extract(self, cotangent, context):
        return np.zeros(context.shape)


def test_a_quantity_of_zeros_is_not_called_right():
    report = check_quantity(Zeros)
    assert not report.is_defined
    assert "reference" in report.missing


def test_a_quantity_brings_its_own_reference():
    class Defined(Zeros):
        def reference(self, brute):
            return brute.gradients.sum(0)

    with pytest.raises(AssertionError, match="quantity 'zeros', sum of losses: w is 0 at"):
        check_quantity(Defined)


def test_brute_force_offers_jacobians_and_hessians():
    rng = np.random.default_rng(0)
    a, y, p = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2)), rng.standard_normal(3)

    def output(p):
        return np.stack([a[n] @ (p * p) for n in range(4)])

    error = output(p) - y
    brute = brute_force(
        output, 2 * error, np.full_like(error, 2**0.5),
        lambda p: np.sum(np.square(output(p) - y), axis=1), p,
    )  # fmt: skip
    assert isinstance(brute, BruteForce)
    jacobians = 2 * a * p
    np.testing.assert_allclose(brute.jacobians, jacobians)
    np.testing.assert_allclose(brute.gradients, np.einsum("nc,ncp->np", 2 * error, jacobians))
    np.testing.assert_allclose(brute.curvatures, 2 * np.stack([np.eye(2)] * 4))
    ggn = np.einsum("ncp,ncd,ndq->pq", jacobians, brute.curvatures, jacobians)
    np.testing.assert_allclose(brute.ggn, ggn)
    bent = np.einsum("nc,ncp->p", 2 * error, 2 * a)
    np.testing.assert_allclose(brute.hessian, ggn + np.diag(bent))
    np.testing.assert_allclose(brute.hessians.sum(0), np.diag(brute.hessian))


# -- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(registry.rows))
def test_registered_rows(name):
    rows = registry.rows[name]
    assert check_rows(rows).is_defined == rows.of_gauss_newton


@pytest.mark.parametrize(("by", "samples"), [(2.0, 0), (1.1, 3)])
def test_rows_that_are_no_root(by, samples):
    class Scaled(Rows):
        name = "scaled"
        of_gauss_newton = True

        def __init__(self):
            self.samples = samples

        def start(self, term, rng):
            kind = GGNMonteCarlo(samples) if samples else ggn_exact
            rows = kind.start(term, rng)
            return by * rows[slice(0, len(rows))]

    with pytest.raises(AssertionError, match="outer products"):
        check_rows(Scaled())
    with pytest.raises(AssertionError, match="not an instance of Rows"):
        check_rows(Scaled)


# -- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shape", "options"),
    [
        (lambda: nn.Linear(3, 2), (4, 3), {}),
        (lambda: nn.Conv2d(2, 3, 2), (2, 2, 3, 3), {}),
        (lambda: nn.GRU(3, 2), (2, 4, 3), {"axis": 1}),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)), (4, 3), {}),
    ],
)
def test_layers_that_are_right(make, shape, options):
    report = check_layer(make(), np.random.default_rng(0).standard_normal(shape), **options)
    assert report.is_defined
    assert not report.missing
    assert "diag_ggn_exact" in report["quantities"]


def test_a_layer_that_couples_samples_says_what_has_no_values():
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    report = check_layer(layer, np.random.default_rng(0).standard_normal((4, 3)))
    assert "mixes samples" in report.missing["grad_batch"]
    assert "grad_batch" not in report.get("quantities", "")


class Halved(nn.Module):
    """A layer with a wrong gradient: half of it does not come from its weight."""

    def __init__(self):
        super().__init__()
        self.weight = tracer.parameter(np.ones((3, 2)))

    def forward(self, x):
        return 0.5 * (x @ self.weight) + 0.5 * (x @ self.weight.detach())


def test_a_layer_with_a_wrong_gradient():
    with pytest.raises(AssertionError, match=r"layer Halved: .* of weight is"):
        check_layer(Halved(), np.random.default_rng(0).standard_normal((4, 3)))


def test_a_layer_that_draws():
    with pytest.raises(AssertionError, match=r"gives something else each time: check layer\.eval"):
        check_layer(nn.Dropout(), np.ones((4, 3)))
    assert check_layer(nn.Dropout().eval(), np.ones((4, 3))).is_defined


def test_a_layer_that_widens():
    class Widens(Halved):
        def forward(self, x):
            return x @ self.weight * np.float64(0.5)

    with pytest.raises(AssertionError, match="float32 parameters and inputs give float64"):
        check_layer(Widens(), np.ones((4, 3)))


# -- renderers and overlays ---------------------------------------------------------------------


class Lines(Renderer):
    name = "lines"
    media_type = "text/plain"

    def render(self, graph, options):
        return "\n".join(map(str, graph)).encode()


def test_a_renderer_is_looked_at_by_people():
    report = check_renderer(Lines())
    assert "render" in report
    assert not report.is_defined


@pytest.mark.parametrize(
    ("render", "message"),
    [
        (lambda self, graph, options: "text", "render gives str, not bytes"),
        (lambda self, graph, options: b"", "render gives nothing"),
        (lambda self, graph, options: graph.clear() or b"x", "changes the graph"),
    ],
)
def test_renderers_that_are_wrong(render, message):
    broken = type("Broken", (Lines,), {"render": render})
    with pytest.raises(AssertionError, match=message):
        check_renderer(broken())
    with pytest.raises(AssertionError, match=r"not a tracer\.extend\.Renderer"):
        check_renderer(broken)


class Shapes(Overlay):
    name = "shapes"

    def values(self, graph, results):
        return {node: float(len(data["shape"])) for node, data in graph.nodes(data=True)}


def test_an_overlay_gives_numbers():
    report = check_overlay(Shapes())
    assert "values" in report
    assert not report.is_defined


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda self, graph, results: [1.0], "gives list, not a mapping"),
        (lambda self, graph, results: {"nowhere": 1.0}, "'nowhere' is no node"),
        (lambda self, graph, results: dict.fromkeys(graph, "1"), "has '1', a str, not a number"),
        (lambda self, graph, results: graph.clear() or {}, "changes the graph"),
    ],
)
def test_overlays_that_are_wrong(values, message):
    with pytest.raises(AssertionError, match=message):
        check_overlay(type("Broken", (Shapes,), {"values": values})())


# -- backends -----------------------------------------------------------------------------------


def test_the_backend_of_numpy():
    assert check_backend(registry.backends["numpy"]).is_defined


def test_a_backend_that_loses_precision():
    numpy = type(registry.backends["numpy"])
    narrow = type("Narrow", (numpy,), {"from_host": lambda self, x: x.astype(np.float32)})
    with pytest.raises(AssertionError, match="from_host makes float32 of float64"):
        check_backend(narrow())


def test_states_that_do_not_merge_are_told_with_the_way_out():
    class Norms(Quantity):
        name = "norms"
        per_sample = True

        def extract(self, cotangent, context):
            return cotangent.squared_norms()[0]

    with pytest.raises(AssertionError, match=r"do not merge .* give it a merge"):
        check_quantity(Norms)
