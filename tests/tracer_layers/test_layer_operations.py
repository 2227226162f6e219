"""Every operation of the plugin: first and second derivatives, stacks, dtypes."""

import numpy as np
import pytest

import tracer
from tracer.sweep.rules import entry_value
from tracer_layers.plugin import register_operations

OPERATIONS = register_operations()
CASES = [
    pytest.param(op, i, id=f"{op.name}-{i}")
    for op in OPERATIONS
    for i in range(len(op.examples(np.random.default_rng(0))))
]


def example(op, i):
    return op.examples(np.random.default_rng(0))[i]


def differentiable(op, inputs, params):
    """The slots that are of a float dtype and get a gradient."""
    with tracer.Tape() as tape:
        op(*(tracer.parameter(x) if x.dtype.kind == "f" else x for x in inputs), **params)
    node = tape.nodes[-1]
    entries = node.op.vjp(node, np.ones((1, *node.shape)))
    return [i for i, entry in enumerate(entries) if entry is not None]


def has_two_slots(case):
    op, i = case.values
    return len(differentiable(op, *example(op, i))) > 1


def central_difference(f, x, step=1e-6):
    slope = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[i] = step
        slope[i] = (f(x + e) - f(x - e)) / (2 * step)
    return slope


def objective(op, inputs, params, slot, weights):
    """A scalar function of one input, with random weights of the outputs."""

    def f(x):
        replaced = [x if i == slot else v for i, v in enumerate(inputs)]
        return np.sum(op(*replaced, **params) * weights)

    return f


@pytest.mark.parametrize(("op", "i"), CASES)
def test_first_and_second_derivatives_are_those_of_differences(op, i):
    inputs, params = example(op, i)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 1, np.shape(op(*inputs, **params)))
    slots = differentiable(op, inputs, params)
    assert slots
    for slot in slots:
        x = inputs[slot]
        f = objective(op, inputs, params, slot, weights)
        gradient = tracer.grad(f)(x)
        np.testing.assert_allclose(gradient, central_difference(f, x), rtol=1e-6, atol=1e-7)
        v = rng.standard_normal(x.shape)
        directional = central_difference(lambda y, f=f, v=v: np.sum(tracer.grad(f)(y) * v), x)
        np.testing.assert_allclose(tracer.hvp(f)(x, v), directional, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("op", "i"), [case for case in CASES if has_two_slots(case)])
def test_mixed_second_derivatives(op, i):
    inputs, params = example(op, i)
    slots = differentiable(op, inputs, params)
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 1, np.shape(op(*inputs, **params)))
    v = rng.standard_normal(inputs[slots[0]].shape)

    def directional(x):
        replaced = [x if k == slots[-1] else value for k, value in enumerate(inputs)]
        f = objective(op, replaced, params, slots[0], weights)
        return np.sum(tracer.grad(f)(inputs[slots[0]]) * v)

    x = inputs[slots[-1]]
    np.testing.assert_allclose(
        tracer.grad(directional)(x), central_difference(directional, x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("op", "i"), CASES)
def test_a_stack_of_cotangents_is_propagated_row_by_row(op, i):
    inputs, params = example(op, i)
    leaves = [tracer.parameter(x) if x.dtype.kind == "f" else x for x in inputs]
    with tracer.Tape() as tape:
        op(*leaves, **params)
    node = tape.nodes[-1]
    g = np.random.default_rng(3).standard_normal((3, *node.shape))

    def stacks(g):
        return [entry_value(e) for e in node.op.vjp(node, g)]

    rows = [stacks(g[v : v + 1]) for v in range(3)]
    for slot, stack in enumerate(stacks(g)):
        if stack is not None:
            np.testing.assert_allclose(
                stack, np.concatenate([row[slot] for row in rows]), rtol=1e-10, atol=1e-12
            )


@pytest.mark.parametrize(("op", "i"), CASES)
def test_float32_stays_float32(op, i):
    inputs, params = example(op, i)
    single = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
    out = op(*single, **params)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, op(*inputs, **params), rtol=1e-4, atol=1e-5)
    leaves = [tracer.parameter(x) if x.dtype.kind == "f" else x for x in single]
    with tracer.Tape() as tape:
        op(*leaves, **params)
    node = tape.nodes[-1]
    for entry in node.op.vjp(node, np.ones((2, *node.shape), np.float32)):
        entry = entry_value(entry)
        assert entry is None or entry.dtype == np.float32


def test_every_operation_is_registered_under_its_own_name():
    assert len({op.name for op in OPERATIONS}) == len(OPERATIONS)
    for op in OPERATIONS:
        assert tracer.registry.operations[op.name] is op
