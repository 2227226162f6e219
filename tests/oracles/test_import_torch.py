"""Live modules of PyTorch: what writes in place, what may vary, factors, files of the command."""

import textwrap
from dataclasses import dataclass

import numpy as np
import pytest

import tracer
import tracer_import
import tracer_layers
from tracer.errors import ShapeError, TracerError
from tracer.extend import ImportedOperator
from tracer_import import ProgramError
from tracer_quantities import KFLR

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402  # where PyTorch is there

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]


class Function(nn.Module):
    """A function of a linear map of the input."""

    def __init__(self, function):
        super().__init__()
        self.lin = nn.Linear(4, 6)
        self.function = function

    def forward(self, x):
        return self.function(self.lin(x), x)


def same(module, *args):
    """The imported module, after values and gradients were compared."""
    program = tracer_import.from_torch(module, args)
    output = module(*args)
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    with tracer.Tape() as tape:
        found = program(*(x.numpy() for x in args))
        loss = np.sum(found * weights.numpy())
    np.testing.assert_allclose(found.data, output.detach().numpy(), rtol=1e-10, atol=1e-12)
    gradients = tape.backward(loss)["grad"]
    for name, p in module.named_parameters():
        if p.grad is not None:
            np.testing.assert_allclose(gradients[name], p.grad.numpy(), rtol=1e-9, atol=1e-11)
    return program


# -- what writes in place -------------------------------------------------------------------------


def view_of_a_view(y, x):
    y = y * 1
    y.view(-1, 2, 3)[:, 0].transpose(0, 1)[1].mul_(x[:, 0])
    return y


def base_read_after_its_view(y, x):
    y = y * 1
    part = y[:, :3]
    part += x[:, :3]
    return y * part.sum(1, keepdim=True)


def other_view_read_after(y, x):
    y = y * 1
    one, other = y[:, 1:4], y.view(-1, 3, 2)
    one.exp_()
    return other.sum(2) * one


def view_written_after_its_base(y, x):
    y = y * 1
    part = y[:, 2]
    y.mul_(2)
    part.add_(1)
    return y


def same_value_twice(y, x):
    y = y.mul_(2)
    z = y.add_(1)
    z.mul_(x[:, :1])
    return y + z


def rows_set(y, x):
    y = y.clone()
    y[0] = 1.5
    y[1:, 2] = x[1:, 0]
    y[:, [0, 3]] = x[:, :2]
    return y


def masks(y, x):
    y = y.clone()
    y[y > 0.3] = -1.0
    y.masked_fill_(x.sum(1, keepdim=True) > 0, 2.0)
    return y


def filled_and_copied(y, x):
    out = torch.zeros_like(y)
    out[:, ::2].copy_(y[:, 1::2])
    out[:, 1].fill_(3.0)
    out.diagonal().add_(1.0)
    return out * y


def other_dtype(y, x):
    counts = torch.zeros(6, dtype=torch.int64)
    counts.add_(2)
    half = torch.ones(6)
    half.mul_(0.5)
    return y * counts * half


def unsqueezed(y, x):
    y = (y * 1).unsqueeze_(1)
    y.squeeze_(1).sigmoid_()
    return y


def scattered(y, x):
    index = torch.tensor([[0, 2], [1, 1], [5, 3]])
    y = y.clone()
    y.scatter_(1, index, x[:, :2])
    return y.scatter_add(1, index, x[:, 2:]).index_add(1, torch.tensor([0, 0]), x[:, :2])


def into_out(y, x):
    with torch.no_grad():
        out = torch.zeros(3, 5, dtype=x.dtype)
        torch.mul(x[:, :3], 2, out=out[:, 1:4])
        torch.sum(x, 0, out=(sums := torch.empty(4, dtype=x.dtype)))
        torch.div(x, 3, out=(part := x.clone()))
        torch.cat([x, part], out=(both := torch.empty(6, 4, dtype=x.dtype)))
    return y[:, :4] * (sums * both[2:5]) + out[:, :4]


WRITING = [
    *(view_of_a_view, base_read_after_its_view, other_view_read_after),
    *(view_written_after_its_base, same_value_twice, rows_set, masks, filled_and_copied),
    *(other_dtype, unsqueezed, scattered, into_out),
]


@pytest.mark.parametrize("function", WRITING, ids=lambda f: f.__name__)
def test_what_writes_in_place_gives_the_same(function):
    torch.manual_seed(0)
    same(Function(function).double(), torch.randn(3, 4, dtype=torch.float64))


