"""In which dtype layers and losses compute: data never decide it, and half precision is enough."""

import inspect
from functools import partial

import numpy as np
import pytest
from layer_zoo import COUPLING, LAYERS

import tracer
import tracer_layers as nn
from tracer.errors import TracerError
from tracer_layers import functional
from tracer_layers.module.lazy import Lazy

DATA = ("uint8", "int8", "int16", "int32", "int64", "bool", "float16")
QUANTITIES = ("grad", "diag_ggn_exact")


def plain(name, *arguments):
    """A layer that takes arrays of any shape, by its name."""
    return lambda: getattr(nn, name)(*arguments), (3, 4)


def of_pair(make, *widths):
    """A layer of several inputs, cut from the last axis of one."""

    class OfParts(nn.Module):
        def __init__(self):
            self.layer = make()

        def forward(self, x):
            stops = np.cumsum(widths).tolist()
            return self.layer(*(x[..., b - w : b] for w, b in zip(widths, stops, strict=True)))

    return OfParts, (3, sum(widths))


def first(make, shape):
    """A layer that returns several arrays, of which the first counts."""

    class First(nn.Module):
        def __init__(self):
            self.layer = make()
            self.sequence_first = self.layer.sequence_first

        def forward(self, x):
            return self.layer(x)[0]

    return First, shape


def attention():
    class Attention(nn.Module):
        def __init__(self):
            self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            return self.layer(x, x, x)[0]

    return Attention()


def transformer():
    class Both(nn.Module):
        def __init__(self):
            options = {"dropout": 0.0, "batch_first": True}
            self.layer = nn.Transformer(4, 2, 1, 1, 3, **options)

        def forward(self, x):
            return self.layer(x, x)

    return Both()


def encoder_layer(kind=nn.TransformerEncoderLayer):
    return kind(4, 2, 3, 0.0, batch_first=True)


ELEMENTWISE = (
    "ReLU ReLU6 SELU SiLU Mish Hardsigmoid Hardswish Sigmoid Tanh LogSigmoid Softsign Tanhshrink "
    "LeakyReLU ELU CELU GELU Softplus Hardtanh Softshrink Hardshrink PReLU RReLU Identity"
).split()


class LogProbabilities(nn.Module):
    def __init__(self):
        self.layer = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2], 2.0)

    def forward(self, x):
        return self.layer.log_prob(x)


