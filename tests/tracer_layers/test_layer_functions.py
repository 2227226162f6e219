"""Functions that are layers: the same numbers, arguments and derivatives."""

import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tests.tracer_layers.layer_zoo import evaluating
from tracer.errors import ShapeError, TracerError

F = nn.functional
RNG = np.random.default_rng(0)
X1, X2, X3 = (RNG.standard_normal((3, 2, *(6,) * rank)) for rank in (1, 2, 3))


def frozen(layer):
    return evaluating(layer.double())


NORM = frozen(nn.BatchNorm2d(2))
INSTANCE = frozen(nn.InstanceNorm2d(2, affine=True, track_running_stats=True))
TABLE = nn.EmbeddingBag(5, 3, mode="sum", padding_idx=1).double()
BAGS = np.array([[0, 1, 4], [2, 2, 3]])

#: the function, and the layer, of the inputs
PAIRS = {
    **{
        f"{name}{rank}d": (
            lambda x, name=name, rank=rank, args=args: getattr(F, f"{name}{rank}d")(x, *args),
            lambda x, layer=layer, rank=rank, made=made: getattr(nn, f"{layer}{rank}d")(*made)(x),
            (x,),
        )
        for rank, x in ((1, X1), (2, X2), (3, X3))
        for name, args, layer, made in (
            ("max_pool", (3, 2, 1, 1, True), "MaxPool", (3, 2, 1, 1, False, True)),
            ("avg_pool", (3, 2, 1, True, False), "AvgPool", (3, 2, 1, True, False)),
            ("lp_pool", (2, 2, 1, True), "LPPool", (2, 2, 1, True)),
            ("adaptive_avg_pool", (4,), "AdaptiveAvgPool", (4,)),
            ("adaptive_max_pool", (4,), "AdaptiveMaxPool", (4,)),
        )
    },
    "batch_norm": (
        lambda x: F.batch_norm(
            x, NORM.running_mean, NORM.running_var, NORM.weight, NORM.bias, False, 0.1, NORM.eps
        ),
        lambda x: NORM(x),
        (X2,),
    ),
    "batch_norm in training": (
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: nn.BatchNorm2d(2, affine=False).double()(x),
        (X2,),
    ),
    "instance_norm": (
        lambda x: F.instance_norm(x, None, None, INSTANCE.weight, INSTANCE.bias),
        lambda x: F.instance_norm(x, weight=INSTANCE.weight, bias=INSTANCE.bias),
        (X2,),
    ),
    "instance_norm of running statistics": (
        lambda x: F.instance_norm(
            x, INSTANCE.running_mean, INSTANCE.running_var, INSTANCE.weight, INSTANCE.bias, False
        ),
        lambda x: INSTANCE(x),
        (X2,),
    ),
    "embedding_bag": (
        lambda w: F.embedding_bag(BAGS, TABLE.weight, mode="sum", padding_idx=1) * w,
        lambda w: TABLE(BAGS) * w,
        (np.ones(3),),
    ),
    "normalize": (
        lambda x: F.normalize(x),
        lambda x: x / np.sqrt(np.sum(x * x, axis=1, keepdims=True)),
        (X2,),
    ),
    "normalize by a sum": (
        lambda x: F.normalize(x, 1.0, (1, 2)),
        lambda x: x / np.sum(np.abs(x), axis=(1, 2), keepdims=True),
        (X2,),
    ),
    "normalize by a maximum": (
        lambda x: F.normalize(x, np.inf, -1),
        lambda x: x / np.max(np.abs(x), axis=-1, keepdims=True),
        (X2,),
    ),
    "normalize by a cube": (
        lambda x: F.normalize(x, 3, 0),
        lambda x: x / np.sum(np.abs(x) ** 3, axis=0, keepdims=True) ** (1 / 3),
        (X2,),
    ),
    "softmax of another dtype": (
        lambda x: F.softmax(x, -1, dtype=np.float32),
        lambda x: nn.Softmax(-1)(x.astype(np.float32)),
        (X2,),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_function_and_layer_agree(name):
    function, layer, inputs = PAIRS[name]
    weight = RNG.standard_normal(np.shape(function(*inputs).data))

    def value_and_gradient(f):
        return tracer.value_and_grad(lambda x: np.sum(f(x) * weight))(*inputs)

    got, expected = value_and_gradient(function), value_and_gradient(layer)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    raw = function(*inputs)
    np.testing.assert_allclose(np.sum(raw.data * weight), expected[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["max_pool2d", "adaptive_max_pool2d"])
def test_maxima_with_places(kind):
    out, places = getattr(F, kind)(X2, 3, return_indices=True)
    found = np.take_along_axis(X2.reshape(3, 2, -1), places.reshape(3, 2, -1), -1)
    np.testing.assert_array_equal(found.reshape(out.shape), out)


def test_functions_are_pickled_by_name():
    for name in F.__all__:
        function = getattr(F, name)
        assert pickle.loads(pickle.dumps(function)) is function
        assert getattr(nn, name) is function
        assert function.__doc__


def test_one_hot():
    np.testing.assert_array_equal(F.one_hot(np.array([[0, 2]])), [[[1, 0, 0], [0, 0, 1]]])
    assert F.one_hot(np.array([1, 0]), 4).shape == (2, 4)
    assert F.one_hot(np.array([1], np.uint8)).dtype == np.int64
    assert F.one_hot(np.zeros(0, int), 3).shape == (0, 3)
    for wrong in (np.array([-1]), np.array([0.5]), np.zeros(0, int)):
        with pytest.raises(ShapeError, match="one_hot expects"):
            F.one_hot(wrong)
    with pytest.raises(ShapeError, match="from 0 to 2, got 0 to 3"):
        F.one_hot(np.array([0, 3]), 3)


@pytest.mark.parametrize("p", [1, 2, 2.5, np.inf])
def test_what_is_zero_is_normalised_to_zero_with_a_finite_gradient(p):
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    value, gradient = tracer.value_and_grad(lambda x: np.sum(F.normalize(x, p)[1]))(x)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(F.normalize(x, p)[0], 0)


# -- defaults -----------------------------------------------------------------------------------


def test_dropouts_train_by_default_as_those_of_pytorch_do():
    x = np.ones((4, 3, 5), np.float32)
    for function in (F.alpha_dropout, F.feature_alpha_dropout, F.rrelu):
        np.testing.assert_array_equal(function(x), x)
    assert (F.alpha_dropout(x, 0.5, True) != x).any()
    for function in (F.dropout, F.dropout1d):
        assert (function(x) != x).any()
    for function, rank in ((F.dropout1d, 1), (F.dropout2d, 2), (F.dropout3d, 3)):
        x = np.ones((40, 3, *(2,) * rank))
        out = function(x, 0.5, rng=np.random.default_rng(0))
        per_channel = out.reshape(40, 3, -1)
        np.testing.assert_array_equal(per_channel, per_channel[..., :1] * np.ones(2**rank))
        assert 0.3 < (per_channel == 0).mean() < 0.7
        np.testing.assert_array_equal(function(x, 0.5, False), x)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.cross_entropy(np.ones((2, 3)), np.array([0, 1]), None, True),
        lambda: F.nll_loss(np.ones((2, 3)), np.array([0, 1]), None, False),
        lambda: F.mse_loss(np.ones(2), np.ones(2), False),
        lambda: F.mse_loss(np.ones(2), np.ones(2), "sum"),
        lambda: F.l1_loss(np.ones(2), np.ones(2), None, False),
        lambda: F.smooth_l1_loss(np.ones(2), np.ones(2), "none"),
        lambda: F.poisson_nll_loss(np.ones(2), np.ones(2), True, False, False),
        lambda: F.binary_cross_entropy_with_logits(np.ones(2), np.ones(2), None, True),
    ],
)
def test_places_of_deprecated_arguments_are_not_those_of_others(call):
    with pytest.raises(TracerError, match="reduction= in place of size_average and reduce"):
        call()


def test_weights_of_elements():
    x, y, w = (RNG.uniform(0.5, 2, (3, 2)) for _ in range(3))
    square, distance = (x - y) ** 2, abs(x - y)
    cases = [
        (F.mse_loss(x, y, weight=w), (square * w).sum() / w.sum()),
        (F.mse_loss(x, y, weight=w, reduction="sum"), (square * w).sum()),
        (F.l1_loss(x, y, weight=w), (distance * w).sum() / w.sum()),
        (F.huber_loss(x, y, delta=9.0, weight=w), (square / 2 * w).mean()),
    ]
    for got, expected in cases:
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    with pytest.raises(ShapeError, match=r"weights of the shape \[3, 2\], got \[2\]"):
        F.mse_loss(x, y, weight=w[0])
    with tracer.Tape(), pytest.raises(TracerError, match="weights that are constants"):
        F.l1_loss(x, y, weight=tracer.parameter(w) * 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.batch_norm(X2, np.zeros(2), np.ones(2), training=True), "give None for them"),
        (lambda: F.batch_norm(X2, None, None), "expects running_mean and running_var"),
        (lambda: F.instance_norm(X2, np.zeros(2), np.ones(2)), "writes into no running statistics"),
        (lambda: F.instance_norm(X2[..., :1, :1]), "more than one value per channel"),
        (lambda: F.normalize(X2, out=X2), "leave out out"),
        (lambda: F.interpolate(X2, 3, antialias=True), "mode as bilinear or bicubic, got 'near"),
        (lambda: F.embedding(BAGS, TABLE.weight, max_norm=0.0), "positive max_norm"),
        (
            lambda: F.embedding(BAGS, TABLE.weight, scale_grad_by_freq=True),
            r"np\.bincount\(indices",
        ),
        (lambda: F.embedding_bag(BAGS, TABLE.weight, mode="median"), "mode as one of"),
        (lambda: F.max_pool2d(X2, 2, padding=2), "at most half"),
    ],
)
def test_what_is_not_taken_is_refused(call, message):
    with pytest.raises(TracerError, match=message):
        call()


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, np.inf])
def test_the_distance_of_a_vector_to_itself_has_the_gradient_zero(p):
    def distance(x):
        return np.sum(F.pairwise_distance(x, np.ones((2, 3)), p, eps=0.0))

    np.testing.assert_array_equal(tracer.grad(distance)(np.ones((2, 3))), 0)


