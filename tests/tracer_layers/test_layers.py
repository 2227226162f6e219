"""Layers: their values by plain loops, initial values, errors, and quantities sample by sample."""

import itertools

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError
from tracer_layers.convolution.windows import windows

RNG = np.random.default_rng(0)


def convolved(x, weight, bias, stride, padding, dilation, groups):
    """The definition of a convolution, one output at a time."""
    rank = weight.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    size = [
        (padded.shape[2 + a] - dilation[a] * (weight.shape[2 + a] - 1) - 1) // stride[a] + 1
        for a in range(rank)
    ]
    outputs, inputs = weight.shape[:2]
    out = np.zeros((len(x), outputs, *size))
    for n, o, *at in np.ndindex(out.shape):
        group = o // (outputs // groups)
        total = bias[o]
        for c, *k in np.ndindex(weight.shape[1:]):
            place = [at[a] * stride[a] + k[a] * dilation[a] for a in range(rank)]
            total += weight[(o, c, *k)] * padded[(n, group * inputs + c, *place)]
        out[(n, o, *at)] = total
    return out


CONVOLUTIONS = [
    ((2, 2, 5), (3, 2, 2), (1,), (0,), (1,), 1),
    ((2, 2, 5, 4), (3, 2, 2, 3), (2, 1), (1, 2), (1, 2), 1),
    ((2, 4, 4, 3), (6, 2, 2, 2), (1, 2), (0, 1), (2, 1), 2),
    ((1, 2, 3, 4, 3), (2, 1, 2, 1, 2), (1, 2, 1), (1, 0, 0), (1, 1, 2), 2),
    ((1, 1, 2, 3, 2, 3), (2, 1, 2, 2, 1, 2), (1, 1, 1, 2), (0, 0, 1, 0), (1, 1, 1, 1), 1),
]


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution_is_its_definition(case):
    shape, kernel, stride, padding, dilation, groups = case
    layer = nn.ConvNd(shape[1], kernel[0], kernel[2:], stride, padding, dilation, groups).double()
    x = RNG.standard_normal(shape)
    expected = convolved(x, layer.weight.data, layer.bias.data, stride, padding, dilation, groups)
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-12)
    np.testing.assert_allclose(layer(x[0]).data, expected[0], atol=1e-12)


def test_blocks_of_samples_give_what_one_block_gives(monkeypatch):
    layer = nn.Conv2d(2, 3, 3, padding=1).double()
    x = RNG.standard_normal((7, 2, 5, 6))

    def values():
        leaf = tracer.parameter(x, name="x")
        with tracer.Tape() as tape:
            out = layer(leaf)
            loss = np.sum(np.sin(out))
        return out.data, tape.backward(loss)["grad"]

    whole, gradients = values()
    monkeypatch.setattr("tracer_layers.convolution.arrays.BLOCK_BYTES", 3 * 2 * 9 * 30 * 8)
    blocks, by_blocks = values()
    np.testing.assert_allclose(blocks, whole, atol=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(by_blocks[name], gradient, atol=1e-12)


def test_a_convolution_of_no_samples():
    layer = nn.Conv2d(2, 3, 3)
    with tracer.Tape() as tape:
        out = layer(np.ones((0, 2, 5, 6), np.float32))
        loss = np.sum(out)
    assert out.shape == (0, 3, 3, 4)
    assert not tape.backward(loss)["grad"]["weight"].any()


@pytest.mark.parametrize(
    ("mode", "numpy_mode"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]
)
def test_padding_modes_pad_first(mode, numpy_mode):
    layer = nn.Conv2d(1, 2, 3, padding=(1, 2), padding_mode=mode).double()
    x = RNG.standard_normal((2, 1, 4, 5))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (2, 2)], mode=numpy_mode)
    ones = (1, 1)
    expected = convolved(padded, layer.weight.data, layer.bias.data, ones, (0, 0), ones, 1)
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-12)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((5,), (2,), (2,), (0,)),
        ((6, 5), (3, 2), (2, 3), (1, 1)),
        ((4, 5, 4), (2, 2, 3), (2, 2, 2), (1, 1, 1)),
    ],
)
def test_pooling_is_its_definition(size, kernel, stride, padding, ceil_mode):
    x = RNG.standard_normal((2, *size))
    w = windows(size, kernel, stride, tuple((p, p) for p in padding), (1,) * len(size), ceil_mode)
    largest, mean, inside = (np.zeros((2, *w.output)) for _ in range(3))
    for n, *at in np.ndindex(largest.shape):
        first = [a * s - p for a, s, p in zip(at, stride, padding, strict=True)]
        inner = tuple(
            slice(max(f, 0), min(f + k, m)) for f, k, m in zip(first, kernel, size, strict=True)
        )
        reach = [
            min(f + k, m + p) - f for f, k, m, p in zip(first, kernel, size, padding, strict=True)
        ]
        seen = x[(n, *inner)]
        largest[(n, *at)] = seen.max()
        mean[(n, *at)] = seen.sum() / np.prod(reach)
        inside[(n, *at)] = seen.mean()
    arguments = (kernel, stride, padding)
    np.testing.assert_allclose(nn.MaxPoolNd(*arguments, ceil_mode=ceil_mode)(x).data, largest)
    pools = [nn.AvgPoolNd(*arguments, ceil_mode, include) for include in (True, False)]
    np.testing.assert_allclose(pools[0](x).data, mean)
    np.testing.assert_allclose(pools[1](x).data, inside)


