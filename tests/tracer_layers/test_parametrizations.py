"""Weights that are computed of others: normalised ones, and those of modules of one's own."""

import copy
import pickle
import threading

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError
from tracer.testing import check_layer

P = nn.utils.parametrizations
parametrize = nn.utils.parametrize
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4)).astype(np.float32)


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.T) / 2

    def right_inverse(self, value):
        return value


class Exponential(nn.Module):
    def forward(self, weight):
        return np.exp(weight)


class Product(nn.Module):
    """A weight of rank 2."""

    def forward(self, left, right):
        return left @ right

    def right_inverse(self, value):
        u, s, v = np.linalg.svd(value, full_matrices=False)
        return (u * s)[:, :2], v[:2]


MADE = {
    "weight_norm": lambda: nn.utils.weight_norm(nn.Linear(4, 3)),
    "weight_norm-whole": lambda: nn.utils.weight_norm(nn.Linear(4, 3), dim=None),
    "weight_norm-columns": lambda: nn.utils.weight_norm(nn.Linear(4, 3), dim=1),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(4, 3), n_power_iterations=3),
    "spectral_norm-columns": lambda: nn.utils.spectral_norm(nn.Linear(4, 3), dim=1),
    "P.weight_norm": lambda: P.weight_norm(nn.Linear(4, 3)),
    "P.weight_norm-whole": lambda: P.weight_norm(nn.Linear(4, 3), dim=None),
    "P.spectral_norm": lambda: P.spectral_norm(nn.Linear(4, 3)),
    "symmetric": lambda: parametrize.register_parametrization(
        nn.Linear(4, 4), "weight", Symmetric()
    ),
    "of two": lambda: parametrize.register_parametrization(
        P.weight_norm(nn.Linear(4, 4)), "weight", Symmetric()
    ),
    "product": lambda: parametrize.register_parametrization(nn.Linear(4, 3), "weight", Product()),
    "bias": lambda: parametrize.register_parametrization(nn.Linear(4, 3), "bias", Exponential()),
}
KERNELS = {
    "convolution": (lambda: nn.utils.weight_norm(nn.Conv1d(2, 3, 2)), (2, 2, 4)),
    "convolution-spectral": (lambda: P.spectral_norm(nn.Conv1d(2, 3, 2)), (2, 2, 4)),
    "transposed": (lambda: nn.utils.spectral_norm(nn.ConvTranspose1d(2, 3, 2)), (2, 2, 3)),
    "embedding": (lambda: P.weight_norm(nn.Embedding(5, 2)), None),
    "recurrent": (
        lambda: nn.utils.weight_norm(nn.GRU(2, 2, batch_first=True), "weight_hh_l0"),
        (2, 3, 2),
    ),
}


def built(make):
    tracer.seed(0)
    return make()


@pytest.mark.parametrize("name", MADE)
def test_every_quantity_is_its_definition(name):
    check_layer(built(MADE[name]).eval(), X)


@pytest.mark.parametrize("name", KERNELS)
def test_every_quantity_of_other_layers(name):
    make, shape = KERNELS[name]
    inputs = np.array([[0, 3], [2, 2]]) if shape is None else RNG.standard_normal(shape)
    check_layer(built(make).eval(), inputs)


class Transposed(nn.Module):
    def forward(self, weight):
        return weight.T

    def right_inverse(self, value):
        return value.T


def factors(layer):
    with tracer.Tape() as tape:
        loss = nn.mse_loss(layer(X), np.zeros((3, layer.out_features), np.float32))
    return tape.backward(loss, ("kflr",))["kflr"]


def test_kronecker_factors_are_there_where_there_is_a_structure():
    """A transposed weight has those of the weight; a normalised one is not linear in anything."""
    plain = built(lambda: nn.Linear(4, 4))
    layer = built(lambda: parametrize.register_parametrization(plain, "weight", Transposed()))
    wanted = factors(built(lambda: nn.Linear(4, 4)))["weight"].dense().reshape(4, 4, 4, 4)
    found = factors(layer)["parametrizations.weight.original"].dense().reshape(4, 4, 4, 4)
    np.testing.assert_allclose(found, wanted.transpose(1, 0, 3, 2), rtol=1e-5)
    with pytest.warns(UserWarning, match=r"kflr is undefined for 2 of 3 parameters, 'weight_g'"):
        assert list(factors(built(MADE["weight_norm"]))) == ["bias"]


