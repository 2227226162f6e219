"""What makes the host wait for the device: nothing in a training step that was not asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.errors import QuantityError, ShapeError
from tracer.sweep.bending import is_straight, wanted

sys.path.append(str(Path(__file__).parents[1]))
import device
from device_suite import FUNCTIONS

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


# -- quantities ---------------------------------------------------------------------------------

HESSIAN = ("diag_h", "diag_h_batch", "pchmp")
NEVER = [name for name in registry.quantities if name not in HESSIAN]

#: where constants are sent to the device once a sweep, which is no wait for what it computes
SENT = {
    "objective.py": "which entries are a sample's, for diag_h_batch where rows are not exact",
}


def fetched(waits):
    """How often a value went to the host; what is sent there must be named."""
    sent = [where for where in waits if where.startswith("from the host")]
    assert all(any(place in where for place in SENT) for where in sent), waits
    return sum(count for where, count in waits.items() if where not in sent)


def swept(name, quantities):
    """The second of two sweeps, its tape and what waited for it."""
    make, inputs, targets = STEPS[name]
    model, (x, y) = make().double().to("double"), tracer.to_device((inputs, targets), "double")
    if any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in model.modules()):
        model.eval()  # so that samples are apart
    for _ in range(2):
        with device.watched() as waits:
            with tracer.Tape() as tape:
                loss = nn.functional.cross_entropy(model(x), y)
            results = tape.backward(loss, quantities)
    return tape, results, waits


@pytest.mark.parametrize("name", STEPS)
def test_quantities_never_wait(name):
    """All but those that look for the second derivatives of the model."""
    _, results, waits = swept(name, NEVER)
    assert len(results) == len(NEVER) == len(registry.quantities) - 3
    assert fetched(waits) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        (name, quantity)
        for name in STEPS
        for quantity in HESSIAN
        if quantity != "pchmp" or name not in ("RNN", "LSTM", "GRU")  # where it is not defined
    ],
)
def test_the_hessian_waits_at_most_once_for_each_operation_that_bends(name, quantity):
    """It asks which rows are zero, so that they are not swept."""
    tape, _, waits = swept(name, (quantity,))
    bent = [node for node in tape.recorded() if node.wants and not is_straight(node, wanted(node))]
    assert 0 < fetched(waits) <= len(bent)


def test_products_and_kronecker_factors_never_wait():
    """`ggnmp`, SciPy's operators and solving with Kronecker factors, when they are used."""
    _, results, _ = swept("MLP", NEVER)
    weight = "0.weight"
    vector = device.asarray(np.ones((5, 4)))
    flat = device.asarray(np.ones(results["ggn"].shape[0]))
    with device.watched() as waits:
        for name in ("ggn", "hessian", "fisher_mc", "fisher_empirical"):
            results[name].matvec(flat)
        for name in ("ggnmp", "hmp"):
            results[name][weight](vector)
        for name in ("kflr", "kfac", "kfra"):
            results[name][weight].inverse(0.1).matvec(vector)
            results[name][weight].dense()
    assert not waits


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_functions_never_wait(name):
    w, x = tracer.to_device((RNG.standard_normal((3, 4)), RNG.standard_normal((5, 3))), "double")
    FUNCTIONS[name](w, x)
    with device.watched() as waits:
        FUNCTIONS[name](w, x)
    assert not waits


def picked(x, y, rows, lengths):
    with tracer.Tape() as tape:
        logits = tracer.batch(x) @ tracer.parameter(x.T.copy(), name="w")
        loss = np.sum(np.square(logits[rows, y]))
    return tape.backward(loss, ("batch_l2",))


#: what has to look at a value -> a call, and how often it does
LOOKS = {
    "along which axis samples are, indexed by two arrays": (picked, 2),
    "how long sequences are": (
        lambda x, y, rows, lengths: (
            nn.LSTM(1, 2).double().to("double")(x[..., None], lengths=lengths)
        ),
        1,
    ),
    "where bags start": (
        lambda x, y, rows, lengths: nn.EmbeddingBag(3, 2).double().to("double")(y, rows[:2]),
        1,
    ),
    "how often to repeat": (
        lambda x, y, rows, lengths: np.repeat(tracer.parameter(x), lengths, axis=1),
        1,
    ),
}


@pytest.mark.parametrize(("look", "count"), LOOKS.values(), ids=LOOKS)
def test_what_has_to_look_at_a_value_waits_for_that_alone(look, count):
    x, y, rows = RNG.standard_normal((6, 4)), RNG.integers(0, 3, 6), np.arange(6)
    given = tracer.to_device((x, y, rows, np.array([1, 2, 6, 3])), "double")
    with device.watched() as waits:
        look(*given)
    assert sum(n for where, n in waits.items() if where.startswith("to the host")) == count


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


def test_a_loss_that_is_not_convex_gives_nan_there_and_an_error_here():
    """One with a negative weight, and one in plain code that bends downwards."""
    w, x, y = RNG.standard_normal((4, 3)), RNG.standard_normal((5, 4)), RNG.integers(0, 3, 5)

    def diagonal(loss_of, w, x, y):
        with tracer.Tape() as tape:
            f = tracer.batch(x) @ tracer.parameter(w, name="w")
            loss = loss_of(f, y)
        return tape.backward(loss, ("diag_ggn_exact",), outputs=f)["diag_ggn_exact"]["w"]

    for loss_of in (
        lambda f, y: -nn.functional.cross_entropy(f, y),
        lambda f, y: -np.sum(np.square(f)),
    ):
        with pytest.raises(QuantityError, match="not convex"):
            diagonal(loss_of, w, x, y)
        assert np.isnan(diagonal(loss_of, *tracer.to_device((w, x, y), "double")).get()).all()


def test_a_negative_weight_gives_nan_there_and_an_error_here():
    x, y = RNG.standard_normal((5, 4)), RNG.integers(0, 3, 5)

    def diagonal(place):
        model = nn.Linear(4, 3).double().to(place)
        with tracer.Tape() as tape:
            f = model(tracer.to_device(x, place))
            loss = -nn.functional.cross_entropy(f, tracer.to_device(y, place))
        return tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]["weight"]

    with pytest.raises(QuantityError, match="negative weight"):
        diagonal("cpu")
    assert np.isnan(diagonal("double").get()).all()


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
            options = {"ignore_index": ignored, "label_smoothing": smoothing}
            loss = nn.functional.cross_entropy(x, place(target), given, **options)
        gradient = tape.backward(loss, ("grad",))["grad"]["x"]
        return tracer.asnumpy((loss, gradient))

    here, there = found(np.asarray), found(device.asarray)
    for value, expected in zip(there, here, strict=True):
        assert value.dtype == expected.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=4 * np.finfo(dtype).eps, atol=1e-7)
