"""Whatever raises or interrupts, a tape, the open tapes and later results are as if nothing had."""

import contextlib
import gc
import sys

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import plugins
from tracer.curvature.rows import hessian as HESSIAN_ROWS
from tracer.errors import PluginError

ASKED = ("grad", "batch_l2", "diag_ggn_exact", "diag_h", "hessian")


@pytest.fixture(autouse=True)
def no_tape_stays_open():
    """What is computed after it is recorded nowhere, and no tape seems open in another thread."""
    yield
    assert (tracer.parameter(np.ones(2)) * 2.0).node is None


class Boom(Exception):
    """What user code raises."""


class Saboteur:
    """An operation whose forward, rule or late rule raises when it is told to."""

    def __init__(self):
        self.where = None
        outer = self

        @tracer.operation("sabotaged")
        class Sabotaged(tracer.Elementwise):
            saves = ("inputs",)

            def forward(x):
                outer.at("forward")
                return x * x

            def vjp(node, g):
                outer.at("vjp")

                def late():
                    outer.at("entry")
                    return g * 2 * node.inputs[0]

                return (late,)

        self.operation = Sabotaged

    def at(self, where):
        if where == self.where:
            raise Boom(where)


def network():
    """A record with a composite, samples and a bend, as `(tape, loss)`."""
    tracer.seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    cell = nn.RNN(2, 2, batch_first=True).double()
    x, y = np.linspace(-1, 1, 12).reshape(2, 3, 2), np.array([0, 1])
    with tracer.Tape() as tape:
        states, _ = cell(x)
        loss = nn.cross_entropy(model(states[:, -1]), y)
    return tape, loss


def values(results):
    return {
        (quantity, name): np.array(x)
        for quantity, value in results.items()
        if not hasattr(value, "matmat")
        for name, x in value.items()
    } | {q: v @ np.ones(v.shape[0]) for q, v in results.items() if hasattr(v, "matmat")}


def assert_same(results, expected):
    found = values(results)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-12, atol=1e-14, err_msg=str(key))


@pytest.fixture(scope="module")
def expected():
    tape, loss = network()
    return {asked: values(tape.backward(loss, asked)) for asked in (("grad",), ASKED)}


@pytest.fixture(autouse=True)
def nothing_stays_open():
    assert tracer.current_tape() is None
    before = np.geterr()
    yield
    assert tracer.current_tape() is None
    assert np.geterr() == before


# -- user code that raises -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["vjp", "entry"])
def test_a_rule_that_raises(where):
    saboteur = Saboteur()
    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with tracer.Tape() as tape:
        loss = np.sum(np.exp(saboteur.operation(np.tanh(w))))
    y = np.tanh(w.data)
    right = np.exp(y * y) * 2 * y * (1 - y * y)
    saboteur.where = where
    operator = tape.backward(loss, ("hessian",))["hessian"]
    for act in (lambda: tape.backward(loss), lambda: operator @ np.ones(2)):
        with pytest.raises(Boom, match=where) as caught:
            act()
        assert "sabotaged" in "".join(caught.value.__notes__)
    saboteur.where = None
    bend = tracer.hessian(lambda w: np.sum(np.exp(np.tanh(w) ** 2)))(w.data)
    np.testing.assert_allclose(operator @ np.ones(2), bend @ np.ones(2))
    np.testing.assert_allclose(tape.backward(loss)["grad"]["w"], right)


def test_a_forward_that_raises():
    saboteur = Saboteur()
    saboteur.where = "forward"
    w = tracer.parameter(np.array([1.0, 2.0]), name="w")
    with pytest.raises(Boom), tracer.Tape():
        saboteur.operation(w)
    with tracer.Tape() as tape:
        with pytest.raises(Boom):
            saboteur.operation(w)
        loss = np.sum(w * w)
    np.testing.assert_array_equal(tape.backward(loss)["grad"]["w"], [2.0, 4.0])


