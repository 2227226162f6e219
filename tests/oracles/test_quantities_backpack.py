"""Quantities against BackPACK 1.7.1 where it is right, and by brute force in PyTorch elsewhere.

The networks, input shapes and losses are those that BackPACK's own test settings describe: three
samples, small kernels, one to three dimensions. Known faults of BackPACK, for which the second half
takes explicit Jacobians and Hessians instead: squared norms of grouped convolutions, padding modes
other than zeros, tied weights, `divisor_override`, and the residual in PCHMP. Its convolution's
Kronecker factors follow another convention, so those are compared for linear layers only.
"""

import numpy as np
import pytest

import tracer
import tracer_layers
from tracer_quantities import PCHMP, DiagGGNMC

torch = pytest.importorskip("torch")
backpack = pytest.importorskip("backpack")
ext = pytest.importorskip("backpack.extensions")
func = torch.func

pytestmark = [
    pytest.mark.oracle,
    # BackPACK and PyTorch on their own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]


@pytest.fixture(autouse=True)
def _double_precision():
    """BackPACK makes some of its constants in PyTorch's default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


CE, MSE, BCE = "CrossEntropyLoss", "MSELoss", "BCEWithLogitsLoss"


class Case:
    """A model for either library, the shape of its input, and its loss."""

    def __init__(self, model, shape, loss=CE, reduction="mean", integers=None, **options):
        self.model, self.shape, self.integers = model, shape, integers
        self.loss_name, self.reduction, self.options = loss, reduction, options

    def loss(self, nn, **changed):
        options = {"reduction": self.reduction, **self.options, **changed}
        if nn is tracer_layers:
            options = {k: v.numpy() if torch.is_tensor(v) else v for k, v in options.items()}
        return getattr(nn, self.loss_name)(**options)

    def target(self, output):
        """Targets of the kind that the loss takes; binary ones for BCE."""
        if self.loss_name == CE:
            return torch.randint(output.shape[1], (output.shape[0], *output.shape[2:]))
        if self.loss_name == BCE:
            return torch.randint(2, output.shape).double()
        return torch.rand(output.shape, dtype=torch.float64)


class Problem:
    """A case at drawn parameters, inputs and targets, in both libraries."""

    def __init__(self, case):
        torch.manual_seed(0)
        self.case = case
        self.model = case.model(torch.nn).double().eval()
        if case.integers is None:
            self.x = torch.rand(case.shape, dtype=torch.float64)
        else:
            self.x = torch.randint(case.integers, case.shape)
        self.y = case.target(self.model(self.x).detach())

    def ours(self, quantities, **options):
        """What this library computes."""
        net = self.case.model(tracer_layers).double().eval()
        net.load_state_dict({k: v.detach().numpy() for k, v in self.model.state_dict().items()})
        with tracer.Tape() as tape:
            loss = self.case.loss(tracer_layers)(net(self.x.numpy()), self.y.numpy())
        return tape.backward(loss, quantities, **options)

    def backpacks(self, *extensions):
        """What BackPACK computes: a function from an attribute to its values by parameter."""
        model = backpack.extend(self.case.model(torch.nn).double().eval())
        model.load_state_dict(self.model.state_dict())
        loss = backpack.extend(self.case.loss(torch.nn))(model(self.x), self.y)
        with backpack.backpack(*extensions):
            loss.backward()
        return lambda field: {
            name: getattr(p, field) for name, p in model.named_parameters() if p.requires_grad
        }

    # -- by brute force -----------------------------------------------------------------------

    @property
    def parameters(self):
        return {name: p.detach() for name, p in self.model.named_parameters()}

    @property
    def weight(self):
        """The factor of the summed loss in the objective."""
        output = self.model(self.x).detach()
        whole = self.case.loss(torch.nn)(output, self.y)
        return float(whole / self.case.loss(torch.nn, reduction="sum")(output, self.y))

    def summed(self, output, n):
        """The weighted loss of sample n, of its output `[1, ...]`."""
        return self.weight * self.case.loss(torch.nn, reduction="sum")(output, self.y[n : n + 1])

    def predicted(self, n, name, value):
        parameters = {**self.parameters, name: value}
        return func.functional_call(self.model, parameters, (self.x[n : n + 1],), tie_weights=True)

    def grad_batch(self, name):
        """`[N, *p]`"""
        return torch.stack([
            func.jacrev(lambda p, n=n: self.summed(self.predicted(n, name, p), n))(
                self.parameters[name]
            )
            for n in range(len(self.x))
        ])  # fmt: skip

    def ggn_batch(self, name):
        """`[N, P, P]`: `J_n^T H_n J_n`."""
        blocks = []
        value = self.parameters[name]
        for n in range(len(self.x)):
            output = self.predicted(n, name, value)
            jacobian = func.jacrev(lambda p, n=n: self.predicted(n, name, p))(value)
            hessian = func.hessian(lambda f, n=n: self.summed(f, n))(output)
            j = jacobian.reshape(output.numel(), -1)
            blocks.append(j.T @ hessian.reshape(output.numel(), -1) @ j)
        return torch.stack(blocks)

    def hessian_batch(self, name):
        """`[N, P, P]`"""
        value = self.parameters[name]
        return torch.stack([
            func.jacrev(
                func.jacrev(lambda p, n=n: self.summed(self.predicted(n, name, p), n))
            )(value).reshape(value.numel(), -1)
            for n in range(len(self.x))
        ])  # fmt: skip


def assert_close(mine, expected, message):
    expected = expected.detach().numpy() if torch.is_tensor(expected) else expected
    assert mine.shape == expected.shape, message
    scale = max(float(np.abs(expected).max(initial=0)), 1e-6)
    np.testing.assert_allclose(mine, expected, rtol=1e-9, atol=1e-10 * scale, err_msg=message)


def assert_same(mine, expected, quantity):
    assert list(mine) == list(expected)
    for name, value in expected.items():
        assert_close(mine[name], value, f"{quantity} of {name}")


# -- BackPACK's settings ---------------------------------------------------------------------------


def cnn(*front, features=72):
    """A front, written as `lambda nn: layer`, then flattened and classified."""
    return lambda nn: nn.Sequential(
        *(make(nn) for make in front), nn.Flatten(), nn.Linear(features, 5)
    )


def relu(nn):
    return nn.ReLU()


LINEAR = {
    "linear": Case(lambda nn: nn.Sequential(nn.Linear(10, 5)), (3, 10), reduction="sum"),
    "linear-linear": Case(lambda nn: nn.Sequential(nn.Linear(10, 7), nn.Linear(7, 5)), (3, 10)),
    "linear-relu": Case(
        lambda nn: nn.Sequential(nn.Linear(10, 7), nn.ReLU(), nn.Linear(7, 5)),
        (3, 10),
        reduction="sum",
    ),
    "linear-sigmoid-squared": Case(
        lambda nn: nn.Sequential(nn.Linear(10, 7), nn.Sigmoid(), nn.Linear(7, 5)), (3, 10), MSE
    ),
    "linear-tanh-squared-sum": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 2, bias=False)),
        (3, 4),
        MSE,
        "sum",
    ),
    "linear-one-sample": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2)), (1, 4)
    ),
    "binary-mean": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 1)), (3, 4), BCE
    ),
    "binary-sum": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
        (3, 4),
        BCE,
        "sum",
    ),
}

EXTRA_AXES = {
    "one-squared": Case(lambda nn: nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)), (3, 4, 5), MSE),
    "two-squared": Case(
        lambda nn: nn.Sequential(nn.Linear(5, 3), nn.Sigmoid(), nn.Linear(3, 2)),
        (3, 4, 2, 5),
        MSE,
    ),
    "three-squared-sum": Case(
        lambda nn: nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)), (3, 4, 2, 3, 5), MSE, "sum"
    ),
    "one-flattened": Case(
        lambda nn: nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2), nn.Flatten()), (3, 4, 5)
    ),
    "two-flattened": Case(
        lambda nn: nn.Sequential(nn.Linear(5, 3), nn.Sigmoid(), nn.Linear(3, 2), nn.Flatten()),
        (3, 4, 2, 5),
    ),
    "three-flattened-sum": Case(
        lambda nn: nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2), nn.Flatten()),
        (3, 4, 2, 3, 5),
        reduction="sum",
    ),
}

ACTIVATIONS = {
    f"{act.lower()}{'' if bias else '-no-bias'}": Case(
        cnn(lambda nn, b=bias: nn.Conv2d(3, 2, 2, bias=b), lambda nn, act=act: getattr(nn, act)()),
        (3, 3, 7, 7),
    )
    for act in ("ReLU", "Sigmoid", "Tanh", "LeakyReLU", "LogSigmoid", "ELU", "SELU")
    for bias in (True, False)
}

#: name: (layer, shape of the input, number of features that come out)
CONVOLUTIONS = {
    "conv1d": (lambda nn: nn.Conv1d(3, 2, 2), (3, 3, 7), 12),
    "conv1d-dilation-stride": (lambda nn: nn.Conv1d(2, 3, 2, 2, 0, 2), (3, 2, 7), 9),
    "conv1d-stride-padding": (lambda nn: nn.Conv1d(3, 2, 2, 2, 1), (3, 3, 7), 8),
    "conv1d-all": (lambda nn: nn.Conv1d(3, 6, 2, 4, 2, 3), (3, 3, 8), 18),
    "conv1d-no-bias": (lambda nn: nn.Conv1d(3, 2, 2, 4, 2, 1, 1, False), (3, 3, 7), 6),
    "conv2d": (lambda nn: nn.Conv2d(3, 2, 2), (3, 3, 7, 7), 72),
    "conv2d-dilation-stride": (lambda nn: nn.Conv2d(2, 3, 2, 2, 0, 2), (3, 2, 7, 7), 27),
    "conv2d-stride-padding": (lambda nn: nn.Conv2d(3, 2, 2, 2, 1), (3, 3, 7, 7), 32),
    "conv2d-all": (lambda nn: nn.Conv2d(3, 6, 2, 4, 2, 3), (3, 3, 8, 8), 54),
    "conv2d-no-bias": (lambda nn: nn.Conv2d(3, 2, 2, 4, 2, 1, 1, False), (3, 3, 7, 7), 18),
    "conv3d": (lambda nn: nn.Conv3d(3, 2, 2), (3, 3, 2, 7, 7), 72),
    "conv3d-dilation-stride": (lambda nn: nn.Conv3d(2, 3, 2, 2, 0, 2), (3, 2, 3, 7, 7), 27),
    "conv3d-stride-padding": (lambda nn: nn.Conv3d(3, 2, 2, 3, 2), (3, 3, 2, 7, 7), 64),
    "conv3d-all": (lambda nn: nn.Conv3d(3, 6, 2, 4, 2, 3), (3, 3, 4, 8, 8), 108),
    "conv3d-no-bias": (lambda nn: nn.Conv3d(3, 2, 2, 4, 2, 1, 1, False), (3, 3, 2, 7, 7), 36),
    "transposed1d": (lambda nn: nn.ConvTranspose1d(3, 2, 2), (3, 3, 7), 16),
    "transposed1d-dilation-stride": (
        lambda nn: nn.ConvTranspose1d(2, 3, 2, 2, 0, 0, 1, True, 2),
        (3, 2, 7),
        45,
    ),
    "transposed1d-stride-padding": (
        lambda nn: nn.ConvTranspose1d(3, 2, 2, 2, 1),
        (3, 3, 7),
        24,
    ),
    "transposed1d-all": (
        lambda nn: nn.ConvTranspose1d(3, 6, 2, 4, 2, 0, 1, True, 3),
        (3, 3, 8),
        168,
    ),
    "transposed1d-no-bias": (
        lambda nn: nn.ConvTranspose1d(3, 2, 2, 4, 2, 0, 1, False),
        (3, 3, 7),
        44,
    ),
    "transposed2d": (lambda nn: nn.ConvTranspose2d(3, 2, 2), (3, 3, 4, 4), 50),
    "transposed2d-dilation": (
        lambda nn: nn.ConvTranspose2d(2, 4, 2, 1, 0, 0, 1, True, 2),
        (3, 2, 4, 4),
        144,
    ),
    "transposed2d-stride-padding": (
        lambda nn: nn.ConvTranspose2d(3, 2, 2, 2, 1),
        (3, 3, 4, 4),
        72,
    ),
    "transposed3d": (lambda nn: nn.ConvTranspose3d(3, 2, 2), (3, 3, 2, 3, 3), 96),
    "transposed3d-all": (
        lambda nn: nn.ConvTranspose3d(2, 3, 2, 2, 2, 0, 1, True, 2),
        (3, 2, 3, 4, 4),
        225,
    ),
}
CONVOLUTIONS = {
    name: Case(cnn(layer, relu, features=features), shape, reduction="sum")
    for name, (layer, shape, features) in CONVOLUTIONS.items()
}

#: name: (pooling, dimensions of the image, number of features that come out)
POOLING = {
    "max1d": (lambda nn: nn.MaxPool1d(2), 1, 6),
    "max1d-stride-padding": (lambda nn: nn.MaxPool1d(3, 2, 1), 1, 6),
    "max2d": (lambda nn: nn.MaxPool2d(2), 2, 18),
    "max2d-dilation": (lambda nn: nn.MaxPool2d(2, 1, 1, 3), 2, 50),
    "max3d": (lambda nn: nn.MaxPool3d((1, 2, 3), 2), 3, 12),
    "average1d": (lambda nn: nn.AvgPool1d(2), 1, 6),
    "average1d-stride-padding": (lambda nn: nn.AvgPool1d(3, 2, 1), 1, 6),
    "average2d": (lambda nn: nn.AvgPool2d(2), 2, 18),
    "average2d-stride-padding": (lambda nn: nn.AvgPool2d((3, 2), (2, 1), (1, 0)), 2, 30),
    "average3d": (lambda nn: nn.AvgPool3d((1, 2, 3), 2), 3, 12),
    "adaptive1d": (lambda nn: nn.AdaptiveAvgPool1d(3), 1, 6),
    "adaptive2d": (lambda nn: nn.AdaptiveAvgPool2d((2, 3)), 2, 12),
    "adaptive3d": (lambda nn: nn.AdaptiveAvgPool3d((1, 2, 3)), 3, 12),
}
POOLED_SHAPES = {1: (3, 3, 7), 2: (3, 3, 7, 7), 3: (3, 3, 2, 7, 7)}
POOLING = {
    name: Case(
        cnn(
            lambda nn, n=n: getattr(nn, f"Conv{n}d")(3, 2, 2),
            lambda nn: nn.Sigmoid(),
            pool,
            features=features,
        ),
        POOLED_SHAPES[n],
        reduction="sum",
    )
    for name, (pool, n, features) in POOLING.items()
}

OTHERS = {
    "positions-classified": Case(
        lambda nn: nn.Sequential(nn.Conv1d(3, 4, 2), nn.Sigmoid(), nn.Conv1d(4, 3, 1)), (3, 3, 5)
    ),
    "positions-classified-sum": Case(
        lambda nn: nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Conv2d(4, 3, 1)),
        (3, 3, 4, 3),
        reduction="sum",
    ),
    "images-regressed": Case(
        lambda nn: nn.Sequential(nn.Conv2d(3, 4, 2), nn.Tanh(), nn.Conv2d(4, 2, 1)),
        (3, 3, 4, 3),
        MSE,
    ),
    "zero-padding": Case(
        cnn(
            lambda nn: nn.ZeroPad2d((1, 0, 2, 1)),
            lambda nn: nn.Conv2d(3, 2, 2),
            relu,
            features=60,
        ),
        (3, 3, 4, 5),
    ),
    "dropout-off": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.4), nn.Sigmoid(), nn.Linear(5, 3)),
        (3, 4),
    ),
}

NORMALISED = {
    f"batch-norm{n}d": Case(
        lambda nn, n=n: nn.Sequential(
            getattr(nn, f"Conv{n}d")(3, 2, 2),
            getattr(nn, f"BatchNorm{n}d")(2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear((16, 24, 24)[n - 1], 3),
        ),
        ((3, 3, 9), (3, 3, 4, 5), (3, 3, 2, 4, 5))[n - 1],
    )
    for n in (1, 2, 3)
}

EMBEDDED = {
    "embedding": Case(
        lambda nn: nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 4)),
        (3, 4),
        integers=5,
    )
}

FIRST_ORDER = LINEAR | EXTRA_AXES | ACTIVATIONS | CONVOLUTIONS | POOLING | OTHERS
FIRST_ORDER |= NORMALISED | EMBEDDED
#: BackPACK refuses second order of squared errors over several axes
SECOND_ORDER = {
    name: case
    for name, case in FIRST_ORDER.items()
    if not (name in ("images-regressed", *EXTRA_AXES) and case.loss_name == MSE)
}
#: and has no Hessian of these
HESSIAN = {name: case for name, case in SECOND_ORDER.items() if name not in NORMALISED | EMBEDDED}


def cases(table):
    return pytest.mark.parametrize("case", [pytest.param(c, id=name) for name, c in table.items()])


@cases(FIRST_ORDER)
def test_first_order(case):
    problem = Problem(case)
    theirs = problem.backpacks(
        ext.BatchGrad(), ext.BatchL2Grad(), ext.SumGradSquared(), ext.Variance()
    )
    names = {"sum_grad_squared": "sum_grad_squared", "grad_batch": "grad_batch",
             "batch_l2": "batch_l2", "variance": "variance", "grad": "grad"}  # fmt: skip
    results = problem.ours((*names, "batch_dot"))
    for quantity, field in names.items():
        assert_same(results[quantity], theirs(field), quantity)
    for name, g in theirs("grad_batch").items():
        flat = g.flatten(1)
        assert_close(results["batch_dot"][name], flat @ flat.T, f"batch_dot of {name}")


@cases(SECOND_ORDER)
def test_gauss_newton(case):
    problem = Problem(case)
    theirs = problem.backpacks(ext.DiagGGNExact(), ext.BatchDiagGGNExact())
    results = problem.ours(("diag_ggn_exact", "diag_ggn_exact_batch"))
    for quantity in results:
        assert_same(results[quantity], theirs(quantity), quantity)


@cases({name: case for name, case in SECOND_ORDER.items() if not name.startswith("adaptive")})
def test_square_roots(case):
    """Square roots are unique up to rotation: their products with a vector are compared."""
    problem = Problem(case)
    theirs = problem.backpacks(ext.SqrtGGNExact())("sqrt_ggn_exact")
    results = problem.ours(("sqrt_ggn_exact",))["sqrt_ggn_exact"]
    vectors = np.random.default_rng(0)
    for name, root in theirs.items():
        v = vectors.standard_normal(root[0, 0].numel())
        mine, expected = (
            each_block_times(rows.reshape(*rows.shape[:2], -1), v)
            for rows in (results[name], root.detach().numpy())
        )
        assert_close(mine, expected, f"sqrt_ggn_exact of {name}")


def each_block_times(rows, v):
    """`sum_c u_cn u_cn^T v` for each sample."""
    return np.einsum("cn,cnp->np", rows @ v, rows)


@cases(HESSIAN)
def test_hessian_diagonal(case):
    problem = Problem(case)
    theirs = problem.backpacks(ext.DiagHessian(), ext.BatchDiagHessian())
    results = problem.ours(("diag_h", "diag_h_batch"))
    for quantity in ("diag_h", "diag_h_batch"):
        assert_same(results[quantity], theirs(quantity), quantity)


@cases({name: case for name, case in LINEAR.items() if case.loss_name != BCE})
@pytest.mark.parametrize("quantity", ["kflr", "kfra"])
def test_kronecker_factors_of_linear_layers(case, quantity):
    problem = Problem(case)
    theirs = problem.backpacks({"kflr": ext.KFLR, "kfra": ext.KFRA}[quantity]())
    results = problem.ours((quantity,))[quantity]
    for name, factors in theirs(quantity).items():
        assert len(factors) == len(results[name].factors)
        for mine, factor in zip(results[name].factors, factors, strict=True):
            assert_close(mine, factor, f"{quantity} of {name}")


@cases({name: LINEAR[name] for name in ("linear-linear", "linear-sigmoid-squared", "binary-mean")})
def test_sampled_quantities_approach_backpacks_exact_ones(case):
    problem = Problem(case)
    theirs = problem.backpacks(ext.DiagGGNExact())("diag_ggn_exact")
    samples = 20_000
    results = problem.ours((DiagGGNMC(mc_samples=samples),), rng=np.random.default_rng(0))
    for name, value in theirs.items():
        scale = float(value.max())
        assert abs(results["diag_ggn_mc"][name] - value.numpy()).max() < 5 / samples**0.5 * scale


PRODUCTS = {
    name: (LINEAR | ACTIVATIONS | CONVOLUTIONS)[name]
    for name in ("linear", "linear-linear", "linear-relu", "linear-sigmoid-squared",
                 "linear-tanh-squared-sum", "relu", "sigmoid", "tanh-no-bias", "conv2d",
                 "conv2d-all")
} | {name: POOLING[name] for name in ("max2d", "average2d-stride-padding")}  # fmt: skip


@cases(PRODUCTS)
@pytest.mark.parametrize("quantity", ["ggnmp", "hmp"])
def test_products(case, quantity):
    problem = Problem(case)
    theirs = problem.backpacks({"ggnmp": ext.GGNMP, "hmp": ext.HMP}[quantity]())(quantity)
    results = problem.ours((quantity,))[quantity]
    for name, product in theirs.items():
        v = torch.randn(4, *problem.parameters[name].shape)
        assert_close(results[name](v.numpy()), product(v), f"{quantity} of {name}")


@cases({name: LINEAR[name] for name in ("linear", "linear-linear", "linear-relu")})
@pytest.mark.parametrize("modify", ["abs", "clip"])
def test_positive_curvature_products_of_networks_that_do_not_bend(case, modify):
    """Where no operation has a residual, BackPACK's fault in them does not show."""
    problem = Problem(case)
    theirs = problem.backpacks(ext.PCHMP(modify=modify))("pchmp")
    results = problem.ours((PCHMP(modify=modify),))["pchmp"]
    for name, product in theirs.items():
        v = torch.randn(4, *problem.parameters[name].shape)
        assert_close(results[name](v.numpy()), product(v), f"pchmp of {name}")


# -- where BackPACK refuses or is wrong ------------------------------------------------------------


def tied(nn):
    """Two layers with one weight."""
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, nn.Tanh(), second)


