"""Options of the wrong kind, and options that there are not: refused by the name that was called.

No boolean option is taken for its truth: `values=3` may have been meant as a number of values.
"""

import inspect

import numpy as np
import pytest

import tracer

X = np.ones(3)


def square(x):
    return np.sum(x * x)


def taped(**options):
    with tracer.Tape(**options) as tape:
        loss = square(tracer.parameter(X))
    tape.backward(loss)
    return tape


def swept(**options):
    tape = tracer.Tape()
    with tape:
        loss = square(tracer.parameter(X))
    return tape.backward(loss, **options)


#: what is called with the option of each name
CALLS = {
    "Tape": taped,
    "grad": lambda **o: tracer.grad(square, **o),
    "value_and_grad": lambda **o: tracer.value_and_grad(square, **o),
    "value_and_jacobian": lambda **o: tracer.value_and_jacobian(square, **o),
    "jacobian": lambda **o: tracer.jacobian(square, **o),
    "hessian": lambda **o: tracer.hessian(square, **o),
    "vjp": lambda **o: tracer.vjp(square, X, **o),
    "jvp": lambda **o: tracer.jvp(square, (X,), (X,), **o),
    "steps": lambda **o: list(tracer.steps(3, **o)),
}


def flags():
    """The public callables with boolean options, and the names of these."""
    for name in tracer.__all__:
        value = getattr(tracer, name)
        if not callable(value) or not getattr(value, "__module__", "").startswith("tracer."):
            continue
        try:
            parameters = inspect.signature(value).parameters.values()
        except (TypeError, ValueError):
            continue
        for parameter in parameters:
            if parameter.annotation in (bool, "bool"):
                yield name, parameter.name


def test_the_table_is_complete():
    assert set(CALLS) == {name for name, _ in flags() if name != "hookimpl"}  # that is pluggy's


@pytest.mark.parametrize(("name", "option"), [f for f in flags() if f[0] != "hookimpl"])
def test_an_option_that_is_true_or_false_takes_nothing_else(name, option):
    for wrong in (3, 1, "no", None):
        with pytest.raises(
            tracer.TracingError, match=rf"^{name} takes True or False as {option}, .*{wrong}"
        ):
            CALLS[name](**{option: wrong})
    CALLS[name](**{option: np.False_})


@pytest.mark.parametrize("name", CALLS)
def test_an_option_that_there_is_not_is_refused_by_the_name_that_was_called(name):
    with pytest.raises(TypeError, match=rf"{name}(\.__init__)?\(\) .*'foo'"):
        CALLS[name](foo=1)


@pytest.mark.parametrize(
    "option",
    [
        {"direction": "x"},
        {"time": "x"},
        {"depth": 1.5},
        {"depth": True},
        {"depth": [1]},
        {"open": 3},
        {"open": [3]},
        {"steps": 3.5},
        {"steps": [2]},
        {"overlay": 3},
        {"theme": "x"},
        {"title": 3},
    ],
    ids=str,
)
def test_a_picture_refuses_other_options_by_their_names(option):
    (name,) = option
    with pytest.raises(tracer.GraphError, match=f"^{name} is "):
        taped().draw(**option)


@pytest.mark.parametrize("option", [{"direction": "x"}, {"time": 3}], ids=str)
def test_a_graph_refuses_other_options_by_their_names(option):
    (name,) = option
    with pytest.raises(tracer.GraphError, match=f"^{name} is "):
        taped().graph(**option)


@pytest.mark.parametrize(
    "option",
    [
        {"memory_budget": "x"},
        {"memory_budget": True},
        {"rng": 3},
        {"reduce": 3},
        {"outputs": 3},
        {"undefined": True},
        {"parameters": 3},
        {"progress": 3},
        {"samples": 3},
    ],
    ids=str,
)
def test_a_sweep_refuses_other_options_by_their_names(option):
    (name,) = option
    with pytest.raises(tracer.TracerError, match=f"^{name} (is|are|maps) "):
        swept(**option)


@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (lambda: tracer.parameter(X, name=3), "parameter"),
        (lambda: tracer.batch(X, name=3), "batch"),
        (lambda: tracer.scope(3), "scope"),
    ],
    ids=["parameter", "batch", "scope"],
)
def test_a_name_is_a_string(make, owner):
    with pytest.raises(tracer.TracingError, match=f"^{owner} takes its name as a string, got 3"):
        make()
