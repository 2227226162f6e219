"""Schedules have the rates of `torch.optim.lr_scheduler`'s, at each of 200 steps."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_training as training

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
STEPS = 200

CASES = {
    "LambdaLR": [{"lr_lambda": lambda t: 0.95**t}, {"lr_lambda": [lambda t: 1 / (1 + t)] * 2}],
    "MultiplicativeLR": [{"lr_lambda": lambda t: 0.99}],
    "StepLR": [{"step_size": 30}, {"step_size": 7, "gamma": 0.9}],
    "MultiStepLR": [{"milestones": [3, 50, 50, 120]}],
    "ConstantLR": [{}, {"factor": 0.5, "total_iters": 20}],
    "LinearLR": [{}, {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 60}],
    "ExponentialLR": [{"gamma": 0.98}],
    "PolynomialLR": [{}, {"total_iters": 150, "power": 2.5}],
    "CosineAnnealingLR": [{"T_max": 200}, {"T_max": 13, "eta_min": 1e-3}],
    "CosineAnnealingWarmRestarts": [{"T_0": 11}, {"T_0": 5, "T_mult": 3, "eta_min": 0.01}],
    "CyclicLR": [
        {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 9},
        {
            "base_lr": [0.01, 0.1],
            "max_lr": 0.5,
            "step_size_up": 5,
            "step_size_down": 12,
            "mode": "triangular2",
            "base_momentum": 0.3,
        },
        {
            "base_lr": 0.01,
            "max_lr": 0.3,
            "step_size_up": 9,
            "mode": "exp_range",
            "gamma": 0.99,
            "cycle_momentum": False,
        },
        {
            "base_lr": 0.01,
            "max_lr": 0.3,
            "step_size_up": 9,
            "scale_fn": lambda x: 0.8**x,
            "scale_mode": "iterations",
        },
    ],
    "OneCycleLR": [
        {"max_lr": 1.0, "total_steps": 201},
        {
            "max_lr": [0.5, 0.1],
            "epochs": 21,
            "steps_per_epoch": 10,
            "anneal_strategy": "linear",
            "pct_start": 0.2,
            "div_factor": 10.0,
        },
        {"max_lr": 1.0, "total_steps": 250, "three_phase": True, "base_momentum": 0.5},
        {"max_lr": 1.0, "total_steps": 201, "cycle_momentum": False},
    ],
    "SWALR": [
        {"swa_lr": 0.05},
        {"swa_lr": 0.5, "anneal_epochs": 50, "anneal_strategy": "linear"},
        {"swa_lr": 0.05, "anneal_epochs": 0},
    ],
}
EVERY = [(name, options) for name, cases in CASES.items() for options in cases]


def module_of(name):
    return torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler


def optimizers(kind="SGD"):
    options = {"momentum": 0.9} if kind == "SGD" else {}
    ours = [tracer.parameter(np.ones(2)) for _ in range(2)]
    theirs = [torch.ones(2, requires_grad=True) for _ in range(2)]
    pair = []
    for library, (a, b) in ((training, ours), (torch.optim, theirs)):
        groups = [{"params": [a], "lr": 0.2}, {"params": [b], "lr": 0.07}]
        pair.append(getattr(library, kind)(groups, lr=0.1, **options))
    return pair


def pair_of(name, options, kind="SGD"):
    ours, theirs = optimizers(kind)
    return getattr(training, name)(ours, **options), getattr(module_of(name), name)(
        theirs, **options
    )


def assert_alike(ours, theirs, step):
    for own, other in zip(ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True):
        assert own["lr"] == pytest.approx(float(other["lr"]), rel=1e-9, abs=1e-14), step
        for key in ("momentum", "betas"):
            if key in own:
                assert own[key] == pytest.approx(other[key], rel=1e-9), step
    assert ours.get_last_lr() == pytest.approx([float(x) for x in theirs.get_last_lr()], rel=1e-9)
    assert ours.last_epoch == theirs.last_epoch


@pytest.fixture(autouse=True)
def steps_are_taken(monkeypatch, recwarn):
    """PyTorch warns of schedules whose optimiser never steps."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize(("name", "options"), EVERY)
