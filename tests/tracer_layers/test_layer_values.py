"""Values of layers by their definitions, in plain loops and formulas."""

import itertools
import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn

RNG = np.random.default_rng(0)


def spread(x, weight, stride, padding, extra, dilation, groups):
    """The definition of a transposed convolution: each input adds its kernel to the output."""
    rank = weight.ndim - 2
    least = [
        (x.shape[2 + a] - 1) * stride[a] + dilation[a] * (weight.shape[2 + a] - 1) + 1 + extra[a]
        for a in range(rank)
    ]
    inputs, outputs = weight.shape[:2]
    out = np.zeros((len(x), outputs * groups, *least))
    for n, i, *at in np.ndindex(x.shape):
        group = i // (inputs // groups)
        for o, *k in np.ndindex(weight.shape[1:]):
            place = [at[a] * stride[a] + k[a] * dilation[a] for a in range(rank)]
            value = x[(n, i, *at)] * weight[(i, o, *k)]
            out[(n, group * outputs + o, *place)] += value
    inside = [slice(p, n - p) for p, n in zip(padding, least, strict=True)]
    return out[(..., *inside)]


TRANSPOSED = [
    ((2, 2, 4), (3, 2), (1,), (0,), (0,), (1,), 1),
    ((2, 2, 3, 4), (3, 2, 3), (2, 1), (1, 2), (1, 0), (1, 2), 1),
    ((2, 4, 3, 2), (6, 2, 2), (1, 2), (0, 1), (1, 2), (2, 3), 2),
    ((1, 2, 2, 3, 2), (2, 2, 1, 2), (1, 2, 3), (1, 0, 0), (0, 1, 2), (1, 1, 2), 2),
    ((1, 1, 2, 1, 2, 2), (2, 1, 2, 2, 1), (1, 1, 1, 2), (0, 0, 1, 0), (0, 0, 0, 1), (1,) * 4, 1),
    ((1, 1, 2, 1, 2, 1, 2), (2, 1, 2, 2, 1, 1), (1, 2, 1, 1, 2), (0,) * 5, (0,) * 5, (1,) * 5, 1),
]


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolution_is_its_definition(case):
    shape, (outputs, *kernel), stride, padding, extra, dilation, groups = case
    layer = nn.ConvTransposeNd(
        shape[1], outputs, kernel, stride, padding, extra, groups, True, dilation
    ).double()
    x = RNG.standard_normal(shape)
    bias = layer.bias.data.reshape(-1, *(1,) * len(kernel))
    expected = spread(x, layer.weight.data, stride, padding, extra, dilation, groups) + bias
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-12)
    np.testing.assert_allclose(layer(x[0]).data, expected[0], atol=1e-12)


@pytest.mark.parametrize("size", [7, 8, 9])
def test_a_transposed_convolution_is_the_transpose_of_a_convolution(size):
    there = nn.Conv1d(2, 4, 3, 3, 1, groups=2, bias=False).double()
    back = nn.ConvTranspose1d(4, 2, 3, 3, 1, groups=2, bias=False).double()
    back.load_state_dict(there.state_dict())
    x = RNG.standard_normal((2, 2, size))
    moved = there(x).data
    y = RNG.standard_normal(moved.shape)
    returned = back(y, output_size=(size,)).data
    np.testing.assert_allclose(np.sum(moved * y), np.sum(x * returned))


def standardised(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2), (3, 4, 2, 3), (2, 4, 1, 2, 2, 2)])
def test_normalisations_are_their_definitions(shape):
    x = 3 + 2 * RNG.standard_normal(shape)
    spatial = tuple(range(2, len(shape)))
    np.testing.assert_allclose(
        nn.BatchNormNd(4)(x).data, standardised(x, (0, *spatial)), rtol=1e-6, atol=1e-6
    )
    last = nn.LayerNorm(shape[1:])(x).data
    np.testing.assert_allclose(last, standardised(x, (1, *spatial)), rtol=1e-6)
    groups = x.reshape(shape[0], 2, 2, *shape[2:])
    expected = standardised(groups, tuple(range(2, groups.ndim))).reshape(shape)
    np.testing.assert_allclose(nn.GroupNorm(2, 4)(x).data, expected, rtol=1e-6)
    root = np.sqrt((x**2).mean(-1, keepdims=True) + np.finfo(float).eps)
    np.testing.assert_allclose(nn.RMSNorm(shape[-1])(x).data, x / root, rtol=1e-6)
    if spatial:
        instances = nn.InstanceNormNd(4)(x).data
        np.testing.assert_allclose(instances, standardised(x, spatial), rtol=1e-6)


