"""`tracer.register`, and who has a name or a NumPy function that several want."""

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np
import pytest

import tracer
from tests.tracer.cells import KINDS, REGISTER, cell, nothing_left, operation, slope_of
from tests.tracer.things import (
    Amount,
    Crease,
    Crew,
    Diary,
    Dice,
    Door,
    Drain,
    Gauge,
    Kind,
    Library,
    Paint,
    Shade,
    act,
    gate,
)
from tracer import PluginError, extend, registry
from tracer.entries import Entries, Entry, Owner, transaction
from tracer.record import dispatch

__all__ = ["nothing_left"]  # a fixture


# -- no function and no name changes hands in silence ---------------------------------------------


def test_a_numpy_function_that_another_has_is_not_taken_in_silence():
    message = (
        r"takes numpy\.sin on tensors for 'test_sine'.*plugin 'tracer' has for 'sin'.*replaces"
    )
    with pytest.raises(PluginError, match=message):
        cell(operation() + REGISTER)
    assert slope_of(np.sin) == 1
    assert "test_sine" not in registry.operations  # all of it or nothing


@pytest.mark.parametrize("replaces", ["np.sin", "'sin'", "'numpy.sin'", "(np.cos, np.sin)"])
def test_a_function_is_taken_by_what_says_that_it_replaces(replaces):
    mine = cell(operation(replaces=replaces) + REGISTER).Mine
    assert slope_of(np.sin) == 100
    assert registry.operations["sin"] is not mine
    tracer.unregister(mine)
    assert slope_of(np.sin) == 1


def test_an_operation_that_replaces_a_name_is_what_it_names():
    before = registry.operations["sin"]
    mine = cell(operation(name="sin", replaces="'sin'") + REGISTER).Mine
    assert registry.operations["sin"] is mine
    assert [entry.value for entry in registry.operations.replaced("sin")] == [before]
    registry.operations.remove("sin")
    assert registry.operations["sin"] is before
    assert slope_of(np.sin) == 1


def test_functions_of_scipy_are_nobodys_but_their_owners():
    with pytest.raises(PluginError, match=r"scipy\.special\.erf.*say replaces='erf'"):
        cell(operation(numpy="'erf'") + REGISTER)
    cell(operation(numpy="'erf'", replaces="'erf'") + REGISTER)
    scipy = pytest.importorskip("scipy.special")
    assert slope_of(scipy.erf) == 100


IMPLEMENTS = """
    @tracer.implements(np.kron{replaces})
    def kron(a, b):
        return {factor} * a * b
"""


def test_composed_functions_are_not_taken_in_silence_either():
    with pytest.raises(
        PluginError, match=r"the module 'cell' takes numpy\.kron.*replaces=np\.kron"
    ):
        cell(IMPLEMENTS.format(replaces="", factor=7))
    for factor in (7, 8):  # the cell runs again
        cell(IMPLEMENTS.format(replaces=", replaces=np.kron", factor=factor))
        assert slope_of(lambda x, f=factor: np.kron(x, 2.0)) == 2 * factor


def test_a_quantity_of_a_name_that_is_taken():
    quantity = """
        @tracer.register
        class Mine(tracer.Quantity):
            name = "grad"
            needs_samples = False
            {replaces}

            def extract(self, cotangent, context):
                return 7 * cotangent.total()[0]
    """
    with pytest.raises(PluginError, match=r"'grad', which plugin 'quantities' has.*replaces"):
        cell(quantity.format(replaces=""))
    cell(quantity.format(replaces='replaces = "grad"'))
    with tracer.Tape() as tape:
        w = tracer.parameter(np.ones(2), "w")
        loss = np.sum(w)
    assert tape.backward(loss, ("grad",))["grad"]["w"].tolist() == [7, 7]


def test_what_replaces_has_the_name_of_what_it_replaces():
    class Mine(tracer.Quantity):
        name, replaces = "test_other", "grad"

    with pytest.raises(PluginError, match=r"'test_other' replaces 'grad', and .* has its name"):
        tracer.register(Mine)


# -- a module or a notebook runs again ------------------------------------------------------------


def test_a_cell_that_runs_again_replaces_what_it_registered():
    for slope in (100, 200):
        cell(operation(slope, replaces="np.sin") + REGISTER)
        assert slope_of(np.sin) == slope
    cell(operation(300, numpy="()") + REGISTER)  # which leaves the function to who had it
    assert slope_of(np.sin) == 1
    assert slope_of(registry.operations["test_sine"]) == 300


