"""Every layer that maps one tensor to one of the same samples: constructor and input shape."""

import numpy as np

import tracer
import tracer_layers as nn


class Unpooled(nn.Module):
    """Maxima, put back where they were."""

    def __init__(self, rank):
        self.pool = getattr(nn, f"MaxPool{rank}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{rank}d")(2)

    def forward(self, x):
        return self.unpool(*self.pool(x))


class Read(nn.Module):
    """Read at places that depend on the input."""

    def __init__(self, mode, padding_mode):
        self.options = mode, padding_mode

    def forward(self, x):
        at = nn.functional.tanh(x)[:, 0]
        grid = np.stack([1.4 * at, 1.3 * np.cos(at)], axis=-1)
        return nn.functional.grid_sample(x, grid, *self.options)


class Turned(nn.Module):
    """Read by affine maps that depend on the input."""

    def forward(self, x):
        grid = nn.functional.affine_grid(nn.functional.tanh(x)[:, 0], (len(x), 1, 2, 3))
        return nn.functional.grid_sample(x, grid)


class Smoothed(nn.Module):
    def forward(self, x):
        return nn.functional.interpolate(x, (2, 3), mode="bicubic", antialias=True)


LAYERS = {
    "ConvNd-4": (lambda: nn.ConvNd(2, 2, (1, 2, 1, 2), padding=(0, 1, 0, 0)), (3, 2, 1, 2, 1, 2)),
    "ConvNd-5": (lambda: nn.ConvNd(1, 2, (1, 2, 1, 2, 1)), (2, 1, 1, 2, 1, 2, 1)),
    "ConvNd-circular": (
        lambda: nn.ConvNd(1, 2, (2, 3), padding=1, padding_mode="circular"),
        (3, 1, 2, 3),
    ),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(2, 3, 3, 2, 1, 1), (3, 2, 3)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 1, 2, 2), (2, 2, 2, 2)),
    "ConvTranspose2d-groups": (
        lambda: nn.ConvTranspose2d(4, 2, 2, 2, groups=2, dilation=2),
        (2, 4, 2, 1),
    ),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(1, 2, (1, 2, 2), bias=False), (2, 1, 1, 2, 2)),
    "ConvTransposeNd-4": (lambda: nn.ConvTransposeNd(1, 2, (2, 1, 2, 1)), (2, 1, 1, 2, 1, 2)),
    "ConvTransposeNd-5": (lambda: nn.ConvTransposeNd(1, 1, (2, 1, 2, 1, 1)), (2, 1, 1, 2, 1, 1, 1)),
    "MaxPool1d": (lambda: nn.MaxPool1d(3, 2, 1, ceil_mode=True), (3, 2, 4)),
    "MaxPool2d": (lambda: nn.MaxPool2d((2, 1), 1, dilation=(2, 1)), (3, 1, 3, 2)),
    "MaxPool3d": (lambda: nn.MaxPool3d(2), (3, 2, 2, 2, 2)),
    "MaxPoolNd-4": (lambda: nn.MaxPoolNd((1, 2, 1, 2)), (2, 2, 1, 2, 1, 2)),
    "AvgPool1d": (lambda: nn.AvgPool1d(3, 2, 1, count_include_pad=False), (3, 2, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, 1, ceil_mode=True), (3, 1, 3, 2)),
    "AvgPool3d": (lambda: nn.AvgPool3d(2, divisor_override=3), (3, 2, 2, 2, 2)),
    "AvgPoolNd-4": (lambda: nn.AvgPoolNd((1, 2, 1, 2)), (2, 2, 1, 2, 1, 2)),
    "LPPool1d": (lambda: nn.LPPool1d(2, 2), (3, 2, 4)),
    "LPPool2d": (lambda: nn.LPPool2d(2, (2, 1), 1), (3, 1, 3, 2)),
    "LPPool3d": (lambda: nn.LPPool3d(4, 2), (3, 2, 2, 2, 2)),
    "LPPoolNd-4": (lambda: nn.LPPoolNd(2, (1, 2, 1, 2)), (2, 2, 1, 2, 1, 2)),
    "AdaptiveAvgPool1d": (lambda: nn.AdaptiveAvgPool1d(3), (3, 2, 4)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((2, None)), (3, 1, 4, 2)),
    "AdaptiveAvgPool3d": (lambda: nn.AdaptiveAvgPool3d(3), (2, 1, 2, 2, 2)),
    "AdaptiveAvgPoolNd-4": (lambda: nn.AdaptiveAvgPoolNd((1, 2, 1, 2)), (2, 1, 1, 3, 1, 2)),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(3), (3, 2, 4)),
    "AdaptiveMaxPool2d": (lambda: nn.AdaptiveMaxPool2d((2, None)), (3, 1, 3, 2)),
    "AdaptiveMaxPool3d": (lambda: nn.AdaptiveMaxPool3d(1), (3, 2, 2, 2, 2)),
    "AdaptiveMaxPoolNd-4": (lambda: nn.AdaptiveMaxPoolNd((1, 2, 1, 2)), (2, 1, 1, 3, 1, 2)),
    "BatchNorm1d-eval": (lambda: evaluating(nn.BatchNorm1d(3)), (4, 3)),
    "BatchNorm2d-eval": (lambda: evaluating(nn.BatchNorm2d(2)), (3, 2, 1, 3)),
    "BatchNorm3d-eval": (lambda: evaluating(nn.BatchNorm3d(2, affine=False)), (3, 2, 1, 2, 1)),
    "BatchNormNd-4-eval": (lambda: evaluating(nn.BatchNormNd(2)), (3, 2, 1, 2, 1, 2)),
    "LayerNorm": (lambda: nn.LayerNorm(3), (3, 2, 3)),
    "LayerNorm-axes": (lambda: nn.LayerNorm((2, 3)), (3, 2, 3)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 2)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(2, affine=True), (3, 2, 3)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(2), (3, 2, 2, 2)),
    "InstanceNorm3d": (lambda: nn.InstanceNorm3d(2, affine=True, bias=False), (2, 2, 1, 2, 2)),
    "InstanceNormNd-4": (lambda: nn.InstanceNormNd(1), (2, 1, 2, 1, 2, 1)),
    "RMSNorm": (lambda: nn.RMSNorm(3), (3, 2, 3)),
    "RMSNorm-axes": (lambda: nn.RMSNorm((2, 3), 0.1), (3, 2, 3)),
    "ZeroPad1d": (lambda: nn.ZeroPad1d((1, -1)), (3, 2, 3)),
    "ConstantPad2d": (lambda: nn.ConstantPad2d((1, 0, 0, 1), 0.5), (3, 1, 2, 2)),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d(1), (3, 1, 2, 2)),
    "ReplicationPad1d": (lambda: nn.ReplicationPad1d((2, 1)), (3, 2, 3)),
    "CircularPad3d": (lambda: nn.CircularPad3d((1, 0, 1, 0, 0, 1)), (2, 1, 2, 1, 2)),
    "PadNd-4": (lambda: nn.PadNd((0, 1, 1, 0, 0, 0, 0, 1), "replicate"), (2, 1, 1, 2, 1, 2)),
    "Upsample-nearest": (lambda: nn.Upsample(scale_factor=1.5), (3, 2, 3)),
    "Upsample-bilinear": (lambda: nn.Upsample((3, 2), mode="bilinear"), (3, 1, 2, 3)),
    "Upsample-linear-4": (lambda: nn.Upsample((1, 3, 1, 2), mode="linear"), (2, 1, 1, 2, 1, 3)),
    "Upsample-bicubic": (lambda: nn.Upsample((3, 2), mode="bicubic"), (3, 1, 2, 3)),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (3, 4, 1, 2)),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), (3, 1, 2, 2)),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), (3, 4, 2)),
    "Unfold": (lambda: nn.Unfold((2, 1), padding=(1, 0)), (3, 1, 2, 2)),
    "Unfold-3": (lambda: nn.Unfold((1, 2, 1)), (3, 1, 2, 2, 1)),
    "Fold": (lambda: nn.Fold((2, 3), 2), (3, 4, 2)),
    "Fold-1": (lambda: nn.Fold((4,), (2,)), (3, 2, 3)),
    "Dropout2d": (lambda: nn.Dropout2d(0.0), (3, 2, 1, 2)),
    "GLU": (lambda: nn.GLU(1), (3, 4, 2)),
    "RReLU-eval": (lambda: nn.RReLU().eval(), (3, 4)),
    "Softmax2d": (lambda: nn.Softmax2d(), (3, 3, 1, 2)),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2, 0.5), (3, 3, 2)),
    "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, 2), (3, 1, 3, 3)),
    "FractionalMaxPool3d": (lambda: nn.FractionalMaxPool3d((1, 2, 1), (1, 2, 2)), (2, 1, 1, 3, 2)),
    "MaxUnpool1d": (lambda: Unpooled(1), (3, 2, 4)),
    "MaxUnpool2d": (lambda: Unpooled(2), (3, 1, 2, 4)),
    "MaxUnpool3d": (lambda: Unpooled(3), (2, 1, 2, 2, 2)),
    "grid_sample": (lambda: Read("bilinear", "zeros"), (3, 1, 2, 3)),
    "grid_sample-reflection": (lambda: Read("bilinear", "reflection"), (3, 1, 2, 3)),
    "grid_sample-bicubic": (lambda: Read("bicubic", "border"), (3, 1, 2, 3)),
    "affine_grid": (lambda: Turned(), (3, 1, 2, 3)),
    "interpolate-antialias": (lambda: Smoothed(), (3, 1, 3, 4)),
    "Parallel": (lambda: nn.Parallel(nn.Identity(), nn.Conv1d(2, 2, 1)), (3, 2, 2)),
    "Parallel-concatenate": (
        lambda: nn.Parallel(nn.Identity(), nn.Conv1d(2, 1, 1), reduce="concatenate"),
        (3, 2, 2),
    ),
}

#: layers in which the statistics of a batch couple its samples
COUPLING = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3), (4, 3)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(2), (3, 2, 1, 3)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(2, affine=False), (3, 2, 1, 2, 1)),
    "BatchNorm1d-untracked": (
        lambda: nn.BatchNorm1d(3, track_running_stats=False).eval(),
        (4, 3),
    ),
}


def evaluating(layer):
    """A normalisation in evaluation, with statistics that differ from the initial ones."""
    rng = np.random.default_rng(2)
    layer.running_mean = rng.standard_normal(layer.num_features)
    layer.running_var = rng.uniform(0.5, 2, layer.num_features)
    return layer.eval()


def network(make, shape):
    """The layer between a linear map of the last axis and a bend, at random parameters."""
    tracer.seed(0)
    layer = make()
    model = nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer, nn.Tanh(), nn.Flatten())
    for module in model.double().modules():
        module.training = layer.training
    rng = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.5 * rng.standard_normal(parameter.shape)
    return model, rng.standard_normal(shape)