def activated(make):
    return Case(lambda nn: nn.Sequential(nn.Linear(4, 3), make(nn), nn.Linear(3, 2)), (3, 4), MSE)


def convolved(make, shape, features):
    return Case(cnn(make, lambda nn: nn.Sigmoid(), features=features), shape)


def perceptron(loss=CE, reduction="mean", outputs=3, **options):
    return Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, outputs)),
        (3, 4),
        loss,
        reduction,
        **options,
    )


REFUSED = {
    "groups-1d": convolved(lambda nn: nn.Conv1d(4, 6, 2, groups=2), (3, 4, 4), 18),
    "groups-2d": convolved(
        lambda nn: nn.Conv2d(4, 2, 2, 1, (0, 1), 1, 2, bias=False), (3, 4, 3, 3), 16
    ),
    "depthwise-3d": convolved(lambda nn: nn.Conv3d(2, 4, 2, groups=2), (3, 2, 2, 3, 3), 16),
    "reflected": convolved(
        lambda nn: nn.Conv2d(2, 2, 2, padding=1, padding_mode="reflect"), (3, 2, 3, 3), 32
    ),
    "replicated": convolved(
        lambda nn: nn.Conv1d(2, 2, 3, padding=2, padding_mode="replicate"), (3, 2, 4), 12
    ),
    "circular": convolved(
        lambda nn: nn.Conv2d(2, 2, 3, 2, 1, padding_mode="circular"), (3, 2, 4, 3), 8
    ),
    "same": convolved(lambda nn: nn.Conv1d(2, 2, 3, padding="same", dilation=2), (3, 2, 5), 10),
    "transposed-groups": convolved(
        lambda nn: nn.ConvTranspose1d(4, 4, 2, 2, 1, 1, groups=2), (3, 4, 4), 28
    ),
    "divisor": Case(
        cnn(
            lambda nn: nn.Conv2d(2, 2, 2),
            lambda nn: nn.Sigmoid(),
            lambda nn: nn.AvgPool2d(2, divisor_override=3),
            features=2,
        ),
        (3, 2, 4, 3),
    ),
    "ceiled": Case(
        cnn(
            lambda nn: nn.Conv2d(2, 2, 2),
            lambda nn: nn.Sigmoid(),
            lambda nn: nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False),
            features=8,
        ),
        (3, 2, 4, 3),
    ),
    "uneven-adaptive": Case(
        cnn(
            lambda nn: nn.Conv1d(2, 2, 2),
            lambda nn: nn.Sigmoid(),
            lambda nn: nn.AdaptiveAvgPool1d(3),
            features=6,
        ),
        (3, 2, 6),
    ),
    "tied": Case(tied, (3, 4)),
    "tied-squared-sum": Case(tied, (3, 4), MSE, "sum"),
    "positions-squared": EXTRA_AXES["two-squared"],
    "images-squared": OTHERS["images-regressed"],
    "binary-many": perceptron(BCE),
    "binary-many-sum": perceptron(BCE, "sum"),
    "binary-positions": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2)),
        (3, 2, 4),
        BCE,
    ),
    "smoothed": perceptron(label_smoothing=0.2),
    "class-weights": perceptron(weight=torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)),
    "huber": perceptron("HuberLoss", delta=0.3),
    "absolute": perceptron("L1Loss"),
    "poisson": perceptron("PoissonNLLLoss"),
    "bilinear-softmax": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1), nn.Linear(3, 2)), (3, 4)
    ),
    "layer-norm": Case(
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Tanh(), nn.Linear(3, 2)),
        (3, 4),
    ),
    "group-norm": Case(
        lambda nn: nn.Sequential(
            nn.Conv1d(2, 4, 2), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(12, 2)
        ),
        (3, 2, 4),
    ),
    "prelu": activated(lambda nn: nn.PReLU()),
} | {
    name.lower(): activated(lambda nn, name=name: getattr(nn, name)())
    for name in ("GELU", "SiLU", "Mish", "Softplus", "Hardswish", "Softsign", "Tanhshrink", "CELU")
}


