"""Hooks around traces and sweeps: of functions of functions and operators, too; and their order."""

from types import ModuleType

import numpy as np
import pytest

import tracer
from tracer import PluginError
from tracer.plugins import load


@pytest.fixture
def listen():
    """Register objects as plugins for the time of a test."""
    manager, added = load().manager, []

    def add(plugin, name=None):
        added.append(plugin)
        manager.register(plugin, name=name)
        return plugin

    yield add
    for plugin in added:
        manager.unregister(plugin)


class Watcher:
    """Writes down what it is told."""

    def __init__(self):
        self.seen = []

    @tracer.hookimpl
    def begin_trace(self, tape):
        self.seen.append("trace")

    @tracer.hookimpl
    def begin_sweep(self, tape, loss):
        self.seen.append(("begin", type(tape), None if loss is None else float(loss.data)))

    @tracer.hookimpl
    def end_sweep(self, tape, results):
        shapes = {k: {n: v.shape for n, v in named.items()} for k, named in results.items()}
        self.seen.append(("end", shapes))


def f(x, p):
    return np.sum(x * p["w"])


X, P = np.ones((2, 3)), {"w": np.ones(3)}
BEGIN, NO_LOSS = ("begin", tracer.Tape, 6.0), ("begin", tracer.Tape, None)


@pytest.mark.parametrize(
    ("transform", "seen"),
    [
        (
            lambda: tracer.grad(f, (0, 1))(X, P),
            ["trace", BEGIN, ("end", {"grad": {"argument 0": (2, 3), "argument 1['w']": (3,)}})],
        ),
        (
            lambda: tracer.vjp(f, X, P)[1](2.0),
            ["trace", BEGIN, ("end", {"vjp": {"argument 0": (2, 3), "argument 1['w']": (3,)}})],
        ),
        (
            lambda: tracer.jacobian(lambda x: x[:, 0])(X),
            ["trace", NO_LOSS, ("end", {"jacobian": {"argument 0": (2, 2, 3)}})],
        ),
        (
            lambda: tracer.jvp(np.sum, (X,), (X,)),
            ["trace", BEGIN, ("end", {"jvp": {"output": ()}})],
        ),
        (
            lambda: tracer.hessian(lambda w: np.sum(w**2))(np.ones(3)),
            [
                *("trace", "trace", ("begin", tracer.Tape, 3.0)),
                ("end", {"grad": {"argument 0": (3,)}}),
                *(NO_LOSS, ("end", {"jacobian": {"argument 0": (3, 3)}})),
            ],
        ),
    ],
    ids=["grad", "vjp", "jacobian", "jvp", "hessian"],
)
def test_derivatives_of_functions_are_traces_and_sweeps(transform, seen, listen):
    watcher = listen(Watcher())
    transform()
    assert watcher.seen == seen


def test_products_with_matrices_are_sweeps(listen):
    w = tracer.parameter(np.ones(3), "w")
    with tracer.Tape() as tape:
        loss = np.sum((tracer.batch(X) * w) ** 2)
    hessian = tape.backward(loss, "hessian")["hessian"]
    watcher = listen(Watcher())
    hessian @ np.ones(3)
    assert watcher.seen == [NO_LOSS, ("end", {"hessian_product": {"w": (1, 3)}})]


def plugin(name, seen, **options):
    """A plugin that writes its name down at the beginning of a sweep."""

    class Plugin:
        @tracer.hookimpl(**options)
        def begin_sweep(self):
            seen.append(name)

    return Plugin()


def test_the_last_plugin_is_first_unless_it_says_otherwise(listen):
    seen = []

    class Wrapper:
        @tracer.hookimpl(wrapper=True)
        def begin_sweep(self, loss):
            seen.append("around")
            result = yield
            seen.append("after")
            return result

    listen(plugin("early", seen, tryfirst=True))
    listen(Wrapper())
    listen(plugin("first", seen))
    listen(plugin("last", seen, trylast=True))
    listen(plugin("second", seen))
    tracer.grad(np.sum)(np.ones(2))
    assert seen == ["around", "early", "second", "first", "last", "after"]


def test_of_a_wrapper_and_what_it_wraps_the_one_that_raised_is_blamed(listen):
    class Wrapper:
        @tracer.hookimpl(wrapper=True)
        def begin_sweep(self):
            return (yield)

    class Raising:
        @tracer.hookimpl
        def begin_sweep(self):
            raise ZeroDivisionError("gone")

    listen(Raising(), "raising")
    listen(Wrapper(), "wrapping")
    message = r"hook begin_sweep of plugin 'raising' failed: ZeroDivisionError.*test_hooks\.py:\d+"
    with pytest.raises(PluginError, match=message):
        tracer.grad(np.sum)(np.ones(2))


def test_a_hook_of_the_program_itself_raises_its_own_error():
    @tracer.register
    @tracer.hookimpl
    def begin_sweep(tape):
        raise ZeroDivisionError

    try:
        with pytest.raises(ZeroDivisionError):
            tracer.grad(np.sum)(np.ones(2))
    finally:
        tracer.unregister(begin_sweep)
    assert tracer.grad(np.sum)(np.ones(2)).tolist() == [1, 1]


def test_what_a_wrapper_of_a_registering_hook_sees_is_its_plugins_own():
    module = ModuleType("of_a_wrapper")
    module.Mine = type("Mine", (tracer.Quantity,), {"name": "test_wrapped"})

    @tracer.hookimpl(wrapper=True)
    def register_quantities():
        assert (yield) == []
        return [[module.Mine]]

    module.register_quantities = register_quantities
    tracer.register(module)
    assert tracer.registry.quantities["test_wrapped"] is module.Mine
    tracer.unregister(module)
    assert "test_wrapped" not in tracer.registry.quantities
