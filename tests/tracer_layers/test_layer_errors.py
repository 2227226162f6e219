"""What layers say to arguments and inputs that they cannot take."""

import re

import numpy as np
import pytest

import tracer_layers as nn
from tracer.errors import TracerError

#: (call, part of the message)
ARGUMENTS = [
    (lambda: nn.Linear(-1, 3), "Linear expects in_features as an int of at least 0, got -1"),
    (lambda: nn.Linear(2.5, 3), "Linear expects in_features as an int"),
    (lambda: nn.Bilinear(0, 3, 2), "Bilinear expects in1_features as an int of at least 1"),
    (lambda: nn.Embedding(-2, 3), "Embedding expects num_embeddings"),
    (lambda: nn.Conv2d(0, 3, 2), "Conv2d expects in_channels as an int of at least 1, got 0"),
    (lambda: nn.Conv2d(4, 6, 2, groups=3), "Conv2d expects groups that divides both"),
    (lambda: nn.Conv2d(4, 6, 2, groups=0), "Conv2d expects groups as an int of at least 1"),
    (lambda: nn.Conv3d(1, 1, 0), "Conv3d's kernel_size is an int of at least 1, or 3 of them"),
    (lambda: nn.Conv1d(1, 1, 2, stride=0), "Conv1d's stride is an int of at least 1"),
    (lambda: nn.Conv1d(1, 1, 2, padding=-1), "Conv1d's padding is an int of at least 0"),
    (lambda: nn.Conv1d(1, 1, 2, dilation=0), "Conv1d's dilation"),
    (lambda: nn.ConvTranspose2d(4, 6, 2, groups=4), "ConvTranspose2d expects groups that divides"),
    (lambda: nn.ConvTranspose2d(1, 1, 2, padding_mode="reflect"), "padding_mode='zeros', got 'ref"),
    (lambda: nn.ConvTransposeNd(1, 1, 2), "ConvTransposeNd expects kernel_size as a tuple"),
    (lambda: nn.MaxPool2d(2, padding=2), "MaxPool2d's padding is at most half of the kernel"),
    (lambda: nn.AvgPool2d((2, 2, 2)), "AvgPool2d's kernel_size is an int of at least 1, or 2"),
    (lambda: nn.LPPool1d(0, 2), "LPPool1d expects norm_type other than zero"),
    (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "AdaptiveAvgPool2d expects output_size as an int"),
    (lambda: nn.AdaptiveMaxPool1d(0), "AdaptiveMaxPool1d expects output_size as an int"),
    (lambda: nn.AdaptiveAvgPoolNd(3), "AdaptiveAvgPoolNd expects output_size as a tuple"),
    (lambda: nn.BatchNorm1d(-1), "BatchNorm1d expects num_features"),
    (lambda: nn.GroupNorm(3, 4), "GroupNorm expects num_groups that divides num_channels"),
    (lambda: nn.LayerNorm(()), "LayerNorm expects normalized_shape with at least one size"),
    (lambda: nn.RMSNorm((2, 0)), "RMSNorm expects normalized_shape as an int of at least 1"),
    (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d expects padding as an int, or 4 of them"),
    (lambda: nn.PadNd(2), "PadNd expects padding as two ints for each axis"),
    (lambda: nn.ReflectionPad1d((1.5, 1)), "ReflectionPad1d expects padding as ints"),
    (lambda: nn.PixelShuffle(0), "PixelShuffle expects upscale_factor"),
    (lambda: nn.ChannelShuffle(-2), "ChannelShuffle expects groups"),
    (lambda: nn.Dropout2d(-0.1), "Dropout2d expects a probability p between 0 and 1, got -0.1"),
    (lambda: nn.EmbeddingBag(3, 2, mode="min"), "EmbeddingBag expects mode as one of"),
    (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), "EmbeddingBag expects padding_idx"),
    (lambda: nn.Parallel(nn.Identity(), reduce="mean"), 'Parallel expects reduce as "sum"'),
    (lambda: nn.Parallel(), "Parallel expects at least one branch"),
]

