"""All layers and losses of `torch.nn`, imported as they are traced, and as core ATen."""

import numpy as np
import pytest

import tracer
import tracer_import
from tracer_import import ProgramError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # where PyTorch is there
from torch.nn import functional as F  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


def real(*shape):
    return torch.randn(shape, dtype=torch.float64)


ROWS, IMAGES = real(3, 4), real(2, 3, 4, 4)
ACTIVATIONS = (
    "ReLU ReLU6 ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh LeakyReLU LogSigmoid "
    "Sigmoid Tanh Tanhshrink Softplus Softshrink Hardshrink Softsign RReLU PReLU GLU Identity"
).split()
#: name -> (what makes it, its arguments)
LAYERS = {name: (getattr(nn, name), ROWS) for name in ACTIVATIONS}
LAYERS |= {
    "Softmax": (lambda: nn.Softmax(-1), ROWS),
    "LogSoftmax": (lambda: nn.LogSoftmax(-1), ROWS),
    "Threshold": (lambda: nn.Threshold(0.1, 2.0), ROWS),
    "Softmax2d": (nn.Softmax2d, IMAGES),
}
for _rank, _size in ((1, (7,)), (2, (7, 6)), (3, (5, 6, 5))):
    _x = real(2, 4, *_size)

    def _named(name, *args, _rank=_rank, _x=_x, **options):
        kind = getattr(nn, f"{name}{_rank}d")
        made = ", ".join([*map(str, args), *(f"{k}={v}" for k, v in options.items())])
        LAYERS[f"{name}{_rank}d({made})"] = (lambda: kind(*args, **options), _x)

    _named("Conv", 4, 6, 2, stride=2, padding=1, groups=2)
    _named("Conv", 4, 6, 3, padding="same")
    _named("Conv", 4, 6, 3, padding=1, padding_mode="circular")
    _named("ConvTranspose", 4, 6, 3, stride=2, padding=1, output_padding=1)
    _named("MaxPool", 2, padding=1, ceil_mode=True)
    _named("AvgPool", 2, padding=1, ceil_mode=True)
    _named("AdaptiveMaxPool", 2)
    _named("AdaptiveAvgPool", 2)
    _named("BatchNorm", 4)
    _named("InstanceNorm", 4, affine=True)
    _named("Dropout")
    for _pad in ("Reflection", "Replication", "Zero", "Circular"):
        _named(f"{_pad}Pad", 1)
SEQUENCES, TOKENS = real(2, 3, 4), torch.randint(0, 5, (2, 3))
LAYERS |= {
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), IMAGES),
    "GroupNorm": (lambda: nn.GroupNorm(3, 3), IMAGES),
    "LayerNorm": (lambda: nn.LayerNorm((4, 4)), IMAGES),
    "RMSNorm": (lambda: nn.RMSNorm(4), IMAGES),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), IMAGES),
    "Embedding": (lambda: nn.Embedding(5, 3, padding_idx=1), TOKENS),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(5, 3), TOKENS),
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        *(SEQUENCES, real(2, 5, 4), real(2, 5, 4)),
    ),
    "TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        SEQUENCES,
    ),
    "Transformer": (
        lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=True),
        *(SEQUENCES, real(2, 5, 4)),
    ),
    "LSTM": (lambda: nn.LSTM(4, 3, 2, bidirectional=True), real(5, 2, 4)),
    "LSTM(proj_size)": (lambda: nn.LSTM(4, 3, proj_size=2), real(5, 2, 4)),
    "GRU": (lambda: nn.GRU(4, 3, 2, bidirectional=True), real(5, 2, 4)),
    "RNN(relu)": (lambda: nn.RNN(4, 3, nonlinearity="relu"), real(5, 2, 4)),
    "LSTMCell": (lambda: nn.LSTMCell(4, 3), ROWS),
    "GRUCell": (lambda: nn.GRUCell(4, 3), ROWS),
    "RNNCell": (lambda: nn.RNNCell(4, 3), ROWS),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), real(2, 8, 3, 3)),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), IMAGES),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(3), IMAGES),
    "Fold": (lambda: nn.Fold((4, 5), 2), real(2, 12, 12)),
    "Unfold": (lambda: nn.Unfold(2), IMAGES),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 2)), ROWS),
    "CosineSimilarity": (nn.CosineSimilarity, ROWS, real(3, 4)),
    "PairwiseDistance": (nn.PairwiseDistance, ROWS, real(3, 4)),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), ROWS),
    "spectral_norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), ROWS),
}
for _mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
    LAYERS[f"Upsample({_mode})"] = (
        lambda mode=_mode: nn.Upsample(scale_factor=2, mode=mode),
        IMAGES,
    )