def test_rows_that_are_looked_up_are_bounded_and_stay_so():
    table = tracer.parameter(np.array([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]]), "table")
    with tracer.Tape() as tape:
        first = F.embedding(np.array([0, 1]), table, max_norm=1.0)
        second = F.embedding(np.array([2]), table, max_norm=1.0)
        loss = np.sum(first) * np.sum(second)
    np.testing.assert_allclose(first.data, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(table.data, [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]], rtol=1e-6)
    gradient = tape.backward(loss)["grad"]["table"]
    np.testing.assert_allclose(gradient, [[1.4, 1.4], [1.4, 1.4], [2.1, 2.1]], rtol=1e-6)


def test_a_raw_table_is_bounded_for_the_lookup_alone():
    table = np.array([[3.0, 4.0], [0.3, 0.4]])
    found = F.embedding(np.array([0, 1]), table, max_norm=1.0)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    np.testing.assert_array_equal(table, [[3, 4], [0.3, 0.4]])
    with tracer.Tape(), pytest.raises(TracerError, match="a parameter as its table for max_norm"):
        F.embedding(np.array([0]), 2 * tracer.parameter(table), max_norm=1.0)


def test_circular_padding_repeats_what_is_left():
    x = np.arange(4.0)[None, None]
    np.testing.assert_array_equal(F.pad(x, (-1, 2), "circular")[0, 0], [1, 2, 3, 1, 2])
    np.testing.assert_array_equal(F.pad(x, (1, -2), "circular")[0, 0], [1, 0, 1])
    with pytest.raises(ShapeError, match="at most 2"):
        F.pad(x, (-2, 3), "circular")


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_exponentials_of_nothing(name):
    for shape in ((0, 2), (2, 0)):
        value, pull = tracer.vjp(lambda x: getattr(F, name)(x, 0), np.zeros(shape))
        assert value.shape == pull(value)[0].shape == shape
