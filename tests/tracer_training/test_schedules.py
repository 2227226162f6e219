"""Schedules: what they refuse, what they save, and how they resume."""

import copy
import json

import numpy as np
import pytest

import tracer
import tracer_training as training
from tracer.errors import TracerError


class Growing:
    """A function of steps with a state of its own."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return 1 / (1 + 0.1 * self.calls)


MAKERS = {
    "LambdaLR": lambda o: training.LambdaLR(o, Growing()),
    "MultiplicativeLR": lambda o: training.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: training.StepLR(o, 3),
    "MultiStepLR": lambda o: training.MultiStepLR(o, [2, 5, 5]),
    "ConstantLR": lambda o: training.ConstantLR(o),
    "LinearLR": lambda o: training.LinearLR(o),
    "ExponentialLR": lambda o: training.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: training.PolynomialLR(o, 9),
    "CosineAnnealingLR": lambda o: training.CosineAnnealingLR(o, 9),
    "CosineAnnealingWarmRestarts": lambda o: training.CosineAnnealingWarmRestarts(o, 2, 2),
    "CyclicLR": lambda o: training.CyclicLR(o, 0.1, 0.5, 3, scale_fn=Growing()),
    "OneCycleLR": lambda o: training.OneCycleLR(o, 0.5, 30),
    "SWALR": lambda o: training.SWALR(o, 0.01, 5),
    "ReduceLROnPlateau": lambda o: training.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: training.SequentialLR(
        o, [training.LinearLR(o), training.MultiStepLR(o, [2])], [4]
    ),
    "ChainedScheduler": lambda o: training.ChainedScheduler(
        [training.LinearLR(o), training.ExponentialLR(o, 0.9)]
    ),
}


def optimizer_of(groups=2):
    parameters = [{"params": [tracer.parameter(np.ones(2))]} for _ in range(groups)]
    return training.SGD(parameters, lr=0.2, momentum=0.9)


def go(schedule, steps):
    """The rates after each step."""
    found = []
    for _ in range(steps):
        schedule.step(*([1.0] if schedule.follows_a_metric else []))
        found.append([(g["lr"], g["momentum"]) for g in schedule.optimizer.param_groups])
        assert schedule.get_last_lr() == [rate for rate, _ in found[-1]]
    return found


def test_every_schedule_is_tried():
    assert MAKERS.keys() == set(training.schedules.__all__) - {"Schedule"}


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_goes_through_json_to_the_same_bits(name):
    schedule = MAKERS[name](optimizer_of())
    go(schedule, 6)
    saved = json.dumps([schedule.state_dict(), schedule.optimizer.state_dict()])
    expected = go(schedule, 12)
    again = MAKERS[name](optimizer_of())
    state, of_optimizer = json.loads(saved)
    again.optimizer.load_state_dict(of_optimizer)
    again.load_state_dict(state)
    assert go(again, 12) == expected


@pytest.mark.parametrize("name", MAKERS)
def test_a_copy_goes_on_by_itself(name):
    schedule = MAKERS[name](optimizer_of())
    go(schedule, 3)
    again = copy.deepcopy(schedule)
    assert go(again, 5) == go(schedule, 5)


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_that_was_saved_does_not_change(name):
    schedule = MAKERS[name](optimizer_of())
    go(schedule, 3)
    saved = schedule.state_dict()
    before = json.dumps(saved)
    go(schedule, 5)
    schedule.get_last_lr().append(1)
    assert json.dumps(saved) == before


@pytest.mark.parametrize("other", MAKERS)
@pytest.mark.parametrize("name", MAKERS)
def test_a_state_of_another_schedule_is_refused(name, other):
    if name == other or {name, other} == {"LambdaLR", "MultiplicativeLR"}:
        return  # what those two keep is the same, as in PyTorch
    schedule, foreign = MAKERS[name](optimizer_of()), MAKERS[other](optimizer_of())
    go(foreign, 3)
    before = json.dumps(schedule.state_dict())
    with pytest.raises(TracerError, match=f"of another schedule than {name}"):
        schedule.load_state_dict(foreign.state_dict())
    assert json.dumps(schedule.state_dict()) == before


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_of_other_groups_is_refused(name):
    schedule, foreign = MAKERS[name](optimizer_of()), MAKERS[name](optimizer_of(3))
    before = json.dumps(schedule.state_dict())
    with pytest.raises(TracerError, match=r"3 groups|3 functions"):
        schedule.load_state_dict(foreign.state_dict())
    assert json.dumps(schedule.state_dict()) == before


def test_one_wrong_state_of_several_changes_none():
    schedule = MAKERS["SequentialLR"](optimizer_of())
    before = json.dumps(schedule.state_dict())
    state = MAKERS["SequentialLR"](optimizer_of()).state_dict()
    state["_schedulers"][0]["last_epoch"] = 7
    state["_schedulers"][1].pop("gamma")
    with pytest.raises(TracerError, match="lacks 'gamma'"):
        schedule.load_state_dict(state)
    assert json.dumps(schedule.state_dict()) == before


def test_schedules_of_schedules_begin_anew_in_a_sequence():
    """PyTorch's raise there."""
    optimizer = optimizer_of(1)
    inner = training.ChainedScheduler(
        [training.LinearLR(optimizer, total_iters=2), training.ExponentialLR(optimizer, 0.5)]
    )
    schedule = training.SequentialLR(optimizer, [training.ConstantLR(optimizer, 0.1), inner], [3])
    assert [rates[0][0] for rates in go(schedule, 4)][2] == pytest.approx(0.2 / 3)
    assert go(schedule, 1)[0][0][0] == pytest.approx(0.2 * 0.5**2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda o: training.StepLR(3, 2), "expects an optimizer"),
        (lambda o: training.ReduceLROnPlateau(None), "expects an optimizer"),
        (lambda o: training.StepLR(o, 0), "step_size as a whole number from 1"),
        (lambda o: training.StepLR(o, 2, last_epoch=3), "no 'initial_lr'"),
        (lambda o: training.CosineAnnealingLR(o, 0), "T_max as a whole number"),
        (lambda o: training.CosineAnnealingWarmRestarts(o, 1.5), "T_0 as a whole number"),
        (lambda o: training.CosineAnnealingWarmRestarts(o, 2).step(-1), "not negative"),
        (lambda o: training.ConstantLR(o, 2), "factor from 0 to 1"),
        (lambda o: training.LinearLR(o, 0), "start_factor in"),
        (lambda o: training.LinearLR(o, 1, 2), "end_factor from 0 to 1"),
        (lambda o: training.LambdaLR(o, 0.9), "lr_lambda as a function"),
        (lambda o: training.LambdaLR(o, [lambda t: 1]), "for each of 2 groups, got 1"),
        (lambda o: training.CyclicLR(o, 0.1, 0.2, mode="up"), "mode is"),
        (lambda o: training.CyclicLR(o, [0.1], 0.2), "base_lr for each of 2 groups"),
        (lambda o: training.CyclicLR(o, "a", 0.2), "base_lr as a number"),
        (lambda o: training.CyclicLR(o, 0.1, 0.2, 0), "step_size_up as a whole number"),
        (lambda o: training.OneCycleLR(o, 0.1), "total_steps, or epochs"),
        (lambda o: training.OneCycleLR(o, 0.1, 0), "total_steps as a whole number"),
        (lambda o: training.OneCycleLR(o, 0.1, 9, pct_start=2), "pct_start from 0 to 1"),
        (lambda o: training.OneCycleLR(o, 0.1, 9, anneal_strategy="up"), "anneal_strategy is"),
        (lambda o: go(training.OneCycleLR(o, 0.1, 9), 20), "made for 9 steps"),
        (lambda o: training.SWALR(o, [0.1]), "swa_lr for each of 2 groups"),
        (lambda o: training.SWALR(o, 0.1, -1), "anneal_epochs as a whole number"),
        (lambda o: training.ReduceLROnPlateau(o, factor=1.5), "factor below 1"),
        (lambda o: training.ReduceLROnPlateau(o, mode="best"), "mode is"),
        (lambda o: training.ReduceLROnPlateau(o).step(), "follows a value"),
        (lambda o: training.ChainedScheduler([]), "one schedule or more"),
        (lambda o: training.ChainedScheduler([3]), "expects schedules"),
        (lambda o: training.ChainedScheduler([training.ReduceLROnPlateau(o)]), "follows one"),
        (
            lambda o: training.ChainedScheduler(
                [training.StepLR(o, 1), training.StepLR(optimizer_of(), 1)]
            ),
            "of one optimizer",
        ),
        (lambda o: training.SequentialLR(o, [training.StepLR(o, 1)], [3]), "a milestone between"),
        (
            lambda o: training.OneCycleLR(training.Adagrad(o.param_groups[0]["params"]), 1.0, 9),
            "cycle_momentum=False",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(TracerError, match=said):
        make(optimizer_of())


#: schedules that read more of a group than its rate
OF_THEIR_GROUPS = ["LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR", "SWALR"]


@pytest.mark.parametrize("name", OF_THEIR_GROUPS)
def test_a_group_that_is_added_later_is_told(name):
    schedule = MAKERS[name](optimizer_of())
    schedule.optimizer.add_param_group({"params": [tracer.parameter(np.ones(3))]})
    with pytest.raises(TracerError, match="made for 2 groups of parameters"):
        go(schedule, 1)


def test_a_group_that_is_added_later_goes_on_from_its_own_rate():
    schedule = MAKERS["StepLR"](optimizer_of())
    schedule.optimizer.add_param_group({"params": [tracer.parameter(np.ones(3))], "lr": 1.0})
    assert go(schedule, 3)[-1][-1][0] == pytest.approx(0.1)


@pytest.mark.parametrize(("total", "part"), [(10, 0.1), (5, 1.0), (1, 0.3), (7, 0.0)])
def test_one_cycle_has_a_rate_at_every_step(total, part):
    """PyTorch's divides by zero where a phase has no steps."""
    schedule = training.OneCycleLR(optimizer_of(), 1.0, total, pct_start=part)
    assert all(0 < rate <= 1 for rates in go(schedule, total - 1) for rate, _ in rates)
