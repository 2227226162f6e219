"""Batches of two sizes, of one sample and of none."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from brute_force import (
    CURVATURE,
    FIRST_ORDER,
    Problem,
    assert_close,
    assert_curvature,
    assert_first_order,
)
from zoo import MODELS, N, draw

import tracer
import tracer_layers as nn
from tracer import registry
from tracer_layers.functional import cross_entropy, mse_loss

sys.path.append(str(Path(__file__).parents[1] / "tracer_layers"))
from layer_zoo import COUPLING, LAYERS, network

rng = np.random.default_rng(0)
FEW = 3

# -- two sizes -------------------------------------------------------------------------------------

SUMS = ("grad", "sum_grad_squared", "variance", "diag_ggn_exact", "diag_h", "ggn", "hessian")
LISTS = (
    *("grad_batch", "batch_l2", "batch_dot", "sqrt_ggn_exact", "sqrt_ggn_mc"),
    *("diag_ggn_exact_batch", "diag_ggn_mc_batch", "diag_h_batch"),
)
#: models that no sum of two batches is made of: the rest of the zoo
SINGLE = ("table_marked_after_lookup",)
TWICE = [name for name in MODELS if name not in SINGLE]


def two_problems(name, kind="squared"):
    """The same model and parameters with a batch of N and one of FEW samples."""
    function, parameters, inputs, axes = draw(name, np.random.default_rng(3))
    axes = axes or [0] * len(inputs)
    others = [
        np.take(0.5 * x if x.dtype.kind == "f" else x, range(FEW), a)
        for x, a in zip(inputs, axes, strict=True)
    ]
    return [
        Problem(function, parameters, given, axes, kind=kind, reduction="sum")
        for given in (inputs, others)
    ]


def trace_of(problems, weights=(1.0, 0.3)):
    with tracer.Tape() as tape:
        leaves = {k: tracer.parameter(v, name=k) for k, v in problems[0].parameters.items()}
        loss = 0
        for problem, weight in zip(problems, weights, strict=True):
            pairs = zip(problem.inputs, problem.axes, strict=True)
            output = problem.model(leaves, [tracer.batch(x, a) for x, a in pairs])
            term = {"squared": mse_loss, "cross_entropy": cross_entropy}[problem.kind]
            loss = loss + weight * term(output, problem.target, reduction="sum")
    return tape, loss


@pytest.mark.parametrize("kind", ["squared", "cross_entropy"])
@pytest.mark.parametrize("name", TWICE)
def test_sums_over_the_samples_of_two_batches(name, kind):
    problems, weights = two_problems(name, kind), (1.0, 0.3)
    tape, loss = trace_of(problems, weights)
    results = tape.backward(loss, SUMS)
    rows = [problem.grad_batch() for problem in problems]
    blocks = [problem.ggn_batch() for problem in problems]
    for key, shape in ((k, v.shape) for k, v in problems[0].parameters.items()):
        g = np.concatenate([w * each[key] for w, each in zip(weights, rows, strict=True)])
        ggn = sum(w * each[key].sum(0) for w, each in zip(weights, blocks, strict=True))
        assert_close(results["grad"][key], g.sum(0), f"grad of {key}")
        assert_close(results["sum_grad_squared"][key], np.sum(g**2, 0), f"squares of {key}")
        variance = np.mean(g**2, 0) - np.mean(g, 0) ** 2
        assert_close(results["variance"][key], variance, f"variance of {key}")
        diagonal = np.diagonal(ggn).reshape(shape)
        assert_close(results["diag_ggn_exact"][key], diagonal, f"diag_ggn_exact of {key}")
    for operator, diagonal in (("ggn", "diag_ggn_exact"), ("hessian", "diag_h")):
        matrix = results[operator] @ np.eye(results[operator].shape[0])
        flat = np.concatenate([value.reshape(-1) for value in results[diagonal].values()])
        assert_close(np.diagonal(matrix), flat, operator, 1e-7)


def test_factors_average_over_the_samples_that_use_a_parameter():
    x, z = rng.standard_normal((5, 3)), rng.standard_normal((8, 3))
    w, v, u = (rng.standard_normal(shape) for shape in ((3, 4), (4, 2), (4, 3)))

    def swept(first, second, sharing):
        with tracer.Tape() as tape:
            leaves = {k: tracer.parameter(p, k) for k, p in (("w", w), ("v", v), ("u", u))}
            loss = 0
            if first is not None:
                h = np.tanh(tracer.batch(first) @ leaves["w"])
                loss = loss + mse_loss(h @ leaves["v"], np.zeros((len(first), 2)), reduction="sum")
            if second is not None:
                h = np.tanh(tracer.batch(second) @ leaves["w"])
                loss = loss + mse_loss(h @ leaves["u"], np.zeros((len(second), 3)), reduction="sum")
        return tape.backward(loss, (registry.quantities["kflr"](sharing=sharing),))["kflr"]

    for sharing in ("expand", "reduce"):
        both, first, second = (swept(*each, sharing) for each in ((x, z), (x, None), (None, z)))
        for k in (0, 1):
            assert_close(both["v"].factors[k], first["v"].factors[k], "of the first alone")
            assert_close(both["u"].factors[k], second["u"].factors[k], "of the second alone")
        outputs = first["w"].factors[0] + second["w"].factors[0]
        assert_close(both["w"].factors[0], outputs, "outputs of both")
        every = np.concatenate([x, z])
        assert_close(both["w"].factors[1], every.T @ every / 13, "inputs of both")


@pytest.mark.parametrize("name", LISTS)
def test_what_lists_samples_names_both_batches(name):
    tape, loss = trace_of(two_problems("mlp"))
    with pytest.raises(tracer.BatchError, match=rf"{name}.* {N} samples and one of {FEW}: record"):
        tape.backward(loss, (name,))


def test_sampled_quantities_of_two_batches_are_right_in_expectation():
    tape, loss = trace_of(two_problems("mlp"))
    exact = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]
    quantity = registry.quantities["diag_ggn_mc"](mc_samples=4000)
    sampled = tape.backward(loss, (quantity,), rng=np.random.default_rng(0))["diag_ggn_mc"]
    for key, value in exact.items():
        np.testing.assert_allclose(sampled[key], value, rtol=0.2, atol=0.02 * np.abs(value).max())


def test_an_operation_of_two_batches_couples_them():
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((3, 2)), "w")
        x, z = tracer.batch(rng.standard_normal((4, 3))), tracer.batch(rng.standard_normal((1, 3)))
        loss = mse_loss(np.tanh(x @ w) + np.tanh(z @ w), np.zeros((4, 2)))
    with pytest.raises(tracer.BatchError, match=r"sum_grad_squared.*add \(.*mixes"):
        tape.backward(loss, ("sum_grad_squared",))
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((3, 2)), "w")
        x, z = (rng.standard_normal((n, 3)) for n in (4, 1))
        output = np.tanh(tracer.batch(x) @ w) + np.tanh(tracer.batch(z) @ w)
        loss = mse_loss(output, np.zeros((4, 2)), reduction="sum")
    diagonal = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]["w"]
    jacobian = tracer.jacobian(lambda w: np.tanh(x @ w) + np.tanh(z @ w))(w.data)
    assert_close(diagonal, 2 * np.sum(jacobian**2, axis=(0, 1)), "diag_ggn_exact")


# -- one sample, and as many as there are features, positions or classes ---------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", MODELS)
def test_sizes_that_coincide(name, count):
    generator = np.random.default_rng(4)
    function, parameters, inputs, axes = draw(name, generator)
    axes, chosen = axes or [0] * len(inputs), np.arange(count) % N
    inputs = [np.take(x, chosen, a) for x, a in zip(inputs, axes, strict=True)]
    inputs = [
        x + 0.1 * generator.standard_normal(x.shape) if x.dtype.kind == "f" else x for x in inputs
    ]
    problem = Problem(function, parameters, inputs, axes)
    results = problem.backward((*FIRST_ORDER, *CURVATURE))
    assert_first_order(results, problem)
    assert_curvature(results, problem)


# -- no sample -------------------------------------------------------------------------------------

ALL = sorted(set(registry.quantities) - {"pchmp"})


def values_of(value):
    """The arrays of a result for one parameter; of a product, what it makes of ones."""
    if isinstance(value, tracer.Kronecker):
        return value.factors
    return (value(np.ones((2, *value.shape))),) if callable(value) else (value,)


def assert_empty(trace):
    """Every quantity of a trace of no samples is zero, with no samples where it lists them."""
    for name in ALL:
        with tracer.Tape() as tape:
            loss, parameters = trace()
        with warnings.catch_warnings():
            if name in ("kflr", "kfac", "kfra"):
                warnings.simplefilter("ignore")  # factors are undefined as they are with samples
            try:
                result = tape.backward(loss, (name,))[name]
            except tracer.QuantityError as error:
                if "Kronecker" not in str(error):
                    raise
                continue
        if hasattr(result, "matmat"):
            assert not np.any(result @ np.ones(result.shape[0])), name
            continue
        for key, value in result.items():
            for array in values_of(value):
                assert not np.any(array), f"{name} of {key}"
            shape = parameters[key].shape
            if name in ("grad_batch", "diag_ggn_exact_batch", "diag_h_batch"):
                assert value.shape == (0, *shape), f"{name} of {key}"
            if name.startswith("sqrt_ggn"):
                assert value.shape[1:] == (0, *shape), f"{name} of {key}"
            if name in ("grad", "variance", "sum_grad_squared", "diag_ggn_exact", "diag_h"):
                assert value.shape == shape, f"{name} of {key}"
            if name in ("batch_l2", "batch_dot"):
                assert value.shape == ((0,) if name == "batch_l2" else (0, 0)), f"{name} of {key}"


def of_model(model, x, read=lambda out: out):
    def trace():
        out = read(model(x))
        return mse_loss(out, np.zeros(out.shape), reduction="sum"), dict(model.named_parameters())

    return trace


#: plain code that NumPy refuses empty arrays of, as `x.reshape(len(x), -1)`
REFUSED_BY_NUMPY = (
    "einsum_in_groups broadcast_in_the_middle attention convolution_by_hand "
    "repeated_token_and_sliced_positions layer_scale relative_positions"
).split()


@pytest.mark.parametrize("name", MODELS)
def test_no_samples_of_models_in_plain_code(name):
    function, parameters, inputs, axes = draw(name, np.random.default_rng(5))
    axes = axes or [0] * len(inputs)
    inputs = [np.take(x, [], a).astype(x.dtype) for x, a in zip(inputs, axes, strict=True)]
    if name in REFUSED_BY_NUMPY:
        with pytest.raises(ValueError, match=r"reshape|empty|zero-size") as caught:
            function(parameters, inputs)
        assert not isinstance(caught.value, tracer.TracerError)
        return

    def trace():
        leaves = {k: tracer.parameter(v, name=k) for k, v in parameters.items()}
        pairs = zip(inputs, axes, strict=True)
        out = function(leaves, [tracer.batch(x, a) for x, a in pairs])
        return mse_loss(out, np.zeros(out.shape), reduction="sum"), leaves

    assert_empty(trace)


@pytest.mark.parametrize("name", LAYERS)
def test_no_samples_of_layers(name):
    model, x = network(*LAYERS[name])
    assert_empty(of_model(model, x[:0]))


@pytest.mark.parametrize("name", COUPLING)
def test_no_samples_of_layers_that_couple_them(name):
    """Their running statistics stay what they are."""
    model, x = network(*COUPLING[name])
    before = {key: value.copy() for key, value in model.named_buffers()}
    assert_empty(of_model(model, x[:0]))
    for key, value in model.named_buffers():
        if "running" in key:
            np.testing.assert_array_equal(value, before[key])


class Twice(nn.Module):
    """A layer that is called with one array for two or three."""

    def __init__(self, layer, times, axis):
        super().__init__()
        self.layer, self.times, self.axis = layer, times, axis

    @property
    def batch_axis(self):
        return self.axis

    def forward(self, x):
        out = self.layer(*(x,) * self.times)
        return out[0] if isinstance(out, tuple) else out


SEQUENCES = {
    "RNN": (lambda first: nn.RNN(4, 3, num_layers=2, bidirectional=True, batch_first=first), 1),
    "LSTM": (lambda first: nn.LSTM(4, 3, num_layers=2, batch_first=first), 1),
    "GRU": (lambda first: nn.GRU(4, 3, bidirectional=True, batch_first=first), 1),
    "attention": (lambda first: nn.MultiheadAttention(4, 2, batch_first=first), 3),
    "encoder": (
        lambda first: nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=first),
        1,
    ),
    "decoder": (
        lambda first: nn.TransformerDecoderLayer(4, 2, 5, dropout=0.0, batch_first=first),
        2,
    ),
}


@pytest.mark.parametrize("first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_no_samples_of_layers_of_sequences(name, first):
    make, times = SEQUENCES[name]
    tracer.seed(0)
    model = Twice(make(first), times, 0 if first else 1).double()
    x = np.zeros((0, 3, 4) if first else (3, 0, 4))
    assert_empty(of_model(model, x, lambda out: out if first else np.moveaxis(out, 1, 0)))


LOSSES = {
    "cross_entropy": lambda f: cross_entropy(f, np.zeros(len(f), int), reduction="sum"),
    "binary": lambda f: nn.functional.binary_cross_entropy_with_logits(
        f, np.zeros(f.shape), reduction="sum"
    ),
    "squared": lambda f: mse_loss(f, np.zeros(f.shape), reduction="sum"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_no_samples_of_losses(loss):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    x = np.zeros((0, 2), int)
    assert_empty(lambda: (LOSSES[loss](model(x)), dict(model.named_parameters())))


def test_the_mean_of_no_losses_is_not_a_number():
    model = nn.Linear(3, 2).double()
    with np.errstate(invalid="ignore"), tracer.Tape() as tape:
        loss = mse_loss(model(np.zeros((0, 3))), np.zeros((0, 2)))
    assert np.isnan(float(loss))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = tape.backward(loss, ("grad_batch",))["grad_batch"]["weight"]
    assert value.shape == (0, 2, 3)


def test_a_mask_that_chooses_nothing_is_of_all_samples():
    with tracer.Tape() as tape:
        w = tracer.parameter(rng.standard_normal((3, 2)), "w")
        h = tracer.batch(rng.standard_normal((4, 3))) @ w
        loss = mse_loss(np.tanh(h[h.data[:, 0] > 1e9]), np.zeros((0, 2)), reduction="sum")
    results = tape.backward(loss, ("grad_batch", "kflr", "diag_ggn_exact", "diag_h"))
    assert results["grad_batch"]["w"].shape == (4, 3, 2)
    assert not np.any(results["grad_batch"]["w"])
    assert not np.any(results["diag_h"]["w"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_sample_has_a_variance_of_nothing_but_zeros(dtype):
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    with tracer.Tape() as tape:
        loss = cross_entropy(model(rng.standard_normal((1, 5)).astype(dtype)), np.array([1]))
    for name, variance in tape.backward(loss, quantities=("variance",))["variance"].items():
        assert not variance.any(), name
