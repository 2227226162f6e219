"""Optimisers take the steps of `torch.optim`'s: 300 of them, in float64."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_training as training

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

SHAPES = {"weight": (5, 4), "tall": (7, 3), "bias": (5,), "kernel": (2, 3, 3)}
STEPS = 300

#: optimiser -> options, each of which is tried
CASES = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.01, "maximize": True},
    ],
    "Adam": [
        {},
        {"amsgrad": True, "weight_decay": 0.1},
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
        {"decoupled_weight_decay": True, "weight_decay": 0.3, "maximize": True},
    ],
    "AdamW": [{}, {"lr": 0.02, "weight_decay": 0.5, "amsgrad": True}, {"maximize": True}],
    "Adamax": [{}, {"weight_decay": 0.1, "maximize": True}],
    "NAdam": [
        {},
        {"weight_decay": 0.1, "momentum_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "RAdam": [
        {},
        {"betas": (0.9, 0.9), "weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    ],
    "RMSprop": [
        {},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"centered": True, "alpha": 0.9},
        {"centered": True, "momentum": 0.5, "maximize": True, "lr": 1e-3},
    ],
    "Adagrad": [
        {},
        {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
        {"maximize": True},
    ],
    "Adadelta": [{}, {"rho": 0.5, "weight_decay": 0.1, "lr": 0.3}, {"maximize": True}],
    "ASGD": [{}, {"lambd": 0.01, "t0": 10, "weight_decay": 0.1}, {"maximize": True, "alpha": 1.0}],
    "Rprop": [{}, {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}, {"maximize": True}],
    "Adafactor": [
        {},
        {"weight_decay": 0.1, "eps": (1e-6, 1e-2), "d": 2.0},
        {"lr": 0.1, "beta2_decay": -0.5, "maximize": True},
    ],
    "Muon": [
        {},
        {"nesterov": False, "weight_decay": 0.0},
        {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3, "momentum": 0.5},
    ],
}
EVERY = [(name, options) for name, cases in CASES.items() for options in cases]


def shown(value):
    return value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items())


def shapes_of(name):
    return {key: s for key, s in SHAPES.items() if name != "Muon" or len(s) == 2}


@pytest.fixture(autouse=True)
def in_double(monkeypatch):
    """PyTorch's Muon iterates in bfloat16, and its ASGD keeps its rate in float32: not here."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start(name):
    rng = np.random.default_rng(0)
    values = {key: rng.standard_normal(shape) for key, shape in shapes_of(name).items()}
    ours = {key: tracer.parameter(value, key) for key, value in values.items()}
    theirs = {key: torch.tensor(value, requires_grad=True) for key, value in values.items()}
    return ours, theirs


def gradients(values, step):
    """Those of a bumpy bowl, with noise that depends on the step alone."""
    rng = np.random.default_rng(step)
    return {
        key: value + np.sin(3 * value) + 0.5 * rng.standard_normal(value.shape)
        for key, value in values.items()
    }


def ours_step(optimizer, parameters, step):
    optimizer.step({"grad": gradients({k: p.data for k, p in parameters.items()}, step)})


def their_step(optimizer, parameters, step):
    found = gradients({k: p.detach().numpy() for k, p in parameters.items()}, step)
    for key, parameter in parameters.items():
        parameter.grad = torch.tensor(found[key])
    optimizer.step()


def assert_alike(ours, theirs, rtol=1e-9):
    for key, parameter in ours.items():
        np.testing.assert_allclose(
            parameter.data, theirs[key].detach().numpy(), rtol=rtol, atol=rtol, err_msg=key
        )


@pytest.mark.parametrize(("name", "options"), EVERY, ids=shown)
def test_hundreds_of_steps_are_those_of_pytorch(name, options):
    ours, theirs = start(name)
    optimizer = getattr(training, name)(ours.items(), **options)
    their = getattr(torch.optim, name)(theirs.values(), **options)
    for step in range(STEPS):
        ours_step(optimizer, ours, step)
        their_step(their, theirs, step)
    assert_alike(ours, theirs)


@pytest.mark.parametrize("name", [name for name in CASES if name != "Muon"])
def test_groups_have_options_of_their_own(name):
    ours, theirs = start(name)
    split = [["weight"], ["bias", "kernel", "tall"]]
    options = {"lr": 0.03}

    def groups(parameters):
        first, second = [[parameters[key] for key in keys] for keys in split]
        return [{"params": first}, {"params": second, **options}]

    named = [
        {"params": [(key, ours[key]) for key in keys], **given}
        for keys, given in zip(split, ({}, options), strict=True)
    ]
    optimizer = getattr(training, name)(named)
    their = getattr(torch.optim, name)(groups(theirs))
    for step in range(30):
        ours_step(optimizer, ours, step)
        their_step(their, theirs, step)
    assert_alike(ours, theirs)


@pytest.mark.parametrize(("name", "options"), EVERY, ids=shown)
def test_a_state_of_pytorch_is_taken_over(name, options):
    ours, theirs = start(name)
    their = getattr(torch.optim, name)(theirs.values(), **options)
    for step in range(7):
        their_step(their, theirs, step)
    for key, parameter in ours.items():
        parameter.data = theirs[key].detach().numpy()
    optimizer = getattr(training, name)(ours.items())
    optimizer.load_state_dict(their.state_dict())
    for step in range(7, 30):
        ours_step(optimizer, ours, step)
        their_step(their, theirs, step)
    assert_alike(ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_arguments_and_their_defaults_are_those_of_pytorch(name):
    ours = inspect.signature(getattr(training, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    assert list(ours) == list(theirs)
    for key, parameter in theirs.items():
        assert ours[key].kind == parameter.kind, key
        assert ours[key].default == parameter.default, key


ROSENBROCK = [
    {},
    {"line_search_fn": "strong_wolfe"},
    {"lr": 0.3, "max_iter": 5, "history_size": 3},
    {"line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 7, "max_eval": 9},
]


@pytest.mark.parametrize("options", ROSENBROCK, ids=shown)
def test_lbfgs_takes_the_steps_of_pytorch(options):
    rng = np.random.default_rng(0)
    values = [0.3 * rng.standard_normal((2, 3)), 0.3 * rng.standard_normal(4)]
    ours = [tracer.parameter(value) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]

    def loss_of(x, y, library):
        z = library.concatenate([x.reshape(-1), y])
        return (10 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()

    optimizer = training.LBFGS(ours, **options)
    their = torch.optim.LBFGS(theirs, **options)

    def closure():
        with tracer.Tape() as tape:
            loss = loss_of(*ours, np)
        return tape.backward(loss, optimizer.quantities)

    def their_closure():
        their.zero_grad()
        loss = loss_of(*theirs, torch)
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.step(closure(), closure)
        their.step(their_closure)
        for own, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(own.data, other.detach().numpy(), rtol=1e-6, atol=1e-8)
    saved = optimizer.state_dict()["state"][0]
    assert saved["n_iter"] == their.state_dict()["state"][0]["n_iter"]
    assert saved["func_evals"] == their.state_dict()["state"][0]["func_evals"]