@pytest.mark.parametrize("name", MADE)
def test_values_stay_and_are_computed_once_in_a_call(name):
    layer, plain = built(MADE[name]), built(lambda: nn.Linear(4, 3))
    before = layer(X).data
    if name in ("weight_norm", "weight_norm-whole", "weight_norm-columns", "P.weight_norm"):
        np.testing.assert_allclose(before, plain(X).data, rtol=1e-5, atol=1e-6)
    with tracer.Tape() as tape:
        layer(X)
    operations = [data["op"] for _, data in tape.graph("forward").nodes(data=True)]
    assert operations.count("linear") == 1
    assert max(operations.count(op) for op in ("sqrt", "divide", "exp", "matmul")) <= 2


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_states(name, copied):
    layer = built(MADE[name]).eval()
    other = copied(layer)
    np.testing.assert_array_equal(other(X).data, layer(X).data)
    for parameter in layer.parameters():
        parameter.data = parameter.data + 0.5
    assert not np.array_equal(other(X).data, layer(X).data)
    assert other.load_state_dict(layer.state_dict()) == ([], [])
    np.testing.assert_array_equal(other(X).data, layer(X).data)
    assert {p.node for p in other.parameters()}.isdisjoint(p.node for p in layer.parameters())


def test_parameters_have_names_in_the_model():
    model = nn.Sequential(built(MADE["P.weight_norm"]), nn.Tanh(), built(MADE["weight_norm"]))
    model[2] = nn.utils.weight_norm(nn.Linear(3, 2))
    with tracer.Tape() as tape:
        loss = model(X).sum()
    assert set(tape.backward(loss)["grad"]) == {
        "0.bias",
        "0.parametrizations.weight.original0",
        "0.parametrizations.weight.original1",
        "2.bias",
        "2.weight_g",
        "2.weight_v",
    }


@pytest.mark.parametrize("make", [nn.utils.spectral_norm, P.spectral_norm])
def test_the_largest_singular_value_becomes_one(make):
    tracer.seed(0)
    layer = make(nn.Linear(6, 5))
    for _ in range(100):
        layer(np.ones((1, 6), np.float32))
    largest = np.linalg.svd(layer.eval().weight.data, compute_uv=False)[0]
    assert largest == pytest.approx(1, rel=1e-4)


def test_iterations_go_on_in_training_mode_alone_and_once_a_call():
    for make, name in ((nn.utils.spectral_norm, "weight_u"), (P.spectral_norm, "u")):
        tracer.seed(0)
        layer = make(nn.Linear(6, 5))
        state = lambda: next(a for k, a in layer.state_dict().items() if k.endswith(name))  # noqa: E731, B023
        x = np.ones((1, 6), np.float32)
        first = state()
        layer(x)
        second = state()
        assert not np.array_equal(first, second)
        layer.eval()(x)
        np.testing.assert_array_equal(state(), second)


def test_the_seed_decides_directions():
    found = [nn.utils.spectral_norm(nn.Linear(6, 5), rng=np.random.default_rng(3)) for _ in "ab"]
    np.testing.assert_array_equal(found[0].weight_u, found[1].weight_u)


@pytest.mark.parametrize("name", MADE)
def test_it_is_taken_away(name):
    layer = built(MADE[name]).eval()
    plain = {name for name, _ in built(lambda: nn.Linear(4, 3)).named_parameters()}
    before = layer(X).data
    if name.startswith("weight_norm"):
        assert nn.utils.remove_weight_norm(layer) is layer
    elif name.startswith("spectral_norm"):
        assert nn.utils.remove_spectral_norm(layer) is layer
    else:
        parametrize.remove_parametrizations(layer, "bias" if name == "bias" else "weight")
    assert {name for name, _ in layer.named_parameters()} == plain
    assert {name for name, _ in layer.named_modules()} == {""}
    assert "forward" not in vars(layer)
    np.testing.assert_allclose(layer(X).data, before, rtol=1e-6)
    with pytest.raises(TracerError, match=r"Linear\.weight has no "):
        nn.utils.remove_weight_norm(layer)
    with pytest.raises(TracerError, match=r"Linear\.weight has no "):
        nn.utils.remove_spectral_norm(layer)
    with pytest.raises(TracerError, match=r"Linear\.weight has no parametrization"):
        parametrize.remove_parametrizations(layer, "weight")


