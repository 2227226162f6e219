"""Layers and losses against PyTorch: values, gradients, parameters, arguments, text."""

import inspect
import itertools

import numpy as np
import pytest

import tracer
import tracer_layers

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths"),
]
#: PyTorch computes with constants rounded to float32 in these
ROUNDED_IN_TORCH = {"celu": 1e-6, "hardsigmoid": 1e-6}

LAYERS = {
    "linear": (lambda nn: nn.Linear(4, 3), [(5, 4)]),
    "linear-no-bias": (lambda nn: nn.Linear(4, 3, bias=False), [(5, 2, 4)]),
    "linear-one": (lambda nn: nn.Linear(4, 3), [(4,)]),
    "bilinear": (lambda nn: nn.Bilinear(4, 3, 2), [(5, 4), (5, 3)]),
    "bilinear-no-bias": (lambda nn: nn.Bilinear(4, 3, 2, bias=False), [(5, 2, 4), (5, 2, 3)]),
    "flatten": (lambda nn: nn.Flatten(), [(2, 3, 4)]),
    "flatten-some": (lambda nn: nn.Flatten(0, -2), [(2, 3, 4)]),
    "unflatten": (lambda nn: nn.Unflatten(1, (2, -1)), [(3, 6, 2)]),
    "identity": (lambda nn: nn.Identity(54, unused=1), [(2, 3)]),
    "dropout-none": (lambda nn: nn.Dropout(0.0), [(2, 3)]),
    "dropout-all": (lambda nn: nn.Dropout(1.0), [(2, 3)]),
    "dropout-eval": (lambda nn: nn.Dropout(0.3).eval(), [(2, 3)]),
    "conv1d": (lambda nn: nn.Conv1d(2, 3, 3), [(2, 2, 7)]),
    "conv1d-one": (lambda nn: nn.Conv1d(2, 3, 3), [(2, 7)]),
    "conv2d": (lambda nn: nn.Conv2d(2, 4, (3, 2)), [(3, 2, 6, 5)]),
    "conv2d-1x1": (lambda nn: nn.Conv2d(2, 4, 1), [(3, 2, 6, 5)]),
    "conv2d-one": (lambda nn: nn.Conv2d(2, 4, (3, 2)), [(2, 6, 5)]),
    "conv2d-options": (
        lambda nn: nn.Conv2d(4, 6, 3, (2, 1), (1, 2), (1, 2), 2, False),
        [(2, 4, 7, 8)],
    ),
    "conv2d-depthwise": (lambda nn: nn.Conv2d(3, 6, 3, padding=1, groups=3), [(2, 3, 4, 5)]),
    "conv2d-valid": (lambda nn: nn.Conv2d(2, 3, 3, padding="valid"), [(2, 2, 5, 4)]),
    "conv2d-same": (lambda nn: nn.Conv2d(2, 3, (2, 4), padding="same"), [(2, 2, 5, 4)]),
    "conv2d-same-dilated": (
        lambda nn: nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 2)),
        [(2, 2, 5, 4)],
    ),
    "conv2d-reflect": (
        lambda nn: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="reflect"),
        [(2, 2, 5, 4)],
    ),
    "conv2d-replicate": (
        lambda nn: nn.Conv2d(2, 3, 3, padding=2, padding_mode="replicate"),
        [(2, 2, 5, 4)],
    ),
    "conv2d-circular": (
        lambda nn: nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode="circular"),
        [(2, 2, 5, 4)],
    ),
    "conv2d-circular-same": (
        lambda nn: nn.Conv2d(2, 3, (3, 2), padding="same", padding_mode="circular"),
        [(2, 2, 5, 4)],
    ),
    "conv3d": (lambda nn: nn.Conv3d(2, 3, (2, 1, 3), padding=1), [(2, 2, 3, 4, 3)]),
    "max1d": (lambda nn: nn.MaxPool1d(2), [(2, 3, 7)]),
    "max2d": (lambda nn: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), [(2, 3, 7, 6)]),
    "max2d-one": (lambda nn: nn.MaxPool2d(2), [(3, 7, 6)]),
    "max2d-ceil": (lambda nn: nn.MaxPool2d(3, 2, 1, ceil_mode=True), [(2, 3, 6, 4)]),
    "max3d": (lambda nn: nn.MaxPool3d(2, ceil_mode=True), [(2, 3, 4, 5, 3)]),
    "avg1d": (lambda nn: nn.AvgPool1d(2, ceil_mode=True), [(2, 3, 7)]),
    "avg2d": (lambda nn: nn.AvgPool2d((3, 2)), [(2, 3, 7, 6)]),
    "avg2d-ceil": (lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True), [(2, 3, 6, 4)]),
    "avg2d-inside": (
        lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        [(2, 3, 6, 4)],
    ),
    "avg2d-divisor": (
        lambda nn: nn.AvgPool2d(2, padding=1, divisor_override=3),
        [(2, 3, 6, 4)],
    ),
    "avg3d": (lambda nn: nn.AvgPool3d(2, padding=1), [(2, 3, 4, 5, 3)]),
    "transposed1d": (lambda nn: nn.ConvTranspose1d(2, 3, 3), [(2, 2, 4)]),
    "transposed1d-one": (lambda nn: nn.ConvTranspose1d(2, 3, 3, 2), [(2, 4)]),
    "transposed2d": (lambda nn: nn.ConvTranspose2d(2, 4, (3, 2), (2, 1), 1), [(3, 2, 4, 3)]),
    "transposed2d-1x1": (lambda nn: nn.ConvTranspose2d(2, 4, 1), [(3, 2, 4, 3)]),
    "transposed2d-options": (
        lambda nn: nn.ConvTranspose2d(4, 6, 3, (2, 3), (1, 4), (1, 2), 2, False, (2, 3)),
        [(2, 4, 3, 4)],
    ),
    "transposed2d-dilated": (
        lambda nn: nn.ConvTranspose2d(2, 2, 2, 1, 0, 2, 1, True, 3),
        [(2, 2, 3, 4)],
    ),
    "transposed2d-depthwise": (lambda nn: nn.ConvTranspose2d(3, 3, 2, groups=3), [(2, 3, 3, 2)]),
    "transposed3d": (
        lambda nn: nn.ConvTranspose3d(2, 3, (2, 1, 3), 2, padding=(1, 0, 1), output_padding=1),
        [(2, 2, 2, 3, 2)],
    ),
    "lp1d": (lambda nn: nn.LPPool1d(2, 3), [(2, 3, 7)]),
    "lp2d": (lambda nn: nn.LPPool2d(2, (3, 2), (2, 1)), [(2, 3, 7, 6)]),
    "lp2d-ceil": (lambda nn: nn.LPPool2d(4, 2, ceil_mode=True), [(2, 3, 5, 7)]),
    "lp2d-sum": (lambda nn: nn.LPPool2d(1, 2), [(2, 3, 4, 4)]),
    "lp2d-infinite": (lambda nn: nn.LPPool2d(float("inf"), 2), [(2, 3, 4, 4)]),
    "lp3d": (lambda nn: nn.LPPool3d(2.0, 2), [(2, 3, 4, 5, 3)]),
    "adaptive-avg1d": (lambda nn: nn.AdaptiveAvgPool1d(3), [(2, 3, 7)]),
    "adaptive-avg2d": (lambda nn: nn.AdaptiveAvgPool2d((3, 2)), [(2, 3, 6, 4)]),
    "adaptive-avg2d-odd": (lambda nn: nn.AdaptiveAvgPool2d((5, None)), [(2, 3, 7, 4)]),
    "adaptive-avg2d-more": (lambda nn: nn.AdaptiveAvgPool2d(7), [(3, 6, 4)]),
    "adaptive-avg3d": (lambda nn: nn.AdaptiveAvgPool3d((1, 2, 3)), [(2, 2, 4, 5, 4)]),
    "adaptive-max1d": (lambda nn: nn.AdaptiveMaxPool1d(3), [(2, 3, 7)]),
    "adaptive-max2d": (lambda nn: nn.AdaptiveMaxPool2d((5, None)), [(2, 3, 7, 4)]),
    "adaptive-max3d": (lambda nn: nn.AdaptiveMaxPool3d(2), [(2, 2, 4, 5, 4)]),
    "batch-norm1d": (lambda nn: nn.BatchNorm1d(3), [(5, 3)]),
    "batch-norm1d-positions": (lambda nn: nn.BatchNorm1d(3, 1e-2, 0.3), [(2, 3, 4)]),
    "batch-norm2d": (lambda nn: nn.BatchNorm2d(3, momentum=None), [(2, 3, 4, 2)]),
    "batch-norm2d-plain": (lambda nn: nn.BatchNorm2d(3, affine=False), [(2, 3, 4, 2)]),
    "batch-norm2d-scale": (lambda nn: nn.BatchNorm2d(3, bias=False), [(2, 3, 4, 2)]),
    "batch-norm2d-untracked": (
        lambda nn: nn.BatchNorm2d(3, track_running_stats=False).eval(),
        [(2, 3, 4, 2)],
    ),
    "batch-norm2d-eval": (lambda nn: nn.BatchNorm2d(3).eval(), [(1, 3, 4, 2)]),
    "batch-norm3d": (lambda nn: nn.BatchNorm3d(2), [(2, 2, 3, 2, 2)]),
    "layer-norm": (lambda nn: nn.LayerNorm(4), [(3, 2, 4)]),
    "layer-norm-axes": (lambda nn: nn.LayerNorm((2, 4), 1e-2, bias=False), [(3, 2, 4)]),
    "layer-norm-plain": (lambda nn: nn.LayerNorm([4], elementwise_affine=False), [(3, 4)]),
    "group-norm": (lambda nn: nn.GroupNorm(2, 4), [(3, 4)]),
    "group-norm-positions": (lambda nn: nn.GroupNorm(2, 6, 1e-2), [(3, 6, 2, 4)]),
    "group-norm-plain": (lambda nn: nn.GroupNorm(1, 4, affine=False), [(3, 4, 5)]),
    "instance-norm1d": (lambda nn: nn.InstanceNorm1d(3), [(2, 3, 5)]),
    "instance-norm2d": (
        lambda nn: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        [(2, 3, 4, 2)],
    ),
    "instance-norm2d-one": (lambda nn: nn.InstanceNorm2d(3, affine=True), [(3, 4, 2)]),
    "instance-norm2d-eval": (
        lambda nn: nn.InstanceNorm2d(3, track_running_stats=True).eval(),
        [(2, 3, 4, 2)],
    ),
    "instance-norm3d": (lambda nn: nn.InstanceNorm3d(2, 1e-2), [(2, 2, 3, 2, 2)]),
    "rms-norm": (lambda nn: nn.RMSNorm(4), [(3, 2, 4)]),
    "rms-norm-axes": (lambda nn: nn.RMSNorm((2, 4), 0.1, False), [(3, 2, 4)]),
    "zero-pad1d": (lambda nn: nn.ZeroPad1d((1, 2)), [(2, 3, 4)]),
    "zero-pad2d": (lambda nn: nn.ZeroPad2d((1, -1, 0, 2)), [(2, 3, 4, 5)]),
    "zero-pad3d": (lambda nn: nn.ZeroPad3d(1), [(2, 2, 2, 3, 2)]),
    "constant-pad1d": (lambda nn: nn.ConstantPad1d(2, 0.5), [(2, 3, 4)]),
    "constant-pad2d": (lambda nn: nn.ConstantPad2d((-1, 2, 0, -2), -1.5), [(3, 4, 5)]),
    "constant-pad3d": (lambda nn: nn.ConstantPad3d((1, 0, 0, 2, 1, 1), 3.0), [(2, 2, 2, 3, 2)]),
    "reflection-pad1d": (lambda nn: nn.ReflectionPad1d((3, 1)), [(2, 3, 4)]),
    "reflection-pad2d": (lambda nn: nn.ReflectionPad2d((1, 2, 0, 3)), [(2, 3, 4, 5)]),
    "reflection-pad3d": (lambda nn: nn.ReflectionPad3d(1), [(2, 2, 2, 3, 2)]),
    "replication-pad1d": (lambda nn: nn.ReplicationPad1d((5, 1)), [(2, 3, 4)]),
    "replication-pad2d": (lambda nn: nn.ReplicationPad2d((1, 2, 0, 3)), [(2, 3, 4, 5)]),
    "replication-pad3d": (lambda nn: nn.ReplicationPad3d(1), [(2, 2, 2, 3, 2)]),
    "circular-pad1d": (lambda nn: nn.CircularPad1d((4, 1)), [(2, 3, 4)]),
    "circular-pad2d": (lambda nn: nn.CircularPad2d((1, 2, 0, 3)), [(2, 3, 4, 5)]),
    "circular-pad3d": (lambda nn: nn.CircularPad3d(1), [(2, 2, 2, 3, 2)]),
    "upsample-nearest": (lambda nn: nn.Upsample(scale_factor=2), [(2, 3, 4, 3)]),
    "upsample-nearest-size": (lambda nn: nn.Upsample(size=(7, 2)), [(2, 3, 4, 3)]),
    "upsample-nearest-part": (lambda nn: nn.Upsample(scale_factor=(1.7, 0.6)), [(2, 3, 5, 6)]),
    "upsample-nearest-recomputed": (
        lambda nn: nn.Upsample(scale_factor=1.7, recompute_scale_factor=True),
        [(2, 3, 5)],
    ),
    "upsample-nearest-exact": (lambda nn: nn.Upsample(7, mode="nearest-exact"), [(2, 3, 5)]),
    "upsample-nearest3d": (lambda nn: nn.Upsample(3), [(2, 2, 2, 3, 4)]),
    "upsample-linear": (lambda nn: nn.Upsample(7, mode="linear"), [(2, 3, 4)]),
    "upsample-bilinear": (
        lambda nn: nn.Upsample(scale_factor=(2, 1.3), mode="bilinear"),
        [(2, 3, 4, 5)],
    ),
    "upsample-bilinear-aligned": (
        lambda nn: nn.Upsample((7, 1), mode="bilinear", align_corners=True),
        [(2, 3, 4, 5)],
    ),
    "upsample-trilinear": (
        lambda nn: nn.Upsample(scale_factor=1.5, mode="trilinear"),
        [(2, 2, 2, 3, 4)],
    ),
    "upsample-bicubic": (lambda nn: nn.Upsample((7, 3), mode="bicubic"), [(2, 3, 4, 5)]),
    "upsample-bicubic-aligned": (
        lambda nn: nn.Upsample((7, 3), mode="bicubic", align_corners=True),
        [(2, 3, 4, 5)],
    ),
    "upsampling-nearest2d": (lambda nn: nn.UpsamplingNearest2d(5), [(2, 3, 4, 3)]),
    "upsampling-bilinear2d": (
        lambda nn: nn.UpsamplingBilinear2d(scale_factor=2),
        [(2, 3, 4, 3)],
    ),
    "pixel-shuffle": (lambda nn: nn.PixelShuffle(2), [(2, 8, 3, 4)]),
    "pixel-shuffle-one": (lambda nn: nn.PixelShuffle(3), [(9, 2, 1)]),
    "pixel-unshuffle": (lambda nn: nn.PixelUnshuffle(2), [(2, 3, 4, 6)]),
    "channel-shuffle": (lambda nn: nn.ChannelShuffle(2), [(2, 6, 3, 2)]),
    "unfold": (lambda nn: nn.Unfold((3, 2), (1, 2), (1, 0), (2, 1)), [(2, 3, 5, 4)]),
    "unfold-one": (lambda nn: nn.Unfold(2), [(3, 5, 4)]),
    "fold": (lambda nn: nn.Fold((5, 4), (3, 2), (1, 2), (1, 0), (2, 1)), [(2, 18, 6)]),
    "fold-one": (lambda nn: nn.Fold((4, 5), 2, stride=2), [(12, 4)]),
    "dropout2d-none": (lambda nn: nn.Dropout2d(0.0), [(2, 3, 4, 2)]),
    "dropout1d-all": (lambda nn: nn.Dropout1d(1.0), [(2, 3, 4)]),
    "dropout3d-eval": (lambda nn: nn.Dropout3d().eval(), [(2, 3, 4, 2, 2)]),
    "alpha-dropout-eval": (lambda nn: nn.AlphaDropout(0.3).eval(), [(2, 3)]),
    "feature-alpha-dropout-eval": (lambda nn: nn.FeatureAlphaDropout().eval(), [(2, 3, 2)]),
    "cosine-similarity": (lambda nn: nn.CosineSimilarity(), [(5, 4), (5, 4)]),
    "cosine-similarity-dim": (lambda nn: nn.CosineSimilarity(-1, 1e-3), [(5, 2, 4), (5, 2, 4)]),
    "pairwise-distance": (lambda nn: nn.PairwiseDistance(), [(5, 4), (5, 4)]),
    "pairwise-distance-options": (
        lambda nn: nn.PairwiseDistance(3.0, 1e-3, True),
        [(5, 4), (5, 4)],
    ),
    "glu": (lambda nn: nn.GLU(), [(5, 2, 4)]),
    "glu-dim": (lambda nn: nn.GLU(0), [(6, 4)]),
    "rrelu-eval": (lambda nn: nn.RReLU(0.1, 0.5).eval(), [(5, 4)]),
    "softmax2d": (lambda nn: nn.Softmax2d(), [(2, 3, 4, 2)]),
    "relu": (lambda nn: nn.ReLU(), [(5, 4)]),
    "relu6": (lambda nn: nn.ReLU6(), [(5, 4)]),
    "leaky_relu": (lambda nn: nn.LeakyReLU(), [(5, 4)]),
    "leaky_relu-slope": (lambda nn: nn.LeakyReLU(0.3), [(5, 4)]),
    "elu": (lambda nn: nn.ELU(), [(5, 4)]),
    "elu-alpha": (lambda nn: nn.ELU(0.7), [(5, 4)]),
    "celu": (lambda nn: nn.CELU(0.7), [(5, 4)]),
    "selu": (lambda nn: nn.SELU(), [(5, 4)]),
    "gelu": (lambda nn: nn.GELU(), [(5, 4)]),
    "gelu-tanh": (lambda nn: nn.GELU("tanh"), [(5, 4)]),
    "silu": (lambda nn: nn.SiLU(), [(5, 4)]),
    "mish": (lambda nn: nn.Mish(), [(5, 4)]),
    "sigmoid": (lambda nn: nn.Sigmoid(), [(5, 4)]),
    "tanh": (lambda nn: nn.Tanh(), [(5, 4)]),
    "softplus": (lambda nn: nn.Softplus(), [(5, 4)]),
    "softplus-options": (lambda nn: nn.Softplus(2.0, 1.0), [(5, 4)]),
    "logsigmoid": (lambda nn: nn.LogSigmoid(), [(5, 4)]),
    "softmax": (lambda nn: nn.Softmax(dim=1), [(5, 4, 3)]),
    "log_softmax": (lambda nn: nn.LogSoftmax(dim=-1), [(5, 4, 3)]),
    "softmin": (lambda nn: nn.Softmin(dim=0), [(5, 4, 3)]),
    "hardtanh": (lambda nn: nn.Hardtanh(), [(5, 4)]),
    "hardtanh-bounds": (lambda nn: nn.Hardtanh(-0.2, 2.5), [(5, 4)]),
    "hardsigmoid": (lambda nn: nn.Hardsigmoid(), [(5, 4)]),
    "hardswish": (lambda nn: nn.Hardswish(), [(5, 4)]),
    "softsign": (lambda nn: nn.Softsign(), [(5, 4)]),
    "softshrink": (lambda nn: nn.Softshrink(0.3), [(5, 4)]),
    "hardshrink": (lambda nn: nn.Hardshrink(0.3), [(5, 4)]),
    "tanhshrink": (lambda nn: nn.Tanhshrink(), [(5, 4)]),
    "threshold": (lambda nn: nn.Threshold(0.1, 2.0), [(5, 4)]),
    "prelu": (lambda nn: nn.PReLU(), [(5, 4)]),
    "prelu-one-axis": (lambda nn: nn.PReLU(), [(4,)]),
    "prelu-channels": (lambda nn: nn.PReLU(4, 0.1), [(5, 4, 2, 3)]),
    "in-place": (
        lambda nn: nn.Sequential(
            nn.Linear(4, 4),
            nn.ReLU(True),
            nn.Linear(4, 4),
            nn.Dropout(0.0, True),
            nn.Hardtanh(-0.5, 1.5, True),
            nn.Linear(4, 4),
            nn.LeakyReLU(0.2, True),
        ),
        [(3, 4)],
    ),
    "sequential": (
        lambda nn: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Sequential(nn.Linear(32, 5))
        ),
        [(2, 3, 4, 4)],
    ),
}


