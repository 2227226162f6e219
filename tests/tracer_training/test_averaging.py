"""Averages of weights, and stopping early."""

import copy

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import ShapeError, TracerError


def mlp(seed=0):
    tracer.seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def data(n=24):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3), dtype=np.float32)
    return training.ArrayDataset(x, (x[:, 0] > 0).astype(int))


def walked(model, average, steps=5):
    """The weights after each of some steps, each taken into the average."""
    rng = np.random.default_rng(1)
    seen = []
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.data = parameter.data + rng.standard_normal(parameter.shape)
        average.update_parameters(model)
        seen.append(model.state_dict())
    return seen


@pytest.mark.parametrize("decay", [None, 0.0, 0.9, 1.0])
def test_averages_are_those_of_the_weights_that_were_seen(decay):
    model = mlp()
    average = (
        training.AveragedModel(model)
        if decay is None
        else training.ExponentialMovingAverage(model, decay)
    )
    seen = walked(model, average)
    for name, parameter in average.module.named_parameters():
        values = [state[name].astype(float) for state in seen]
        expected = values[0]
        for value in values[1:]:
            expected = decay * expected + (1 - decay) * value if decay is not None else expected
        if decay is None:
            expected = np.mean(values, 0)
        np.testing.assert_allclose(parameter.data, expected, rtol=1e-5, atol=1e-6)
        assert parameter.dtype == np.float32
    assert average.n_averaged == 5


def test_buffers_are_copied_or_averaged():
    for use_buffers in (False, True):
        model = mlp()
        average = training.AveragedModel(model, use_buffers=use_buffers)
        for value in (1.0, 3.0):
            model[1].running_mean = np.full(4, value, np.float32)
            average.update_parameters(model)
        assert average.module[1].running_mean.tolist() == [2.0 if use_buffers else 3.0] * 4


def test_weights_are_applied_and_given_back_without_copies():
    model = mlp()
    average = training.ExponentialMovingAverage(model, 0.5)
    walked(model, average)
    before = [p.data for p in model.parameters()]
    x = data()[:][0]
    wanted = average.module.eval()(x).data
    with pytest.raises(KeyError), average.applied(model):  # noqa: PT012
        np.testing.assert_array_equal(copy.deepcopy(model).eval()(x).data, wanted)
        raise KeyError
    assert all(p.data is array for p, array in zip(model.parameters(), before, strict=True))


def test_a_callback_of_fit_and_its_state():
    model = mlp()
    average = training.ExponentialMovingAverage(model, 0.9)
    training.fit(
        model,
        nn.cross_entropy,
        data(),
        optimizer=training.SGD(model.parameters(), lr=0.1),
        epochs=2,
        batch_size=8,
        callbacks=[average],
        progress=False,
    )
    assert average.n_averaged == 6
    again = training.ExponentialMovingAverage(mlp(1), 0.9)
    again.load_state_dict(average.state_dict())
    for name, array in average.module.state_dict().items():
        np.testing.assert_array_equal(again.module.state_dict()[name], array)
    with pytest.raises(ShapeError):
        training.AveragedModel(nn.Linear(2, 2)).load_state_dict(average.state_dict())
    with pytest.raises(TracerError, match="n_averaged and module"):
        again.load_state_dict({})
    with pytest.raises(TracerError, match="decay is a number"):
        training.ExponentialMovingAverage(model, 1.5)
    with pytest.raises(TracerError, match="weights of a module"):
        training.AveragedModel(lambda x: x)


def test_statistics_of_batches_are_computed_anew():
    model = mlp().eval()
    x = data()[:][0]
    training.update_bn([(x[:12], None), (x[12:], None)], model)
    hidden = model[0](x).data
    means = (hidden[:12].mean(0) + hidden[12:].mean(0)) / 2
    np.testing.assert_allclose(model[1].running_mean, means, rtol=1e-5, atol=1e-6)
    assert model[1].momentum == 0.1
    assert not model.training
    training.update_bn([], nn.Linear(2, 2))