def test_the_original_comes_back_if_it_is_asked_for():
    layer = nn.Linear(4, 4)
    original, values = layer.weight, layer.weight.data
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert layer.parametrizations.weight.original is original
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert layer.weight is original
    np.testing.assert_array_equal(layer.weight.data, values)
    with pytest.raises(TracerError, match="computed of 2 parameters, none of which"):
        parametrize.remove_parametrizations(P.weight_norm(layer), "weight", False)


def test_assigning_goes_through_the_inverse():
    layer = built(MADE["symmetric"])
    layer.weight = 2 * np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(layer.weight.data, 2 * np.eye(4))
    layer = built(MADE["P.weight_norm"])
    layer.weight = np.eye(3, 4, dtype=np.float32)
    np.testing.assert_allclose(layer.weight.data, np.eye(3, 4), atol=1e-7)
    layer = built(MADE["bias"])
    with pytest.raises(TracerError, match="Exponential has no right_inverse"):
        layer.bias = np.zeros(3, np.float32)
    for name in ("weight_norm", "spectral_norm"):
        with pytest.raises(TracerError, match=r"Linear\.weight is computed of weight_"):
            built(MADE[name]).weight = nn.Parameter(np.zeros((3, 4), np.float32))


def test_frozen_weights_stay_frozen_and_dtypes_go_along():
    layer = nn.Linear(4, 3)
    layer.weight.requires_grad_(False)
    assert not P.weight_norm(layer).parametrizations.weight.original1.requires_grad
    assert built(MADE["P.spectral_norm"]).double().weight.dtype == np.float64
    assert built(MADE["weight_norm"]).half().weight.dtype == np.float16


def test_threads_have_values_of_their_own():
    """Each call computes the weight for its own tape."""
    layer, found = built(MADE["weight_norm"]), {}

    def run(number):
        for _ in range(20):
            with tracer.Tape() as tape:
                loss = (number * layer(X)).sum()
            found[number] = tape.backward(loss)["grad"]["weight_v"]

    threads = [threading.Thread(target=run, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(found[3], 3 * found[1], rtol=1e-5, atol=1e-6)


def test_mistakes_change_nothing():
    layer = nn.Linear(4, 3)
    before = layer.state_dict()
    register = parametrize.register_parametrization
    with pytest.raises(ShapeError, match="weight is float32"):
        register(layer, "weight", nn.Linear(4, 2))
    with pytest.raises(TracerError, match="Linear has no parameter 'wight': it has weight, bias"):
        register(layer, "wight", Symmetric())
    with pytest.raises(TracerError, match="a parametrization is a Module, got a function"):
        register(layer, "weight", lambda w: w)
    for make in (nn.utils.weight_norm, nn.utils.spectral_norm, P.spectral_norm, P.weight_norm):
        with pytest.raises(TracerError, match="Linear has no parameter 'wight'"):
            make(layer, "wight")
        with pytest.raises(ShapeError, match=r"dim is an axis of the weight \[3, 4\]"):
            make(layer, dim=5)
    for make in (nn.utils.spectral_norm, P.spectral_norm):
        with pytest.raises(TracerError, match="n_power_iterations is a positive number, got 0"):
            make(layer, n_power_iterations=0)
    assert list(layer.state_dict()) == list(before)
    assert not parametrize.is_parametrized(layer)
    with pytest.raises(TracerError, match="has no parameter 'weight' to be normalised"):
        nn.utils.weight_norm(nn.utils.weight_norm(layer))
