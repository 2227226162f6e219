"""What makes the host wait for the device: nothing in a training step that was not asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.errors import ShapeError

sys.path.append(str(Path(__file__).parents[1]))
import device

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True, scope="module")
def backend():
    registry.backends.add(device.DeviceBackend(), "tests")
    yield
    registry.backends.remove("device")


class Sequences(nn.Module):
    """Token by token: a table, a layer of sequences, and the scores of the tokens."""

    def __init__(self, layer):
        self.table = nn.Embedding(7, 8, padding_idx=0)
        self.layer = layer
        self.scores = nn.Linear(8, 7)

    def forward(self, tokens):
        hidden = self.layer(self.table(tokens))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return np.moveaxis(self.scores(hidden), -1, 1)


def mlp():
    return nn.Sequential(
        nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 3)
    )


def cnn():
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.GELU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(4, 3)),
    )


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return Sequences(nn.TransformerEncoder(layer, 2))


def resampling():
    return nn.Sequential(
        *(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(1, 3, 3),
            nn.AdaptiveMaxPool2d(3),
        ),
        *(nn.InstanceNorm2d(3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)),
    )


class Decoder(nn.Module):
    """A Transformer's decoder over positions, which look back alone."""

    def __init__(self):
        self.positions = nn.SinusoidalPositions(6, 8, batch_first=True)
        layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
        self.layers = nn.TransformerDecoder(layer, 1)

    def forward(self, hidden):
        hidden, length = self.positions(hidden), hidden.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, "double", hidden.dtype)
        return self.layers(hidden, hidden, tgt_mask=mask, tgt_is_causal=True)


IMAGES, TOKENS = RNG.standard_normal((6, 1, 4, 4)), RNG.integers(0, 7, (3, 5))
STEPS = {
    "MLP": (mlp, RNG.standard_normal((6, 4)), RNG.integers(0, 3, 6)),
    "CNN": (cnn, IMAGES, RNG.integers(0, 3, 6)),
    "RNN": (lambda: Sequences(nn.RNN(8, 8, batch_first=True)), TOKENS, TOKENS),
    "LSTM": (lambda: Sequences(nn.LSTM(8, 8, batch_first=True)), TOKENS, TOKENS),
    "GRU": (lambda: Sequences(nn.GRU(8, 8, batch_first=True)), TOKENS, TOKENS),
    "Transformer": (transformer, TOKENS, TOKENS),
    "resampling": (resampling, IMAGES, RNG.integers(0, 3, 6)),
}


def test_a_masked_transformer_waits_for_nothing_but_its_mask():
    model, x = Decoder().double().to("double"), device.asarray(RNG.standard_normal((3, 5, 8)))

    def step():
        with tracer.Tape() as tape:
            loss = np.mean(np.square(model(x)))
        return tape.backward(loss)

    step()
    with device.watched() as waits:
        step()
    assert sum(waits.values()) == 1
    assert "from the host in" in str(waits)


@pytest.mark.parametrize("name", STEPS)
def test_a_training_step_never_waits(name):
    make, inputs, targets = STEPS[name]
    model = make().double().to("double")
    x, y = tracer.to_device((inputs, targets), "double")

    def step():
        with tracer.Tape() as tape:
            loss = nn.functional.cross_entropy(model(x), y)
        gradients = tape.backward(loss)["grad"]
        for key, parameter in model.named_parameters():
            parameter.data = parameter.data - 0.1 * gradients[key]
        return loss

    before = step()
    with device.watched() as waits:
        after = step()
    assert not waits
    with device.watched() as waits:
        assert float(after) != float(before)
    assert sum(waits.values()) == 2


PICKS = {
    "take_along_axis": lambda logits, y, rows: np.take_along_axis(logits, y[:, None], axis=1),
    "pairs of indices": lambda logits, y, rows: logits[rows, y],
    "a recorded index": lambda logits, y, rows: logits.T[tracer.batch(y)],
}