def test_scales_and_shifts_go_with_the_channels():
    layer = nn.BatchNorm2d(3).double()
    layer.weight.data, layer.bias.data = np.array([1.0, 2, 3]), np.array([0.5, 0, -1])
    x = RNG.standard_normal((2, 3, 4, 2))
    scale, shift = (p.data.reshape(3, 1, 1) for p in (layer.weight, layer.bias))
    expected = standardised(x, (0, 2, 3)) * scale + shift
    np.testing.assert_allclose(layer(x).data, expected, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, 0.0, None])
def test_running_statistics_follow_the_batches(momentum):
    layer = nn.BatchNorm1d(2, momentum=momentum)
    batches = RNG.standard_normal((3, 6, 2)).astype(np.float32)
    mean, variance = np.zeros(2), np.ones(2)
    for i, x in enumerate(batches):
        layer(x)
        share = 1 / (i + 1) if momentum is None else momentum
        mean = (1 - share) * mean + share * x.mean(0)
        variance = (1 - share) * variance + share * x.var(0, ddof=1)
    assert int(layer.num_batches_tracked) == 3
    assert layer.running_mean.dtype == np.float32
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, variance, rtol=1e-5)
    kept = layer.eval().state_dict()
    expected = (batches[0] - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(layer(batches[0]).data, expected, rtol=1e-4, atol=1e-6)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, kept[key])


@pytest.mark.parametrize("kind", ["reflect", "replicate", "circular", "constant"])
def test_padding_looks_up_elements_by_rule(kind):
    x = RNG.standard_normal((2, 5))
    for before, after in itertools.product((-1, 0, 2, 4), (-2, 0, 1, 4)):
        places = np.arange(-before, 5 + after)
        first, left = max(-before, 0), 5 + min(before, 0) + min(after, 0)
        if kind == "circular" and max(before, after) > left:
            with pytest.raises(tracer.ShapeError, match="at most 3"):
                nn.PadNd((before, after), kind)(x)
            continue
        source = {
            "reflect": 4 - abs(4 - abs(places)),
            "replicate": np.clip(places, 0, 4),
            "circular": first + (places - first) % left,  # of what is left after cutting
            "constant": np.clip(places, 0, 4),
        }[kind]
        expected = x[:, source]
        if kind == "constant":
            expected = np.where((places >= 0) & (places < 5), expected, 7.5)
        value = 7.5 if kind == "constant" else 0.0
        np.testing.assert_array_equal(nn.PadNd((before, after), kind, value)(x).data, expected)


def test_padding_begins_with_the_last_axis():
    assert nn.ZeroPad3d((1, 0, 0, 2, 3, 0))(np.ones((1, 1, 1, 1))).shape == (1, 4, 3, 2)


@pytest.mark.parametrize("sizes", [(3,), (2, 5), (7, 1), (2, 3, 2)])
def test_adaptive_pooling_is_its_definition(sizes):
    x = RNG.standard_normal((2, *(5, 4, 3)[: len(sizes)]))
    mean, largest = np.zeros((2, 2, *sizes))
    for n, *at in np.ndindex(mean.shape):
        seen = x[n][
            tuple(
                slice(math.floor(a * m / s), math.ceil((a + 1) * m / s))
                for a, m, s in zip(at, x.shape[1:], sizes, strict=True)
            )
        ]
        mean[(n, *at)], largest[(n, *at)] = seen.mean(), seen.max()
    np.testing.assert_allclose(nn.AdaptiveAvgPoolNd(sizes)(x).data, mean)
    np.testing.assert_array_equal(nn.AdaptiveMaxPoolNd(sizes)(x).data, largest)