def test_spectral_norm_in_training_moves_its_vectors():
    """Its power iteration writes into `out=`; values, gradients and buffers are PyTorch's."""
    torch.manual_seed(0)
    module = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    program = tracer_import.from_torch(module, (x,))
    with tracer.Tape() as tape:
        loss = (program(x.numpy()) ** 2).sum()
    gradients = tape.backward(loss)["grad"]
    (module(x) ** 2).sum().backward()
    for path, p in module.named_parameters():
        np.testing.assert_allclose(gradients[path], p.grad.numpy(), rtol=1e-10, atol=1e-12)
    for path, buffer in module.named_buffers():
        np.testing.assert_allclose(program.get_buffer(path), buffer.numpy(), rtol=1e-12)


# -- what may vary, and what is refused -----------------------------------------------------------


def test_the_first_axis_may_vary_unless_it_is_not_asked():
    module, x = nn.Linear(4, 2).double(), torch.randn(3, 4, dtype=torch.float64)
    free, fixed = (tracer_import.from_torch(module, (x,), dynamic=d) for d in (True, False))
    assert free(np.ones((7, 4))).shape == (7, 2)
    with pytest.raises(ShapeError, match=r"takes input float64\[3, 4\], got \[7, 4\]"):
        fixed(np.ones((7, 4)))
    axes = {"input": {0: torch.export.Dim("rows", min=2, max=5)}}
    bounded = tracer_import.from_torch(module, (x,), dynamic=axes)
    with pytest.raises(ShapeError, match=r"rows|from 1 to 5"):
        bounded(np.ones((7, 4)))


def test_samples_lie_on_the_axis_that_may_vary():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.rnn(x)[0][-1])

    axes = {"x": {1: torch.export.Dim.AUTO}}
    module, x = First().double(), torch.randn(5, 3, 3, dtype=torch.float64)
    program = tracer_import.from_torch(module, (x,), dynamic=axes)
    assert program.batch_axis == 1

    def norms(x):
        with tracer.Tape() as tape:
            zeros = np.zeros(x.shape[1], int)
            loss = tracer_layers.cross_entropy(program(x), zeros, reduction="sum")
        return tape.backward(loss, ("batch_l2",))["batch_l2"]

    together, x = norms(x.numpy()), x.numpy()
    for i in range(3):
        for name, value in norms(x[:, i : i + 1]).items():
            np.testing.assert_allclose(together[name][i], value[0], rtol=1e-9)


def test_arrays_of_floats_become_of_the_modules_dtype():
    program = tracer_import.from_torch(nn.Linear(4, 2), (np.ones((3, 4)),))
    assert program(np.ones((2, 4))).dtype == np.float32


def test_a_module_of_one_size_is_exported_with_it(capsys):
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(12) if x.shape[0] == 3 else x.sum().reshape(1)

    program = tracer_import.from_torch(Fixed(), (torch.ones(3, 4),))
    assert "of the sizes of its examples alone" in capsys.readouterr().err
    assert program(np.ones((3, 4), np.float32)).shape == (12,)


def branches(y, x):
    return y if x.sum() > 0 else -y


def chooses(y, x):
    return y[torch.nonzero(x[:, 0])[:, 0]].sum() + y


def cond(y, x):
    return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (y,))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (branches, "PyTorch cannot export .*written with torch.where"),
        (chooses, "depends on values|operators? that (is|are) not there"),
        (cond, "higher_order.cond is control flow"),
    ],
)
def test_what_depends_on_values_is_refused(function, message):
    with pytest.raises(ProgramError, match=message):
        tracer_import.from_torch(Function(function), (torch.randn(3, 4),))


def loops(y, x):
    from torch._higher_order_ops.while_loop import while_loop

    def more(i, a):
        return i < 3

    def step(i, a):
        return i + 1, a * 2

    return while_loop(more, step, (torch.zeros((), dtype=torch.int64), y))[1]


def unique_rows(y, x):
    return torch.unique((y > 0).int(), dim=0).sum() + y


def of_masks(y, x):
    return torch.masked_select(y, y > 0).sum() + y