@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS)
def test_plain_code_never_waits(pick):
    """A network in NumPy's functions, moved by its arrays."""
    x, y, w = RNG.standard_normal((6, 4)), RNG.integers(0, 3, 6), RNG.standard_normal((4, 3))
    x, y, w, rows = tracer.to_device((x, y, w, np.arange(6)), "double")

    def loss(w):
        logits = np.tanh(x @ w)
        return np.mean(np.log(np.sum(np.exp(logits), axis=1))) - np.mean(pick(logits, y, rows))

    with device.watched() as waits:
        w = w - 0.1 * tracer.grad(loss)(w)
    assert not waits
    assert isinstance(w, device.DeviceArray)


@pytest.mark.parametrize(
    "wait",
    [
        bool,
        int,
        float,
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: x.get(),
        lambda x: [0, 1][x],
        lambda x: np.ones(3)[x],
        lambda x: np.nonzero(x[None]),
        lambda x: x[None][x[None] > 0],
        lambda x: device.asarray(np.ones(3)),
        tracer.asnumpy,
    ],
)
def test_what_is_counted(wait):
    x = device.asarray(np.array(1))
    with device.watched() as waits:
        wait(x)
    assert sum(waits.values()) == 1


def test_what_is_not_counted():
    x = device.asarray(np.ones(3))
    with device.watched() as waits:
        np.tanh(x) + x[:2].sum() * x.shape[0] + len(x)
    assert not waits


# -- what cannot be told without waiting --------------------------------------------------------


def test_a_target_that_is_no_class_gives_nan_there_and_an_error_here():
    logits, wrong = RNG.standard_normal((3, 4)), np.array([0, 4, 1])
    with pytest.raises(ShapeError, match="class indices from 0 to 3"):
        nn.functional.cross_entropy(logits, wrong)
    there = tracer.to_device((logits, wrong), "double")
    for loss in (nn.functional.cross_entropy, nn.functional.nll_loss):
        np.testing.assert_array_equal(np.isnan(loss(*there, reduction="none").get()), wrong == 4)
        assert np.isnan(loss(*there).get())


def test_an_index_of_no_row_gives_nan_there_and_an_error_here():
    layer, wrong = nn.Embedding(3, 2), np.array([[0, -1], [3, 2]])
    with pytest.raises(ShapeError, match="indices from 0 to 2"):
        layer(wrong)
    found = tracer.asnumpy(layer.to("double")(device.asarray(wrong)))
    np.testing.assert_array_equal(np.isnan(found).any(-1), (wrong < 0) | (wrong > 2))


def test_a_negative_variance_gives_nan_there_and_an_error_here():
    x, var = np.ones(3), np.array([1.0, -1.0, 2.0])
    with pytest.raises(ShapeError, match="expects variances"):
        nn.functional.gaussian_nll_loss(x, x, var)
    x, var = tracer.to_device((x, var), "double")
    found = nn.functional.gaussian_nll_loss(x, x, var, reduction="none").get()
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_of_cross_entropy_agree(weighted, smoothing, ignored, dtype):
    """The divisor is an array there and a number here."""
    logits = RNG.standard_normal((6, 4)).astype(dtype)
    target, weight = np.array([0, 2, 1, 3, 2, 0]), RNG.uniform(0.5, 2, 4).astype(dtype)

    def found(place):
        with tracer.Tape() as tape:
            x = tracer.parameter(place(logits), name="x")
            given = place(weight) if weighted else None
            loss = nn.functional.cross_entropy(
                x, place(target), given, ignored, label_smoothing=smoothing
            )
        gradient = tape.backward(loss, ("grad",))["grad"]["x"]
        return tracer.asnumpy((loss, gradient))

    here, there = found(np.asarray), found(device.asarray)
    for value, expected in zip(there, here, strict=True):
        assert value.dtype == expected.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-7)
