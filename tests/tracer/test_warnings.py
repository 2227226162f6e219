"""NumPy's floating-point warnings name the user's line, whatever runs the rule they come from."""

import inspect
import sys
import threading
import warnings
from contextvars import copy_context
from functools import partial

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.arrays import parallel

X = np.array([800.0, 1.0])


def root_of_zero(x):
    return np.sum(np.sqrt(x * 0.0))


def power(x):
    return np.sum((x * 1e-200) ** -1.5)


def product(x):
    return np.sum(np.prod(x * 0.0) / x * np.where(x > 0, 1 / (x * 1e-320), x))


def user_rule(x):
    return np.sum(EARLY(x)) + np.sum(LATE(x))


@tracer.operation("early_overflow")
class EARLY(tracer.Elementwise):
    def forward(x):
        return x

    def vjp(node, g):
        return (g * np.exp(node.inputs[0]),)


@tracer.operation("late_overflow")
class LATE(tracer.Elementwise):
    def forward(x):
        return x

    def vjp(node, g):
        return (lambda: g * np.exp(node.inputs[0]),)


FUNCTIONS = [root_of_zero, power, product, user_rule]
TRANSFORMS = {
    "grad": lambda f: tracer.grad(f)(X),
    "value_and_grad": lambda f: tracer.value_and_grad(f)(X),
    "vjp": lambda f: tracer.vjp(f, X)[1](np.array(1.0)),
    "jvp": lambda f: tracer.jvp(f, (X,), (X,)),
    "hvp": lambda f: tracer.hvp(f)(X, X),
    "jacobian": lambda f: tracer.jacobian(f)(X),
    "hessian": lambda f: tracer.hessian(f)(X),
    "third": lambda f: tracer.jacobian(tracer.hessian(f))(X),
    "backward": lambda f: record(f, "grad"),
    "diag_h": lambda f: record(f, "diag_h"),
    "H @ v": lambda f: record(f, "hessian") @ np.ones(2),
    "hmp": lambda f: record(f, "hmp")["w"] @ np.ones(2),
    "second sweep": lambda f: record(f, "grad", times=2),
}


def record(f, quantity, times=1):
    w = tracer.parameter(X, name="w")
    with tracer.Tape() as tape:
        loss = f(w)
    for _ in range(times):
        results = tape.backward(loss, quantity)
    return results[quantity]


def warned(act):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return caught


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_warnings_are_at_lines_of_the_function(function, name):
    lines, start = inspect.getsourcelines(function)
    places = {(__file__, start + i) for i in range(1, len(lines))}
    if function is user_rule:  # a rule of the user's is the user's line
        for rule in (EARLY, LATE):
            lines, start = inspect.getsourcelines(type(rule))
            places |= {(__file__, start + i) for i in range(len(lines))}
    caught = warned(lambda: TRANSFORMS[name](function))
    assert caught
    for warning in caught:
        assert (warning.filename, warning.lineno) in places, (warning.lineno, warning.message)
        assert warning.category is RuntimeWarning


def test_products_with_columns_name_the_line_of_the_operation():
    w = tracer.parameter(np.full((3, 2), 400.0), name="w")
    with tracer.Tape() as tape:
        steep = np.exp(tracer.batch(np.ones((4, 3))) @ w * 0.29)
        loss = nn.mse_loss(steep * 0.0 + 1.0, np.ones((4, 2)))
    ggn = tape.backward(loss, "ggn")["ggn"]
    caught = warned(lambda: ggn @ np.full((6, 2), 1e300))
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_settings_of_the_user_hold_in_sweeps():
    with np.errstate(all="ignore"):
        assert not warned(lambda: tracer.grad(root_of_zero)(X))
        operator = record(root_of_zero, "hessian")
        assert not warned(lambda: operator @ np.ones(2))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        tracer.grad(root_of_zero)(X)
    before = np.geterr()
    warned(lambda: tracer.hessian(root_of_zero)(X))
    assert np.geterr() == before


def test_helpers_of_a_call_name_the_callers_line():
    def act():
        with tracer.record.frames.users_warnings():
            task = [(copy_context(), partial(np.log, np.zeros(1)), sys._getframe())]
            helper = threading.Thread(target=parallel._run, args=(task,))
            helper.start()
            helper.join()

    (warning,) = warned(act)
    assert warning.filename == __file__


def test_what_rules_record_has_the_line_of_the_operation():
    with tracer.Tape() as tape:
        x = tracer.parameter(np.array([0.5]), name="x")
        tracer.grad(lambda x: np.sum(np.exp(np.sin(x))))(x)
    assert {node.code.co_filename for node in tape.nodes if node.code} == {__file__}