@cases(REFUSED)
def test_by_brute_force(case):
    problem = Problem(case)
    results = problem.ours(
        ("grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance", "diag_h",
         "diag_h_batch", "diag_ggn_exact", "diag_ggn_exact_batch", "sqrt_ggn_exact", "hmp",
         "ggnmp")
    )  # fmt: skip
    for name, parameter in problem.parameters.items():

        def check(quantity, expected, value=None, name=name):
            mine = results[quantity][name] if value is None else value
            assert_close(mine, expected, f"{quantity} of {name}")

        g = problem.grad_batch(name)
        check("grad_batch", g)
        check("batch_l2", (g.flatten(1) ** 2).sum(1))
        check("batch_dot", g.flatten(1) @ g.flatten(1).T)
        check("sum_grad_squared", (g**2).sum(0))
        check("variance", g.var(0, correction=0))
        eye = np.eye(parameter.numel()).reshape(-1, *parameter.shape)
        for blocks, diagonal, batch, product in (
            (problem.ggn_batch(name), "diag_ggn_exact", "diag_ggn_exact_batch", "ggnmp"),
            (problem.hessian_batch(name), "diag_h", "diag_h_batch", "hmp"),
        ):
            shares = blocks.diagonal(dim1=1, dim2=2).reshape(-1, *parameter.shape)
            check(batch, shares)
            check(diagonal, shares.sum(0))
            check(product, blocks.sum(0), results[product][name](eye).reshape(len(eye), -1))
        root = results["sqrt_ggn_exact"][name]
        root = root.reshape(*root.shape[:2], -1)
        check("sqrt_ggn_exact", problem.ggn_batch(name), np.einsum("cnp,cnq->npq", root, root))