MORE = {
    "AdaptiveLogSoftmaxWithLoss": (LogProbabilities, (3, 4)),
    **{name: plain(name) for name in ELEMENTWISE},
    "GELU-tanh": plain("GELU", "tanh"),
    "Threshold": plain("Threshold", 0.5, -0.25),
    **{name: plain(name, -1) for name in ("Softmax", "LogSoftmax", "Softmin")},
    **{name: plain(name, 0.4) for name in ("Dropout", "AlphaDropout", "FeatureAlphaDropout")},
    "Dropout1d": (lambda: nn.Dropout1d(0.4), (3, 2, 2)),
    "Dropout2d-on": (lambda: nn.Dropout2d(0.4), (3, 2, 1, 2)),
    "Dropout3d": (lambda: nn.Dropout3d(0.4), (3, 2, 1, 2, 1)),
    "Linear": plain("Linear", 4, 3),
    "Bilinear": of_pair(lambda: nn.Bilinear(2, 3, 2), 2, 3),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2), (3, 2, 3)),
    "Conv2d": (lambda: nn.Conv2d(2, 4, (2, 1), padding=1, groups=2), (3, 2, 2, 2)),
    "Conv2d-wide": (lambda: nn.Conv2d(3, 2, 3, padding=1), (2, 3, 9, 9)),
    "Conv3d": (lambda: nn.Conv3d(1, 2, (1, 2, 1)), (3, 1, 1, 3, 2)),
    "Flatten": (lambda: nn.Flatten(), (3, 2, 2)),
    "Unflatten": plain("Unflatten", 1, (2, 2)),
    "Parallel-bytes": (lambda: nn.Parallel(nn.Identity(), nn.Identity()), (3, 4)),
    "ConstantPad1d": (lambda: nn.ConstantPad1d(1, -1.5), (3, 1, 2)),
    "ConstantPad3d": (lambda: nn.ConstantPad3d(1, 130), (2, 1, 1, 2, 1)),
    "ZeroPad2d": (lambda: nn.ZeroPad2d(1), (3, 1, 1, 2)),
    "ZeroPad3d": (lambda: nn.ZeroPad3d(1), (2, 1, 1, 1, 1)),
    "ReflectionPad1d": (lambda: nn.ReflectionPad1d(1), (3, 1, 2)),
    "ReflectionPad3d": (lambda: nn.ReflectionPad3d(1), (2, 1, 2, 2, 2)),
    "ReplicationPad2d": (lambda: nn.ReplicationPad2d(1), (3, 1, 1, 2)),
    "ReplicationPad3d": (lambda: nn.ReplicationPad3d(1), (2, 1, 1, 1, 1)),
    "CircularPad1d": (lambda: nn.CircularPad1d(1), (3, 1, 2)),
    "CircularPad2d": (lambda: nn.CircularPad2d(1), (3, 1, 1, 2)),
    "LPPool1d-inf": (lambda: nn.LPPool1d(float("inf"), 2), (3, 1, 4)),
    "UpsamplingBilinear2d": (lambda: nn.UpsamplingBilinear2d((3, 3)), (2, 1, 2, 2)),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(scale_factor=2), (2, 1, 2, 2)),
    "CosineSimilarity": of_pair(lambda: nn.CosineSimilarity(), 3, 3),
    "PairwiseDistance": of_pair(lambda: nn.PairwiseDistance(keepdim=True), 3, 3),
    "RNNCell": plain("RNNCell", 4, 2),
    "GRUCell": plain("GRUCell", 4, 2),
    "LSTMCell": first(lambda: nn.LSTMCell(4, 2), (3, 4)),
    "RNN": first(lambda: nn.RNN(4, 2, batch_first=True), (2, 3, 4)),
    "GRU": first(lambda: nn.GRU(4, 2, bidirectional=True, batch_first=True), (2, 3, 4)),
    "LSTM": first(lambda: nn.LSTM(4, 3, proj_size=2, batch_first=True), (2, 3, 4)),
    "Recurrent": first(lambda: nn.Recurrent(nn.GRUCell(4, 2), batch_first=True), (2, 3, 4)),
    "MultiheadAttention": (attention, (2, 3, 4)),
    "Transformer": (transformer, (2, 3, 4)),
    "TransformerEncoderLayer": (encoder_layer, (2, 3, 4)),
    "TransformerEncoder": (lambda: nn.TransformerEncoder(encoder_layer(), 1), (2, 3, 4)),
    "SinusoidalPositions": (lambda: nn.SinusoidalPositions(4, 4, batch_first=True), (2, 3, 4)),
    "LearnedPositions": (lambda: nn.LearnedPositions(4, 4, batch_first=True), (2, 3, 4)),
}
EVERY = LAYERS | COUPLING | MORE

#: what takes indices, holds others or is covered by what holds it
OTHERS = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict",
          "Embedding", "EmbeddingBag",
          "TransformerDecoder", "TransformerDecoderLayer"}  # fmt: skip


def test_every_layer_is_here():
    """By its name, or the part of it before a dash, as in the zoo."""
    layers = {
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and not name.endswith("Loss")
        if not issubclass(value, Lazy)
    }
    assert layers - OTHERS <= {name.partition("-")[0] for name in EVERY}


def data(dtype, shape):
    """Numbers that the dtype holds, large ones among them, and whose squares it does not."""
    rng = np.random.default_rng(3)
    if dtype == "bool":
        return rng.random(shape) > 0.4
    if dtype == "float16":
        return rng.standard_normal(shape).astype(np.float16)
    low, high = (0, 250) if dtype == "uint8" else (-120, 120)
    return rng.integers(low, high, shape).astype(dtype)


def head(make, shape):
    """The layer, which meets the data, and a linear map of what it gives."""
    tracer.seed(0)
    layer = make().double()
    probe = layer(tracer.batch(np.ones(shape)))
    layer = make()
    tracer.seed(0)
    width = int(np.prod(probe.shape[1:]))
    model = nn.Sequential(layer, nn.Flatten() if probe.ndim > 1 else nn.Unflatten(0, (-1, 1)))
    model.append(nn.Linear(width, 2))
    return model


def swept(model, x, quantities=QUANTITIES):
    tracer.seed(1)
    with tracer.Tape() as tape:
        out = model(tracer.batch(x))
        loss = nn.mse_loss(out, np.full(out.shape, 3, np.int8))
    return out, loss, tape.backward(loss, quantities)


