"""The settings of BackPACK's own tests, described once more: layers, input shapes and losses.

BackPACK 1.7.1 compares its extensions with automatic differentiation on some hundred small
networks: three samples, images of 7 x 7, kernels of 2, one to three dimensions. Here they are data.
A layer is its name in `torch.nn` and its arguments, a model is a row of layers, and `Setting.model`
builds it from any namespace that has the names. `ELSEWHERE` says for which settings BackPACK is no
reference, and why.
"""

from dataclasses import dataclass
from typing import Any

CE, CE_SUM = ("CrossEntropyLoss", "mean"), ("CrossEntropyLoss", "sum")
MSE, MSE_SUM = ("MSELoss", "mean"), ("MSELoss", "sum")
BCE, BCE_SUM = ("BCEWithLogitsLoss", "mean"), ("BCEWithLogitsLoss", "sum")


@dataclass(frozen=True)
class Setting:
    """A network, its input and its loss. `integers` is the bound of inputs that are indices."""

    shape: tuple[int, ...]
    loss: tuple[str, str]
    layers: tuple[Any, ...]
    integers: int | None = None

    def model(self, nn):
        """The network, of the modules in the namespace `nn`."""
        return row(nn, self.layers)


def row(nn, layers):
    """`nn.Sequential` of layers: a name, or (name, *arguments)."""
    return nn.Sequential(*(built(nn, layer) for layer in layers))


def built(nn, layer):
    name, *arguments = (layer,) if isinstance(layer, str) else layer
    if name == "Parallel":  # its arguments are rows of layers
        return nn.Parallel(*(row(nn, branch) for branch in arguments))
    options = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    return getattr(nn, name)(*arguments, **options)


def linear(inputs, outputs):
    return ("Linear", inputs, outputs)


def classified(shape, *layers, features, loss=CE_SUM):
    """Layers, flattened to `features`, and a linear classifier of five classes."""
    return Setting(shape, loss, (*layers, "Flatten", linear(features, 5)))


LINEAR = {
    "linear one": Setting((3, 10), CE_SUM, (linear(10, 5),)),
    "linear two": Setting((3, 10), CE, (linear(10, 7), linear(7, 5))),
    "linear relu": Setting((3, 10), CE_SUM, (linear(10, 7), "ReLU", linear(7, 5))),
    "linear sigmoid": Setting((3, 10), MSE, (linear(10, 7), "Sigmoid", linear(7, 5))),
}

#: inputs with positions between samples and features
POSITIONS = {
    "positions 1": Setting((3, 4, 5), MSE, (linear(5, 3), linear(3, 2))),
    "positions 2": Setting((3, 4, 2, 5), MSE, (linear(5, 3), "Sigmoid", linear(3, 2))),
    "positions 3": Setting((3, 4, 2, 3, 5), MSE_SUM, (linear(5, 3), linear(3, 2))),
}
FLATTENED = {
    f"flattened {name}": Setting(s.shape, s.loss, (*s.layers, "Flatten"))
    for name, s in POSITIONS.items()
} | {
    "flattened classes 1": Setting((3, 4, 5), CE, (linear(5, 3), linear(3, 2), "Flatten")),
    "flattened classes 2": Setting(
        (3, 4, 2, 5), CE, (linear(5, 3), "Sigmoid", linear(3, 2), "Flatten")
    ),
    "flattened classes 3": Setting(
        (3, 4, 2, 3, 5), CE_SUM, (linear(5, 3), "ReLU", linear(3, 2), "Flatten")
    ),
}

ACTIVATIONS = {
    f"{name}{'' if bias else ' no bias'}": classified(
        (3, 3, 7, 7), ("Conv2d", 3, 2, 2, {"bias": bias}), name, features=72, loss=CE
    )
    for name in ("ReLU", "Sigmoid", "Tanh", "LeakyReLU", "LogSigmoid", "ELU", "SELU")
    for bias in (True, False)
}

