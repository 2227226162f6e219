"""Cells of notebooks, which register things and run again."""

import sys
import textwrap
from types import ModuleType

import pytest

import tracer
from tracer import registry
from tracer.plugins import load
from tracer.record import dispatch

KINDS = list(registry.BY_HOOK.values())


def contents():
    """What every registry holds."""
    return {target.kind: dict(target) for target in KINDS}


@pytest.fixture(autouse=True)
def nothing_left():
    """What a test registers is taken back."""
    before = contents()
    functions = dict(dispatch.UFUNCS), dict(dispatch.FUNCTIONS), dict(dispatch.SPECIAL)
    yield
    loader = load()
    for key in list(loader.by_hand):
        loader.manager.unregister(name=key)
        del loader.by_hand[key]
    for target in KINDS:
        for name in list(target):
            while name in target and target[name] is not before[target.kind].get(name):
                target.remove(name)
    for function in list(dispatch.TAKEN.now):
        for entry in dispatch.TAKEN.stack(function):
            if entry.owner.module in CELLS:
                dispatch.TAKEN.release(function, entry.value)
    for name in CELLS:
        sys.modules.pop(name, None)
    assert before == contents()
    assert functions == (dispatch.UFUNCS, dispatch.FUNCTIONS, dispatch.SPECIAL)


CELLS = ("cell", "cell2")


def cell(code, name="cell"):
    """A module that runs some code, which may run again, as a cell of a notebook does."""
    module = sys.modules.setdefault(name, ModuleType(name))
    exec(textwrap.dedent(IMPORTS) + textwrap.dedent(code), vars(module))
    return module


IMPORTS = """
    import numpy as np, tracer
    from tracer import registry
"""

OPERATION = """
    @tracer.operation("{name}", numpy={numpy}, replaces={replaces})
    class Mine(tracer.Elementwise):
        saves = ("inputs",)

        def forward(x):
            return np.sin(x)

        def vjp(node, g):
            return (g * {slope},)
"""


def operation(slope=100, name="test_sine", numpy="np.sin", replaces="()"):
    return OPERATION.format(name=name, numpy=numpy, replaces=replaces, slope=slope)


REGISTER = "\n    tracer.register(Mine)"


def slope_of(function):
    return float(tracer.grad(function)(0.0))
