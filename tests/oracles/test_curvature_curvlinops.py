"""Damped steps against curvlinops' inverses of Kronecker factors, with their heuristic damping.

Biases differ: there they have the damped output factor of the weight, here that with the whole
damping, which is what curvlinops gives without the heuristic.
"""

import numpy as np
import pytest

import tracer
import tracer_layers
import tracer_training as training

torch = pytest.importorskip("torch")
curvlinops = pytest.importorskip("curvlinops")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def build(nn):
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 4)
    )


@pytest.mark.parametrize("damping", [1e-4, 0.1, 10.0])
@pytest.mark.parametrize("loss", ["CrossEntropyLoss", "MSELoss"])
def test_a_step_is_along_their_inverse(loss, damping):
    torch.manual_seed(0)
    theirs = build(torch.nn).double()
    x = torch.randn(7, 2, 4, 4, dtype=torch.float64)
    y = torch.randint(4, (7,)) if loss == "CrossEntropyLoss" else torch.randn(7, 4).double()
    criterion = getattr(torch.nn, loss)()
    parameters = list(theirs.parameters())
    kfac = curvlinops.KFACLinearOperator(
        theirs,
        criterion,
        parameters,
        [(x, y)],
        fisher_type="type-2",
        kfac_approx="expand",
        check_deterministic=False,
    )
    inverses = [
        curvlinops.KFACInverseLinearOperator(
            kfac, damping=damping, use_heuristic_damping=heuristic, min_damping=0.0
        )
        for heuristic in (True, False)
    ]
    gradients = torch.autograd.grad(criterion(theirs(x), y), parameters)
    flat = torch.cat([g.reshape(-1) for g in gradients])
    of_weights, of_biases = ((inverse @ flat).detach().numpy() for inverse in inverses)
    is_bias = np.concatenate([np.full(p.numel(), p.ndim == 1) for p in parameters])
    expected = np.where(is_bias, of_biases, of_weights)

    ours = build(tracer_layers).double()
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    start = np.concatenate([p.data.reshape(-1) for p in ours.parameters()])
    optimizer = training.DampedNewton(ours.parameters(), "kflr", lr=0.5, damping=damping)
    with tracer.Tape() as tape:
        value = getattr(tracer_layers, loss)()(ours(x.numpy()), y.numpy())
    optimizer.step(tape.backward(value, optimizer.quantities))
    end = np.concatenate([p.data.reshape(-1) for p in ours.parameters()])
    np.testing.assert_allclose(end - start, -0.5 * expected, rtol=1e-8, atol=1e-12)
