"""Kronecker factors of layers that share weights, against curvlinops (Eschenhagen et al. 2023).

The scales are the same: input factors are averages over the N samples (and, in "expand", over the T
uses per sample), output factors sums over rows with the weight of the loss inside them. For a mean
its weight is 1/(N * loss terms per sample), for squared and binary errors divided by the length of
the last axis, which is that of QUANTITIES. The input factor of a convolution is over `[I * k * k]`
in the order of the weight, as ours; groups and more dimensions it does not know.

One thing differs: where the loss judges every position, "reduce" sums over positions, and
curvlinops' exact rows of different positions, which have nothing to do with each other, are summed
as if they were one. In expectation over sampled targets the products between positions vanish, in
its sampled factors too: there ours are compared with those.
"""

import numpy as np
import pytest

import tracer
import tracer_layers
from tracer_quantities import KFAC, KFLR

torch = pytest.importorskip("torch")
curvlinops = pytest.importorskip("curvlinops")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

#: name: (model, shape of the input, loss)
CASES = {
    "no sharing": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        (5, 4),
        "CrossEntropyLoss",
    ),
    "no sharing, squared": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        (5, 4),
        "MSELoss",
    ),
    "no sharing, binary": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
        (5, 4),
        "BCEWithLogitsLoss",
    ),
    "positions, flattened": (
        lambda nn: nn.Sequential(
            nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.Flatten(), nn.Linear(6, 4)
        ),
        (5, 3, 4),
        "CrossEntropyLoss",
    ),
    "positions with a loss each": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        (5, 3, 4),
        "MSELoss",
    ),
    "positions on two axes": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2)),
        (5, 3, 2, 4),
        "MSELoss",
    ),
    "binary at positions": (
        lambda nn: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)),
        (5, 3, 4),
        "BCEWithLogitsLoss",
    ),
    "images": (
        lambda nn: nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 2, (1, 2)), nn.Flatten(), nn.Linear(12, 3)
        ),
        (5, 2, 4, 4),
        "CrossEntropyLoss",
    ),
    "images with stride, padding and dilation": (
        lambda nn: nn.Sequential(
            nn.Conv2d(2, 3, 2, (2, 1), (1, 2), (1, 2)),
            nn.Sigmoid(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(9, 3),
        ),
        (5, 2, 4, 5),
        "MSELoss",
    ),
    "images classified at positions": (
        lambda nn: nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Conv2d(3, 4, 1)),
        (5, 2, 3, 4),
        "CrossEntropyLoss",
    ),
}


class Problem:
    def __init__(self, name, reduction):
        torch.manual_seed(0)
        self.build, shape, self.loss = CASES[name]
        self.reduction = reduction
        self.model = self.build(torch.nn).double()
        self.x = torch.randn(shape, dtype=torch.float64)
        output = self.model(self.x).detach()
        if self.loss == "CrossEntropyLoss":
            self.y = torch.randint(output.shape[1], (len(output), *output.shape[2:]))
        else:
            self.y = torch.randint(2, output.shape).double()

    def ours(self, quantity, **options):
        net = self.build(tracer_layers).double()
        net.load_state_dict({k: v.detach().numpy() for k, v in self.model.state_dict().items()})
        with tracer.Tape() as tape:
            criterion = getattr(tracer_layers, self.loss)(reduction=self.reduction)
            loss = criterion(net(self.x.numpy()), self.y.numpy())
        return tape.backward(loss, (quantity,), **options)[quantity.name]

    def theirs(self, sharing, **options):
        """(output factors, input factors) by name of the layer."""
        operator = curvlinops.KFACLinearOperator(
            self.model,
            getattr(torch.nn, self.loss)(reduction=self.reduction),
            list(self.model.parameters()),
            [(self.x, self.y)],
            check_deterministic=False,
            kfac_approx=sharing,
            **(options or {"fisher_type": "type-2"}),
        )
        operator.compute_kronecker_factors()
        return operator._gradient_covariances, operator._input_covariances


#: those whose loss judges every position
JUDGED = {
    "positions with a loss each",
    "positions on two axes",
    "binary at positions",
    "images classified at positions",
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("name", "sharing"),
    [(n, s) for n in CASES for s in ("expand", "reduce") if s == "expand" or n not in JUDGED],
)
def test_exact_factors(name, reduction, sharing):
    problem = Problem(name, reduction)
    outputs, inputs = problem.theirs(sharing)
    results = problem.ours(KFLR(sharing=sharing))
    for layer, output in outputs.items():
        (bias,) = results[f"{layer}.bias"].factors
        weight_output, weight_input = results[f"{layer}.weight"].factors
        for mine, expected in (
            (bias, output),
            (weight_output, output),
            (weight_input, inputs[layer]),
        ):
            np.testing.assert_allclose(mine, expected.detach().numpy(), rtol=1e-9, atol=1e-14)


SAMPLES = 2000


@pytest.mark.parametrize("name", sorted(JUDGED))
def test_their_sampled_factors_approach_our_exact_ones(name):
    problem = Problem(name, "mean")
    outputs, inputs = problem.theirs("reduce", fisher_type="mc", mc_samples=SAMPLES)
    results = problem.ours(KFLR(sharing="reduce"))
    for layer, output in outputs.items():
        exact, exact_input = results[f"{layer}.weight"].factors
        np.testing.assert_allclose(exact_input, inputs[layer].numpy(), rtol=1e-9, atol=1e-14)
        assert abs(exact - output.numpy()).max() < 5 / SAMPLES**0.5 * exact.max()


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
@pytest.mark.parametrize("name", ["no sharing, binary", "positions, flattened", "images"])
def test_our_sampled_factors_approach_their_exact_ones(name, sharing):
    problem = Problem(name, "mean")
    outputs, _ = problem.theirs(sharing)
    results = problem.ours(KFAC(mc_samples=SAMPLES, sharing=sharing), rng=np.random.default_rng(0))
    for layer, output in outputs.items():
        sampled, _ = results[f"{layer}.weight"].factors
        assert abs(sampled - output.numpy()).max() < 5 / SAMPLES**0.5 * float(output.max())