#: layer, shape of the input, what each case is about: (arguments, number of features)
CONVOLUTIONS = {
    f"{layer} {about}": classified(shape, (layer, *arguments), "ReLU", features=features)
    for layer, about, shape, arguments, features in (
        ("Conv1d", "plain", (3, 3, 7), (3, 2, 2), 12),
        ("Conv1d", "stride dilation", (3, 2, 7), (2, 3, 2, 2, 0, 2), 9),
        ("Conv1d", "stride padding", (3, 3, 7), (3, 2, 2, 2, 1), 8),
        ("Conv1d", "all", (3, 3, 8), (3, 6, 2, 4, 2, 3), 18),
        ("Conv1d", "no bias", (3, 3, 7), (3, 2, 2, 4, 2, 1, 1, False), 6),
        ("Conv2d", "plain", (3, 3, 7, 7), (3, 2, 2), 72),
        ("Conv2d", "stride dilation", (3, 2, 7, 7), (2, 3, 2, 2, 0, 2), 27),
        ("Conv2d", "stride padding", (3, 3, 7, 7), (3, 2, 2, 2, 1), 32),
        ("Conv2d", "all", (3, 3, 8, 8), (3, 6, 2, 4, 2, 3), 54),
        ("Conv2d", "no bias", (3, 3, 7, 7), (3, 2, 2, 4, 2, 1, 1, False), 18),
        ("Conv3d", "plain", (3, 3, 2, 7, 7), (3, 2, 2), 72),
        ("Conv3d", "stride dilation", (3, 2, 3, 7, 7), (2, 3, 2, 2, 0, 2), 27),
        ("Conv3d", "stride padding", (3, 3, 2, 7, 7), (3, 2, 2, 3, 2), 64),
        ("Conv3d", "all", (3, 3, 4, 8, 8), (3, 6, 2, 4, 2, 3), 108),
        ("Conv3d", "no bias", (3, 3, 2, 7, 7), (3, 2, 2, 4, 2, 1, 1, False), 36),
        ("ConvTranspose1d", "plain", (3, 3, 7), (3, 2, 2), 16),
        ("ConvTranspose1d", "dilation", (3, 2, 7), (2, 3, 2, 2, 0, 0, 1, True, 2), 45),
        ("ConvTranspose1d", "stride padding", (3, 3, 7), (3, 2, 2, 2, 1), 24),
        ("ConvTranspose1d", "all", (3, 3, 8), (3, 6, 2, 4, 2, 0, 1, True, 3), 168),
        ("ConvTranspose1d", "no bias", (3, 3, 7), (3, 2, 2, 4, 2, 0, 1, False), 44),
        ("ConvTranspose2d", "plain", (3, 3, 7, 7), (3, 2, 2), 128),
        ("ConvTranspose2d", "dilation", (3, 2, 9, 9), (2, 4, 2, 1, 0, 0, 1, True, 2), 484),
        ("ConvTranspose2d", "stride padding", (3, 3, 7, 7), (3, 2, 2, 2, 1), 288),
        ("ConvTranspose2d", "no bias", (3, 3, 7, 7), (3, 2, 2, 4, 2, 0, 1, False), 968),
        ("ConvTranspose3d", "plain", (3, 3, 2, 7, 7), (3, 2, 2), 384),
        ("ConvTranspose3d", "all", (3, 2, 3, 5, 5), (2, 3, 2, 2, 2, 0, 1, True, 2), 441),
        ("ConvTranspose3d", "no bias", (3, 3, 2, 7, 7), (3, 2, 2, 4, 2, 0, 1, False), 1936),
    )
}
GROUPED = {
    f"grouped {layer}": classified(shape, (layer, *arguments), "ReLU", features=features)
    for layer, shape, arguments, features in (
        ("Conv1d", (3, 6, 7), (6, 4, 2, 1, 0, 1, 2), 24),
        ("Conv2d", (3, 6, 7, 5), (6, 3, 2, 1, 0, 1, 3), 72),
        ("Conv3d", (3, 4, 7, 5, 6), (4, 2, 2, 1, 0, 2, 2), 120),
        ("ConvTranspose1d", (3, 6, 8), (6, 3, 2, 4, 2, 0, 3, True, 3), 84),
        ("ConvTranspose2d", (3, 4, 9, 9), (4, 2, 2, 1, 0, 0, 2, True, 2), 242),
        ("ConvTranspose3d", (3, 4, 3, 5, 5), (4, 2, (2, 2, 1), 2, 2, 0, 2, True, 2), 210),
    )
}


def pooled(shape, pool, *arguments, features):
    """A convolution of kernel 2, an activation and a pooling."""
    rank = len(shape) - 2
    convolution = (f"Conv{rank}d", 3, 2, 2)
    layer = (f"{pool}{rank}d", *arguments)
    return classified(shape, convolution, "ReLU", layer, features=features)