RNG = np.random.default_rng(0)


def same_state(ours, theirs):
    """Load PyTorch's parameters, in float64, after comparing their names, shapes and dtypes."""
    expected = {k: (tuple(v.shape), str(v.dtype)) for k, v in theirs.state_dict().items()}
    got = {k: (v.shape, f"torch.{v.dtype}") for k, v in ours.state_dict().items()}
    assert list(got) == list(expected)
    assert got == expected
    theirs.double()
    ours.double()
    ours.load_state_dict(theirs.state_dict())


def spread(rng, shape):
    """Numbers of very different sizes and both signs."""
    return rng.standard_normal(shape) * rng.choice([0.3, 1.0, 4.0], shape)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_agree(name):
    make, shapes = LAYERS[name]
    theirs, ours = make(torch.nn), make(tracer_layers)
    assert repr(ours) == repr(theirs)
    same_state(ours, theirs)
    rng = np.random.default_rng(0)
    inputs = [spread(rng, shape) for shape in shapes]
    their_inputs = [torch.tensor(x, requires_grad=True) for x in inputs]
    their_output = theirs(*their_inputs)
    weights = rng.standard_normal(their_output.shape)
    (their_output * torch.tensor(weights)).sum().backward()
    leaves = [tracer.parameter(x, name=f"input {i}") for i, x in enumerate(inputs)]
    with tracer.Tape() as tape:
        output = ours(*leaves)
        objective = np.sum(output * weights)
    np.testing.assert_allclose(output.data, their_output.detach().numpy(), rtol=1e-10, atol=1e-12)
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), rtol=1e-12, err_msg=key)
    gradients = tape.backward(objective)["grad"]
    rtol = ROUNDED_IN_TORCH.get(name, 1e-9)
    for i, x in enumerate(their_inputs):
        np.testing.assert_allclose(
            gradients[f"input {i}"], x.grad.numpy(), rtol=rtol, atol=1e-11, err_msg="input"
        )
    for key, p in theirs.named_parameters():
        np.testing.assert_allclose(gradients[key], p.grad.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LAYERS)
