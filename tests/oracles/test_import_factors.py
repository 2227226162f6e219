"""Kronecker factors of imported modules: by their definition in PyTorch, and beside curvlinops.

What is added to or multiplied with features has factors of the rows at each of its uses. Those
come from `torch.func`: a function that takes a parameter takes it at all of its uses, too.
"""

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers
from tracer_quantities import KFLR

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # where PyTorch is there
from torch.nn import functional as F  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]

N, T, D, C = 3, 4, 2, 3
LABELS = torch.tensor([1, 0, 2])
INDEX = torch.arange(T)[:, None] - torch.arange(T) + T - 1


def real(*shape):
    return torch.randn(shape, dtype=torch.float64)


class Used(nn.Module):
    """Scores `[N, C]` of what a parameter `p` of a shape and the input make together."""

    def __init__(self, shape, inputs):
        super().__init__()
        self.p = nn.Parameter(real(*shape))
        self.register_buffer("head", real(inputs, C))

    def scores(self, h):
        return torch.sin(torch.tanh(h).flatten(1) @ self.head)

    def forward(self, x):
        return self.scores(self.use(self.p, x))


class Added(Used):
    """Positions, as vision transformers have them; a shift."""

    def use(self, p, x):
        return x + p


class Scaled(Used):
    """A layer scale."""

    def use(self, p, x):
        return x * p


class Sliced(Used):
    """Positions of the sequence that there is, of a longer table."""

    def use(self, p, x):
        return x + (p if p.ndim == 3 and len(p) == len(x) else p[:, 1 : T + 1])


class Looked(Used):
    """An embedding of positions, as GPT-2 and BERT have it."""

    def use(self, p, x):
        return x + (p if p.ndim == 3 else F.embedding(torch.arange(x.shape[1]), p))


class Token(Used):
    """A class token before the others."""

    def use(self, p, x):
        return torch.cat([p.expand(x.shape[0], -1, -1), x], 1)


class Relative(Used):
    """A table of relative positions, looked up and added to scores, as Swin has it."""

    def __init__(self, shape, inputs):
        super().__init__(shape, inputs)
        self.register_buffer("index", INDEX.reshape(-1))

    def use(self, p, x):
        bias = p if p.ndim == 4 else p[self.index].view(T, T, 2).permute(2, 0, 1)[None]
        scores = (x @ x.transpose(1, 2))[:, None] + bias
        return torch.softmax(scores, -1) @ x[:, None]


class Norm(Used):
    """The scale or the shift of a batch normalisation in evaluation."""

    def __init__(self, kind, inputs):
        super().__init__((2,), inputs)
        self.kind = kind
        self.norm = nn.BatchNorm2d(2).double()
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2.0)
        del self.p
        self.p = getattr(self.norm, kind)
        with torch.no_grad():
            self.norm.weight.normal_()
            self.norm.bias.normal_()

    def use(self, p, x):
        if p.ndim == 1:
            return self.norm(x)
        norm = self.norm
        plain = F.batch_norm(x, norm.running_mean, norm.running_var, None, None, False, 0, norm.eps)
        one = {"weight": norm.weight, "bias": norm.bias}
        weight, bias = (
            p if name == self.kind else value[:, None, None] for name, value in one.items()
        )
        return plain * weight + bias


SEQUENCE, IMAGE = (N, T, D), (N, 2, 3, 2)
ROWS = np.arange(T)


def last(full):
    """Uses `[N, T, D]` of features on the last axis."""
    return full.reshape(len(full), -1, full.shape[-1])


def first(full):
    """The same of features on the first axis after the samples'."""
    return last(np.moveaxis(full, 1, -1))


#: name -> (module, inputs, the parameter at all uses, how these are rows, which rows of a table)
CASES = {
    "scale of batch norm": (lambda: Norm("weight", 12), IMAGE, IMAGE, first, None),
    "shift of batch norm": (lambda: Norm("bias", 12), IMAGE, IMAGE, first, None),
    "positions": (lambda: Added((1, T, D), 8), SEQUENCE, SEQUENCE, last, ROWS),
    "positions of a longer table": (
        lambda: Sliced((1, T + 2, D), 8), SEQUENCE, SEQUENCE, last, ROWS + 1
    ),
    "an embedding of positions": (lambda: Looked((T + 2, D), 8), SEQUENCE, SEQUENCE, last, ROWS),
    "a layer scale": (lambda: Scaled((D,), 8), SEQUENCE, SEQUENCE, last, None),
    "a layer scale of channels": (lambda: Scaled((2, 1, 1), 12), IMAGE, IMAGE, first, None),
    "a class token": (lambda: Token((1, 1, D), 10), SEQUENCE, (N, 1, D), last, None),
    "relative positions": (
        lambda: Relative((2 * T - 1, 2), 2 * T * D), SEQUENCE, (N, 2, T, T), first,
        INDEX.reshape(-1).numpy(),
    ),
}  # fmt: skip


def at_all_uses(module, name, full, rows):
    """The parameter, repeated."""
    p = module.p.detach()
    if name == "relative positions":
        p = p[INDEX].permute(2, 0, 1)
    elif rows is not None:
        p = p.reshape(-1, D)[torch.as_tensor(rows)]
    elif "batch norm" in name:
        p = p[:, None, None]
    return p.expand(full).clone()