#: kind of pooling: arguments, and features in one to three dimensions
POOLING = {
    f"{pool}{rank}d {about}": pooled(shape, pool, *arguments, features=features[rank - 1])
    for pool, about, arguments, features in (
        ("MaxPool", "plain", (2, 1), (10, 50, 250)),
        ("MaxPool", "dilation", (2, 1, 0, 2), (8, 32, 128)),
        ("MaxPool", "ceiled", (2, 1, 0, 2, False, True), (8, 32, 128)),
        ("AvgPool", "plain", (2, 1), (10, 50, 250)),
        ("AvgPool", "ceiled", (2, 1, 0, True), (10, 50, 250)),
        ("AvgPool", "not ceiled", (2, 1, 0, False), (10, 50, 250)),
    )
    for rank, shape in ((1, (3, 3, 7)), (2, (3, 3, 7, 7)), (3, (3, 3, 7, 7, 7)))
}
ADAPTIVE = {
    "adaptive 1": pooled((3, 3, 7), "AdaptiveAvgPool", 2, features=4),
    "adaptive 2": pooled((3, 3, 11, 11), "AdaptiveAvgPool", 2, features=8),
    "adaptive 3": pooled((3, 3, 7, 7, 7), "AdaptiveAvgPool", 2, features=16),
    "adaptive positions 1": Setting(
        (2, 2, 9), MSE, (linear(9, 9), ("AdaptiveAvgPool1d", (3,)), "Flatten")
    ),
    "adaptive positions 2": Setting(
        (2, 2, 6, 8), MSE, (linear(8, 8), ("AdaptiveAvgPool2d", (3, 4)), "Flatten")
    ),
    "adaptive positions 3": Setting(
        (2, 2, 9, 5, 4), MSE, (linear(4, 4), ("AdaptiveAvgPool3d", (3, 5, 2)), "Flatten")
    ),
}

BINARY = {
    "binary linear": Setting((3, 4), BCE, (linear(4, 3), linear(3, 1))),
    "binary relu": Setting((3, 4), BCE_SUM, (linear(4, 3), "ReLU", linear(3, 1))),
    "binary sigmoid": Setting((3, 4), BCE, (linear(4, 3), "Sigmoid", linear(3, 1))),
    "binary convolution": Setting(
        (3, 3, 7), BCE, (("Conv1d", 3, 2, 2), "Tanh", "Flatten", linear(12, 1))
    ),
    "binary one sample": Setting((1, 4), BCE_SUM, (linear(4, 3), "Sigmoid", linear(3, 1))),
    "binary many": Setting((3, 4), BCE, (linear(4, 3), "Sigmoid", linear(3, 2))),
}

#: evaluated with the running statistics
NORMALISED = {
    "BatchNorm1d": Setting((2, 3, 4), MSE, (("BatchNorm1d", 3), "Flatten")),
    "BatchNorm2d": Setting((3, 2, 4, 3), MSE, (("BatchNorm2d", 2), "Flatten")),
    "BatchNorm3d": Setting((3, 3, 4, 1, 2), MSE, (("BatchNorm3d", 3), "Flatten")),
    "BatchNorm3d deep": Setting(
        (3, 3, 4, 1, 2),
        MSE,
        (
            ("BatchNorm3d", 3),
            linear(2, 3),
            ("BatchNorm3d", 3),
            "ReLU",
            ("BatchNorm3d", 3),
            "Flatten",
        ),
    ),
}
NORMALISED_POSITIONS = {
    f"{name} positions": Setting(s.shape, CE, s.layers[:-1]) for name, s in NORMALISED.items()
}

EMBEDDED = {
    "embedding": Setting((6,), CE, (("Embedding", 5, 3), linear(3, 4)), integers=5),
    "embedding positions": Setting((3, 2, 2), CE, (("Embedding", 3, 2), "Flatten"), integers=3),
    "embedding classified": Setting(
        (3, 4), CE, (("Embedding", 5, 3), "Flatten", linear(12, 4)), integers=5
    ),
}

BATCH_FIRST = {"batch_first": True}
RECURRENT = {
    "RNN": Setting(
        (8, 5, 6), MSE, (("RNN", 6, 3, BATCH_FIRST), ("ReduceTuple", 0), "Flatten")
    ),
    "RNN classified": Setting(
        (8, 5, 6), CE, (("RNN", 6, 3, BATCH_FIRST), ("ReduceTuple", 0), ("Permute", 0, 2, 1))
    ),
    "RNN linear": Setting(
        (8, 5, 6),
        CE,
        (("RNN", 6, 3, BATCH_FIRST), ("ReduceTuple", 0), linear(3, 3), ("Permute", 0, 2, 1)),
    ),
    "LSTM": Setting((4, 3, 5), CE, (("LSTM", 5, 4, BATCH_FIRST), ("ReduceTuple", 0), "Flatten")),
    "LSTM linear": Setting(
        (4, 3, 5),
        MSE,
        (("LSTM", 5, 4, BATCH_FIRST), ("ReduceTuple", 0), linear(4, 2), "Flatten"),
    ),
}  # fmt: skip