def test_rates_are_those_of_pytorch(name, options, kind):
    ours, theirs = pair_of(name, options, kind)
    assert_alike(ours, theirs, 0)
    for step in range(1, STEPS):
        ours.step()
        theirs.step()
        assert_alike(ours, theirs, step)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_rate_that_is_changed_by_hand_goes_on_as_in_pytorch(name, options):
    ours, theirs = pair_of(name, options)
    for step in range(1, 40):
        if step in (4, 17):
            for schedule in (ours, theirs):
                schedule.optimizer.param_groups[0]["lr"] *= 0.5
        ours.step()
        theirs.step()
        assert_alike(ours, theirs, step)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_state_goes_on_in_a_new_schedule(name, options):
    ours, theirs = pair_of(name, options)
    for _ in range(23):
        ours.step()
        theirs.step()
    again = pair_of(name, options)[0]
    again.optimizer.load_state_dict(ours.optimizer.state_dict())
    again.load_state_dict(ours.state_dict())
    for step in range(60):
        again.step()
        theirs.step()
        assert_alike(again, theirs, step)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_arguments_and_their_defaults_are_those_of_pytorch(name, options):
    ours = inspect.signature(getattr(training, name)).parameters
    theirs = inspect.signature(getattr(module_of(name), name)).parameters
    assert list(ours) == list(theirs)
    for key, parameter in theirs.items():
        assert ours[key].default == parameter.default, key


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_state_of_pytorch_goes_on(name, options):
    theirs = pair_of(name, options)[1]
    for _ in range(23):
        theirs.step()
    ours = pair_of(name, options)[0]
    ours.optimizer.load_state_dict(theirs.optimizer.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for step in range(60):
        ours.step()
        theirs.step()
        assert_alike(ours, theirs, step)


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_last_epoch_resumes(name, options):
    """The optimiser's state is loaded first, and then the schedule is made for its step."""
    made = []
    for library, schedule, optimizer in zip(
        (training, module_of(name)), pair_of(name, options), optimizers(), strict=True
    ):
        for _ in range(7):
            schedule.step()
        optimizer.load_state_dict(schedule.optimizer.state_dict())
        made.append(getattr(library, name)(optimizer, **options, last_epoch=7))
    for step in range(40):
        assert_alike(*made, step)
        for schedule in made:
            schedule.step()


def rates(schedule):
    return [float(group["lr"]) for group in schedule.optimizer.param_groups]


def made_of(parts, milestone, combine):
    """Our schedule and PyTorch's of these parts, by `combine(library, optimizer, schedules)`."""
    pair = []
    for ours, optimizer in zip((True, False), optimizers(), strict=True):
        made = [
            getattr(training if ours else module_of(name), name)(optimizer, **options)
            for name, options in parts
        ]
        library = training if ours else torch.optim.lr_scheduler
        pair.append(combine(library, optimizer, made, milestone))
    return pair


def sequential(library, optimizer, schedules, milestone):
    milestones = [milestone + 5 * i for i in range(len(schedules) - 1)]
    return library.SequentialLR(optimizer, schedules, milestones)


def chained(library, optimizer, schedules, milestone):
    return library.ChainedScheduler(schedules)


def nested(library, optimizer, schedules, milestone):
    inner = library.SequentialLR(optimizer, schedules[:2], [milestone])
    return library.ChainedScheduler([inner, *schedules[2:]], optimizer)


def first_of(library, optimizer, schedules, milestone):
    inner = library.ChainedScheduler(schedules[:2])
    return library.SequentialLR(optimizer, [inner, *schedules[2:]], [milestone])


def assert_steps_alike(ours, theirs, steps, by_hand=()):
    for step in range(steps):
        np.testing.assert_allclose(rates(ours), rates(theirs), rtol=1e-9, atol=1e-14, err_msg=step)
        np.testing.assert_allclose(
            ours.get_last_lr(), [float(x) for x in theirs.get_last_lr()], rtol=1e-9, atol=1e-14
        )
        for own, other in zip(
            ours.optimizer.param_groups, theirs.optimizer.param_groups, strict=True
        ):
            assert own["momentum"] == pytest.approx(other["momentum"], rel=1e-9)
        for schedule in (ours, theirs):
            if step in by_hand:
                schedule.optimizer.param_groups[0]["lr"] *= 0.5
            schedule.step()


@pytest.mark.parametrize("combine", [sequential, chained])
@pytest.mark.parametrize("second", CASES)
@pytest.mark.parametrize("first", CASES)
def test_every_schedule_with_every_other(first, second, combine):
    """One after the other, at once from step 0 on, and together; rates are changed by hand, too."""
    for one in CASES[first]:
        for other in CASES[second]:
            for milestone in (7, 0):
                parts = [(first, one), (second, other)]
                ours, theirs = made_of(parts, milestone, combine)
                assert_steps_alike(ours, theirs, 40, by_hand=(3, 20))


SEVERAL = [
    [
        ("LinearLR", {"total_iters": 10}),
        ("StepLR", {"step_size": 20}),
        ("PolynomialLR", {"total_iters": 60}),
    ],
    [
        ("ConstantLR", {"total_iters": 20}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("CosineAnnealingLR", {"T_max": 30}),
    ],
]


@pytest.mark.parametrize("combine", [sequential, chained, nested, first_of])
@pytest.mark.parametrize("parts", SEVERAL)
def test_schedules_of_several_schedules(parts, combine):
    assert_steps_alike(*made_of(parts, 9, combine), 60)


@pytest.mark.parametrize("combine", [sequential, chained, nested])
@pytest.mark.parametrize("parts", SEVERAL)
def test_a_state_of_several_schedules_of_pytorch_goes_on(parts, combine):
    _, theirs = made_of(parts, 9, combine)
    for _ in range(12):
        theirs.step()
    ours, _ = made_of(parts, 9, combine)
    ours.optimizer.load_state_dict(theirs.optimizer.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert_steps_alike(ours, theirs, 40)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "factor": 0.5, "patience": 3, "cooldown": 2},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "min_lr": 1e-3},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 0, "factor": 0.7},
    ],
)
def test_a_plateau_is_seen_as_by_pytorch(options):
    ours, theirs = optimizers()
    own = training.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng = np.random.default_rng(0)
    for step in range(150):
        value = 1 / (1 + 0.1 * step) + 0.1 * rng.standard_normal()
        own.step(value)
        other.step(value)
        assert_alike(own, other, step)


def test_what_is_no_number_is_a_bad_epoch_as_for_pytorch():
    ours, theirs = optimizers()
    own = training.ReduceLROnPlateau(ours, patience=1)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, patience=1)
    for step, value in enumerate([1.0, np.nan, np.nan, np.inf, 0.5, -np.inf, np.nan, np.nan]):
        own.step(value)
        other.step(value)
        assert_alike(own, other, step)


def test_a_state_of_a_plateau_of_pytorch_goes_on():
    ours, theirs = optimizers()
    own = training.ReduceLROnPlateau(ours, patience=2, cooldown=1)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, patience=2, cooldown=1)
    for _ in range(5):
        other.step(1.0)
    ours.load_state_dict(theirs.state_dict())
    own.load_state_dict(other.state_dict())
    for step in range(20):
        own.step(1.0)
        other.step(1.0)
        assert_alike(own, other, step)