def test_the_first_of_equal_maxima_takes_the_gradient():
    x = tracer.parameter(np.zeros((1, 1, 2, 2)), name="x")
    with tracer.Tape() as tape:
        loss = np.sum(nn.MaxPool2d(2)(x))
    assert tape.backward(loss)["grad"]["x"].tolist() == [[[[1, 0], [0, 0]]]]


def test_bilinear_is_its_definition():
    layer = nn.Bilinear(3, 4, 2).double()
    a, b = RNG.standard_normal((5, 3)), RNG.standard_normal((5, 4))
    expected = np.einsum("ni,oij,nj->no", a, layer.weight.data, b) + layer.bias.data
    np.testing.assert_allclose(layer(a, b).data, expected)


@pytest.mark.parametrize("quantity", ["grad", "grad_batch"])
def test_indices_of_a_table_may_be_bytes(quantity):
    """Rows times width is more than a byte holds."""
    layer, index = nn.Embedding(100, 8), np.array([[3, 99], [40, 3]])

    def found(index):
        with tracer.Tape() as tape:
            loss = (layer(index) ** 2).sum()
        return tape.backward(loss, (quantity,))[quantity]["weight"]

    np.testing.assert_array_equal(found(index.astype(np.uint8)), found(index))


def test_embedding_looks_up_and_leaves_the_padding_alone():
    layer = nn.Embedding(5, 2, padding_idx=-1)
    assert layer.padding_idx == 4
    assert not layer.weight.data[4].any()
    index = np.array([[0, 4], [0, 1]])
    with tracer.Tape() as tape:
        loss = np.sum(layer(index))
    expected = [[2, 2], [1, 1], [0, 0], [0, 0], [0, 0]]
    assert tape.backward(loss)["grad"]["weight"].tolist() == expected
    table = np.arange(6.0).reshape(3, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad
    np.testing.assert_array_equal(frozen(np.array([2, 0])).data, table[[2, 0]])


def test_dropout_scales_what_it_keeps_and_is_reproducible():
    x = np.ones((200, 50), np.float32)
    layer = nn.Dropout(0.3, rng=np.random.default_rng(0))
    out = layer(x).data
    assert out.dtype == np.float32
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.7], rtol=1e-6)
    assert abs((out == 0).mean() - 0.3) < 0.02
    tracer.seed(3)
    first = nn.Dropout(0.5)(x).data
    nn.seed(3)
    np.testing.assert_array_equal(nn.Dropout(0.5)(x).data, first)
    np.testing.assert_array_equal(layer.eval()(x).data, x)