def by_definition(name, module, x, sharing):
    """`(output factor, input factor)`, the latter None where there is no table."""
    *_, shape, uses, rows = CASES[name]
    full = at_all_uses(module, name, shape, rows)
    with torch.no_grad():
        output = module(x)
        torch.testing.assert_close(module.scores(module.use(full, x)), output)
    jacobian = torch.func.jacrev(lambda p: module.scores(module.use(p, x)))(full)
    each = np.stack([uses(jacobian[n, :, n].detach().numpy()) for n in range(N)])  # [N, C, T, D]
    shares = torch.softmax(output, -1)
    hessian = (torch.diag_embed(shares) - shares[:, :, None] * shares[:, None]).numpy() / N
    form = "nctd,nce,nesf->df" if sharing == "reduce" else "nctd,nce,netf->df"
    factor = np.einsum(form, each, hessian, each)
    if rows is None:
        return factor, None
    one_hot = np.eye(module.p.numel() // D)[rows]
    if sharing == "reduce":
        return factor, np.outer(one_hot.mean(0), one_hot.mean(0))
    return factor, one_hot.T @ one_hot / len(one_hot)


@pytest.mark.parametrize("core", [False, True], ids=["training", "core"])
@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("name", CASES)
def test_factors_are_those_of_the_definition(name, sharing, core, tmp_path):
    make, inputs, *_ = CASES[name]
    torch.manual_seed(0)
    module, x = make().eval(), real(*inputs)
    if core:
        axes = ({0: torch.export.Dim.AUTO},)
        program = torch.export.export(module, (x,), dynamic_shapes=axes).run_decompositions()
        torch.export.save(program, tmp_path / "core.pt2")
        imported = tracer_import.load(tmp_path / "core.pt2")
    else:
        imported = tracer_import.from_torch(module, (x,))
    with tracer.Tape() as tape:
        loss = tracer_layers.cross_entropy(imported(x.numpy()), LABELS.numpy())
    found = tape.backward(loss, (KFLR(sharing=sharing),))["kflr"]
    (path,) = [p for p, value in module.named_parameters() if value is module.p]
    output, table = by_definition(name, module, x, sharing)
    wanted = [output] if table is None else [output, table]
    assert len(found[path].factors) == len(wanted)
    for ours, theirs in zip(found[path].factors, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def network(layers):
    """The same of PyTorch's layers and of ours."""
    return layers.Sequential(
        layers.Conv2d(2, 3, 2), layers.BatchNorm2d(3), layers.Tanh(), layers.Flatten(),
        layers.Linear(27, 3), layers.BatchNorm1d(3),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_factors_are_those_of_the_same_network_written_here(mode):
    """With the statistics of the batch, too, in which samples are mixed."""
    torch.manual_seed(0)
    model, x = network(nn).double(), real(5, 2, 4, 4)
    model(x)
    getattr(model, mode)()
    imported = tracer_import.from_torch(model, (x,))
    ours = network(tracer_layers).double()
    ours.load_state_dict({name: value.numpy() for name, value in model.state_dict().items()})
    getattr(ours, mode)()

    def factors(module):
        with tracer.Tape() as tape:
            loss = tracer_layers.cross_entropy(module(x.numpy()), np.arange(5) % 3)
        return tape.backward(loss, ("kflr",))["kflr"]

    found, wanted = factors(imported), factors(ours)
    assert set(found) == set(wanted) == {path for path, _ in model.named_parameters()}
    for path, value in wanted.items():
        for mine, written in zip(found[path].factors, value.factors, strict=True):
            np.testing.assert_allclose(mine, written, rtol=1e-10, atol=1e-14)


# -- beside curvlinops ----------------------------------------------------------------------------


class Mixer(nn.Module):
    """Convolutions with batch norms, then attention and linear maps over the places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 2, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.positions = nn.Parameter(torch.randn(1, 4, 4))
        self.ln = nn.LayerNorm(4)
        self.qkv, self.out = nn.Linear(4, 12), nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.full((4,), 0.5))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.gelu(self.norm(self.conv(x))).flatten(2).transpose(1, 2) + self.positions
        q, k, v = self.qkv(self.ln(x)).chunk(3, -1)
        x = x + self.scale * self.out(F.scaled_dot_product_attention(q, k, v))
        return self.head(x.mean(1))


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_are_those_of_curvlinops_where_it_has_the_layers(sharing):
    curvlinops = pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    model = Mixer().double()
    x, y = real(5, 2, 4, 4), torch.arange(5) % 3
    model(x)  # which gives running statistics
    model.eval()
    known = [p for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)
             for p in m.parameters()]  # fmt: skip
    operator = curvlinops.KFACLinearOperator(
        model, nn.CrossEntropyLoss(), known, [(x, y)],
        check_deterministic=False, kfac_approx=sharing, fisher_type="type-2",
    )  # fmt: skip
    operator.compute_kronecker_factors()
    program = tracer_import.from_torch(model, (x,))
    with tracer.Tape() as tape:
        loss = tracer_layers.cross_entropy(program(x.numpy()), y.numpy())
    found = tape.backward(loss, (KFLR(sharing=sharing),))["kflr"]
    assert set(found) == {path for path, _ in model.named_parameters()}
    assert set(operator._gradient_covariances) == {"conv", "qkv", "out", "head"}
    for layer, output in operator._gradient_covariances.items():
        ours = found[f"{layer}.weight"].factors
        theirs = output, operator._input_covariances[layer]
        for mine, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, expected.detach().numpy(), rtol=1e-9, atol=1e-14)
