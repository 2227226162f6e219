"""Two that want the same: of one module, of two modules, and of each kind of thing."""

from dataclasses import is_dataclass, replace
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
    Lathe,
    Library,
    Paint,
    Shade,
    act,
    gate,
)
from tracer import PluginError, extend, registry
from tracer.record import dispatch

__all__ = ["nothing_left"]  # a fixture

# -- two operations of one module on one function --------------------------------------------------


def test_two_operations_of_a_module_on_one_function_are_named_both():
    cell(operation(100, "test_first", "np.sinc", "np.sinc") + REGISTER)
    message = r"'test_second'.*for 'test_first' already.*replaces=np\.sinc.*unregister\(.*'test_fir"
    with pytest.raises(PluginError, match=message):
        cell(operation(200, "test_second", "np.sinc") + REGISTER)
    assert "test_second" not in registry.operations
    assert slope_of(np.sinc) == 100


def test_the_second_that_replaces_the_first_gives_the_function_back():
    cell(operation(100, "test_first", "np.sinc", "np.sinc") + REGISTER)
    cell(operation(200, "test_second", "np.sinc", "np.sinc") + REGISTER)
    cell(operation(300, "test_second", "np.sinc", "np.sinc") + REGISTER)  # the cell runs again
    assert slope_of(np.sinc) == 300
    cell(operation(400, "test_first", "np.sinc", "np.sinc") + REGISTER)  # below what replaces it
    assert slope_of(np.sinc) == 300
    tracer.unregister(registry.operations["test_second"])
    assert slope_of(np.sinc) == 400
    tracer.unregister(registry.operations["test_first"])
    assert slope_of(np.sinc) == 0  # NumPy's, of the core


def test_composed_functions_of_two_names_are_named_both():
    code = """
        @tracer.implements(np.kron, replaces=np.kron)
        def {name}(a, b):
            return {factor} * a * b
    """
    cell(code.format(name="one", factor=7))
    with pytest.raises(PluginError, match=r"for 'other' .*which it has for 'one' already"):
        cell(code.replace(", replaces=np.kron", "").format(name="other", factor=8))
    assert slope_of(lambda x: np.kron(x, 1.0)) == 7


def test_of_two_operations_of_a_plugin_on_one_function_both_are_named(monkeypatch):
    module = ModuleType("guest")
    module.__file__ = "guest.py"
    both = [cell(operation(1, f"test_{n}", "np.logspace")).Mine for n in ("first", "second")]
    module.register_operations = tracer.hookimpl(lambda: both)
    with pytest.raises(PluginError, match=r"'test_second'.*which it has for 'test_first' already"):
        tracer.register(module)
    assert "test_first" not in registry.operations
    assert np.logspace not in dispatch.FUNCTIONS


# -- one object of two modules --------------------------------------------------------------------


class Double(tracer.Elementwise):
    def forward(x):
        return 2 * x

    def vjp(node, g):
        return (2 * g,)


def double(numpy=()):
    return tracer.operation("test_double", numpy=numpy)(
        type("Double", (Double,), dict(vars(Double)))
    )


#: kind -> what makes one of its things, always of the same name
MADE = {
    "operation": double,
    "quantity": lambda: type("Amount", (Amount,), {"__module__": Amount.__module__}),
    "instrument": lambda: type("Gauge", (Gauge,), {"__module__": Gauge.__module__}),
    "sink": lambda: type("Drain", (Drain,), {"__module__": Drain.__module__}),
    "sampler": lambda: type("Dice", (Dice,), {"__module__": Dice.__module__}),
    "tracker": Diary,
    "team": Crew,
    "fold": Crease,
    "importer": Door,
    "imported operator": lambda: extend.ImportedOperator("test::gate", gate),
    "row kind": Kind,
    "array backend": Library,
    "compiled kernels": Lathe,
    "renderer": Paint,
    "overlay": Shade,
    "command": lambda: tracer.Command("test-act", act),
}


def test_every_kind_of_thing_is_made_here():
    assert MADE.keys() == {target.kind for target in KINDS}


def registers(thing, name):
    """A module whose code registers a thing."""
    return cell("def register(thing):\n    tracer.register(thing)", name).register(thing)


def unregisters(thing, name):
    cell("def unregister(thing):\n    tracer.unregister(thing)", name).unregister(thing)


@pytest.mark.parametrize("kind", MADE)
def test_what_two_modules_register_goes_with_the_second_of_them(kind):
    thing = MADE[kind]()
    (target,) = (target for target in KINDS if target.kind == kind)
    for _ in range(2):  # again from the same module is once
        registers(thing, "cell")
    registers(thing, "cell2")
    unregisters(thing, "cell")
    assert target[thing.name] is thing
    assert target.entry(thing.name).owner.module == "cell2"
    unregisters(thing, "cell2")
    assert thing.name not in target


def test_a_function_of_an_operation_of_two_modules_goes_with_the_second_of_them():
    mine = double(np.logspace)
    for name in ("cell", "cell2"):
        registers(mine, name)
    unregisters(mine, "cell")
    assert dispatch.FUNCTIONS[np.logspace] is mine
    unregisters(mine, "cell2")
    assert np.logspace not in dispatch.FUNCTIONS


def test_modules_with_hooks_share_an_object():
    thing = Shade()
    modules = [ModuleType(name) for name in ("cell", "cell2")]
    for module in modules:
        module.register_overlays = tracer.hookimpl(lambda: [thing])
        tracer.register(module)
    tracer.unregister(modules[0])
    assert registry.overlays["test_shade"] is thing
    tracer.unregister(modules[1])
    assert "test_shade" not in registry.overlays


def test_what_a_plugin_has_stays_its_own_when_a_program_lets_go():
    sine = registry.operations["sin"]
    registers(sine, "cell")
    assert registry.operations.entry("sin").plugin == "tracer"
    unregisters(sine, "cell")
    assert registry.operations["sin"] is sine
    assert slope_of(np.sin) == 1


def test_a_module_writes_anew_what_another_has_too():
    thing = Shade()
    for name in ("cell", "cell2"):
        registers(thing, name)
    with pytest.raises(PluginError, match=r"'cell' registers .* which the module 'cell2' has"):
        registers(Shade(), "cell")
    assert registry.overlays["test_shade"] is thing


# -- one name of two modules ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MADE, "NumPy function"])
def test_a_conflict_names_both_and_what_replaces(kind):
    functions = kind == "NumPy function"
    made = (lambda: double(np.logspace)) if functions else MADE[kind]
    first, second = made(), made()
    if functions:
        second.name = "test_other_double"
    registers(first, "cell")
    with pytest.raises(PluginError) as caught:
        registers(second, "cell2")
    told = str(caught.value)
    assert "the module 'cell2'" in told
    assert "the module 'cell' has" in told
    assert f"replaces={'np.logspace' if functions else ''}" in told.replace(" = ", "=")
    assert repr(first.name) in told
    assert told.count(".py:") == (1 if functions else 2)
    unregisters(first, "cell")


@pytest.mark.parametrize("kind", MADE)
def test_what_replaces_gives_the_name_back(kind):
    (target,) = (target for target in KINDS if target.kind == kind)
    first = MADE[kind]()
    if is_dataclass(first):
        second = replace(first, replaces=first.name)
    else:
        second = MADE[kind]()
        second.replaces = first.name
    registers(first, "cell")
    registers(second, "cell2")
    assert target[first.name] is second
    unregisters(second, "cell2")
    assert target[first.name] is first
    unregisters(first, "cell")
