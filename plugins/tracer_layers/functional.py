"""The functions of layers and losses, named as in `torch.nn.functional`."""

import functools
from collections.abc import Callable
from typing import Any

from tracer_layers import hints
from tracer_layers.activations import (
    celu,
    elu,
    gelu,
    glu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    prelu,
    relu,
    relu6,
    rrelu,
    selu,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
)
from tracer_layers.attention import scaled_dot_product_attention
from tracer_layers.classification import cross_entropy, nll_loss
from tracer_layers.convolution_layers import conv1d, conv2d, conv3d
from tracer_layers.distances import cosine_similarity, normalize, pairwise_distance
from tracer_layers.dropout_layer import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from tracer_layers.embedding_bag import embedding_bag
from tracer_layers.embedding_layer import embedding, one_hot
from tracer_layers.folding_layers import fold, unfold
from tracer_layers.linear_layers import bilinear, linear
from tracer_layers.normalisation import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from tracer_layers.padding import pad
from tracer_layers.pooling_functions import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from tracer_layers.regression import (
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    l2_penalty,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from tracer_layers.rules import blame_arguments
from tracer_layers.shuffling import channel_shuffle, pixel_shuffle, pixel_unshuffle
from tracer_layers.transposed_convolution_layers import (
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from tracer_layers.upsampling import interpolate

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy_with_logits",
    "celu",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "l1_loss",
    "l2_penalty",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "rrelu",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "unfold",
]


def _of_arrays(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says so where an argument has to be an array and is none."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except AttributeError as error:
            blame_arguments(name, error, (*args, *options.values()))
            raise

    call.__module__, call.__qualname__ = __name__, name  # where pickles find it
    return call


globals().update({name: _of_arrays(name, globals()[name]) for name in __all__})


def __getattr__(name: str) -> Any:
    raise hints.no_function(name, __all__)