def test_float32_agrees(name):
    make, shapes = LAYERS[name]
    theirs, ours = make(torch.nn), make(tracer_layers)
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    inputs = [spread(rng, shape).astype(np.float32) for shape in shapes]
    output = ours(*inputs)
    assert output.dtype == np.float32
    expected = theirs(*map(torch.tensor, inputs)).detach().numpy()
    np.testing.assert_allclose(output.data, expected, rtol=2e-5, atol=2e-6)


POINTWISE = [name for name, (_, shapes) in LAYERS.items() if shapes == [(5, 4)]]


@pytest.mark.parametrize("name", [n for n in POINTWISE if n != "linear"])
def test_kinks_and_extremes_agree(name):
    make, _ = LAYERS[name]
    theirs, ours = make(torch.nn), make(tracer_layers)
    x = np.array([-1e4, -100, -30, -6, -3, -1, -0.3, -0.0, 0, 0.1, 0.3, 1, 3, 6, 30, 100, 1e4])
    x = x.astype(np.float32)[:, None]
    their_input = torch.tensor(x, requires_grad=True)
    expected = theirs(their_input)
    expected.sum().backward()
    leaf = tracer.parameter(x, name="x")
    with tracer.Tape() as tape:
        output = ours(leaf)
        objective = np.sum(output)
    np.testing.assert_allclose(output.data, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    gradient = tape.backward(objective)["grad"]["x"]
    np.testing.assert_allclose(gradient, their_input.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding_idx", [None, 1, -1])
def test_embedding_agrees(padding_idx):
    theirs = torch.nn.Embedding(6, 3, padding_idx)
    ours = tracer_layers.Embedding(6, 3, padding_idx)
    assert repr(ours) == repr(theirs)
    same_state(ours, theirs)
    index = np.array([[0, 1, 5], [5, 5, 2]])
    weights = np.random.default_rng(0).standard_normal((2, 3, 3))
    expected = theirs(torch.tensor(index))
    (expected * torch.tensor(weights)).sum().backward()
    with tracer.Tape() as tape:
        output = ours(index)
        objective = np.sum(output * weights)
    np.testing.assert_array_equal(output.data, expected.detach().numpy())
    np.testing.assert_allclose(
        tape.backward(objective)["grad"]["weight"], theirs.weight.grad.numpy(), rtol=1e-12
    )


@pytest.mark.parametrize("options", [{}, {"div_value": 2.0, "head_bias": True}])
def test_adaptive_softmax_agrees(options):
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(32, 10, [3, 6], **options)
    ours = tracer_layers.AdaptiveLogSoftmaxWithLoss(32, 10, [3, 6], **options)
    assert repr(ours) == repr(theirs)
    same_state(ours, theirs)
    x, target = RNG.standard_normal((7, 32)), np.array([0, 9, 3, 5, 2, 6, 6])
    their_x = torch.tensor(x, requires_grad=True)
    expected = theirs(their_x, torch.tensor(target))
    expected.loss.backward()
    leaf = tracer.parameter(x, name="x")
    with tracer.Tape() as tape:
        found = ours(leaf, target)
    np.testing.assert_allclose(found.output.data, expected.output.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(found.loss.data, expected.loss.detach().numpy(), rtol=1e-10)
    gradients = tape.backward(found.loss)["grad"]
    np.testing.assert_allclose(gradients["x"], their_x.grad.numpy(), rtol=1e-8, atol=1e-11)
    for key, p in theirs.named_parameters():
        np.testing.assert_allclose(gradients[key], p.grad.numpy(), rtol=1e-8, atol=1e-11)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(torch.tensor(x)).numpy())
    whole = theirs.log_prob(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.log_prob(x).data, whole, rtol=1e-10)
    one = ours(x[0], target[0])
    np.testing.assert_allclose(one.output.data, found.output.data[0], rtol=1e-12)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_bounded_tables_agree(kind, norm_type):
    """They change the rows that they look up, in training and out of it."""
    options = {"max_norm": 0.9, "norm_type": norm_type}
    theirs = getattr(torch.nn, kind)(6, 3, **options, sparse=kind == "Embedding")
    ours = getattr(tracer_layers, kind)(6, 3, **options, sparse=kind == "Embedding")
    assert repr(ours) == repr(theirs)
    same_state(ours, theirs)
    for index in (np.array([[0, 1, 5], [5, 5, 2]]), np.array([[3, 1]])):
        expected = theirs(torch.tensor(index)).detach().numpy()
        with tracer.Tape():
            np.testing.assert_allclose(ours(index).data, expected, rtol=1e-6)
        weight = theirs.weight.detach().numpy()
        np.testing.assert_allclose(ours.weight.data, weight, rtol=1e-6)


#: weights are for sums alone, in PyTorch as here
BAGS = [("sum", "weights"), *itertools.product(("sum", "mean", "max"), ("plain", "offsets",
                                                                      "last offset"))]  # fmt: skip


@pytest.mark.parametrize(("mode", "case"), BAGS)
@pytest.mark.parametrize("padding_idx", [None, 1, -1])
def test_bags_agree(padding_idx, mode, case):
    options = {
        "mode": mode,
        "padding_idx": padding_idx,
        "include_last_offset": case == "last offset",
    }
    theirs, ours = (
        torch.nn.EmbeddingBag(6, 3, **options),
        tracer_layers.EmbeddingBag(6, 3, **options),
    )
    assert repr(ours) == repr(theirs)
    same_state(ours, theirs)
    rng = np.random.default_rng(0)
    inputs = [np.array([[0, 1, 5, 1], [5, 5, 2, 0], [1, 1, 1, 1]])]
    if "offset" in case:
        inputs = [inputs[0].ravel(), np.array([0, 5, 5, *([12] if "last" in case else [])])]
    if case == "weights":
        inputs += [None, rng.standard_normal((3, 4))]
    tensors = [x if x is None else torch.tensor(x) for x in inputs]
    expected = theirs(*tensors)
    weights = rng.standard_normal(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    with tracer.Tape() as tape:
        output = ours(*inputs)
        objective = np.sum(output * weights)
    np.testing.assert_allclose(output.data, expected.detach().numpy(), rtol=1e-12)
    found = tape.backward(objective, ("grad", "grad_batch"))
    gradient = theirs.weight.grad.numpy()
    np.testing.assert_allclose(found["grad"]["weight"], gradient, rtol=1e-12)
    np.testing.assert_allclose(found["grad_batch"]["weight"].sum(0), gradient, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda nn: nn.MaxPool1d(3, 2, 1, return_indices=True), (2, 3, 7)),
        (lambda nn: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2), True, True), (2, 3, 7, 6)),
        (lambda nn: nn.MaxPool3d(2, return_indices=True), (2, 3, 4, 5, 2)),
        (lambda nn: nn.AdaptiveMaxPool2d((3, 4), return_indices=True), (2, 3, 7, 6)),
    ],
)
def test_places_of_maxima_agree(make, shape):
    for x in (np.random.default_rng(0).standard_normal(shape), np.zeros(shape)):
        expected, places = make(torch.nn)(torch.tensor(x))
        output, found = make(tracer_layers)(x)
        np.testing.assert_array_equal(output.data, expected.numpy())
        np.testing.assert_array_equal(found, places.numpy())


