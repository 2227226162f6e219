"""KFRA by its recursion, layer by layer; other quantities of averaged rows."""

import numpy as np
import pytest
from explicit import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.extend import Quantity, ggn_averaged

#: what may stand between linear maps of five units: elementwise or not, with parameters or without
BETWEEN = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "one slope": lambda: nn.PReLU(),
    "slopes": lambda: nn.PReLU(5),
    "norm": lambda: nn.LayerNorm(5),
    "softmax": lambda: nn.Softmax(1),
    "dead": lambda: Scaled(0.0),
    "twice": lambda: Squared(),
}


class Scaled(nn.Module):
    """Zero for all but two units: the average is singular."""

    def __init__(self, rest):
        super().__init__()
        self.scale = np.array([1.0, -2.0, rest, rest, rest])

    def forward(self, x):
        return x * self.scale


class Squared(nn.Module):
    def forward(self, x):
        return x * x


def made(names, seed):
    tracer.seed(seed)
    layers = []
    for name in names:
        layers += [nn.Linear(5, 5), BETWEEN[name]()]
    return nn.Sequential(*layers, nn.Linear(5, 3)).double()


def by_recursion(model, x, labels):
    """Output factor of each linear map: `B = mean_n J_n^T B J_n` from one layer to the next."""
    values = [x]
    for layer in model:
        values.append(np.asarray(layer(values[-1]).data))
    z = np.exp(values[-1] - values[-1].max(1, keepdims=True))
    q = z / z.sum(1, keepdims=True)
    square = (np.einsum("ni,ij->nij", q, np.eye(3)) - q[:, :, None] * q[:, None]).mean(0)
    found = {}
    for i, layer in reversed(list(enumerate(model))):
        if isinstance(layer, nn.Linear):
            found[f"{i}.weight"] = square
        mapped = [
            tracer.jacobian(lambda each, layer=layer: layer(each[None])[0])(sample)
            for sample in values[i]
        ]
        square = np.mean([j.T @ square @ j for j in mapped], axis=0)
    return found


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(BETWEEN)), min_size=1, max_size=3),
    samples=st.sampled_from([1, 2, 4, 5, 7, 11]),
    seed=st.integers(0, 99),
)
def test_kfra_of_chains_of_layers(names, samples, seed):
    model, rng = made(names, seed), np.random.default_rng(seed)
    x, labels = rng.standard_normal((samples, 5)), rng.integers(0, 3, samples)
    expected = by_recursion(model, x, labels)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), labels)
    values = tape.backward(loss, "kfra")["kfra"]
    for name, square in expected.items():
        assert_close(values[name].factors[0], square, f"{name} of {names}")
        assert_close(values[name.replace("weight", "bias")].factors[0], square, name)


def test_kfra_of_convolutions_whose_rows_are_packed():
    """A convolution below a linear map; twelve elements of a sample, five samples and one."""
    tracer.seed(0)
    model = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.Tanh(), nn.Conv1d(3, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    ).double()
    rng = np.random.default_rng(0)
    for samples in (5, 1):
        x, y = rng.standard_normal((samples, 2, 6)), rng.standard_normal((samples, 2))
        with tracer.Tape() as tape:
            loss = nn.mse_loss(model(x), y, reduction="sum")
        values = tape.backward(loss, "kfra")["kfra"]
        square = 2 * samples * np.eye(2)
        inner = np.asarray(model[:4](x).data)
        weight = np.asarray(model[5].weight.data)
        square = weight.T @ square @ weight
        slopes = (inner.reshape(samples, 12) > 0).astype(float)
        square = square * (slopes.T @ slopes) / samples
        by_place = np.einsum("aibi->ab", square.reshape(3, 4, 3, 4))
        assert_close(values["2.bias"].factors[0], by_place, "places are added up")


class Paired(Quantity):
    """The diagonal of the averaged matrix: inputs and rows of one sample meet in it."""

    name = "paired"
    rows = ggn_averaged
    lists_samples = False

    def extract(self, cotangent, context):
        return cotangent.sum_of_squares()


@pytest.mark.parametrize("samples", [3, 9])
def test_rows_that_meet_inputs_are_in_every_sample(samples):
    model, rng = made(["relu", "tanh"], 1), np.random.default_rng(1)
    x, labels = rng.standard_normal((samples, 5)), rng.integers(0, 3, samples)

    def diagonal(quantities):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), labels)
        return tape.backward(loss, quantities)["paired"]

    expected = by_recursion(model, x, labels)
    for values in (diagonal(Paired()), diagonal((Paired(), "kfra")), diagonal(("kfra", Paired()))):
        entering = x
        for i in (0, 2, 4):
            squares = np.outer(expected[f"{i}.weight"].diagonal(), np.square(entering).mean(0))
            assert_close(values[f"{i}.weight"], squares, f"{i}.weight")
            entering = np.asarray(model[i : i + 2](entering).data)