#: (layer, shapes of its inputs, part of the message)
INPUTS = [
    (nn.Conv2d(2, 3, 5), [(1, 2, 4, 4)], "expects a spatial size of at least 5"),
    (nn.ConvNd(2, 3, (1, 1, 1, 1)), [(1, 1, 2, 2, 2, 2)], "expects inputs [N, 2, *size]"),
    (nn.Conv1d(1, 1, 3, padding=4, padding_mode="reflect"), [(1, 1, 4)], "at most 3, got (4, 4)"),
    (nn.ConvTranspose2d(2, 3, 2), [(1, 3, 4, 4)], "expects inputs [N, 2, H, W]"),
    (nn.ConvTranspose2d(2, 3, 2), [(4, 4)], "with 4 axes, or 3 for one sample, got [4, 4]"),
    (nn.ConvTranspose1d(1, 1, 1, padding=2), [(1, 1, 4)], "would have the sizes [0]"),
    (nn.ConvTranspose1d(1, 1, 1, output_padding=1), [(1, 1, 4)], "output_padding is smaller"),
    (nn.MaxPool1d(5), [(1, 1, 4)], "expects a spatial size of at least 5"),
    (nn.AvgPoolNd((1, 1, 1, 1)), [(2, 2, 2)], "expects inputs [N, C, *size], got [2, 2, 2]"),
    (nn.AdaptiveAvgPool2d(1), [(3, 3)], "adaptive pooling expects inputs [N, C, H, W]"),
    (nn.AdaptiveMaxPool1d(1), [(2, 3, 0)], "with elements along each axis, got [2, 3, 0]"),
    (nn.BatchNorm1d(3), [(2, 4)], "BatchNorm1d expects inputs [N, 3, ...]"),
    (nn.BatchNorm2d(3), [(2, 3, 4)], "with 4 axes for num_features=3, got [2, 3, 4]"),
    (nn.BatchNorm1d(3), [(1, 3)], "more than one value per channel"),
    (nn.InstanceNorm1d(3), [(5, 3, 1)], "more than one value per channel"),
    (nn.InstanceNorm2d(3), [(2, 4, 2, 2)], "InstanceNorm2d expects inputs [N, 3, H, W]"),
    (nn.GroupNorm(2, 4), [(2, 5)], "GroupNorm expects inputs [N, 4, ...]"),
    (nn.LayerNorm((3, 4)), [(2, 4, 3)], "layer_norm expects inputs [..., 3, 4]"),
    (nn.RMSNorm(3), [(2, 4)], "rms_norm expects inputs [..., 3]"),
    (nn.ReflectionPad1d(3), [(2, 3)], "reflect padding of an axis of 3 elements is at most 2"),
    (nn.CircularPad1d(4), [(2, 3)], "circular padding of an axis of 3 elements is at most 3"),
    (nn.ZeroPad1d(-2), [(2, 3)], "an axis of 3 elements cannot be padded by (-2, -2)"),
    (nn.ReplicationPad1d(1), [(2, 0)], "an axis of 0 elements cannot be padded"),
    (nn.ZeroPad3d(1), [(2, 3)], "padding is a pair of ints for each of at most 2 axes"),
    (
        nn.Upsample(3, mode="bilinear"),
        [(2, 3, 4)],
        "expects inputs [N, C, ...] with 2 spatial axes",
    ),
    (nn.Upsample(), [(2, 3, 4)], "one of size and scale_factor"),
    (nn.Upsample(3, mode="cubic"), [(2, 3, 4)], "mode is one of nearest"),
    (nn.Upsample(3, align_corners=True), [(2, 3, 4)], "align_corners is for modes that"),
    (nn.Upsample((3, 0)), [(2, 3, 4, 4)], "size as a positive number"),
    (nn.Upsample(scale_factor=0.1), [(2, 3, 4)], "expects sizes of at least 1, got [4] to become"),
    (nn.PixelShuffle(2), [(2, 3, 4, 4)], "expects inputs [..., C * 4, H, W]"),
    (nn.PixelUnshuffle(2), [(2, 3, 4, 5)], "H and W that downscale_factor=2 divides"),
    (nn.ChannelShuffle(2), [(2, 3, 4)], "channels that 2 groups divide"),
    (nn.Unfold(2), [(4, 4)], "expects inputs with 4 axes, or 3 for one sample"),
    (nn.Fold((3, 3), 2), [(2, 5, 4)], "fold expects inputs [N, C * 4, 4]"),
    (nn.Dropout2d(), [(4, 4)], "expects inputs [N, C, H, W]"),
    (nn.Dropout2d(), [(3, 4, 4)], "which PyTorch reads as [N, C, L]: use Dropout1d"),
    (nn.GLU(), [(2, 3)], "glu expects an axis of even size"),
    (nn.Softmax2d(), [(2, 3)], "Softmax2d expects inputs [N, C, H, W] or [C, H, W]"),
    (nn.EmbeddingBag(3, 2), [(4,)], "or [M] with offsets [N], got [4] without offsets"),
    (
        nn.Parallel(nn.Identity(), nn.Linear(2, 3)),
        [(4, 2)],
        "Parallel sums outputs of one shape, got [4, 2] and [4, 3]",
    ),
]


@pytest.mark.parametrize(("call", "message"), ARGUMENTS)
def test_arguments_are_refused(call, message):
    with pytest.raises(TracerError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(("layer", "shapes", "message"), INPUTS)
def test_inputs_are_refused(layer, shapes, message):
    with pytest.raises(TracerError, match=re.escape(message)):
        layer(*(np.ones(shape, np.float32) for shape in shapes))


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], [0, 9]])
def test_offsets_of_bags_rise(offsets):
    with pytest.raises(TracerError, match="offsets that rise from 0 to at most 4"):
        nn.EmbeddingBag(3, 2)(np.array([0, 1, 2, 0]), np.array(offsets))


def test_weights_of_bags_are_for_sums():
    with pytest.raises(TracerError, match="for sums of bags of one size"):
        nn.EmbeddingBag(3, 2)(np.array([[0, 1]]), None, np.ones((1, 2)))


def test_a_size_that_no_transposed_convolution_gives():
    layer = nn.ConvTranspose1d(1, 1, 3, 2)
    with pytest.raises(TracerError, match=re.escape("from [7] to [8]")):
        layer(np.ones((1, 1, 3), np.float32), output_size=(9,))