@torch.library.custom_op("tracer_tests::gate", mutates_args=())
def gate(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


@gate.register_fake
def _(x):
    return torch.empty_like(x)


@dataclass
class Answer:
    logits: torch.Tensor


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (loops, r"higher_order\.while_loop .*is control flow"),
        (unique_rows, "depends on values"),
        (of_masks, "depends on values"),
        (lambda y, x: gate(gate(y)), r"1 operator .*tracer_tests\.gate\.default x 2 .*A plugin"),
        (lambda y, x: torch.polygamma(1, y), r"polygamma\.default .*in a script$"),
        (lambda y, x: Answer(y), "not a known type: let forward .*tuples, lists and dicts alone"),
        (lambda y, x: y * torch.func.grad(torch.sum)(x).sum(), "without torch.func inside"),
        (lambda y, x: y.to(torch.float8_e4m3fn).float(), "8-bit floats"),
    ],
    ids=["loop", "unique", "masks", "custom", "missing", "dataclass", "func", "float8"],
)
def test_what_a_program_cannot_have_is_told_in_a_sentence(function, message):
    with pytest.raises(ProgramError, match=message) as caught:
        tracer_import.from_torch(Function(function), (torch.randn(3, 4),))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_custom_operator_that_is_registered_runs(capsys):
    operator = ImportedOperator("tracer_tests.gate.default", lambda x: x / (1 + np.exp(-x)))
    tracer.register(operator)
    try:
        module = Function(lambda y, x: gate(y)).double()
        x = torch.randn(3, 4, dtype=torch.float64)
        program = tracer_import.from_torch(module, (x,))
        np.testing.assert_allclose(program(x.numpy()).data, module(x).detach().numpy(), rtol=1e-10)
    finally:
        tracer.unregister(operator)


def quantised_by_rows():
    """Linear maps whose weights are of 8 bits."""
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)), {nn.Linear})


class Int8(nn.Module):
    """A weight of 8 bits with a scale, as PyTorch's exporters of quantised models write it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randint(-9, 9, (3, 4), dtype=torch.int8))

    def forward(self, x):
        import torch.ao.quantization.fx._decomposed  # which defines the operators

        ops = torch.ops.quantized_decomposed
        whole = ops.dequantize_per_tensor(self.weight, 0.1, 0, -128, 127, torch.int8)
        return nn.functional.linear(x, whole)


@pytest.mark.parametrize("make", [quantised_by_rows, Int8])
def test_quantised_weights_are_refused(make):
    with pytest.raises(ProgramError, match=r"[Qq]uantised") as caught:
        tracer_import.from_torch(make(), (torch.randn(2, 4),))
    assert "\n" not in str(caught.value)


def test_what_is_no_module_is_refused():
    with pytest.raises(TracerError, match=r"expects a torch\.nn\.Module, got a function"):
        tracer_import.from_torch(lambda x: x, (torch.ones(2),))


# -- structure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_factors_are_those_of_curvlinops(sharing):
    curvlinops = pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, padding=1), nn.Tanh(), nn.Conv2d(3, 2, 2, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(8, 4), nn.Sigmoid(), nn.Linear(4, 3),
    ).double()  # fmt: skip
    x, y = torch.randn(5, 2, 4, 4, dtype=torch.float64), torch.randint(3, (5,))
    operator = curvlinops.KFACLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(x, y)],
        check_deterministic=False, kfac_approx=sharing, fisher_type="type-2",
    )  # fmt: skip
    operator.compute_kronecker_factors()
    program = tracer_import.from_torch(model, (x,))
    with tracer.Tape() as tape:
        loss = tracer_layers.cross_entropy(program(x.numpy()), y.numpy())
    found = tape.backward(loss, (KFLR(sharing=sharing),))["kflr"]
    for layer, output in operator._gradient_covariances.items():
        (bias,) = found[f"{layer}.bias"].factors
        weight_output, weight_input = found[f"{layer}.weight"].factors
        inputs = operator._input_covariances[layer]
        for mine, expected in ((bias, output), (weight_output, output), (weight_input, inputs)):
            np.testing.assert_allclose(mine, expected.detach().numpy(), rtol=1e-9, atol=1e-14)


# -- the command ----------------------------------------------------------------------------------

FILE = """
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(0.1), nn.Linear(5, 3)).eval()
    example_inputs = torch.randn(6, 4)
    targets = torch.randint(0, 3, (6,))
"""


@pytest.mark.parametrize(
    "loss",
    [
        "loss = nn.CrossEntropyLoss()",
        "def loss(output, target): return F.cross_entropy(output, target)",
        "from tracer_layers import cross_entropy as loss",
    ],
)
def test_a_file_with_a_module_and_its_loss_is_a_target(loss, tmp_path, monkeypatch, capsys):
    from trace_net.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(textwrap.dedent(FILE) + loss + "\n")
    arguments = ["--quantity", "diag_ggn_exact", "--quantity", "grad", "-o", "found.npz"]
    assert main(["quantities", "net.py", *arguments]) == 0, capsys.readouterr().err
    assert "a model of torch" in capsys.readouterr().err
    found = np.load("found.npz")
    names = [key for key in found.files if "0.weight" in key]
    assert len(names) == 2
    assert all(np.abs(found[name]).sum() > 0 for name in names)
    assert main(["visualize", "net.py", "-o", "net.svg"]) == 0
    assert "Linear" in (tmp_path / "net.svg").read_text()