@pytest.mark.parametrize("output_size", [(5, 7), (5, 8), (6, 8)])
def test_a_transposed_convolution_gives_the_size_asked_for(output_size):
    theirs = torch.nn.ConvTranspose2d(2, 3, 3, 2, 1).double()
    ours = tracer_layers.ConvTranspose2d(2, 3, 3, 2, 1).double()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 4))
    expected = theirs(torch.tensor(x), output_size=output_size).detach().numpy()
    np.testing.assert_allclose(ours(x, output_size=output_size).data, expected, rtol=1e-10)


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.BatchNorm2d(3),
        lambda nn: nn.BatchNorm2d(3, momentum=None),
        lambda nn: nn.InstanceNorm2d(3, track_running_stats=True),
    ],
)
def test_running_statistics_agree_over_steps_and_in_evaluation(make):
    theirs, ours = make(torch.nn), make(tracer_layers)
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = (2 + rng.standard_normal((4, 3, 2, 3))).astype(np.float32)
        theirs(torch.tensor(x))
        ours(x)
    for key, value in theirs.state_dict().items():
        found = ours.state_dict()[key]
        assert found.dtype == value.numpy().dtype
        np.testing.assert_allclose(found, value.numpy(), rtol=1e-5, err_msg=key)
    x = rng.standard_normal((4, 3, 2, 3)).astype(np.float32)
    expected = theirs.eval()(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours.eval()(x).data, expected, rtol=1e-4, atol=1e-6)


