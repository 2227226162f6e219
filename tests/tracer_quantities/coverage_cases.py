"""A small network around every layer, for the table of what each quantity is on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn
from tracer_layers.module.lazy import Lazy

SAMPLES = 3


@dataclass(frozen=True)
class Case:
    """A layer, made by `make`, on features `[N, *shape]`, which a linear map gives.

    With `second` it takes another tensor like it, of that shape; with `bound` it takes ints below
    the bound instead. With `target`, a function of the generator, it is a loss, `given` are its
    arguments after the target, `bend` makes its prediction of the features, and `weight` is
    that of each elementary loss.
    """

    make: Callable[[], Any]
    shape: tuple[int, ...]
    second: tuple[int, ...] | None = None
    bound: int | None = None
    target: Callable[[np.random.Generator], np.ndarray] | None = None
    given: tuple[Any, ...] = ()
    bend: Callable[[Any], Any] | None = None
    weight: float = 1.0


class Net(nn.Module):
    """Linear maps of one number per sample, the layer, and a bend; without the bend for a loss."""

    batch_axis = 0

    def __init__(self, case):
        self.case = case
        shapes = [] if case.bound else [case.shape] + [case.second] * (case.second is not None)
        self.below = nn.ModuleList(
            nn.Sequential(nn.Linear(1, int(np.prod(shape))), nn.Unflatten(1, shape))
            for shape in shapes
        )
        self.layer = case.make() if case.target is None else nn.Identity()

    def forward(self, x):
        given = [below(x) for below in self.below] or [x]
        out = self.layer(*given)
        if self.case.target is None:
            return np.tanh(out).reshape(SAMPLES, -1)
        return out if self.case.bend is None else self.case.bend(out)


class Attending(nn.Module):
    """A layer of sequences that takes as many of them as `count`, the last one repeated.

    Samples are first; they go to axis 1 for a layer that takes sequences first.
    """

    def __init__(self, layer, count, **options):
        self.layer, self.count, self.options = layer, count, options

    def forward(self, *given):
        if self.layer.sequence_first:
            given = [np.swapaxes(x, 0, 1) for x in given]
        given = [*given, *[given[-1]] * (self.count - len(given))]
        out = self.layer(*given, **self.options)
        out = out[0] if isinstance(out, tuple) else out
        return np.swapaxes(out, 0, 1) if self.layer.sequence_first else out


class Stepping(nn.Module):
    """A cell on features and on another tensor as its state, both values of an LSTM's."""

    def __init__(self, cell):
        self.cell = cell

    def forward(self, x, h):
        pair = isinstance(self.cell, nn.LSTMCell)
        out = self.cell(x, (h, np.cos(h)) if pair else h)
        return np.concatenate(out, axis=1) if pair else out


class Unpooled(nn.Module):
    """Maxima, put back where they were."""

    def __init__(self, unpool, kernel):
        pool = type(unpool).__name__.replace("Unpool", "Pool")
        self.pool, self.unpool = getattr(nn, pool)(kernel, return_indices=True), unpool

    def forward(self, x):
        return self.unpool(*self.pool(x))