@pytest.mark.parametrize(
    ("make", "bounds"),
    [
        (lambda rng: nn.Linear(16, 500, rng=rng), {"weight": 1 / 4, "bias": 1 / 4}),
        (lambda rng: nn.Bilinear(16, 4, 100, rng=rng), {"weight": 1 / 4, "bias": 1 / 4}),
        (lambda rng: nn.Conv2d(8, 600, 2, groups=2, rng=rng), {"weight": 1 / 4, "bias": 1 / 4}),
    ],
)
def test_initial_values_are_uniform_within_one_over_the_root_of_the_inputs(make, bounds):
    layer = make(np.random.default_rng(0))
    for name, bound in bounds.items():
        values = layer.get_parameter(name).data.ravel()
        assert values.dtype == np.float32
        assert abs(values).max() <= bound
        expected = (np.arange(values.size) + 0.5) / values.size
        cumulative = (np.sort(values) / bound + 1) / 2
        assert abs(cumulative - expected).max() < 2 / np.sqrt(values.size)
    again = make(np.random.default_rng(0))
    np.testing.assert_array_equal(again.weight.data, layer.weight.data)


def test_embeddings_are_normal_and_seeded():
    tracer.seed(0)
    weight = nn.Embedding(200, 50).weight.data
    assert abs(weight.mean()) < 0.04
    assert abs(weight.std() - 1) < 0.03
    nn.seed(0)
    np.testing.assert_array_equal(nn.Embedding(200, 50).weight.data, weight)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.Sequential(nn.Linear(64, 10))(np.ones((32, 63))),
            r"inputs \[..., 64\] for in_features=64, out_features=10, got \[32, 63\]: .*=63",
        ),
        (
            lambda: nn.Bilinear(3, 4, 2)(np.ones((5, 3)), np.ones((5, 3))),
            r"Bilinear\(in1_features=3, in2_features=4\) expects inputs .* got \[5, 3\]",
        ),
        (
            lambda: nn.Conv2d(3, 4, 3)(np.ones((2, 8, 8, 3))),
            r"inputs \[N, 3, H, W\] for in_channels=3, got \[2, 8, 8, 3\]: move the channels",
        ),
        (
            lambda: nn.Conv2d(1, 4, 5)(np.ones((2, 1, 3, 3))),
            r"spatial size of at least 5 for a kernel \[5, 5\].*got \[3, 3\]",
        ),
        (lambda: nn.MaxPool2d(2)(np.ones((4, 4))), r"inputs \[N, C, H, W\], got \[4, 4\]"),
        (lambda: nn.Embedding(3, 2)(np.array([0, 3])), r"from 0 to 2 .* got 0 to 3"),
        (lambda: nn.Embedding(3, 2)(np.array([-1])), r"from 0 to 2"),
        (lambda: nn.Embedding(3, 2)(np.ones(2)), r"int dtype, got float64"),
        (lambda: nn.PReLU(3)(np.ones((2, 4))), r"4 channels .*num_parameters=4"),
        (lambda: nn.Softmax()(np.ones((2, 4))), r"expects dim"),
        (lambda: nn.Softmax(2)(np.ones((2, 4))), r"dim=2 for an input \[2, 4\]"),
        (lambda: nn.Flatten(2, 1)(np.ones((2, 3, 4))), r"start_dim before end_dim"),
        (lambda: nn.Flatten(5)(np.ones((2, 3, 4))), r"no axis 5"),
        (lambda: nn.Unflatten(1, (2, 2))(np.ones((2, 3))), r"axis of 4 elements"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), r"kernel_size is an int of at least 1, or 2 of them"),
        (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), r"stride 1, got \(2, 2\)"),
        (lambda: nn.MaxPool2d(2, padding=2), r"at most half of the kernel \[2, 2\]"),
    ],
)
def test_wrong_shapes_are_refused_with_what_was_expected(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


def test_errors_name_the_layer():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(64, 10)))
    with (
        tracer.Tape(),
        pytest.raises(ShapeError, match=r"linear in layer '1.0' \(Linear\) got float64\[32, 63\]"),
    ):
        model(np.ones((32, 63)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.Dropout(1.5),
        lambda: nn.GELU("exact")(np.ones(2)),
        lambda: nn.Embedding(3, 2, max_norm=-1.0),
        lambda: nn.Embedding(3, 2, scale_grad_by_freq=True),
        lambda: nn.Embedding(3, 2, padding_idx=3),
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"),
        lambda: nn.ConvNd(3, 4, 3),
        lambda: nn.Hardtanh(min_value=-2),
        lambda: nn.Unflatten("channels", (2, 2)),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(TracerError):
        call()


MODELS = {
    "linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "linear-sequence": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Flatten()), (5, 2, 4)),
    "bilinear": (lambda: Squared(), (5, 4)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 2, 1, 1, 1, 2), nn.Tanh(), nn.Flatten()),
        (4, 2, 3, 2),
    ),
    "convolution-1d": (lambda: nn.Sequential(nn.Conv1d(2, 2, 2), nn.Flatten()), (4, 2, 4)),
    "pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, 1), nn.AvgPool2d(2), nn.Flatten()
        ),
        (3, 1, 4, 4),
    ),
    "prelu": (
        lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.PReLU(2), nn.Flatten(), nn.Linear(4, 2)),
        (5, 4),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(4, 4), nn.GELU(), nn.Softmax(-1), nn.Linear(4, 3), nn.LogSoftmax(1)
        ),
        (5, 4),
    ),
}