def floats(*shape):
    return lambda rng: rng.standard_normal(shape)


def positive(*shape):
    return lambda rng: rng.uniform(0.1, 3, shape)


def unit(*shape):
    return lambda rng: rng.random(shape)


def classes(count, *shape):
    def make(rng):
        drawn = rng.integers(0, count, shape)
        drawn.reshape(-1)[:1] = 1
        return drawn

    return make


def probabilities(count, *shape):
    return lambda rng: np.moveaxis(rng.dirichlet(np.ones(count), shape), -1, 1)


def counts(*shape):
    return lambda rng: rng.poisson(2.0, shape).astype(float)


def signs(*shape):
    return lambda rng: rng.choice([-1, 1], shape)


def logarithms(make):
    return lambda rng: np.log(make(rng))


def labels(count, *shape):
    """Labels in any order, and -1 behind the last one."""

    def make(rng):
        drawn = rng.permuted(np.broadcast_to(np.arange(count), (*shape, count)), axis=-1)
        return np.where(np.arange(count) < rng.integers(0, count + 1, (*shape, 1)), drawn, -1)

    return make


LOSSES = {
    "CrossEntropyLoss": [
        ({}, floats(5, 4), classes(4, 5)),
        ({"label_smoothing": 0.2}, floats(5, 4), classes(4, 5)),
        ({"ignore_index": 1}, floats(5, 4), classes(4, 5)),
        ({"ignore_index": 1, "label_smoothing": 0.2}, floats(5, 4), classes(4, 5)),
        ({"weight": [0.5, 1.0, 2.0, 0.1]}, floats(5, 4), classes(4, 5)),
        (
            {"weight": [0.5, 1.0, 2.0, 0.1], "ignore_index": 1, "label_smoothing": 0.3},
            floats(5, 4, 2, 3),
            classes(4, 5, 2, 3),
        ),
        ({}, floats(5, 4, 2, 3), classes(4, 5, 2, 3)),
        ({}, floats(5, 4), probabilities(4, 5)),
        ({"label_smoothing": 0.2}, floats(5, 4, 3), probabilities(4, 5, 3)),
        (
            {"weight": [0.5, 1.0, 2.0, 0.1], "label_smoothing": 0.2},
            floats(5, 4),
            probabilities(4, 5),
        ),
        ({}, floats(4), lambda rng: np.array(2)),
        ({}, lambda rng: 1e3 * rng.standard_normal((5, 4)), classes(4, 5)),
    ],
    "NLLLoss": [
        ({}, floats(5, 4), classes(4, 5)),
        ({"weight": [0.5, 1.0, 2.0, 0.1], "ignore_index": 1}, floats(5, 4, 3), classes(4, 5, 3)),
    ],
    "BCEWithLogitsLoss": [
        ({}, floats(5, 4), unit(5, 4)),
        ({"weight": [0.5, 1.0, 2.0, 0.1]}, floats(5, 4), unit(5, 4)),
        ({"pos_weight": [0.5, 1.0, 2.0, 0.1]}, floats(5, 4), unit(5, 4)),
        (
            {"weight": [0.5, 1.0, 2.0, 0.1], "pos_weight": [3.0]},
            lambda rng: 1e3 * rng.standard_normal((5, 4)),
            unit(5, 4),
        ),
    ],
    "MSELoss": [({}, floats(5, 4), floats(5, 4)), ({}, floats(5), floats(5))],
    "L1Loss": [({}, floats(5, 4), floats(5, 4))],
    "SmoothL1Loss": [
        ({}, floats(5, 4), floats(5, 4)),
        ({"beta": 0.3}, floats(5, 4), floats(5, 4)),
        ({"beta": 0.0}, floats(5, 4), floats(5, 4)),
    ],
    "HuberLoss": [({"delta": d}, floats(5, 4), floats(5, 4)) for d in (1.0, 0.3)],
    "GaussianNLLLoss": [
        ({}, floats(5, 4), floats(5, 4), positive(5, 4)),
        ({"full": True}, floats(5, 4), floats(5, 4), positive(5)),
        ({"eps": 0.5}, floats(5, 4), floats(5, 4), positive(5, 1)),
    ],
    "PoissonNLLLoss": [
        ({}, floats(5, 4), counts(5, 4)),
        ({"full": True}, floats(5, 4), counts(5, 4)),
        ({"log_input": False, "full": True, "eps": 1e-3}, positive(5, 4), counts(5, 4)),
    ],
    "BCELoss": [
        ({}, unit(5, 4), unit(5, 4)),
        ({"weight": [0.5, 1.0, 2.0, 0.1]}, unit(5, 4), unit(5, 4)),
    ],
    "KLDivLoss": [
        ({}, logarithms(probabilities(4, 5)), probabilities(4, 5)),
        ({"log_target": True}, logarithms(probabilities(4, 5)), logarithms(probabilities(4, 5))),
    ],
    "HingeEmbeddingLoss": [
        ({}, positive(5, 4), signs(5, 4)),
        ({"margin": 0.3}, floats(5, 4), lambda rng: rng.choice([-1, 0, 1], (5, 4))),
    ],
    "MarginRankingLoss": [
        ({}, floats(5), floats(5), signs(5)),
        ({"margin": 0.7}, floats(5, 4), floats(5, 4), signs(5, 4)),
    ],
    "SoftMarginLoss": [({}, floats(5, 4), signs(5, 4)), ({}, floats(5), signs(5))],
    "MultiMarginLoss": [
        ({}, floats(5, 4), classes(4, 5)),
        ({"p": 2, "margin": 0.7}, floats(5, 4), classes(4, 5)),
        ({"p": 2, "weight": [0.5, 1.0, 2.0, 0.1]}, floats(5, 4), classes(4, 5)),
        ({"margin": 2.0}, floats(4), lambda rng: np.array([2])),
    ],
    "MultiLabelMarginLoss": [
        ({}, floats(5, 4), labels(4, 5)),
        ({}, floats(4), lambda rng: np.array([2, 0, -1, 1])),
    ],
    "MultiLabelSoftMarginLoss": [
        ({}, floats(5, 4), unit(5, 4)),
        ({"weight": [0.5, 1.0, 2.0, 0.1]}, floats(5, 4), unit(5, 4)),
    ],
    "CosineEmbeddingLoss": [
        ({}, floats(5, 4), floats(5, 4), signs(5)),
        ({"margin": 0.4}, floats(5, 4), floats(5, 4), signs(5)),
        ({"margin": -0.4}, floats(4), floats(4), lambda rng: np.array(-1)),
    ],
    "TripletMarginLoss": [
        ({}, floats(5, 4), floats(5, 4), floats(5, 4)),
        ({"swap": True, "margin": 3.0}, floats(5, 4), floats(5, 4), floats(5, 4)),
        ({"p": 1.0, "eps": 1e-2, "swap": True}, floats(5, 4), floats(5, 4), floats(5, 4)),
        ({"p": 3.5}, floats(2, 3, 4), floats(2, 3, 4), floats(2, 3, 4)),
        ({}, floats(4), floats(4), floats(4)),
    ],
    "TripletMarginWithDistanceLoss": [
        ({}, floats(5, 4), floats(5, 4), floats(5, 4)),
        ({"swap": True, "margin": 3.0}, floats(5, 4), floats(5, 4), floats(5, 4)),
    ],
}
LOSS_CASES = [
    pytest.param(name, i, reduction, id=f"{name}-{i}-{reduction}")
    for name, cases in LOSSES.items()
    for i in range(len(cases))
    for reduction in ("mean", "sum", "none")
]