def test_instance_normalisation_is_left_as_it_is():
    """It counts no batches: there is no mean over them, and PyTorch leaves it out."""
    norm = nn.InstanceNorm1d(3, track_running_stats=True)
    batches = list(np.random.default_rng(0).standard_normal((3, 4, 3, 5), dtype=np.float32))
    for batch in batches:
        norm(batch)
    before = norm.state_dict()
    training.update_bn(batches, nn.Sequential(norm, nn.BatchNorm1d(3)).eval())
    training.update_bn([], norm)
    assert norm.momentum == 0.1
    assert np.any(norm.running_mean != 0)
    fresh = nn.InstanceNorm1d(3, track_running_stats=True)
    fresh.load_state_dict(before)
    for batch in batches:
        fresh(batch)
    np.testing.assert_array_equal(norm.running_mean, fresh.running_mean)


VALUES = [5.0, 4.0, 4.5, np.nan, 3.99, 4.2, 4.1]


@pytest.mark.parametrize(
    ("options", "stops"),
    [
        ({"patience": 0}, 3),
        ({"patience": 1}, 3),
        ({"patience": 2}, 4),
        ({"patience": 3}, None),
        ({"patience": 3, "min_delta": 0.1}, 5),
        ({"patience": 1, "mode": "max"}, 2),
    ],
)
def test_when_a_value_is_not_better(options, stops):
    early = training.EarlyStopping(**options)
    told = [early.step(value) for value in VALUES]
    assert (told.index(True) + 1 if True in told else None) == stops


def test_fit_is_stopped_and_the_best_weights_are_restored():
    model, seen = mlp(), []

    class Spoils:
        """Trains for three epochs, and then walks away."""

        def end_epoch(self, run):
            seen.append((run.history[-1]["test_loss"], run.model.state_dict()))
            if run.epoch == 3:
                run.optimizer.param_groups[0]["lr"] = -1.0

    early = training.EarlyStopping("test_loss", patience=1, restore_best=True)
    history = training.fit(
        model,
        nn.cross_entropy,
        data(),
        data(),
        optimizer=training.SGD(model.parameters(), lr=0.1),
        epochs=30,
        batch_size=8,
        rng=0,
        callbacks=[Spoils(), early],
        progress=False,
    )
    assert len(history) < 10
    best = min(seen, key=lambda pair: pair[0])[1]
    for name, array in best.items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_mistakes():
    model = mlp()
    for options, said in (
        ({"mode": "least"}, '"min" or "max"'),
        ({"patience": -1}, "patience is a whole number"),
        ({"min_delta": -1.0}, "min_delta"),
    ):
        with pytest.raises(TracerError, match=said):
            training.EarlyStopping(**options)
    with pytest.raises(TracerError, match="follows 'test_loss', and the records have epoch"):
        training.fit(
            model,
            nn.cross_entropy,
            data(),
            optimizer=training.SGD(model.parameters()),
            epochs=1,
            callbacks=[training.EarlyStopping()],
            progress=False,
        )


def test_the_weights_are_as_they_are_where_an_error_ends_the_training():
    model = mlp()

    class Fails:
        def end_step(self, run):
            if run.epoch == 2:
                raise KeyError

    early = training.EarlyStopping("loss", restore_best=True)
    with pytest.raises(KeyError):
        training.fit(
            model,
            nn.cross_entropy,
            data(),
            optimizer=training.SGD(model.parameters(), lr=0.1),
            epochs=5,
            batch_size=8,
            callbacks=[early, Fails()],
            progress=False,
        )
    assert (model.state_dict()["0.weight"] != early.state_dict()["weights"]["0.weight"]).any()


def test_averages_are_evaluated_as_models_are():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    average = training.AveragedModel(model)
    average.update_parameters(model)
    before = average.module.state_dict()
    values = [training.evaluate(average, nn.cross_entropy, data()) for _ in range(2)]
    assert values[0] == values[1] == training.evaluate(average.module, nn.cross_entropy, data())
    for name, array in before.items():
        np.testing.assert_array_equal(average.module.state_dict()[name], array)
    assert average.training
    assert average.eval() is average.module
    assert not average.training
    assert not copy.deepcopy(average).training