class Squared(nn.Module):
    """A bilinear layer of its input with itself."""

    def __init__(self):
        self.inner = nn.Bilinear(4, 4, 3)

    def forward(self, x):
        return self.inner(x, x)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_sample_by_sample_are_those_of_single_samples(name):
    make, shape = MODELS[name]
    tracer.seed(0)
    model = make().double()
    x = RNG.standard_normal(shape)

    def gradients(x, quantity):
        with tracer.Tape() as tape:
            out = model(x)
            loss = nn.mse_loss(out, np.zeros(out.shape), reduction="sum")
        return tape.backward(loss, (quantity,))[quantity]

    batched = gradients(x, "grad_batch")
    singles = [gradients(x[n : n + 1], "grad") for n in range(len(x))]
    assert list(batched) == list(singles[0])
    for key, value in batched.items():
        np.testing.assert_allclose(value, np.stack([g[key] for g in singles]), atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_the_gauss_newton_diagonal_is_that_of_jacobians(name):
    make, shape = MODELS[name]
    tracer.seed(0)
    model = make().double()
    x = RNG.standard_normal(shape)
    with tracer.Tape() as tape:
        out = model(x)
        loss = nn.mse_loss(out, np.zeros(out.shape))
    diagonals = tape.backward(loss, ("diag_ggn_exact",))["diag_ggn_exact"]
    for key, value in diagonals.items():
        total = 0
        for index in itertools.product(*map(range, out.shape)):
            with tracer.Tape() as tape:
                element = model(x)[index]
            total = total + tape.backward(element)["grad"][key] ** 2
        np.testing.assert_allclose(value, 2 / out.size * total, rtol=1e-8, atol=1e-12)


def test_an_embedding_has_gradients_sample_by_sample():
    model = nn.Sequential(nn.Embedding(5, 2, padding_idx=0), nn.Flatten(), nn.Linear(6, 2)).double()
    index = np.array([[1, 1, 0], [2, 4, 1]])

    def gradients(index, quantity):
        with tracer.Tape() as tape:
            loss = np.sum(np.square(model(index)))
        return tape.backward(loss, (quantity,))[quantity]["0.weight"]

    singles = [gradients(index[n : n + 1], "grad") for n in range(2)]
    np.testing.assert_allclose(gradients(index, "grad_batch"), np.stack(singles), atol=1e-12)