@pytest.mark.parametrize(("name", "i", "reduction"), LOSS_CASES)
def test_losses_agree(name, i, reduction):
    options, *makers = LOSSES[name][i]
    rng = np.random.default_rng(0)
    inputs = [make(rng) for make in makers]
    arrays = {k: np.array(v) for k, v in options.items() if isinstance(v, list)}
    ours = getattr(tracer_layers, name)(**(options | arrays), reduction=reduction)
    tensors = {k: torch.tensor(v) for k, v in arrays.items()}
    theirs = getattr(torch.nn, name)(**(options | tensors), reduction=reduction)
    soft = [x.dtype.kind == "f" for x in inputs]
    their_inputs = [torch.tensor(x, requires_grad=s) for x, s in zip(inputs, soft, strict=True)]
    expected = theirs(*their_inputs)
    weights = rng.random(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    leaves = [
        tracer.parameter(x, name=f"input {k}") if s else x
        for k, (x, s) in enumerate(zip(inputs, soft, strict=True))
    ]
    with tracer.Tape() as tape:
        output = ours(*leaves)
        objective = np.sum(output * weights)
    assert output.shape == tuple(expected.shape)
    np.testing.assert_allclose(output.data, expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    gradients = tape.backward(objective)["grad"]
    for k, x in enumerate(their_inputs):
        if x.grad is not None:
            gradient, theirs = gradients[f"input {k}"], x.grad.numpy()
            defined = ~np.isnan(theirs)  # PyTorch's Stirling term has no gradient at a count of 0
            np.testing.assert_allclose(
                gradient[defined], theirs[defined], rtol=1e-8, atol=1e-11, err_msg=f"input {k}"
            )


def test_the_divergence_by_samples_agrees():
    x, t = logarithms(probabilities(4, 5))(RNG), probabilities(4, 5)(RNG)
    theirs = torch.nn.KLDivLoss(reduction="batchmean")(torch.tensor(x), torch.tensor(t))
    ours = tracer_layers.KLDivLoss(reduction="batchmean")(x, t)
    np.testing.assert_allclose(ours.data, theirs.numpy(), rtol=1e-12)
    np.testing.assert_array_equal(tracer_layers.kl_div(x, t, reduction="batchmean"), ours.data)


#: labels of sequences, their lengths, those of the labels, and options
SEQUENCES = {
    "rows": ([[1, 2, 2], [3, 0, 0], [1, 1, 1]], [7, 4, 6], [3, 1, 3], {}),
    "one after the other": ([1, 2, 2, 3, 1, 1, 1], [7, 4, 6], [3, 1, 3], {}),
    "none": ([[1, 2], [3, 1], [1, 1]], [7, 5, 6], [2, 0, 1], {}),
    "no labels": (np.zeros((3, 0), int), [7, 5, 6], [0, 0, 0], {}),
    "another blank": ([[1, 0], [0, 1], [1, 1]], [7, 5, 6], [2, 1, 2], {"blank": 3}),
    "too short": ([[1, 1], [2, 1], [1, 2]], [2, 5, 6], [2, 2, 2], {"zero_infinity": True}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_temporal_classification_agrees(name, reduction):
    labels, frames, counts, options = SEQUENCES[name]
    labels, frames, counts = map(np.array, (labels, frames, counts))
    x = np.random.default_rng(0).standard_normal((7, 3, 4))
    given = [torch.tensor(v) for v in (labels, frames, counts)]
    options = options | {"reduction": reduction}
    their_x = torch.tensor(x, requires_grad=True)
    expected = torch.nn.CTCLoss(**options)(their_x.log_softmax(-1), *given)
    weights = np.random.default_rng(1).random(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    loss, log_softmax = tracer_layers.CTCLoss(**options), tracer_layers.LogSoftmax(-1)
    value, pullback = tracer.vjp(lambda x: loss(log_softmax(x), labels, frames, counts), x)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(pullback(weights)[0], their_x.grad.numpy(), rtol=1e-8, atol=1e-12)


def test_one_sequence_agrees():
    x = tracer_layers.functional.log_softmax(np.random.default_rng(0).standard_normal((7, 4)), -1)
    given = np.array([1, 3, 3]), np.array(7), np.array(3)
    theirs = torch.nn.functional.ctc_loss(*map(torch.tensor, (x, *given)))
    np.testing.assert_allclose(tracer_layers.ctc_loss(x, *given), theirs.numpy(), rtol=1e-12)


def test_labels_that_do_not_fit_are_infinitely_unlikely():
    x = tracer_layers.functional.log_softmax(np.zeros((3, 1, 4)), -1)
    given = np.array([[1, 1, 2]]), np.array([3]), np.array([3])
    assert tracer_layers.ctc_loss(x, *given) == np.inf
    assert torch.nn.functional.ctc_loss(*map(torch.tensor, (x, *given))) == np.inf
    slope = tracer.grad(lambda x: tracer_layers.ctc_loss(x, *given))(x)
    assert np.isnan(slope).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True, "ignore_index": 1, "label_smoothing": 0.1},
        {"out_features": (2,), "bias": True, "reduction": "sum"},
    ],
)
def test_linear_cross_entropy_agrees(options):
    theirs = torch.nn.LinearCrossEntropyLoss(4, 3, **options)
    ours = tracer_layers.LinearCrossEntropyLoss(4, 3, **options)
    same_state(ours, theirs)
    extra = options.get("out_features", ())
    x, target = RNG.standard_normal((5, 4)), RNG.integers(0, 3, (5, *extra))
    their_x = torch.tensor(x, requires_grad=True)
    expected = theirs(their_x, torch.tensor(target))
    expected.backward()
    leaf = tracer.parameter(x, name="x")
    with tracer.Tape() as tape:
        found = ours(leaf, target)
    np.testing.assert_allclose(found.data, expected.detach().numpy(), rtol=1e-10)
    gradients = tape.backward(found)["grad"]
    np.testing.assert_allclose(gradients["x"], their_x.grad.numpy(), rtol=1e-8, atol=1e-11)
    for key, p in theirs.named_parameters():
        np.testing.assert_allclose(gradients[key], p.grad.numpy(), rtol=1e-8, atol=1e-11)


def shared_classes():
    names = [n for n in tracer_layers.__all__ if inspect.isclass(getattr(tracer_layers, n))]
    return [n for n in names if hasattr(torch.nn, n) and not takes_anything(getattr(torch.nn, n))]


def takes_anything(cls):
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.kind in kinds for p in inspect.signature(cls).parameters.values())


@pytest.mark.parametrize("name", shared_classes())
def test_constructors_take_the_same_arguments(name):
    theirs = inspect.signature(getattr(torch.nn, name)).parameters
    ours = inspect.signature(getattr(tracer_layers, name)).parameters
    positions = [k for k, p in ours.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    expected = [k for k, p in theirs.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positions[: len(expected)] == expected
    for key, parameter in theirs.items():
        assert same_default(ours[key].default, parameter.default), key


def same_default(ours, theirs):
    """Equal values, or functions of one name in either library."""
    named = inspect.isfunction(theirs)
    return ours.__name__ == theirs.__name__ if named else ours == theirs


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.Linear(40, 50),
        lambda nn: nn.Bilinear(10, 8, 30),
        lambda nn: nn.Conv2d(4, 8, 3, groups=2),
        lambda nn: nn.ConvTranspose2d(4, 8, 3, groups=2),
        lambda nn: nn.Embedding(60, 50),
        lambda nn: nn.EmbeddingBag(60, 50),
    ],
)
def test_initial_distributions_agree(make):
    """Moments and extremes of a few thousand numbers of each parameter, pooled over many models."""
    tracer_layers.seed(0)
    torch.manual_seed(0)
    ours = [make(tracer_layers).state_dict() for _ in range(200)]
    theirs = [make(torch.nn).state_dict() for _ in range(200)]
    for key in ours[0]:
        a = np.concatenate([state[key].ravel() for state in ours])
        b = np.concatenate([state[key].numpy().ravel() for state in theirs])
        assert abs(a.mean() - b.mean()) < 4 * b.std() * np.sqrt(2 / a.size)
        assert abs(a.std() / b.std() - 1) < 0.03
        quantiles = [0.02, 0.25, 0.75, 0.98]
        np.testing.assert_allclose(
            np.quantile(a, quantiles), np.quantile(b, quantiles), atol=0.06 * b.std()
        )


def test_second_derivatives_agree():
    def case(nn):
        return nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.GELU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(8, 3)
        )

    theirs, ours = case(torch.nn), case(tracer_layers)
    same_state(ours, theirs)
    rng = np.random.default_rng(0)
    x, y, v = rng.standard_normal((4, 1, 4, 4)), rng.integers(0, 3, 4), None
    v = rng.standard_normal(x.shape)
    their_x = torch.tensor(x, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(theirs(their_x), torch.tensor(y))
    (gradient,) = torch.autograd.grad(loss, their_x, create_graph=True)
    (product,) = torch.autograd.grad((gradient * torch.tensor(v)).sum(), their_x)
    f = lambda x: tracer_layers.cross_entropy(ours(x), y)  # noqa: E731
    np.testing.assert_allclose(tracer.hvp(f)(x, v), product.numpy(), rtol=1e-8, atol=1e-12)
