"""Every rule states its formula, and every quantity its definition."""

import re

import numpy as np
import pytest
from scipy import special

import tracer
from tracer import Elementwise, operation, registry
from tracer.operations.special import TABLE
from tracer.operations.unary import UNARY
from tracer.record.rules import Rules
from tracer_layers.recurrent.recurrence import Recurrence

#: rules with a formula, where an operation has them; the others say where samples lie and the like
FORMULAS = (
    *("vjp", "jvp", "parameter_cotangent", "carry"),
    *("sqrt_hessian", "short_sqrt_hessian", "sqrt_hessian_sampled", "diagonal_hessian"),
)

#: what the bundled plugins register, marks among them, and composites, which are recorded by their
#: layer alone
BUNDLED = [
    *(registry.operations[name] for plugin in ("tracer", "layers")
      for name in registry.operations.provided_by(plugin)),
    Recurrence,
]  # fmt: skip

#: what the formulas of one argument are written in
NAMES = {
    **{name: getattr(np, name) for name in ("exp", "log", "sqrt", "sin", "cos", "sinh", "cosh")},
    "expm1": np.expm1,
    "sign": np.sign,
    "sinc": np.sinc,
    "pi": np.pi,
    **{name: getattr(special, name) for name in (
        "digamma polygamma gamma rgamma erfcx hyp1f1 dawsn jv yn iv ive kv kve i0 i1 i0e i1e j0 j1 "
        "y0 y1 k0 k1"
    ).split()},
}  # fmt: skip


@pytest.mark.parametrize("op", BUNDLED, ids=lambda op: op.name)
def test_the_rules_of_an_operation_have_formulas(op):
    rules = [rule for rule in FORMULAS if getattr(op, rule, None) is not None]
    assert "vjp" in rules
    assert [rule for rule in rules if not getattr(op, rule).__doc__] == []


def test_all_rules_with_a_formula_are_rules():
    assert set(FORMULAS) <= set(Rules.__annotations__)


@pytest.mark.parametrize(
    "op",
    [
        op
        for op in [*UNARY, *TABLE]
        if "dy/dx" in op.vjp.__doc__ and op.vjp.__doc__.endswith("elementwise.")
    ],
    ids=lambda op: op.name,
)
def test_the_formula_of_a_function_of_one_argument_is_its_derivative(op):
    slope = re.fullmatch(r"g \* dy/dx with dy/dx = (.+), elementwise\.", op.vjp.__doc__)[1]
    ((x,), _), *_ = op.examples(np.random.default_rng(0))
    y, pullback = tracer.vjp(op, x)
    g = np.random.default_rng(1).standard_normal(y.shape)
    expected = g * eval(slope, {}, {**NAMES, "x": x, "y": y})
    np.testing.assert_allclose(pullback(g)[0], expected, rtol=1e-12)


def test_flat_functions_say_so():
    flat = {op.name for op in UNARY if "dy/dx" not in op.vjp.__doc__}
    assert flat == {"sign", "floor", "ceil", "trunc", "rint"}


def test_the_formula_of_a_rule_from_outside_is_kept():
    @operation("cube")
    class Cube(Elementwise):
        def forward(x):
            return x**3

        def vjp(node, g):
            """g * 3 * x**2, elementwise."""
            return (3 * g * node.inputs[0] ** 2,)

    assert Cube.vjp.__wrapped__.__name__ == "vjp"  # it is checked where it is called
    assert Cube.vjp.__doc__ == "g * 3 * x**2, elementwise."


@pytest.mark.parametrize("name", registry.quantities.provided_by("quantities"))
def test_a_quantity_has_its_definition(name):
    text = vars(registry.quantities[name])["__doc__"]  # its own, not one that it takes over
    formula = re.search(r"`[^`]*(sum_|mean_|d\^2|\^2|\^T|=|\(x\))[^`]*`", text)
    source = re.search(r"\b(19|20)\d\d\b", text)
    assert formula or source, text