class LogProbabilities(nn.Module):
    """What a loss with maps of its own makes of features, before it judges them."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer.log_prob(x)


class Functional(nn.Module):
    """Free code between uses of one weight, which is also used transposed."""

    def __init__(self):
        self.weight = tracer.parameter(np.ones((2, 2)))

    def forward(self, x):
        h = np.where(x > 0, x, np.sin(x)) @ self.weight
        return (h + x) @ self.weight.T


#: two by two, for modules without layers
WEIGHT = np.array([[0.6, -0.4], [0.3, 0.9]])


class OfParameters(nn.Module):
    """A matrix, and one that is used twice, held without layers."""

    def __init__(self, weights):
        self.weights = weights

    def forward(self, x):
        held = self.weights
        first, second = held.values() if isinstance(held, nn.ParameterDict) else held
        return np.tanh(x @ first) @ second @ second


class Listed(nn.Module):
    """The second module, the first, and the second again."""

    def __init__(self, modules):
        self.parts = modules

    def forward(self, x):
        first, second = self.parts.values() if isinstance(self.parts, nn.ModuleDict) else self.parts
        return second(np.tanh(first(second(x))))


def per_rank(name, make, shapes):
    """Cases of `name` for ranks: 1d, 2d, 3d, and Nd with four axes where there is a shape."""
    ranks = ("1d", "2d", "3d", "Nd")
    return {
        f"{name}{rank}": Case(lambda rank=rank: make(getattr(nn, f"{name}{rank}"), rank), shape)
        for rank, shape in zip(ranks, shapes, strict=False)
    }


def evaluating(layer):
    """Statistics that differ from the initial ones, in evaluation."""
    layer.running_mean = np.linspace(-0.5, 0.5, layer.num_features)
    layer.running_var = np.linspace(0.5, 2, layer.num_features)
    return layer.eval()


KERNELS = {"1d": 2, "2d": 2, "3d": (1, 2, 2), "Nd": (1, 2, 1, 2)}
TWICE = {"1d": (1, 1), "2d": (1, 1, 0, 0), "3d": (1, 1, 0, 0, 0, 0)}
MAPS = [(2, 3), (1, 2, 3), (1, 1, 2, 3), (1, 1, 2, 1, 3)]
PAIRS = [(2, 3), (1, 2, 2), (1, 1, 2, 2), (1, 1, 2, 1, 2)]

RANKED = {
    **per_rank("Conv", lambda layer, rank: layer(1 + (rank == "1d"), 2, KERNELS[rank]), MAPS),
    **per_rank(
        "ConvTranspose", lambda layer, rank: layer(1 + (rank == "1d"), 2, KERNELS[rank]), PAIRS
    ),
    **per_rank("MaxPool", lambda layer, rank: layer(KERNELS[rank], 1), MAPS),
    **per_rank("AvgPool", lambda layer, rank: layer(KERNELS[rank], 1), MAPS),
    **per_rank(
        "MaxUnpool", lambda layer, rank: Unpooled(layer(KERNELS[rank]), KERNELS[rank]), PAIRS[:3]
    ),
    "FractionalMaxPool2d": Case(lambda: nn.FractionalMaxPool2d(2, 2), (1, 3, 3)),
    "FractionalMaxPool3d": Case(lambda: nn.FractionalMaxPool3d((1, 2, 1), (1, 2, 2)), (1, 1, 3, 2)),
    **per_rank("LPPool", lambda layer, rank: layer(2, KERNELS[rank], 1), MAPS),
    **per_rank("AdaptiveAvgPool", lambda layer, rank: layer(KERNELS[rank]), MAPS),
    **per_rank("AdaptiveMaxPool", lambda layer, rank: layer(KERNELS[rank]), MAPS),
    **per_rank("InstanceNorm", lambda layer, rank: layer(MAPS[0][0], affine=True), [
        (2, 3), (2, 1, 3), (2, 1, 1, 3), (2, 1, 1, 1, 3)
    ]),
    **per_rank("Dropout", lambda layer, rank: layer(0.4), [(3, 2), (3, 1, 2), (3, 1, 1, 2)]),
    **per_rank("ZeroPad", lambda layer, rank: layer(1), [(2, 2), (1, 2, 2), (1, 1, 1, 2)]),
    **per_rank("ConstantPad", lambda layer, rank: layer(1, 0.5), [(2, 2), (1, 2, 2), (1, 1, 1, 2)]),
    **per_rank("ReflectionPad", lambda layer, rank: layer(TWICE[rank]), MAPS[:3]),
    **per_rank("ReplicationPad", lambda layer, rank: layer(TWICE[rank]), MAPS[:3]),
    **per_rank("CircularPad", lambda layer, rank: layer(TWICE[rank]), MAPS[:3]),
}  # fmt: skip

BATCH_NORMS = {
    f"BatchNorm{rank} ({mode})": Case(
        lambda rank=rank, mode=mode: (evaluating if mode == "evaluation" else lambda layer: layer)(
            getattr(nn, f"BatchNorm{rank}")(2)
        ),
        (2, *(1 for _ in range(axes)), 2),
    )
    for axes, rank in enumerate(("1d", "2d", "3d", "Nd"))
    for mode in ("training", "evaluation")
}

VECTOR = (4,)
ELEMENTWISE = """
    CELU ELU GELU SELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU
    ReLU ReLU6 RReLU Sigmoid SiLU Softplus Softshrink Softsign Tanh Tanhshrink Identity Dropout
    AlphaDropout FeatureAlphaDropout
