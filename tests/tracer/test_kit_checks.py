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
    tracer.seed(0)
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    report = check_layer(layer, np.random.default_rng(0).standard_normal((4, 3)))
    assert "mixes samples" in report.missing["grad_batch"]
    assert "grad_batch" not in report.get("quantities", "")


@pytest.mark.parametrize("seed", [6, 24])
def test_a_layer_that_bends_much_is_right(seed):
    """Differences of one step are off by more than is allowed there."""
    tracer.seed(seed)
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    assert check_layer(layer, np.random.default_rng(0).standard_normal((4, 3))).is_defined


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


class Scaled(nn.Module):
    """A layer with a parameter, a buffer that is saved, and one that is not."""

    def __init__(self):
        super().__init__()
        self.weight = tracer.parameter(np.ones(3))
        self.register_buffer("mean", np.zeros(3))
        self.register_buffer("ones", np.ones(3), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = np.mean(getattr(x, "data", x), axis=0)
            return x * self.weight
        return x * self.weight - self.mean * self.ones


class Without(Scaled):
    lacks = ()

    def state_dict(self, **options):
        state = super().state_dict(**options)
        return {name: value for name, value in state.items() if name not in self.lacks}

    def load_state_dict(self, state, strict=True, assign=False):
        return super().load_state_dict(state, strict=False)


class Strict(Without):
    lacks = ("mean",)
    load_state_dict = nn.Module.load_state_dict


class Renaming(Scaled):
    def state_dict(self, **options):
        return {f"own_{name}": v for name, v in super().state_dict(**options).items()}

    def load_state_dict(self, state, strict=True, assign=False):
        own = {name.removeprefix("own_"): value for name, value in state.items()}
        return super().load_state_dict(own, strict)


class Unregistered(nn.Module):
    """A layer whose running mean is no buffer."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.running_mean = np.zeros(3)

    def forward(self, x):
        if self.training:
            self.running_mean = 0.9 * self.running_mean + 0.1
        return self.inner(x) - self.running_mean.astype(x.dtype)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [Scaled, Renaming])
def test_a_state_that_brings_back_everything(kind, training):
    report = check_layer(kind().train(training), np.random.default_rng(0).standard_normal((4, 3)))
    assert report.is_defined
    assert "buffers" in report["state_dict"]


@pytest.mark.parametrize(
    ("lacks", "names"),
    [(("mean",), "mean"), (("weight",), "weight"), (("weight", "mean"), "weight, mean")],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_state_that_lacks_something(lacks, names, training):
    layer = type("Lacking", (Without,), {"lacks": lacks})().train(training)
    message = f"layer Lacking: its state_dict does not bring back {names}: put it into state_dict"
    with pytest.raises(AssertionError, match=message):
        check_layer(layer, np.random.default_rng(0).standard_normal((4, 3)))


def test_a_state_that_does_not_load():
    message = r"load_state_dict does not take what its state_dict gives: ShapeError: .*mean"
    with pytest.raises(AssertionError, match=message):
        check_layer(Strict(), np.random.default_rng(0).standard_normal((4, 3)))


def test_a_running_mean_that_is_no_buffer():
    with pytest.raises(AssertionError, match=r"its state_dict lacks running_mean, .*register_buf"):
        check_layer(Unregistered().eval(), np.random.default_rng(0).standard_normal((4, 3)))


def test_a_layer_that_cannot_be_called_in_training_says_so():
    layer = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    report = check_layer(layer, np.ones((1, 3)))
    assert "state after training" in report.missing


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