@pytest.mark.parametrize("asked", [("grad",), ASKED])
def test_a_reduction_that_raises(asked, expected):
    tape, loss = network()
    for quantity in asked:
        if quantity != "hessian":
            with pytest.raises(ZeroDivisionError):
                tape.backward(loss, asked, reduce={quantity: lambda name, value: 1 / 0})
    assert_same(tape.backward(loss, asked), expected[asked])


@pytest.mark.parametrize("where", ["extract", "finish", "of_objective", "of_block"])
def test_a_quantity_that_raises(where, expected):
    def boom(self, *args):
        raise Boom

    rows = {"of_objective": None, "of_block": HESSIAN_ROWS}.get(where, tracer.gradient)
    members = {
        "name": "booming",
        "rows": rows,
        "extract": lambda self, c, context: c.sum_of_squares(),
    }
    kind = type("Booming", (tracer.Quantity,), members | {where: boom})
    tape, loss = network()
    for asked in (("grad",), ASKED):
        with pytest.raises(Boom):
            tape.backward(loss, (*asked, kind()))
        assert_same(tape.backward(loss, asked), expected[asked])


@pytest.mark.parametrize("hook", ["begin_trace", "end_trace", "begin_sweep", "end_sweep"])
def test_a_hook_that_raises_is_blamed(hook, expected):
    def boom(**arguments):
        raise Boom("from a hook")

    parameters = {"begin_trace": "tape", "end_trace": "tape", "begin_sweep": "tape, loss"}
    made = {}
    text = f"def {hook}({parameters.get(hook, 'tape, results')}): raise Boom('from a hook')"
    exec(text, {"Boom": Boom}, made)  # a hook's arguments are found by their names
    plugin = type("Plugin", (), {hook: staticmethod(tracer.hookimpl(made[hook]))})()
    record = network()
    manager = plugins.load().manager
    manager.register(plugin, name="booming")
    try:
        tape, loss = record
        act = network if hook.endswith("trace") else lambda: tape.backward(loss)
        with pytest.raises(PluginError, match=f"hook {hook} of plugin 'booming'.*from a hook"):
            act()
        assert tracer.current_tape() is None
    finally:
        manager.unregister(name="booming")
    assert_same(tape.backward(loss), expected[("grad",)])


def test_functions_of_functions_that_raise():
    def f(x):
        y = np.exp(x)
        tracer.grad(np.sin)(y)
        raise Boom

    for transform in (tracer.grad, tracer.jacobian, tracer.hessian):
        with pytest.raises(Boom):
            transform(f)(1.0)
    assert tracer.grad(np.exp)(0.0) == 1.0


# -- interruptions -------------------------------------------------------------------------------

#: the last steps out of a block: what interrupts these, as Python has it, leaves it in it
LEAVING = {"__exit__", "__enter__", "_close", "enter_block", "leave_block"}
#: as does what interrupts a `finally:`, or the end of a `with`, at its line, where no signal comes
LEAVING |= {"call_as_root", "call_elsewhere", "hessian", "gauss_newton", "backward"}
#: a trace can raise between the body of `with lock:` and the release, where no signal comes
LOCKING = ("parallel.py", "plugins.py")


