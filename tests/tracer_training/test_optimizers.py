"""What all optimisers that mirror PyTorch's keep to, whatever their rule."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest

import tracer
import tracer_layers as nn
import tracer_training as training
from tracer.errors import ShapeError, TracerError
from tracer_training.optimizers import first_order

EVERY = [name for name in training.optimizers.__all__ if name not in ("Loss", "Optimizer")]
FIRST = [name for name in EVERY if name != "LBFGS"]
#: options with which all parts of a rule are used, and what it keeps
OPTIONS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"betas": (0.9, 0.9), "weight_decay": 0.1},
    "RMSprop": {"centered": True, "momentum": 0.5, "weight_decay": 0.1},
    "Adagrad": {"lr_decay": 0.1, "weight_decay": 0.1},
    "Adadelta": {"weight_decay": 0.1},
    "Adafactor": {"weight_decay": 0.1},
    "ASGD": {"lambd": 0.01, "t0": 2, "weight_decay": 0.1},
    "LBFGS": {"lr": 0.5, "max_iter": 3, "line_search_fn": "strong_wolfe"},
}


class Problem:
    """A small model, its data, and an optimiser of its weights."""

    def __init__(self, name, dtype=np.float64, **options):
        tracer.seed(0)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        model.to(np.dtype(dtype))
        rng = np.random.default_rng(0)
        self.x, self.y = rng.standard_normal((8, 5)).astype(dtype), np.arange(8) % 3
        self.model = model
        self.parameters = [p for p in model.parameters() if name != "Muon" or p.ndim == 2]
        self.optimizer = getattr(training, name)(
            self.parameters, **{**OPTIONS.get(name, {}), **options}
        )

    def record(self):
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(self.model(self.x), self.y)
        return tape, loss

    def closure(self):
        tape, loss = self.record()
        return tape.backward(loss, self.optimizer.quantities)

    def take(self, steps):
        for _ in range(steps):
            self.optimizer.step(self.closure(), self.closure)

    def values(self):
        return [p.data.copy() for p in self.parameters]


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# -- whose arrays are written into -----------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_what_others_refer_to_is_not_written_into(name):
    problem = Problem(name)
    problem.take(2)
    read = [p.data for p in problem.parameters]
    before = problem.values()
    problem.take(1)
    assert_same_bits(read, before)
    assert any(np.any(p.data != old) for p, old in zip(problem.parameters, before, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_a_tape_gives_the_gradient_of_before_a_step(name):
    problem = Problem(name)
    problem.take(1)
    tape, loss = problem.record()
    before = {key: value.copy() for key, value in tape.backward(loss)["grad"].items()}
    problem.take(1)
    again = tape.backward(loss)["grad"]
    assert_same_bits(before.values(), again.values())


@pytest.mark.parametrize("name", FIRST)
def test_what_nobody_else_refers_to_is_stepped_in_place(name):
    parameter = tracer.parameter(np.ones((3, 4)))
    optimizer = getattr(training, name)([parameter], **OPTIONS.get(name, {}))
    before = parameter.data.ctypes.data
    optimizer.step({"grad": {parameter: np.full((3, 4), 0.5)}})
    assert parameter.data.ctypes.data == before
    assert np.all(parameter.data != 1)


@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_not_written_into(name):
    problem = Problem(name)
    problem.take(1)
    results = problem.closure()
    before = {key: value.copy() for key, value in results["grad"].items()}
    problem.optimizer.step(results, problem.closure)
    assert_same_bits(results["grad"].values(), before.values())


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIRST)
def test_blocks_change_no_bit(name, monkeypatch):
    whole = Problem(name)
    whole.take(4)
    monkeypatch.setattr(first_order, "BLOCK", 7)
    divided = Problem(name)
    divided.take(4)
    assert_same_bits(whole.values(), divided.values())


LAYOUTS = {
    "fortran": lambda a: np.asfortranarray(a),
    "sliced": lambda a: np.repeat(np.repeat(a, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "read only": lambda a: np.broadcast_to(a, (1, *a.shape))[0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FIRST)
def test_how_a_parameter_lies_in_memory_changes_nothing(name, layout, monkeypatch):
    monkeypatch.setattr(first_order, "BLOCK", 7)
    rng = np.random.default_rng(0)
    value, gradients = rng.standard_normal((6, 5)), rng.standard_normal((4, 6, 5))
    found = []
    for laid in (np.ascontiguousarray, LAYOUTS[layout]):
        parameter = tracer.parameter(value.copy())
        parameter._value = laid(value.copy())
        optimizer = getattr(training, name)([parameter], **OPTIONS.get(name, {}))
        for gradient in gradients:
            optimizer.step({"grad": {parameter: laid(gradient)}})
        found.append(parameter.data)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", EVERY)
def test_dtypes_are_kept(name, dtype):
    problem = Problem(name, dtype, lr=np.float64(0.01))
    problem.take(3)
    for parameter in problem.parameters:
        assert parameter.dtype == dtype
        assert np.all(np.isfinite(parameter.data))
    for state in problem.optimizer.state.values():
        arrays = [v for v in state.values() if isinstance(v, np.ndarray)]
        kept = np.float32 if dtype == np.float16 else dtype
        assert all(array.dtype == kept for array in arrays)


@pytest.mark.parametrize("name", FIRST)
def test_half_precision_steps_as_single_does(name):
    """From gradients whose squares half precision does not hold, and zeros."""
    found = []
    for dtype in (np.float16, np.float32):
        parameter = tracer.parameter(np.ones((2, 3), dtype))
        optimizer = getattr(training, name)([parameter], **OPTIONS.get(name, {}))
        gradient = np.array([[1e-4, -1e-4, 0.0], [1e-3, 2.0, -3e-4]], np.float16)
        for _ in range(3):
            optimizer.step({"grad": {parameter: gradient}})
        found.append(parameter.data.astype(np.float32))
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3)


@pytest.mark.parametrize("name", FIRST)
def test_options_of_numpy_decide_no_bit(name):
    given = inspect.signature(getattr(training, name)).parameters
    numbers = {
        key: (tuple(map(np.float64, p.default)) if isinstance(p.default, tuple) else p.default)
        for key, p in given.items()
        if isinstance(p.default, float | tuple)
        and None not in np.atleast_1d(p.default)
        and key not in OPTIONS.get(name, {})
    }
    numbers = {k: v if isinstance(v, tuple) else np.float64(v) for k, v in numbers.items()}
    plain_numbers = {key: given[key].default for key in numbers}
    found = []
    for options in (numbers, plain_numbers):
        problem = Problem(name, np.float32, **options)
        problem.take(3)
        found.append(problem.values())
    assert_same_bits(*found)


@pytest.mark.parametrize("name", [n for n in FIRST if n != "Muon"])
def test_maximizing_is_minimizing_the_negative(name):
    gradients = np.random.default_rng(0).standard_normal((5, 3, 4))
    found = []
    for sign in (1, -1):
        parameter = tracer.parameter(np.ones((3, 4)))
        options = {**OPTIONS.get(name, {}), "maximize": sign < 0}
        optimizer = getattr(training, name)([parameter], **options)
        for gradient in gradients:
            optimizer.step({"grad": {parameter: sign * gradient}})
        found.append([parameter.data])
    assert_same_bits(*found)


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_state_goes_on_to_the_same_bits(name):
    problem, again = Problem(name), Problem(name, lr=0.7)
    problem.take(3)
    for own, other in zip(again.parameters, problem.parameters, strict=True):
        own.data = other.data
    saved = problem.optimizer.state_dict()
    json.dumps({**saved, "state": None})
    again.optimizer.load_state_dict(saved)
    problem.take(3)
    again.take(3)
    assert_same_bits(problem.values(), again.values())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("name", EVERY)
def test_copies_and_pickles_go_on_to_the_same_bits(name, copied):
    problem = Problem(name)
    problem.take(2)
    model, optimizer = copied((problem.model, problem.optimizer))
    held = {id(p) for p in model.parameters()}
    assert all(id(p) in held for group in optimizer.param_groups for p in group["params"])
    again = Problem(name)
    again.model, again.optimizer = model, optimizer
    again.parameters = optimizer.param_groups[0]["params"]
    problem.take(2)
    again.take(2)
    assert_same_bits(problem.values(), again.values())


def plain(state):
    """A state as bytes, to be compared."""
    return pickle.dumps(state)


@pytest.mark.parametrize("other", EVERY)
@pytest.mark.parametrize("name", EVERY)
def test_a_state_of_another_optimizer_is_refused(name, other):
    if name == other:
        return
    problem, foreign = Problem(name), Problem(other)
    for each, kind in ((problem, name), (foreign, other)):
        if "Muon" in (name, other):  # which is of matrices alone
            each.parameters = [p for p in each.parameters if p.ndim == 2]
            each.optimizer = getattr(training, kind)(each.parameters, **OPTIONS.get(kind, {}))
        each.take(2)
    before = plain(problem.optimizer.state_dict())
    if (name, other) == ("Adam", "AdamW"):  # which is Adam with an option
        problem.optimizer.load_state_dict(foreign.optimizer.state_dict())
        return
    with pytest.raises(TracerError, match=r"another optimiser|options are of Adam"):
        problem.optimizer.load_state_dict(foreign.optimizer.state_dict())
    assert plain(problem.optimizer.state_dict()) == before


def spoilt(state, spoil):
    state = copy.deepcopy(state)
    spoil(state)
    return state


def of_another_shape(state):
    arrays = state["state"][0]
    key = next(key for key, value in arrays.items() if isinstance(value, np.ndarray))
    arrays[key] = np.ones((9, 9))


SPOILT = {
    "fewer parameters": (lambda s: s["param_groups"][0]["params"].pop(), "groups of"),
    "a wrong option": (lambda s: s["param_groups"][0].update(lr=-1), "lr as a number"),
    "no groups": (lambda s: s.pop("param_groups"), "lacks 'param_groups'"),
    "another model": (of_another_shape, "of another model"),
}


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("name", EVERY)
def test_a_state_that_does_not_fit_changes_nothing(name, what):
    spoil, said = SPOILT[what]
    problem = Problem(name)
    problem.take(2)
    state = spoilt(problem.optimizer.state_dict(), spoil)
    before = plain(problem.optimizer.state_dict())
    with pytest.raises(TracerError, match=said):
        problem.optimizer.load_state_dict(state)
    assert plain(problem.optimizer.state_dict()) == before


# -- arguments -------------------------------------------------------------------------------------

ONE = tracer.parameter(np.ones((3, 2)))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (ONE, r"got one tensor: give \[parameter\]"),
        (nn.Linear(2, 2), "give model.parameters"),
        ([], r"no parameters: .* by nn.ModuleList"),
        ([ONE, ONE], "a parameter twice"),
        ([{"params": [ONE]}, {"params": [ONE]}], "a parameter twice"),
        ([np.ones(3)], "got a ndarray"),
        ([np.sin(ONE)], "which is none"),
        (3, "got a int"),
        ([{"lr": 1}], "lacks its parameters"),
        ([{"params": [ONE], "speed": 1}], "no option 'speed'"),
        ([("a", ONE), tracer.parameter(np.ones((2, 2)))], "all parameters with names, or none"),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_what_are_no_parameters_is_refused(name, params, said):
    if name == "LBFGS" and isinstance(params, list) and len(params) == 2 and "twice" in said:
        params = [ONE, ONE]
    with pytest.raises(TracerError, match=said):
        getattr(training, name)(params)


WRONG = {
    "lr": [-1, "fast", float("nan"), True, None],
    "betas": [0.9, (0.9,), (1.0, 0.9), ("a", 0.9), (0.9, 0.9, 0.9)],
    "etas": [0.5, (1.5, 0.5)],
    "step_sizes": [(1,), (5, 1)],
    "eps": [-1],
    "weight_decay": [-0.1],
    "momentum": [-0.1],
    "ns_coefficients": [(1, 2)],
    "ns_steps": [-1, 1.5],
    "max_iter": [0, 1.5],
    "history_size": [0],
    "line_search_fn": ["armijo"],
    "differentiable": [True],
}


@pytest.mark.parametrize("name", EVERY)
def test_options_that_make_no_sense_are_refused(name):
    for option in WRONG.keys() & inspect.signature(getattr(training, name)).parameters.keys():
        for value in WRONG[option]:
            with pytest.raises(TracerError, match=f"{name}.*{option}"):
                getattr(training, name)([ONE], **{option: value})


@pytest.mark.parametrize(
    ("results", "said"),
    [
        (None, "expects the results of a sweep"),
        (lambda: None, "expects the results of a sweep"),
        ({"kfac": {}}, "needs '(grad|loss)'"),
        ({"grad": np.ones(3), "loss": 1.0}, "to map parameters"),
        ({"grad": {tracer.parameter(np.ones(3)): np.ones(3)}, "loss": 1.0}, "no parameter that"),
        ({"grad": {ONE: np.ones((2, 3))}, "loss": 1.0}, "has its shape"),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_results_that_do_not_fit_change_nothing(name, results, said):
    other = tracer.parameter(np.ones((2, 2)))
    optimizer = getattr(training, name)([other, ONE])
    if said == "has its shape":  # after one that fits
        results = {"grad": {other: np.ones((2, 2)), ONE: np.ones((2, 3))}, "loss": 1.0}
    with pytest.raises(TracerError, match=said):
        optimizer.step(results, lambda: results)
    assert not any(state.get("step") for state in optimizer.state.values())
    assert np.all(other.data == 1)


def test_muon_is_of_matrices():
    with pytest.raises(ShapeError, match="give vectors and other parameters to AdamW"):
        training.Muon([tracer.parameter(np.ones(3))])


def test_a_group_that_is_refused_is_not_added():
    optimizer = training.AdamW([ONE])
    with pytest.raises(TracerError):
        optimizer.add_param_group({"params": [tracer.parameter(np.ones(2))], "lr": -1})
    assert len(optimizer.param_groups) == 1