""".split()

LAST_HIDDEN = np.array([[False, False], [False, True], [False, False]])
BEHIND = np.array([[False, True], [False, False]])

SEQUENCES = {
    "LearnedPositions": Case(lambda: Attending(nn.LearnedPositions(2, 2, True), 1), (2, 2)),
    "LearnedPositions (sequences first)": Case(
        lambda: Attending(nn.LearnedPositions(2, 2), 1), (2, 2)
    ),
    "SinusoidalPositions": Case(lambda: Attending(nn.SinusoidalPositions(3, 2), 1), (2, 2)),
    "MultiheadAttention": Case(
        lambda: Attending(nn.MultiheadAttention(2, 2, batch_first=True), 3), (2, 2)
    ),
    "MultiheadAttention (sequences first, masks)": Case(
        lambda: Attending(
            nn.MultiheadAttention(2, 1), 3, attn_mask=BEHIND, key_padding_mask=LAST_HIDDEN
        ),
        (2, 2),
    ),
    "MultiheadAttention (to a memory)": Case(
        lambda: Attending(nn.MultiheadAttention(2, 1, batch_first=True), 3),
        (1, 2),
        second=(2, 2),
    ),
    "MultiheadAttention (other widths)": Case(
        lambda: Attending(nn.MultiheadAttention(2, 1, kdim=3, vdim=3, add_bias_kv=True), 3),
        (1, 2),
        second=(2, 3),
    ),
    "TransformerEncoderLayer": Case(
        lambda: Attending(nn.TransformerEncoderLayer(3, 1, 2, 0.0), 1), (2, 3)
    ),
    "TransformerEncoder": Case(
        lambda: Attending(
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(3, 3, 2, 0.2, nn.functional.gelu, norm_first=True), 2
            ),
            1,
            src_key_padding_mask=LAST_HIDDEN,
        ),
        (2, 3),
    ),
    "TransformerDecoderLayer": Case(
        lambda: Attending(nn.TransformerDecoderLayer(3, 1, 2, 0.0), 2, tgt_mask=BEHIND),
        (2, 3),
        second=(1, 3),
    ),
    "TransformerDecoder": Case(
        lambda: Attending(
            nn.TransformerDecoder(
                nn.TransformerDecoderLayer(3, 1, 2, 0.0, batch_first=True), 1, nn.LayerNorm(3)
            ),
            2,
        ),
        (1, 3),
        second=(2, 3),
    ),
    "Transformer": Case(
        lambda: Attending(nn.Transformer(3, 1, 1, 1, 2, 0.0), 2, tgt_is_causal=True),
        (1, 3),
        second=(2, 3),
    ),
}

RECURRENT = {
    "RNN": Case(lambda: Attending(nn.RNN(2, 2), 1), (3, 2)),
    "RNN (ReLU, two layers, samples first)": Case(
        lambda: Attending(nn.RNN(2, 2, 2, "relu", batch_first=True), 1), (2, 2)
    ),
    "LSTM": Case(lambda: Attending(nn.LSTM(2, 2), 1), (3, 2)),
    "LSTM (projected, lengths)": Case(
        lambda: Attending(nn.LSTM(2, 2, proj_size=1), 1, lengths=[3, 2, 3]), (3, 2)
    ),
    "GRU": Case(lambda: Attending(nn.GRU(2, 2), 1), (3, 2)),
    "GRU (two directions, lengths)": Case(
        lambda: Attending(nn.GRU(2, 1, bidirectional=True), 1, lengths=[2, 3, 2]), (3, 2)
    ),
    "RNNCell": Case(lambda: Stepping(nn.RNNCell(2, 2)), (2,), second=(2,)),
    "LSTMCell": Case(lambda: Stepping(nn.LSTMCell(2, 2)), (2,), second=(2,)),
    "GRUCell": Case(lambda: Stepping(nn.GRUCell(2, 2)), (2,), second=(2,)),
    "Recurrent (a cell)": Case(lambda: Attending(nn.Recurrent(nn.LSTMCell(2, 2)), 1), (2, 2)),
}

OTHERS = {
    "Threshold": Case(lambda: nn.Threshold(0.1, 0.5), VECTOR),
    "GLU": Case(lambda: nn.GLU(1), VECTOR),
    "Softmax": Case(lambda: nn.Softmax(1), VECTOR),
    "Softmin": Case(lambda: nn.Softmin(1), VECTOR),
    "LogSoftmax": Case(lambda: nn.LogSoftmax(1), VECTOR),
    "Softmax2d": Case(nn.Softmax2d, (2, 1, 2)),
    "Linear": Case(lambda: nn.Linear(3, 2), (3,)),
    "Linear (extra axes)": Case(lambda: nn.Linear(3, 2), (2, 3)),
    "Bilinear": Case(lambda: nn.Bilinear(2, 3, 2), (2,), second=(3,)),
    "CosineSimilarity": Case(nn.CosineSimilarity, (3,), second=(3,)),
    "PairwiseDistance": Case(lambda: nn.PairwiseDistance(keepdim=True), (3,), second=(3,)),
    "Embedding": Case(lambda: nn.Embedding(4, 2), (), bound=4),
    "Embedding (sequences)": Case(lambda: nn.Embedding(4, 2, padding_idx=1), (2,), bound=4),
    "EmbeddingBag": Case(lambda: nn.EmbeddingBag(4, 2), (3,), bound=4),
    "Flatten": Case(nn.Flatten, (2, 2)),
    "Unflatten": Case(lambda: nn.Unflatten(1, (2, 2)), VECTOR),
    "LayerNorm": Case(lambda: nn.LayerNorm(3), (3,)),
    "LayerNorm (extra axes)": Case(lambda: nn.LayerNorm(3), (2, 3)),
    "RMSNorm": Case(lambda: nn.RMSNorm(3), (3,)),
    "LocalResponseNorm": Case(lambda: nn.LocalResponseNorm(2, 0.5), (3, 2)),
    "AdaptiveLogSoftmaxWithLoss": Case(
        lambda: LogProbabilities(nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2], 2.0)), VECTOR
    ),
    "GroupNorm": Case(lambda: nn.GroupNorm(2, 4), (4, 2)),
    "PadNd": Case(lambda: nn.PadNd((0, 1, 1, 0, 0, 0, 0, 1), "replicate"), (1, 1, 2, 1, 2)),
    "PixelShuffle": Case(lambda: nn.PixelShuffle(2), (4, 1, 2)),
    "PixelUnshuffle": Case(lambda: nn.PixelUnshuffle(2), (1, 2, 2)),
    "ChannelShuffle": Case(lambda: nn.ChannelShuffle(2), (4, 2)),
    "Fold": Case(lambda: nn.Fold((2, 3), 2), (4, 2)),
    "Unfold": Case(lambda: nn.Unfold(2), (1, 2, 3)),
    "Upsample": Case(lambda: nn.Upsample((3, 2), mode="bilinear"), (1, 2, 3)),
    "UpsamplingBilinear2d": Case(lambda: nn.UpsamplingBilinear2d(scale_factor=2), (1, 2, 2)),
    "UpsamplingNearest2d": Case(lambda: nn.UpsamplingNearest2d(scale_factor=2), (1, 2, 2)),
    "Module (free code, tied weights)": Case(Functional, (2,)),
    "ModuleList (a module reused)": Case(
        lambda: Listed(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])), (2,)
    ),
    "ModuleDict (a module reused)": Case(
        lambda: Listed(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})), (2,)
    ),
    "ParameterList": Case(lambda: OfParameters(nn.ParameterList([WEIGHT, WEIGHT.T])), (2,)),
    "ParameterDict": Case(
        lambda: OfParameters(nn.ParameterDict({"a": WEIGHT, "b": WEIGHT.T})), (2,)
    ),
    "Sequential": Case(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)), (2,)),
    "Parallel (a residual block)": Case(lambda: nn.Parallel(nn.Identity(), nn.Linear(2, 2)), (2,)),
    "Parallel (concatenation)": Case(
        lambda: nn.Parallel(nn.Linear(2, 1), nn.Linear(2, 2), reduce="concatenate"), (2,)
    ),
}


def loss(name, target, *given, bend=None, weight=1.0, **options):
    return Case(lambda: getattr(nn, name)(reduction="sum", **options), VECTOR, None, None, target,
                given, bend, weight)  # fmt: skip


def normal(rng):
    return rng.standard_normal((SAMPLES, 4))


def signs(rng):
    return rng.choice([-1.0, 1.0], (SAMPLES, 4))


def distribution(rng):
    return rng.dirichlet(np.ones(4), SAMPLES)


def of_sequences(x):
    """`[N, T, C]` log-probabilities of features."""
    return nn.functional.log_softmax(x.reshape(SAMPLES, 2, 2), -1)


class Temporal(nn.Module):
    """A loss of sequences, which it takes with the samples first."""

    def __init__(self):
        self.loss = nn.CTCLoss(reduction="sum")

    def forward(self, log_probs, labels):
        lengths = np.full(SAMPLES, 2), np.ones(SAMPLES, int)
        return self.loss(np.swapaxes(log_probs, 0, 1), labels, *lengths)


LOSSES = {
    "CrossEntropyLoss": loss("CrossEntropyLoss", lambda rng: rng.integers(0, 4, SAMPLES)),
    "CrossEntropyLoss (probabilities)": loss(
        "CrossEntropyLoss", lambda rng: rng.dirichlet(np.ones(4), SAMPLES)
    ),
    "LinearCrossEntropyLoss": Case(
        lambda: nn.LinearCrossEntropyLoss(4, 3, bias=True, reduction="sum").double(),
        VECTOR,
        target=lambda rng: rng.integers(0, 3, SAMPLES),
    ),
    "NLLLoss": loss("NLLLoss", lambda rng: rng.integers(0, 4, SAMPLES)),
    "BCEWithLogitsLoss": loss("BCEWithLogitsLoss", lambda rng: rng.random((SAMPLES, 4))),
    "MSELoss": loss("MSELoss", lambda rng: rng.standard_normal((SAMPLES, 4))),
    "L1Loss": loss("L1Loss", lambda rng: rng.standard_normal((SAMPLES, 4))),
    "SmoothL1Loss": loss("SmoothL1Loss", lambda rng: rng.standard_normal((SAMPLES, 4))),
    "HuberLoss": loss("HuberLoss", lambda rng: rng.standard_normal((SAMPLES, 4))),
    "GaussianNLLLoss": loss(
        "GaussianNLLLoss",
        lambda rng: rng.standard_normal((SAMPLES, 4)),
        np.random.default_rng(4).uniform(0.5, 2, (SAMPLES, 4)),
    ),
    "BCELoss": loss("BCELoss", lambda rng: rng.random((SAMPLES, 4)), bend=nn.functional.sigmoid),
    "KLDivLoss": loss(
        "KLDivLoss", distribution, bend=lambda x: nn.functional.log_softmax(x, -1)
    ),
    "SoftMarginLoss": loss("SoftMarginLoss", signs),
    "HingeEmbeddingLoss": loss("HingeEmbeddingLoss", signs),
    "MultiMarginLoss": loss("MultiMarginLoss", lambda rng: rng.integers(0, 4, SAMPLES)),
    "MultiMarginLoss (squares)": loss(
        "MultiMarginLoss", lambda rng: rng.integers(0, 4, SAMPLES), p=2
    ),
    "MultiLabelMarginLoss": loss(
        "MultiLabelMarginLoss", lambda rng: np.array([[1, 2, -1, 0], [3, -1, 0, 0], [0, 1, 2, -1]])
    ),
    "MultiLabelSoftMarginLoss": loss(
        "MultiLabelSoftMarginLoss", lambda rng: rng.random((SAMPLES, 4)), weight=1 / 4
    ),
    "MarginRankingLoss": loss("MarginRankingLoss", normal, signs(np.random.default_rng(4))),
    "CosineEmbeddingLoss": loss("CosineEmbeddingLoss", normal, np.array([1, -1, 1])),
    "TripletMarginLoss": loss("TripletMarginLoss", normal, normal(np.random.default_rng(4))),
    "TripletMarginWithDistanceLoss": loss(
        "TripletMarginWithDistanceLoss", normal, normal(np.random.default_rng(4))
    ),
    "CTCLoss": Case(
        Temporal,
        VECTOR,
        target=lambda rng: np.ones((SAMPLES, 1), int),
        bend=of_sequences,
    ),
    "PoissonNLLLoss": loss("PoissonNLLLoss", lambda rng: 1.0 * rng.poisson(2.0, (SAMPLES, 4))),
}  # fmt: skip

EVERY = (
    OTHERS
    | SEQUENCES
    | RECURRENT
    | {name: Case(getattr(nn, name), VECTOR) for name in ELEMENTWISE}
    | RANKED
)
CASES = dict(sorted((EVERY | BATCH_NORMS | LOSSES).items(), key=lambda item: item[0].lower()))


def layer_of(case_name):
    """The class that a case is of."""
    return case_name.partition(" ")[0]


def layers():
    """The names of all layers of the package, but of those that become others in a call."""
    classes = {name: getattr(nn, name) for name in nn.__all__}
    return [
        name
        for name, c in classes.items()
        if isinstance(c, type) and issubclass(c, nn.Module) and not issubclass(c, Lazy)
    ]