SHARES, SIGNS, CLASSES = torch.rand(3, 4).double(), torch.tensor([1, -1, 1]), torch.arange(3)
for _loss in "MSE L1 SmoothL1 Huber BCEWithLogits KLDiv PoissonNLL SoftMargin".split():
    LAYERS[f"{_loss}Loss"] = (getattr(nn, f"{_loss}Loss"), ROWS, SHARES)
LAYERS |= {
    "BCELoss": (nn.BCELoss, SHARES, SHARES),
    "CrossEntropyLoss": (nn.CrossEntropyLoss, ROWS, CLASSES),
    "NLLLoss": (nn.NLLLoss, ROWS, CLASSES),
    "TripletMarginLoss": (nn.TripletMarginLoss, ROWS, real(3, 4), real(3, 4)),
    "CosineEmbeddingLoss": (nn.CosineEmbeddingLoss, ROWS, real(3, 4), SIGNS),
    "MarginRankingLoss": (nn.MarginRankingLoss, real(3), real(3), SIGNS),
    "HingeEmbeddingLoss": (nn.HingeEmbeddingLoss, real(3), SIGNS),
}
#: PyTorch's own core ATen of it counts labels behind the first -1
WRONG_IN_CORE = ("MultiLabelMarginLoss",)
#: what PyTorch differentiates by the first argument alone
OF_FIRST = ("SoftMarginLoss", "fractional_max_pool2d", "fractional_max_pool3d")
#: PyTorch's gradient has 1/6 in single precision
SINGLE = ("Hardsigmoid",)
LABELS = torch.tensor([[1, 0, -1, 2], [3, -1, 0, 0], [0, 2, 1, 3]])
LAYERS |= {
    "MultiMarginLoss": (nn.MultiMarginLoss, ROWS, CLASSES),
    "MultiMarginLoss(p=2)": (
        lambda: nn.MultiMarginLoss(2, 0.5, torch.rand(4), reduction="sum"),
        *(ROWS, CLASSES),
    ),
    "MultiLabelMarginLoss": (nn.MultiLabelMarginLoss, ROWS, LABELS),
    "MultiLabelSoftMarginLoss": (nn.MultiLabelSoftMarginLoss, ROWS, SHARES.round()),
    "NLLLoss(2d)": (nn.NLLLoss, IMAGES, torch.randint(0, 3, (2, 4, 4))),
    "Bilinear": (lambda: nn.Bilinear(4, 3, 5), ROWS, real(3, 3)),
}


class Function(nn.Module):
    """A function as a module, with options."""

    def __init__(self, function, **options):
        super().__init__()
        self.function, self.options = function, options

    def forward(self, *args):
        return self.function(*args, **self.options)


def unpooled(x, rank):
    """Maxima back in their places."""
    kept, where = getattr(F, f"max_pool{rank}d")(x, 2, return_indices=True)
    return getattr(F, f"max_unpool{rank}d")(kept * 2, where, 2, output_size=x.shape[2:])


def functions(**calls):
    LAYERS.update(
        (name, (lambda f=f, o=options: Function(f, **o), *args))
        for name, (f, args, options) in calls.items()
    )