@cases(LINEAR)
def test_the_output_factor_of_kflr_is_the_block_of_the_bias(case):
    problem = Problem(case)
    results = problem.ours(("kflr",))["kflr"]
    for name in problem.parameters:
        if name.endswith("bias"):
            block = problem.ggn_batch(name).sum(0)
            assert_close(results[name].factors[0], block, name)
            weight = name.replace("bias", "weight")
            assert_close(results[weight].factors[0], block, weight)


@pytest.mark.parametrize("modify", ["abs", "clip"])
@pytest.mark.parametrize("act", ["Sigmoid", "Tanh"])
def test_positive_curvature_products_of_networks_that_bend(act, modify):
    """Chen et al. 2019: `J^T (G + |diag(act'' * delta)|) J`, here for the first of two layers."""
    problem = Problem(
        Case(
            lambda nn: nn.Sequential(nn.Linear(4, 3), getattr(nn, act)(), nn.Linear(3, 2)),
            (3, 4),
            MSE,
        )
    )
    first, bend, last = problem.model
    z = first(problem.x).detach().requires_grad_()
    loss = problem.case.loss(torch.nn)(last(bend(z)), problem.y)
    delta = torch.autograd.grad(loss, z)[0]
    slope = torch.autograd.grad(bend(z).sum(), z, create_graph=True)[0]
    # the gradient at the output of the activation, times its second derivative
    residual = delta / slope.detach() * torch.autograd.grad(slope.sum(), z)[0]
    residual = residual.abs() if modify == "abs" else residual.clamp(min=0)
    expected = problem.ggn_batch("0.bias").sum(0) + residual.sum(0).diag()
    result = problem.ours((PCHMP(modify=modify),))["pchmp"]
    assert_close(result["0.bias"](np.eye(3)), expected, "pchmp of the bias")
    weight = problem.ggn_batch("0.weight").sum(0)
    weight = weight + torch.einsum(
        "no,ni,nj,op->oipj", residual, problem.x, problem.x, torch.eye(3)
    ).reshape(12, 12)
    mine = result["0.weight"](np.eye(12).reshape(12, 3, 4)).reshape(12, 12)
    assert_close(mine, weight, "pchmp of the weight")