@pytest.mark.parametrize("name", EVERY)
def test_data_are_taken_in_the_dtype_of_the_parameters(name):
    make, shape = EVERY[name]
    for parameters in (np.float64, np.float32):
        model = head(make, shape).to(parameters)
        tolerance = 1e-12 if parameters == np.float64 else 1e-5
        for dtype in DATA if parameters == np.float64 else ("uint8", "int64", "float16"):
            x = data(dtype, shape)
            out, loss, found = swept(model, x)
            right_out, right_loss, right = swept(model, x.astype(parameters))
            what = f"{dtype} with {parameters.__name__}"
            assert out.dtype == loss.dtype == parameters, what
            close(out.data, right_out.data, tolerance, what)
            close(loss.data, right_loss.data, tolerance, what)
            for quantity, values in right.items():
                for key, value in values.items():
                    assert found[quantity][key].dtype == parameters
                    close(found[quantity][key], value, tolerance, f"{what}: {quantity} {key}")


def close(got, right, tolerance, what=""):
    """To a tolerance relative to the largest element."""
    right = np.asarray(right, float)
    assert got.shape == right.shape, what
    if right.size and np.isfinite(right).all():
        scale = max(abs(right).max(), 1e-3)
        np.testing.assert_allclose(got, right, rtol=0, atol=tolerance * scale, err_msg=what)


@pytest.mark.parametrize("name", EVERY)
def test_half_precision_is_right_to_its_rounding(name):
    """Forward, gradient and quantities, of what the same numbers give in double precision."""
    make, shape = EVERY[name]
    model = head(make, shape).half()
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter.data = parameter.data + (0.3 * rng.standard_normal(parameter.shape)).astype("e")
    x = rng.standard_normal(shape).astype(np.float16)
    quantities = ("grad", "diag_ggn_exact", "diag_h")
    out, loss, found = swept(model, x, quantities)
    assert out.dtype == loss.dtype == np.float16
    right_out, right_loss, right = swept(model.double(), x.astype(float), quantities)
    close(out.data, right_out.data, 1e-2)
    close(loss.data, right_loss.data, 1e-2)
    for quantity, values in right.items():
        for key, value in values.items():
            assert found[quantity][key].dtype == np.float16
            close(found[quantity][key], value, 3e-2, f"{quantity} {key}")


# -- losses ----------------------------------------------------------------------------------------