functions(
    grid_sample=(F.grid_sample, (IMAGES, 1.5 * real(2, 3, 5, 2)), {"align_corners": False}),
    grid_sample_cubic=(
        *(F.grid_sample, (IMAGES, real(2, 3, 5, 2))),
        {"mode": "bicubic", "padding_mode": "reflection", "align_corners": True},
    ),
    grid_sample_volume=(
        *(F.grid_sample, (real(2, 2, 3, 4, 3), real(2, 2, 3, 2, 3))),
        {"mode": "nearest", "padding_mode": "border", "align_corners": False},
    ),
    affine_grid=(F.affine_grid, (real(2, 2, 3),), {"size": (2, 3, 4, 5), "align_corners": False}),
    bilinear_aa=(
        F.interpolate,
        (real(2, 3, 7, 6),),
        {"size": (3, 4), "mode": "bilinear", "antialias": True},
    ),
    bicubic_aa=(
        F.interpolate,
        (real(2, 3, 7, 6),),
        {"scale_factor": 0.6, "mode": "bicubic", "antialias": True},
    ),
    max_unpool1d=(unpooled, (real(2, 3, 7),), {"rank": 1}),
    max_unpool2d=(unpooled, (real(2, 3, 5, 6),), {"rank": 2}),
    max_unpool3d=(unpooled, (real(2, 3, 4, 5, 4),), {"rank": 3}),
    fractional_max_pool2d=(
        lambda x, u: F.fractional_max_pool2d(x, 2, (3, 2), _random_samples=u),
        *((real(2, 3, 7, 6), torch.rand(2, 3, 2).double()), {}),
    ),
    fractional_max_pool3d=(
        lambda x, u: F.fractional_max_pool3d(x, 2, (3, 2, 2), _random_samples=u),
        *((real(2, 3, 7, 6, 5), torch.rand(2, 3, 3).double()), {}),
    ),
    pdist=(F.pdist, (real(5, 3),), {"p": 3}),
    as_strided=(
        lambda x: (x.transpose(1, 3) * 1).as_strided((2, 5, 3), (48, 3, 1), 2),
        *((real(2, 3, 4, 4),), {}),
    ),
    as_strided_samples=(
        lambda x: (x * 1).as_strided((x.shape[0], 3, 2), (12, 1, 4), 1),
        *((real(3, 4, 3),), {}),
    ),
)


def spd(x):
    """A matrix that is symmetric, of positive eigenvalues."""
    return x @ x.T + 3 * torch.eye(3, dtype=x.dtype)


def logarithm(x, UPLO="L"):
    """That of a matrix, which is the same for either sign of an eigenvector."""
    values, vectors = torch.linalg.eigh(spd(x), UPLO)
    return (vectors * values.log()) @ vectors.T


#: PyTorch's core of them looks whether there is an inverse, by code and not by operators
CHECKED = ("inv", "cholesky", "solve")
MATRIX = real(3, 3)
functions(
    inv=(lambda x: (torch.linalg.inv(x), torch.inverse(x)), (MATRIX,), {}),
    det=(lambda x: (torch.linalg.det(x), *torch.linalg.slogdet(x)), (MATRIX,), {}),
    logdet=(lambda x: torch.logdet(spd(x)), (MATRIX,), {}),
    cholesky=(lambda x: torch.linalg.cholesky(spd(x)), (MATRIX,), {}),
    cholesky_upper=(lambda x: torch.linalg.cholesky(spd(x), upper=True), (MATRIX,), {}),
    eigvalsh=(lambda x: torch.linalg.eigvalsh(spd(x)), (MATRIX,), {}),
    svdvals=(torch.linalg.svdvals, (real(3, 4),), {}),
    svd=(
        lambda x: (lambda u, s, vh: (u * s.exp()) @ vh)(*torch.linalg.svd(x, full_matrices=False)),
        *((real(3, 4),), {}),
    ),
    eigh=(logarithm, (MATRIX,), {}),
    eigh_upper=(logarithm, (MATRIX,), {"UPLO": "U"}),
    qr=(lambda x: tuple(torch.linalg.qr(x)), (real(4, 3),), {}),
    solve_vector=(torch.linalg.solve, (MATRIX, real(3)), {}),
    solve_matrices=(torch.linalg.solve, (real(2, 3, 3), real(2, 3, 4)), {}),
    solve_vectors=(torch.linalg.solve, (real(2, 3, 3), real(2, 3)), {}),
    solve_right=(torch.linalg.solve, (MATRIX, real(4, 3)), {"left": False}),
    matrix_power=(torch.linalg.matrix_power, (MATRIX,), {"n": 3}),
    kron=(torch.kron, (real(2, 3), real(3, 2)), {}),
    block_diag=(torch.block_diag, (real(2, 3), real(3), real(2, 2)), {}),
    diag=(lambda x: (torch.diag(x, 1), torch.diag(x[0], -1)), (MATRIX,), {}),
    cdist=(torch.cdist, (real(2, 3, 4), real(2, 5, 4)), {}),
    cdist_ones=(torch.cdist, (real(3, 4), real(5, 4)), {"p": 1.0}),
    kthvalue=(lambda x: tuple(x.kthvalue(2, 1)), (real(3, 5),), {}),
    median=(lambda x: (x.median(), *x.median(0), *x.median(1, keepdim=True)), (real(3, 4),), {}),
    shifts=(lambda i: ((i >> 1) * 1.5, i << i), (torch.arange(6).reshape(2, 3),), {}),
    round_to=(lambda x: x + torch.round(x, decimals=1), (ROWS,), {}),
    aliases=(lambda x: torch.multiply(x, torch.arctan(x)).subtract(x, alpha=2), (ROWS,), {}),
)


def leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for each in value for leaf in leaves(each)]
    return [] if value is None else [value]


def compare_by_inputs(name, model, program, args):
    """The gradients by all inputs of floats, of what has no parameters."""
    places = [i for i, x in enumerate(args) if x.is_floating_point()]
    places = places[:1] if name in OF_FIRST else places
    wanted = [x.clone().requires_grad_(i in places) for i, x in enumerate(args)]
    outputs = [x for x in leaves(model(*wanted)) if torch.is_floating_point(x)]
    total = sum(torch.sin(each).sum() for each in outputs)

    def ours(*given):
        every = [x.numpy() for x in args]
        for i, value in zip(places, given, strict=True):
            every[i] = value
        found = [x for x in leaves(program(*every)) if x.dtype.kind == "f"]
        return sum([np.sum(np.sin(each)) for each in found][1:], np.sum(np.sin(found[0])))

    if not places or not total.requires_grad:
        return
    theirs = torch.autograd.grad(total, [wanted[i] for i in places], allow_unused=True)
    gradients = tracer.grad(ours, tuple(range(len(places))))(*(args[i].numpy() for i in places))
    for found, gradient in zip(gradients, theirs, strict=True):
        if gradient is not None:
            rtol = 1e-7 if name in SINGLE else 1e-8
            np.testing.assert_allclose(found, gradient.numpy(), rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("core", [False, True], ids=["training", "core"])
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_pytorchs(name, core, tmp_path):
    if core and name in WRONG_IN_CORE:
        pytest.skip("PyTorch's own decomposition gives other values")
    if core and name.startswith(CHECKED):
        pytest.skip("PyTorch's own decomposition has what is no operator")
    make, *args = LAYERS[name]
    torch.manual_seed(0)
    model = make().double().eval()
    if core:
        exported = torch.export.export(model, tuple(args)).run_decompositions()
        torch.export.save(exported, tmp_path / "core.pt2")
        program = tracer_import.load(tmp_path / "core.pt2")
    else:
        program = tracer_import.from_torch(model, tuple(args))
    outputs = [x for x in leaves(model(*args)) if torch.is_floating_point(x)]
    with tracer.Tape() as tape:
        found = [x for x in leaves(program(*(x.numpy() for x in args))) if x.dtype.kind == "f"]
        sums = [np.sum(np.sin(each)) for each in found]
        loss = sum(sums[1:], sums[0])
    for ours, theirs in zip(found, outputs, strict=True):
        ours = ours.data if isinstance(ours, tracer.Tensor) else ours
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-11)
    named = dict(model.named_parameters())
    if not named:
        compare_by_inputs(name, model, program, args)
        return
    sum(torch.sin(each).sum() for each in outputs).backward()
    gradients = tape.backward(loss)["grad"]
    for path, p in named.items():
        if p.grad is not None:
            np.testing.assert_allclose(gradients[path], p.grad.numpy(), rtol=1e-8, atol=1e-10)


def test_what_is_left_out_is_told():
    model = Function(torch.linalg.eigvals)
    with pytest.raises(ProgramError, match="linalg_eigvals"):
        tracer_import.from_torch(model, (real(3, 3),))
