"""Layers that find out their sizes in the first call, and what they are before it."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import HintError, TracerError
from tracer_layers.module.lazy import Lazy

RNG = np.random.default_rng(0)
X = {rank: RNG.standard_normal((3, 4, *(5,) * rank)) for rank in (1, 2, 3)}

#: name -> arguments of the lazy layer, those of the layer, and the input
CASES = {
    "LazyLinear": ((2,), (4, 2), RNG.standard_normal((3, 4))),
    **{f"LazyConv{r}d": ((2, 3, 2, 1, 1, 2), (4, 2, 3, 2, 1, 1, 2), X[r]) for r in X},
    **{f"LazyConvTranspose{r}d": ((2, 3, 2), (4, 2, 3, 2), X[r]) for r in X},
    **{f"LazyBatchNorm{r}d": ((1e-3,), (4, 1e-3), X[r]) for r in X},
    **{f"LazyInstanceNorm{r}d": ((1e-3,), (4, 1e-3, 0.1, True, True), X[r]) for r in X},
}


def both(name):
    """The lazy layer, and the layer as it will be, drawn from one seed; and the input."""
    lazy, given, x = CASES[name]
    made = []
    for kind, arguments in ((name, lazy), (name.removeprefix("Lazy"), given)):
        tracer.seed(0)
        made.append(getattr(nn, kind)(*arguments).double())
    return *made, x


def test_all_are_here():
    lazy = [c for c in vars(nn).values() if inspect.isclass(c) and issubclass(c, Lazy)]
    assert {c.__name__ for c in lazy} == {*CASES}


@pytest.mark.parametrize("name", CASES)
def test_the_first_call_makes_the_layer(name):
    layer, expected, x = both(name)
    assert type(layer).__name__ == name
    assert isinstance(layer, type(expected))
    tracer.seed(0)
    with tracer.Tape() as tape:
        out = layer(x)
        loss = np.sum(out**2)
    with tracer.Tape() as other:
        theirs = expected(x)
        their_loss = np.sum(theirs**2)
    np.testing.assert_array_equal(out.data, theirs.data)
    assert type(layer) is type(expected)
    assert repr(layer) == repr(expected)
    assert out.dtype == np.float64
    assert list(layer.state_dict()) == list(expected.state_dict())
    for key, value in expected.state_dict().items():
        np.testing.assert_array_equal(layer.state_dict()[key], value)
    found, right = tape.backward(loss)["grad"], other.backward(their_loss)["grad"]
    assert {*found} == {*right}
    for key, value in right.items():
        np.testing.assert_allclose(found[key], value)
    np.testing.assert_array_equal(layer.eval()(x).data, expected.eval()(x).data)


@pytest.mark.parametrize("name", CASES)
def test_a_state_makes_the_layer(name):
    layer, expected, x = both(name)
    for key, value in expected.state_dict().items():
        if value.dtype.kind == "f":
            expected.load_state_dict({key: value + 0.25}, strict=False)
    layer.load_state_dict(expected.state_dict())
    assert type(layer) is type(expected)
    np.testing.assert_array_equal(layer.eval()(x).data, expected.eval()(x).data)


@pytest.mark.parametrize("name", CASES)
def test_before_the_first_call_there_are_no_arrays(name):
    layer = nn.Sequential(nn.Tanh(), getattr(nn, name)(*CASES[name][0]))
    assert name in repr(layer)
    assert layer._repr_html_()
    for ask in (
        lambda: list(layer.parameters()),
        layer.state_dict,
        lambda: layer[1].weight,
        layer.requires_grad_,
    ):
        with pytest.raises(HintError, match=rf"{name}.weight is made in the first call"):
            ask()
    copied = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
    assert copied.eval()(CASES[name][2]).shape == layer.eval()(CASES[name][2]).shape


def test_a_layer_of_wrong_arguments_stays_what_it_is():
    layer = nn.LazyConv2d(3, 2, groups=3)
    with pytest.raises(TracerError, match="groups that divides both"):
        layer(np.zeros((2, 4, 5, 5), np.float32))
    assert type(layer) is nn.LazyConv2d
    assert layer(np.zeros((2, 6, 5, 5), np.float32)).shape == (2, 3, 4, 4)


def test_in_a_model_with_hooks_on_data_of_bytes():
    seen = []
    model = nn.Sequential(nn.LazyConv2d(2, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
    model[0].register_forward_hook(lambda module, given, out: seen.append(out.shape))
    x = RNG.integers(0, 255, (4, 1, 5, 5)).astype(np.uint8)
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), np.array([0, 1, 2, 0]))
    found = tape.backward(loss, ("grad_batch", "kflr"))
    assert [*found["grad_batch"]] == ["0.weight", "0.bias", "3.weight", "3.bias"]
    assert found["grad_batch"]["0.weight"].dtype == np.float64
    assert len(found["kflr"]["3.weight"].factors) == 2
    assert seen == [(4, 2, 3, 3)]
    assert model.get_submodule("3").in_features == 18
