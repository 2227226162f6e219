"""The scan against its definition step by step, its rules, and what is made of them."""

import numpy as np
import pytest
import tracer
import tracer_layers as nn
from tracer import testing

from tracer_scan import SelectiveScan, SelectiveSSM


def by_steps(x, delta, a, b, c):
    """The same of NumPy's functions, recorded step by step."""
    state, outputs = np.zeros((x.shape[0], *a.shape)), []
    for t in range(x.shape[1]):
        drive = (delta[:, t] * x[:, t])[:, :, None] * b[:, t, None, :]
        state = np.exp(delta[:, t, :, None] * a) * state + drive
        outputs.append(np.sum(state * c[:, t, None, :], axis=-1))
    return np.stack(outputs, axis=1)


@pytest.fixture
def inputs():
    return SelectiveScan.examples(np.random.default_rng(1))[0][0]


def test_it_is_the_recurrence(inputs):
    assert np.allclose(SelectiveScan(*inputs), by_steps(*inputs), rtol=1e-13)


@pytest.mark.parametrize("argument", range(5))
def test_gradients_are_those_of_the_steps(inputs, argument):
    def objective(scan):
        return lambda *given: np.sum(np.sin(scan(*given)))

    found, expected = (
        tracer.grad(objective(scan), argument)(*inputs) for scan in (SelectiveScan, by_steps)
    )
    assert np.allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_its_rules():
    report = testing.check_operation(SelectiveScan)
    assert {"jvp", "higher orders", "batch_axis", "parameter_cotangent"} <= set(report)


def test_one_node_is_recorded(inputs):
    given = [tracer.parameter(x) for x in inputs]
    with tracer.Tape() as tape:
        SelectiveScan(*given)
    assert [node.op.name for node in tape.recorded()] == ["selective_scan"]


def test_the_layer():
    for layer, inputs in SelectiveSSM.examples(np.random.default_rng(0)):
        assert "quantities" in testing.check_layer(layer, *inputs)


def test_gradients_of_single_samples_without_a_row_for_each():
    tracer.seed(0)
    model = nn.Sequential(SelectiveSSM(2, 3), nn.Linear(2, 1)).double()
    x = np.random.default_rng(0).standard_normal((4, 5, 2))

    def swept(x):
        with tracer.Tape() as tape:
            loss = np.sum(model(tracer.batch(x)) ** 2)
        return tape.backward(loss, ("grad", "grad_batch"))

    together = swept(x)
    for n in range(len(x)):
        alone = swept(x[n : n + 1])["grad"]
        for name, each in together["grad_batch"].items():
            assert np.allclose(each[n], alone[name], rtol=1e-10, atol=1e-12)
