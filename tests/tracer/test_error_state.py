"""How the user lets NumPy treat floating-point errors is how they are treated on a tape, too."""

import inspect

import numpy as np
import pytest

import tracer


def recorded():
    """A tape and a loss whose record divides by zero, in its value and in its gradient."""
    w = tracer.parameter(np.array([0.0, 1.0]), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(np.log(w))
    return tape, loss


def swept():
    tape, loss = recorded()
    return tape.backward(loss)


def test_warnings_name_the_line_that_recorded():
    lines, first = inspect.getsourcelines(recorded)
    line = first + next(i for i, text in enumerate(lines) if "np.log" in text)
    with pytest.warns(RuntimeWarning) as caught:
        swept()
    assert {(w.filename, w.lineno) for w in caught} == {(__file__, line)}
    assert any("the derivative of log" in str(w.message) for w in caught)


def test_what_is_ignored_or_raised_stays_so():
    with np.errstate(divide="ignore"):
        swept()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        recorded()


def test_a_function_of_the_users_stays_the_one_that_is_called():
    called = []
    with np.errstate(divide="call", call=lambda kind, flag: called.append(kind)):
        swept()
    assert set(called) == {"divide by zero"}


def test_the_state_is_the_users_again_after_a_tape():
    before = np.geterr(), np.geterrcall()
    with np.errstate(divide="ignore"), tracer.Tape(), tracer.Tape():
        pass
    with pytest.raises(KeyError), tracer.Tape():
        raise KeyError
    assert (np.geterr(), np.geterrcall()) == before