def interrupted(act, at):
    """Act, and interrupt it at the line of ours that is number `at`; how many lines there were."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        code = frame.f_code
        if "tracer" not in code.co_filename or code.co_name in LEAVING:
            return None
        if code.co_filename.endswith(LOCKING):
            return None
        if event == "line":
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("asked", [("grad",), ASKED])
def test_a_sweep_that_is_interrupted(asked, expected):
    tape, loss = network()
    lines = interrupted(lambda: tape.backward(loss, asked), at=-1)
    points = np.random.default_rng(0).integers(1, lines, 40)
    for fresh in (False, True):
        for at in points:
            if fresh:
                tape, loss = network()
            interrupted(lambda: tape.backward(loss, asked), at)  # noqa: B023
            assert tracer.current_tape() is None
            for other in (("grad",), ASKED):
                assert_same(tape.backward(loss, other), expected[other])


def test_an_operator_that_is_interrupted(expected):
    tape, loss = network()
    operator = tape.backward(loss, ("hessian",))["hessian"]
    tape.backward(loss)
    v = np.ones(operator.shape[0])
    lines = interrupted(lambda: operator @ v, at=-1)
    for at in np.random.default_rng(1).integers(1, lines, 40):
        tape.backward(loss)  # drops the values that the product needs
        interrupted(lambda: operator @ v, at)
        np.testing.assert_allclose(operator @ v, expected[ASKED]["hessian"], rtol=1e-12)
        assert_same(tape.backward(loss), expected[("grad",)])


def test_a_graph_that_is_interrupted(expected):
    """It expands composites."""
    tape, loss = network()
    lines = interrupted(lambda: tape.graph("both"), at=-1)
    for at in np.random.default_rng(2).integers(1, lines, 60):
        tape, loss = network()
        interrupted(lambda: tape.graph("both"), at)  # noqa: B023
        assert_same(tape.backward(loss, ASKED), expected[ASKED])


def test_a_recording_that_is_interrupted(expected):
    lines = interrupted(network, at=-1)
    for at in np.random.default_rng(3).integers(1, lines, 60):
        interrupted(network, at)
        assert tracer.current_tape() is None
        tape, loss = network()
        assert_same(tape.backward(loss, ASKED), expected[ASKED])


def test_a_collection_that_is_interrupted():
    """Python of ours that runs as a module dies would lose an interruption there."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.others = [model]
    del model
    assert interrupted(gc.collect, at=-1) == 0


# -- generators that wait inside of a block -------------------------------------------------------


def scoped(name):
    with tracer.scope(name):
        yield name


def paused():
    with tracer.pause():
        for k in range(3):
            yield np.full(2, k + 1.0)


def taped():
    with tracer.Tape() as tape:
        yield tape


@pytest.mark.parametrize("make", [lambda: scoped("a"), paused, taped])
@pytest.mark.parametrize("leave", [lambda it: it.close(), list])
def test_a_generator_that_is_left_in_a_later_function(make, leave):
    with tracer.Tape():
        waiting = make()
        next(waiting)
    gradient = tracer.grad(lambda x: (leave(waiting), np.sum(x**2))[1])(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


def test_a_generator_that_is_collected_in_a_later_function():
    waiting = [taped()]
    next(waiting[0])
    gradient = tracer.grad(lambda x: (waiting.clear(), np.sum(x**2))[1])(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, [2.0, 4.0])


def test_generators_of_tapes_closed_in_the_order_of_opening():
    first, second = taped(), taped()
    next(first)
    inner = next(second)
    first.close()
    assert tracer.current_tape() is inner
    second.close()
    assert tracer.current_tape() is None


def test_generators_of_scopes_in_a_zip_leave_no_scope():
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), name="w")
        for _ in zip(scoped("a"), scoped("b"), strict=True):
            pass
        np.sin(w)
        for _ in zip(tracer.steps(2), scoped("b"), tracer.steps(3), strict=False):
            pass
        np.sin(w)
    assert [node.place for node in tape.recorded()] == [tracer.record.place.NOWHERE] * 2


def test_a_generator_that_pauses_its_consumer():
    def loss(w):
        total = 0.0
        for c in paused():
            total = total + np.sum(c * w**2)
        return total

    with pytest.raises(tracer.TracingError, match=r"generator paused .* leave the block"):
        tracer.grad(loss)(np.array([1.0, 2.0]))
    assert tracer.current_tape() is None


def test_a_generator_that_pauses_itself_alone():
    def computed(w):
        for k in range(3):
            with tracer.pause():
                c = np.sum(w * 0) + k + 1.0
            yield c

    def loss(w):
        return sum(np.sum(c * w**2) for c in computed(w))

    np.testing.assert_array_equal(tracer.grad(loss)(np.array([1.0, 2.0])), [12.0, 24.0])


def test_a_context_manager_that_pauses():
    @contextlib.contextmanager
    def constant():
        with tracer.scope("constant"), tracer.pause():
            yield

    def loss(w):
        with constant():
            c = w * 2
        return np.sum(c * w)

    np.testing.assert_array_equal(tracer.grad(loss)(np.array([1.0, 2.0])), [2.0, 4.0])