@pytest.mark.parametrize(
    "layer",
    [
        nn.MaxPoolNd((2, 3), (1, 2), (1, 1), ceil_mode=True, return_indices=True),
        nn.MaxPoolNd((2, 2), dilation=(2, 1), return_indices=True),
        nn.AdaptiveMaxPoolNd((3, 2), return_indices=True),
    ],
)
def test_places_of_maxima_point_at_them(layer):
    x = RNG.standard_normal((2, 3, 5, 4))
    for data in (x, np.full_like(x, -np.inf), np.where(x < 0.5, np.nan, x)):
        out, places = layer(data)
        flat = np.take_along_axis(data.reshape(2, 3, 20), places.reshape(2, 3, -1), -1)
        np.testing.assert_array_equal(flat.reshape(out.shape), out.data)


@pytest.mark.parametrize("p", [1, 2, 3.0, math.inf, -math.inf])
def test_lp_pooling_is_the_norm_of_windows(p):
    x = RNG.uniform(0.1, 1, (2, 3, 6))
    windows = x.reshape(2, 3, 3, 2)
    np.testing.assert_allclose(nn.LPPool1d(p, 2)(x).data, np.linalg.norm(windows, ord=p, axis=-1))


def test_lp_pooling_of_zeros_has_no_gradient():
    x = tracer.parameter(np.zeros((1, 1, 4)), name="x")
    with tracer.Tape() as tape:
        loss = np.sum(nn.LPPool1d(2, 2)(x))
    assert not tape.backward(loss)["grad"]["x"].any()


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_upsampling_repeats_or_interpolates(rank):
    x = RNG.standard_normal((2, 2, *(3, 2, 2, 2)[:rank]))
    repeated, lines = x, x
    for axis in range(2, 2 + rank):
        repeated = np.repeat(repeated, 3, axis)
        n = lines.shape[axis]
        at = np.linspace(0, n - 1, 2 * n)
        lines = np.apply_along_axis(lambda y, at=at: np.interp(at, range(len(y)), y), axis, lines)
    np.testing.assert_array_equal(nn.Upsample(scale_factor=3)(x).data, repeated)
    mode = {2: "bilinear", 3: "trilinear"}.get(rank, "linear")
    found = nn.Upsample(scale_factor=2, mode=mode, align_corners=True)(x).data
    np.testing.assert_allclose(found, lines, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Upsample(7),
        nn.Upsample(7, mode="linear"),
        nn.AdaptiveAvgPool1d(3),
        nn.ReplicationPad1d(2),
        nn.InstanceNorm1d(2),
        nn.LPPool1d(2, 2),
        nn.Unfold((2,)),
    ],
)
def test_what_is_not_finite_stays_in_its_sample_and_channel(layer):
    x = RNG.standard_normal((2, 2, 5))
    x[0, 1, 2] = np.nan
    out = layer(x).data
    rows = len(out[0]) // 2
    assert np.isnan(out[0, rows:]).any()
    assert np.isfinite(out[1]).all()
    assert np.isfinite(out[0, :rows]).all()


def test_a_mean_over_windows_reads_its_own_window_alone():
    x = np.array([[1.0, 2, np.inf, 4, 5, 6, 7]])
    np.testing.assert_array_equal(nn.AdaptiveAvgPool1d(3)(x).data, [[np.inf, np.inf, 6]])


def test_fold_counts_what_unfold_repeats():
    x = RNG.standard_normal((2, 3, 4, 5, 3))
    arguments = {"kernel_size": (2, 1, 3), "stride": (1, 2, 1), "padding": (0, 1, 1)}
    columns = nn.Unfold(**arguments)(x)
    back = nn.Fold((4, 5, 3), **arguments)(columns).data
    counts = nn.Fold((4, 5, 3), **arguments)(nn.Unfold(**arguments)(np.ones_like(x))).data
    np.testing.assert_allclose(back, x * counts, atol=1e-12)
    assert columns.shape == (2, 3 * 6, 3 * 4 * 3)