def same(inputs, outputs):
    """A convolution of 3 x 3 that keeps the image's size."""
    return ("Conv2d", inputs, outputs, 3, 1, 1)


BRANCHED = {
    "branches linear": Setting(
        (3, 10),
        CE,
        (linear(10, 5), "ReLU", ("Parallel", ("Identity",), (linear(5, 5),)), "Sigmoid",
         linear(5, 4)),
    ),
    "branches convolution": classified(
        (4, 2, 6, 6),
        same(2, 3),
        "ReLU",
        ("Parallel", ("Identity",), (same(3, 5), "ReLU", same(5, 3))),
        ("MaxPool2d", 3, 2),
        features=12,
        loss=CE,
    ),
    "branches nested": classified(
        (4, 3, 6, 6),
        same(3, 2),
        "ReLU",
        ("Parallel", ("Identity",),
         (same(2, 4), "Sigmoid", same(4, 2),
          ("Parallel", ("Identity",), (same(2, 4), "ReLU", same(4, 2))))),
        ("MaxPool2d", 3, 2),
        features=8,
        loss=CE,
    ),
}  # fmt: skip

PADDED = {
    "padded squared": Setting(
        (5, 3, 4, 4),
        MSE,
        (("Conv2d", 3, 2, 2), ("ZeroPad2d", (1, 1, 0, 2)), ("Conv2d", 2, 2, 3, 2), "Flatten",
         linear(8, 2)),
    ),
    "padded channels": Setting(
        (5, 3, 4, 4),
        CE,
        (("Conv2d", 3, 2, 3, 1, 1), "ReLU", ("Pad", (1, 1, 2, 0, 1, 2), "constant", 1.0),
         ("Conv2d", 5, 2, 3, 2), "ReLU", "Flatten", linear(8, 3)),
    ),
}  # fmt: skip

#: linear layers on `[N, I]`, on which the conventions for Kronecker factors agree
KRONECKER = LINEAR | {
    "one sample squared": Setting((1, 7), MSE, (linear(7, 3), "ReLU", "Flatten", linear(3, 1))),
    "one sample": Setting((1, 4), CE, (linear(4, 3), "Sigmoid", linear(3, 2))),
    "squared sum": Setting((3, 10), MSE_SUM, (linear(10, 7), "Tanh", linear(7, 5))),
    "deep": Setting((3, 6), CE, (linear(6, 5), "Sigmoid", linear(5, 4), "ReLU", linear(4, 3))),
}

SHARED = LINEAR | ACTIVATIONS | POOLING | CONVOLUTIONS | GROUPED | FLATTENED | BINARY
LAYERS = ADAPTIVE | NORMALISED | EMBEDDED | BRANCHED | PADDED | RECURRENT

#: kind: settings
SETTINGS = {
    "first order": LINEAR | POSITIONS | FLATTENED | CONVOLUTIONS | GROUPED | NORMALISED_POSITIONS
    | EMBEDDED | RECURRENT,
    "second order": SHARED | LAYERS,
    "hessian": SHARED | LAYERS,
    "square root": SHARED | LAYERS,
    "kronecker": KRONECKER,
    "products": SHARED,
}  # fmt: skip

RECURRENT_NAMES = ("RNN", "LSTM")
NO_PRODUCTS = (
    *("LeakyReLU", "LogSigmoid", "ELU", "SELU"),
    *(f"{pool}{rank}d" for pool in ("MaxPool", "AvgPool") for rank in (1, 3)),
    *("Conv1d", "Conv3d", "ConvTranspose", "binary"),
    *("grouped Conv1d", "grouped Conv3d", "grouped ConvTranspose"),
)

#: why BackPACK is no reference
WRONG = "gives another result"
REFUSED = "refuses"

#: kind: how names of settings begin, and which of the two it is
ELSEWHERE = {
    "first order": {"grouped": WRONG},  # the squared norms
    "second order": {"binary many": REFUSED},
    "hessian": dict.fromkeys(
        ("binary many", "BatchNorm", "embedding", "branches", *RECURRENT_NAMES), REFUSED
    ),
    "square root": dict.fromkeys(("binary many", "adaptive", *RECURRENT_NAMES), REFUSED),
    "kronecker": {},
    "products": dict.fromkeys(NO_PRODUCTS, REFUSED),
}


def elsewhere(kind, name):
    """`WRONG` or `REFUSED` where BackPACK is no reference for a setting; None where it is one."""
    reasons = ELSEWHERE[kind].items()
    return next((why for start, why in reasons if name.startswith(start)), None)
