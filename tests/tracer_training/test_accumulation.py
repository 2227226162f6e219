"""Results of unequal small batches add up to those of one large one, for whatever merges."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer import registry
from tracer.errors import TracerError
from tracer.testing import SquaredError

ENDS = (3, 4, 9)
MERGE = [name for name in registry.quantities if registry.quantities[name].rows is not None]
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((9, 3)), RNG.standard_normal((9, 2))


class SumOfLayers(tracer.Quantity):
    """The gradient's sum in a layer; squared, so that values do not merge."""

    name = "squared_sum"
    needs_samples = False

    def __init__(self, per):
        self.per = per

    def extract(self, cotangent, context):
        return cotangent.total()[0].sum()

    def finish(self, state, context):
        return state**2


def model_of():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def swept(model, part, quantities, mean, rng):
    """Results of some samples; the loss draws sample by sample."""
    with tracer.Tape() as tape:
        losses = SquaredError(model(X[part]), Y[part])
        loss = np.sum(losses) / (len(losses) if mean else 1)
    return tape.backward(loss, quantities, rng=rng)


def both(model, asked, mean):
    """Results of all samples, and those that were added up."""
    whole = swept(model, slice(None), asked, mean, np.random.default_rng(1))
    total, rng, begin = training.Accumulated(asked, mean=mean), np.random.default_rng(1), 0
    for end in ENDS:
        total.add(swept(model, slice(begin, end), total.quantities, mean, rng), end - begin)
        begin = end
    return whole, total.results()


def arrays(value):
    """The arrays that say what a value is."""
    if callable(value):
        size = int(np.prod(value.shape))
        return [value(np.eye(size).reshape(size, *value.shape))]
    return getattr(value, "factors", [value])


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("name", MERGE)
def test_every_quantity_that_merges_is_that_of_one_batch(name, mean):
    model = model_of()
    whole, added = both(model, (name,), mean)
    assert list(added) == [name]
    assert list(added[name]) == list(whole[name])
    for parameter in model.parameters():
        pairs = zip(arrays(whole[name][parameter]), arrays(added[name][parameter]), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("per", ["parameter", "layer", "model"])
def test_values_of_layers_are_made_of_merged_states(per):
    whole, added = both(model_of(), (SumOfLayers(per),), mean=True)
    if per == "model":
        np.testing.assert_allclose(added["squared_sum"], whole["squared_sum"], rtol=1e-9)
        return
    assert dict(added["squared_sum"]).keys() == dict(whole["squared_sum"]).keys()
    for key, value in whole["squared_sum"].items():
        np.testing.assert_allclose(added["squared_sum"][key], value, rtol=1e-9)


def test_the_loss_is_that_of_one_batch():
    whole, added = both(model_of(), ("grad", training.Loss()), mean=True)
    np.testing.assert_allclose(added["loss"], whole["loss"], rtol=1e-12)


def test_results_that_are_added_stay_as_they_are():
    model = model_of()
    total = training.Accumulated()
    first, second = (swept(model, part, "grad", True, None) for part in (slice(4), slice(4, 9)))
    before = {name: value.copy() for name, value in first["grad"].items()}
    total.add(first, 4)
    total.add(second, 5)
    given = total.results()
    training.clip_grad_value(given, 0.0)
    total.add(second, 5)
    again = total.results()
    for name, value in before.items():
        np.testing.assert_array_equal(first["grad"][name], value)
        assert np.all(given["grad"][name] == 0)
        assert np.any(again["grad"][name] != 0)


def test_a_step_is_that_of_one_batch():
    models = model_of(), model_of()
    optimizers = [training.AdamW(model.parameters(), lr=0.1) for model in models]
    optimizers[0].step(swept(models[0], slice(None), optimizers[0].quantities, True, None))
    total, begin = training.Accumulated(optimizers[1].quantities), 0
    for end in ENDS:
        total.add(swept(models[1], slice(begin, end), total.quantities, True, None), end - begin)
        begin = end
    optimizers[1].step(total.results())
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        np.testing.assert_allclose(other.data, one.data, rtol=1e-9)


class TwoHeads(nn.Module):
    def __init__(self):
        self.trunk, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x, head):
        return getattr(self, head)(self.trunk(x))


def of_two_heads(asked):
    """The model, and what is added up where the second batch uses another head than the first."""
    tracer.seed(0)
    model = TwoHeads().double()
    total = training.Accumulated(asked)
    for head in ("left", "right"):
        with tracer.Tape() as tape:
            hidden = model.trunk(tracer.batch(X))
            loss = nn.mse_loss(getattr(model, head)(hidden), Y)
        total.add(tape.backward(loss, total.quantities), len(X))
    return model, total.results()


def test_a_parameter_that_a_batch_does_not_use_has_no_gradient_there():
    model, found = of_two_heads("grad")
    with tracer.Tape() as tape:
        losses = [nn.mse_loss(model(X, head), Y) for head in ("left", "right")]
        loss = 0.5 * (losses[0] + losses[1])
    whole = tape.backward(loss)
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(found["grad"][parameter], whole["grad"][name], rtol=1e-9)


def test_what_is_not_linear_needs_all_parameters_in_all_batches():
    with pytest.raises(TracerError, match=r"sum_grad_squared.* of some of the batches"):
        of_two_heads("sum_grad_squared")


def test_a_name_of_two_parameters_is_refused():
    tracer.seed(0)
    trunk, heads = nn.Linear(3, 4), [nn.Linear(4, 2), nn.Linear(4, 2)]
    total = training.Accumulated()
    found = []
    for head in heads:
        with tracer.Tape() as tape:
            loss = nn.mse_loss(head(trunk(tracer.batch(X.astype(np.float32)))), Y)
        found.append(tape.backward(loss, total.quantities))
    total.add(found[0], len(X))
    with pytest.raises(TracerError, match="is one parameter in these results and another"):
        total.add(found[1], len(X))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: training.Accumulated("ggn"), "'ggn' of several batches do not merge"),
        (lambda: training.Accumulated().results(), "nothing was accumulated"),
        (lambda: training.Accumulated("variance").add({"grad": {}}, 3), "lack 'variance'"),
        (lambda: training.Accumulated().add({"grad": {}}, 0), "samples=0"),
    ],
)
def test_what_cannot_be_added_is_refused(act, said):
    with pytest.raises(TracerError, match=said):
        act()