def test_shuffles_undo_each_other():
    x = RNG.standard_normal((2, 8, 3, 2))
    up = nn.PixelShuffle(2)(x).data
    assert up[0, 1, 3, 2] == x[0, 6, 1, 1]
    np.testing.assert_array_equal(nn.PixelUnshuffle(2)(up).data, x)
    assert (
        nn.ChannelShuffle(2)(x).data[:, :, 0, 0].tolist()
        == x[:, [0, 4, 1, 5, 2, 6, 3, 7], 0, 0].tolist()
    )


@pytest.mark.parametrize(
    ("layer", "rank"), [(nn.Dropout1d, 1), (nn.Dropout2d, 2), (nn.Dropout3d, 3)]
)
def test_dropout_of_channels_drops_all_of_them(layer, rank):
    x = np.ones((40, 50, *(2, 3, 2)[:rank]), np.float32)
    out = layer(0.3, rng=np.random.default_rng(0))(x).data.reshape(40, 50, -1)
    assert out.dtype == np.float32
    assert (out == out[:, :, :1]).all()
    assert abs((out == 0).mean() - 0.3) < 0.04
    np.testing.assert_allclose(np.unique(out), [0, 1 / 0.7], rtol=1e-6)
    if rank != 2:
        one = layer(0.3, rng=np.random.default_rng(0))(x[0]).data.reshape(50, -1)
        assert (one == one[:, :1]).all()


@pytest.mark.parametrize("layer", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(layer):
    x = RNG.standard_normal((400, 300, 2)).astype(np.float32)
    out = layer(0.3, rng=np.random.default_rng(0))(x).data
    assert out.dtype == np.float32
    assert abs(out.mean()) < 0.02
    assert abs(out.std() - 1) < 0.02
    values, counts = np.unique(out, return_counts=True)
    dropped = out == values[np.argmax(counts)]
    assert abs(dropped.mean() - 0.3) < 0.01
    assert (dropped.all(-1) == dropped.any(-1)).all() == (layer is nn.FeatureAlphaDropout)
    assert not layer(1.0)(x).data.any()


def test_rrelu_draws_slopes_in_training():
    x = np.array([-1.0, 2] * 500, np.float32)
    layer = nn.RReLU(0.1, 0.3, rng=np.random.default_rng(0))
    out = layer(x).data
    assert out.dtype == np.float32
    assert ((out[::2] <= -0.1) & (out[::2] >= -0.3)).all()
    assert abs(out[::2].mean() + 0.2) < 0.01
    np.testing.assert_array_equal(out[1::2], x[1::2])
    np.testing.assert_allclose(layer.eval()(x).data[:2], [-0.2, 2], rtol=1e-6)


def test_bags_are_joined_without_their_padding():
    table = np.arange(10.0).reshape(5, 2)
    bags = np.array([[1, 2, 0], [0, 0, 0]])
    expected = {"sum": [[6, 8], [0, 0]], "mean": [[3, 4], [0, 0]], "max": [[4, 5], [0, 0]]}
    for mode, values in expected.items():
        layer = nn.EmbeddingBag(5, 2, mode=mode, padding_idx=0, _weight=table)
        assert layer(bags).data.tolist() == values
        assert layer(np.array([1, 2]), np.array([0, 2])).data.tolist() == values


def test_parallel_branches_are_summed_or_joined():
    x = RNG.standard_normal((3, 4))
    double = nn.Parallel(nn.Identity(), nn.Identity())
    np.testing.assert_allclose(double(x).data, 2 * x)
    model = nn.Parallel(nn.Tanh(), nn.Linear(4, 2).double(), reduce="concatenate")
    out = model(x).data
    np.testing.assert_allclose(out[:, :4], np.tanh(x))
    assert out.shape == (3, 6)
    assert [name for name, _ in model.named_parameters()] == ["1.weight", "1.bias"]