def test_another_module_is_refused_unless_it_replaces():
    cell(operation(numpy="()") + REGISTER)
    with pytest.raises(PluginError, match=r"module 'cell2' registers.*which the module 'cell' has"):
        cell(operation(numpy="()") + REGISTER, "cell2")
    mine = cell(operation(200, numpy="()", replaces="'test_sine'") + REGISTER, "cell2").Mine
    assert slope_of(registry.operations["test_sine"]) == 200
    cell(operation(300, numpy="()") + REGISTER)  # below what replaces it
    assert slope_of(registry.operations["test_sine"]) == 200
    tracer.unregister(mine)
    assert slope_of(registry.operations["test_sine"]) == 300


def test_a_cell_that_fails_when_it_runs_again_changes_nothing():
    first = cell(operation(numpy="np.sinc", replaces="np.sinc") + REGISTER).Mine
    with pytest.raises(PluginError, match=r"numpy\.sin "):
        cell(operation(200, numpy="(np.sinc, np.sin)", replaces="np.sinc") + REGISTER)
    assert registry.operations["test_sine"] is first
    assert slope_of(np.sinc) == 100


# -- everything that a hook takes -----------------------------------------------------------------


THINGS = [
    *(
        Amount,
        Gauge,
        Drain,
        Dice,
        Kind(),
        Shade(),
        Paint(),
        Library(),
        Diary(),
        Door(),
        Crease(),
        Crew(),
    ),
    tracer.Command("test-act", act),
    extend.ImportedOperator("test::gate", gate),
]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_everything_that_a_hook_takes_is_registered_and_taken_back(thing):
    assert tracer.register(thing) is thing
    (target,) = [target for target in KINDS if thing in target.values()]
    assert target.entry(thing.name).plugin == "user"
    tracer.unregister(thing)
    assert thing.name not in target
    with pytest.raises(PluginError, match="is not registered"):
        tracer.unregister(thing)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Shade, r"the class Shade as overlay, where an instance is expected: give Shade\(\)"),
        (Amount(), "where the class is expected: give Amount itself"),
        (3, "tracer.register takes an operation .*, or a module of these, got 3"),
        ("module", "got 'module'"),
        (np.sin, "tracer.register takes"),
        (math := ModuleType("test_empty"), "'test_empty' has no hooks, and defines nothing"),
        (tracer.Command("", act), "has no `name`"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_anything_else_is_refused(wrong, message):
    with pytest.raises(PluginError, match=message):
        tracer.register(wrong)


def test_a_function_that_is_named_as_a_hook_is_to_be_marked():
    def begin_trace(tape): ...

    with pytest.raises(PluginError, match=r"put @tracer\.hookimpl above begin_trace"):
        tracer.register(begin_trace)


def test_a_hook_is_registered_once_however_often_its_cell_runs():
    code = """
        @tracer.register
        @tracer.hookimpl
        def begin_trace(tape):
            SEEN.append({number})
    """
    cell("SEEN = []")
    for number in (1, 2):
        module = cell(code.format(number=number))
        with tracer.Tape():
            pass
    assert module.SEEN == [1, 2]
    exec("tracer.unregister(begin_trace)", vars(module))
    with tracer.Tape():
        pass
    assert module.SEEN == [1, 2]


def test_a_registering_hook_is_called_when_it_is_registered():
    code = """
        class Mine(tracer.Quantity):
            name = "test_{number}"

        @tracer.register
        @tracer.hookimpl
        def register_quantities():
            return [Mine]
    """
    cell(code.format(number=1))
    assert "test_1" in registry.quantities
    cell(code.format(number=2))
    assert [name for name in registry.quantities if name.startswith("test_")] == ["test_2"]


FIVE = """
    class First(tracer.Quantity):
        name = "test_first"

    class Second(tracer.Rows):
        name = "test_second"

    class Third(tracer.Overlay):
        name = "test_third"

        def values(self, graph, results):
            return {{}}

    class Fourth(tracer.Quantity):
        name = {fourth!r}

    second, third = Second(), Third()
"""
HOOKS = """
    @tracer.hookimpl
    def register_quantities():
        return [First, Fourth]

    @tracer.hookimpl
    def register_rows():
        return [second]

    @tracer.hookimpl
    def register_overlays():
        return [third]

    @tracer.hookimpl
    def end_trace(tape):
        SEEN.append(tape)

    SEEN = []
"""


@pytest.mark.parametrize("hooks", ["", HOOKS], ids=["definitions", "hooks"])
def test_a_module_is_registered_whole_or_not_at_all(hooks):
    with pytest.raises(PluginError, match="'grad', which plugin 'quantities' has"):
        tracer.register(cell(FIVE.format(fourth="grad") + hooks))
    assert not [name for target in KINDS for name in target if name.startswith("test_")]
    with tracer.Tape():
        pass
    for _ in range(2):  # the second time, as after a reload
        module = cell(FIVE.format(fourth="test_fourth") + hooks)
        assert tracer.register(module) is module
    with tracer.Tape() as tape:
        pass
    if hooks:
        assert module.SEEN[0] is tape
    with pytest.raises(PluginError, match="'grad', which"):
        tracer.register(cell(FIVE.format(fourth="grad") + hooks))
    found = {name for target in KINDS for name in target if name.startswith("test_")}
    assert found == {"test_first", "test_second", "test_third", "test_fourth"}
    tracer.unregister(module)
    assert not [name for target in KINDS for name in target if name.startswith("test_")]


def test_a_misspelt_hook_of_a_module_is_suggested():
    module = cell("register_quantity = tracer.hookimpl(lambda: [])")
    with pytest.raises(PluginError, match="Did you mean 'register_quantities'"):
        tracer.register(module)


def test_register_and_unregister_say_what_they_take():
    assert inspect.signature(tracer.register).parameters.keys() == {"thing"}
    assert "module" in tracer.register.__doc__


# -- the stacks -----------------------------------------------------------------------------------


def conflict(old):
    return PluginError(f"of {old.plugin}")


def test_what_replaces_may_load_before_what_it_replaces():
    taken = Entries("thing")
    replacing = Entry("new", Owner("a"), replaces=True)
    taken.take("name", replacing, conflict)
    taken.take("name", Entry("old", Owner("z")), conflict)
    assert taken.now["name"] is replacing
    with pytest.raises(PluginError, match="of a"):
        taken.take("name", Entry("third", Owner("m")), conflict)
    with pytest.raises(PluginError, match="of a"):
        taken.take("name", Entry("fourth", Owner("n"), replaces=True), conflict)
    taken.release("name", "new")
    assert taken.now["name"].value == "old"


def test_a_transaction_that_fails_leaves_everything_as_it_was():
    changes = []
    taken = Entries("thing", changes.append)
    taken.take("kept", Entry(1, Owner("a")), conflict)

    @transaction(Owner("b"))
    def fail():
        taken.take("kept", Entry(2, Owner("b"), replaces=True), conflict)
        with transaction():
            taken.take("other", Entry(3, Owner("b")), conflict)
        taken.release("kept", 1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {key: entry.value for key, entry in taken.now.items()} == {"kept": 1}
    assert changes == ["kept", "kept", "other", "other", "kept"]


OPERATORS = {
    "np.add": lambda x, y: x + y,
    "np.subtract": lambda x, y: x - y,
    "np.multiply": lambda x, y: x * y,
    "np.divide": lambda x, y: x / y,
    "np.power": lambda x, y: x**y,
    "np.matmul": lambda x, y: x @ y,
    "np.absolute": lambda x, y: abs(x),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_follow_the_function_that_they_are(name):
    code = f"""
    @tracer.implements({name}, replaces={name})
    def mine(x, y=0.0):
        return np.cos(x if isinstance(x, tracer.Tensor) else y)
    """

    def on_the_right(x):
        return OPERATORS[name](np.ones(2) if name != "np.absolute" else x, x)

    x, y = tracer.parameter(np.ones(2)), np.ones(2)

    def in_place(x):
        x += y
        return x

    before = OPERATORS[name](x, y).data, on_the_right(x).data
    with tracer.Tape():
        cell(code)
        assert OPERATORS[name](x, y).data.tolist() == np.cos(y).tolist()
        assert on_the_right(x).data.tolist() == np.cos(y).tolist()
        if name == "np.add":
            assert in_place(np.sin(x)).data.tolist() == np.cos(np.sin(y)).tolist()
    for function in list(dispatch.TAKEN.now):
        for entry in dispatch.TAKEN.stack(function):
            if entry.owner.module == "cell":
                dispatch.TAKEN.release(function, entry.value)
    after = OPERATORS[name](x, y).data, on_the_right(x).data
    assert all(map(np.array_equal, before, after))


def test_what_replaces_nothing_is_refused():
    class Misspelt(Amount):
        name = replaces = "kafc"

    with pytest.raises(PluginError, match=r"none is called so\. Did you mean 'kfac'\?"):
        tracer.register(Misspelt)
    assert "kafc" not in registry.quantities


def test_an_operation_that_replaces_what_it_does_not_take_is_refused():
    class Other(tracer.Elementwise):
        def forward(x):
            return np.tanh(x)

        def vjp(node, g):
            return (g,)

    op = tracer.operation("other_tanh", replaces="tanh")(Other)
    with pytest.raises(PluginError, match=r"takes nothing of it: name the function in numpy="):
        tracer.register(op)
    assert "other_tanh" not in registry.operations


def test_modules_are_registered_by_several_threads():
    def cycle(number):
        module = ModuleType(f"threaded_{number}")
        name = f"amount_{number}"
        module.Mine = type("Mine", (Amount,), {"name": name, "__module__": module.__name__})
        for _ in range(30):
            tracer.register(module)
            tracer.unregister(module)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(cycle, range(4)))
    finally:
        sys.setswitchinterval(switch)
    assert not [name for name in registry.quantities if name.startswith("amount_")]