LOSSES = {
    "mse": nn.mse_loss,
    "l1": nn.l1_loss,
    "smooth_l1": nn.smooth_l1_loss,
    "huber": lambda x, t: nn.huber_loss(x, t, delta=0.7),
    "gaussian": lambda x, t: nn.gaussian_nll_loss(x, t, 2),
    "gaussian-var": lambda x, t: nn.gaussian_nll_loss(x, t, abs(t) + (t == 0).astype(t.dtype)),
    "poisson": lambda x, t: nn.poisson_nll_loss(x, t, full=True),
    "bce": nn.binary_cross_entropy_with_logits,
    "soft-margin": nn.soft_margin_loss,
    "hinge": nn.hinge_embedding_loss,
    "kl": nn.kl_div,
    "multilabel-bce": nn.multilabel_soft_margin_loss,
    "ranking": lambda x, t: nn.margin_ranking_loss(x, 2 * x, t, margin=0.5),
    "bce-weights": lambda x, t: nn.binary_cross_entropy_with_logits(
        x, t, weight=np.array([2, 1], t.dtype), pos_weight=np.array([3, 1], t.dtype)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_targets_are_taken_in_the_dtype_of_the_prediction(name):
    for parameters in (np.float64, np.float32):
        tracer.seed(0)
        model = nn.Linear(3, 2).to(parameters)
        x = np.random.default_rng(0).standard_normal((4, 3)).astype(parameters)
        for dtype in DATA:
            target = abs(data(dtype, (4, 2))).clip(0, 1 if "bce" in name else None)
            found, right = (losses(LOSSES[name], model, x, t) for t in (
                target, target.astype(parameters)
            ))  # fmt: skip
            assert found[0].dtype == parameters
            for got, value in zip(found, right, strict=True):
                close(got, value, 1e-12 if parameters == np.float64 else 1e-6, dtype)


def losses(loss, model, x, target):
    """The loss, its gradient and the diagonals of its curvature, by the weight."""
    with tracer.Tape() as tape:
        value = loss(model(x), target)
    results = tape.backward(value, ("grad", "diag_ggn_exact", "diag_h"))
    return [value.data, *(results[name]["weight"] for name in results)]


@pytest.mark.parametrize("weight", [None, np.array([2, 1, 3], np.uint8)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_classes_and_their_weights_may_be_of_any_int_dtype(dtype, weight):
    tracer.seed(0)
    model = nn.Linear(2, 3)
    x, y = np.arange(8, dtype=np.float32).reshape(4, 2), np.array([0, 2, 1, 2])
    for smoothing in (0.0, 0.1):
        loss = partial(nn.cross_entropy, weight=weight, label_smoothing=smoothing)
        wide = None if weight is None else weight.astype(np.float32)
        found = losses(loss, model, x, y.astype(dtype))
        right = losses(partial(loss, weight=wide), model, x, y)
        assert found[0].dtype == np.float32
        for got, value in zip(found, right, strict=True):
            close(got, value, 1e-6)


def test_many_classes_of_bytes():
    """300 classes do not fit a byte, but the targets do."""
    x = np.random.default_rng(0).standard_normal((3, 300))
    target = np.array([255, 0, 7], np.uint8)
    loss = nn.cross_entropy(x, target)
    np.testing.assert_allclose(loss, nn.cross_entropy(x, target.astype(int)))


def test_probabilities_of_half_precision_are_summed_in_the_prediction_s():
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((4, 5)), rng.random((4, 5)).astype(np.float16)
    found, right = (
        tracer.grad(lambda x, t=t: nn.cross_entropy(x, t))(logits)
        for t in (target, target.astype(float))
    )
    np.testing.assert_allclose(found, right, rtol=1e-12)


@pytest.mark.parametrize("name", [*LOSSES, "cross_entropy"])
def test_losses_of_half_precision(name):
    loss = LOSSES.get(name, lambda x, t: nn.cross_entropy(x, t, label_smoothing=0.1))
    tracer.seed(0)
    model = nn.Linear(3, 4 if name == "cross_entropy" else 2).half()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3)).astype(np.float16)
    target = rng.integers(0, 4, 5) if name == "cross_entropy" else rng.random((5, 2)).astype("e")
    found = losses(loss, model, x, target)
    assert all(value.dtype == np.float16 for value in found)
    wide = target if name == "cross_entropy" else target.astype(float)
    right = losses(loss, model.double(), x.astype(float), wide)
    for got, value in zip(found, right, strict=True):
        close(got, value, 1e-2)


# -- what half precision cannot hold on the way ----------------------------------------------------


def test_means_of_more_than_half_precision_holds():
    """Sums of 200,000 ones, of squares above 65504, counts above 2048."""
    many = np.full((100_000, 2), 1.5, np.float16)
    assert float(nn.mse_loss(tracer.batch(many), 0 * many).data) == 2.25
    logits, y = np.zeros((70_000, 3), np.float16), np.arange(70_000) % 3
    y[::7] = -100
    assert abs(float(nn.cross_entropy(logits, y)) - np.log(3)) < 1e-3
    image = np.full((1, 1, 80, 80), 30, np.float16)
    for pool in (nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(80), nn.AdaptiveAvgPool2d(3)):
        assert np.all(pool(image).data == 30)
    spread = np.array([[-600, 600, -599, 599]], np.float16)
    for layer in (
        nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(1, 4), nn.InstanceNorm1d(1),
    ):  # fmt: skip
        x = spread[:, None] if isinstance(layer, nn.InstanceNorm1d) else spread
        out = layer.half()(x).data.reshape(-1)
        np.testing.assert_allclose(out, [-1, 1, -1, 1], atol=5e-3)
    batch = nn.BatchNorm1d(1).half()
    np.testing.assert_allclose(batch(spread.T).data[:, 0], [-1, 1, -1, 1], atol=5e-3)


def test_gradients_below_half_precision_add_up():
    """Each of 100,000 samples has a hundred-thousandth of the mean's gradient."""
    model = nn.Linear(1, 1, bias=False).half()
    x = np.ones((100_000, 1), np.float16)
    with tracer.Tape() as tape:
        loss = nn.mse_loss(model(x), np.zeros((100_000, 1)))
    found = tape.backward(loss, ("grad", "diag_ggn_exact", "diag_h"))
    weight = float(model.weight.data[0, 0])
    np.testing.assert_allclose(found["grad"]["weight"][0, 0], 2 * weight, rtol=2e-3)
    np.testing.assert_allclose(found["diag_ggn_exact"]["weight"], 2, rtol=2e-3)
    np.testing.assert_allclose(found["diag_h"]["weight"], 2, rtol=2e-3)


# -- layers that take ints -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_indices_may_be_of_any_int_dtype(dtype):
    index = np.array([[0, 90], [90, 3], [127, 127]])
    for make in (lambda: nn.Embedding(128, 2, padding_idx=3), lambda: nn.EmbeddingBag(128, 2)):
        tracer.seed(0)
        model = nn.Sequential(make(), nn.Linear(2, 1))
        out, _, right = swept(model, index)
        got, _, found = swept(model, index.astype(dtype))
        assert got.dtype == out.dtype == np.float32
        for quantity, values in right.items():
            for key, value in values.items():
                np.testing.assert_array_equal(found[quantity][key], value)


def test_weights_of_bags_may_be_ints():
    layer, index = nn.EmbeddingBag(5, 2, mode="sum"), np.array([[0, 1], [4, 1]])
    weights = np.array([[200, 2], [0, 100]], np.uint8)
    out = layer(index, per_sample_weights=weights)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(
        out.data, layer(index, per_sample_weights=weights.astype(np.float32)).data
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_states_are_taken_in_the_dtype_of_the_parameters(dtype):
    layer = nn.GRU(2, 3)
    x, h = data(dtype, (2, 1, 2)), data(dtype, (1, 1, 3))
    out = layer(x, h)[0]
    assert out.dtype == np.float32
    single = layer(x.astype(np.float32), h.astype(np.float32))[0]
    np.testing.assert_array_equal(out.data, single.data)


def test_functions_outside_of_a_model_compute_in_float32_at_least():
    x = np.array([[3, 200]], np.uint8)
    F = nn.functional
    for function in (F.sigmoid, F.gelu, F.softplus, F.tanh, F.softsign, F.hardswish, F.silu):
        out = function(x)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, function(x.astype(np.float64)), rtol=1e-6)
    assert F.softmax(x.astype(np.int64), -1).dtype == np.float64


def test_ints_are_padded_as_ints_where_they_hold_the_value():
    """Indices stay indices."""
    x = np.array([[1, 2]], np.uint8)
    padded = nn.functional.pad(x, (0, 1), value=9)
    assert padded.dtype == np.uint8
    assert padded.tolist() == [[1, 2, 9]]
    assert nn.functional.pad(x, (0, 1), value=-0.5).tolist() == [[1, 2, -0.5]]
    assert nn.functional.pad(x, (0, 1), value=300).tolist() == [[1, 2, 300]]


def test_masks_of_ints_are_refused():
    query = np.ones((1, 2, 4), np.float32)
    with pytest.raises(TracerError, match="bool"):
        nn.functional.scaled_dot_product_attention(query, query, query, np.ones((2, 2), np.uint8))


@pytest.mark.parametrize("number", [np.float64, np.float32, np.float16])
def test_numbers_of_numpys_given_to_layers_decide_no_dtype(number):
    half = number(0.5)
    layers = [
        nn.LeakyReLU(half), nn.ELU(half), nn.CELU(half), nn.Softplus(half, number(20)),
        nn.Hardtanh(-half, half), nn.Softshrink(half), nn.Hardshrink(half),
        nn.Threshold(half, half), nn.LayerNorm(4, half), nn.RMSNorm(4, half),
        nn.GroupNorm(2, 4, half), nn.BatchNorm1d(4, half, half), nn.Dropout(half),
        nn.AlphaDropout(half), nn.RReLU(half, half), nn.PReLU(1, half),
    ]  # fmt: skip
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    for layer in layers:
        assert layer(x).dtype == np.float32, layer
    losses = [
        nn.HuberLoss(delta=half), nn.SmoothL1Loss(beta=half), nn.PoissonNLLLoss(eps=half),
        nn.CrossEntropyLoss(label_smoothing=half),
    ]  # fmt: skip
    for loss in losses:
        assert loss(x, abs(x)).dtype == np.float32, loss


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.batch_norm(x, None, None, training=True),
        lambda x: functional.batch_norm(x, np.zeros(3, np.float32), np.ones(3, np.float32)),
        functional.instance_norm,
        functional.normalize,
        partial(functional.normalize, p=4.0),
        partial(functional.normalize, p=np.inf),
    ],
)
def test_functions_that_normalise_square_no_bytes_or_half_precision(function, dtype):
    x = np.random.default_rng(0).integers(0, 255, (4, 3, 5)).astype(dtype)
    out, right = function(x), function(x.astype(float))
    assert out.dtype.kind == "f"
    np.testing.assert_allclose(out, right, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
def test_weights_of_elements_take_the_dtype_of_the_losses(name, reduction, dtype):
    rng, loss = np.random.default_rng(0), getattr(functional, name)
    x, target = rng.standard_normal((2, 4, 5)).astype(np.float32)
    weight = rng.integers(0, 255, (4, 5)).astype(dtype)
    out = loss(x, target, reduction=reduction, weight=weight)
    right = loss(
        x.astype(float), target.astype(float), reduction=reduction, weight=weight.astype(float)
    )
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, right, rtol=1e-5)
