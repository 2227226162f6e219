"""The loops of recurrent layers by kernels against those on NumPy, forth and back."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tests.tracer_native.conftest import running
from tracer.arrays.compiled import NONE, Compiled
from tracer.extend import composed
from tracer_layers.recurrent.recurrence import ARITHMETIC, Recurrence
from tracer_native.kernels import Kernels


def test_every_architecture_is_one_that_kernels_know():
    assert sorted(each.name for each in ARITHMETIC.values()) == sorted(Compiled.RECURRENT)


@settings(max_examples=40)
@given(
    architecture=st.sampled_from(list(ARITHMETIC)),
    reverse=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 3), st.integers(1, 40)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32),
)
def test_a_history(kernels, architecture, reverse, bias, sizes, dtype, seed):
    (steps, samples, inputs, width), rng = sizes, np.random.default_rng(seed)
    gates = architecture.gates * width

    def array(*shape):
        return rng.standard_normal(shape).astype(dtype)

    weights = array(gates, inputs), array(gates), array(gates, width), array(gates)
    weights = [a if a.ndim > 1 or bias else None for a in weights]
    states = [array(samples, width) for _ in range(architecture.states)]
    arguments = array(steps, samples, inputs), *weights, *states
    options = {"architecture": architecture, "reverse": reverse}
    histories = []
    for chosen in (NONE, kernels):
        with running(chosen):
            histories.append(Recurrence.forward(*arguments, **options))
    eps = np.finfo(dtype).eps
    before, after = (history[:, 1:] for history in histories)  # gates have no step before the first
    scale = max(1, np.abs(before).max())
    np.testing.assert_allclose(after, before, rtol=100 * eps, atol=500 * eps * width * scale)


def test_arrays_that_do_not_fit_are_left_to_numpy_which_says_so(kernels):
    history, x = np.zeros((7, 3, 12, 20)), np.zeros((2, 12, 5))
    fitting = x, np.zeros((80, 5)), np.zeros(80), np.zeros((80, 20)), np.zeros(80)
    assert kernels.recur("lstm", history, *fitting)
    others = x[1:], np.zeros((80, 6)), np.zeros(79), np.zeros((80, 19)), np.zeros((80, 1))
    for i, other in enumerate(others):
        assert not kernels.recur("lstm", history, *fitting[:i], other, *fitting[i + 1 :])
    assert not kernels.recur("lstm", history, x.astype(np.float32), *fitting[1:])
    assert not kernels.recur("gru", history, *fitting)


def refusing(kernels, name):
    """The same kernels but for one, which takes nothing."""
    other = copy.copy(kernels)
    setattr(other, name, lambda *_: False)
    return other


@settings(max_examples=60)
@given(
    architecture=st.sampled_from(list(ARITHMETIC)),
    reverse=st.booleans(),
    swapped=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 60), st.integers(1, 30), st.integers(1, 40)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_gradients(kernels, architecture, reverse, swapped, bias, sizes, dtype, seed, data):
    """Of whichever inputs want one, from whichever outputs, as products of the steps' cotangents.

    And without kernels.
    """
    (steps, samples, inputs, width), rng = sizes, np.random.default_rng(seed)
    gates, states = architecture.gates * width, architecture.states

    def array(*shape):
        return (rng.standard_normal(shape) / 2).astype(dtype)

    x = array(samples, steps, inputs).swapaxes(0, 1) if swapped else array(steps, samples, inputs)
    weights = array(gates, inputs), array(gates), array(gates, width), array(gates)
    weights[2][...] /= dtype(np.sqrt(width))  # else rounding grows from step to step
    weights = [a if a.ndim > 1 or bias else None for a in weights]
    values = [x, *weights, *(array(samples, width) for _ in range(states))]
    wanted = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    seen = data.draw(st.lists(st.booleans(), min_size=1 + states, max_size=1 + states))
    if not any(w for w, value in zip(wanted, values, strict=True) if value is not None):
        wanted[0] = True
    seen[0] = seen[0] or not any(seen)
    factors = array(steps, samples, width), *(array(samples, width) for _ in range(states))
    options = {"architecture": architecture, "reverse": reverse}

    def gradients():
        with tracer.Tape() as tape:
            given = [
                tracer.parameter(value, f"input {i}") if want and value is not None else value
                for i, (want, value) in enumerate(zip(wanted, values, strict=True))
            ]
            outputs = composed(Recurrence, *given, **options)
            chosen = [(o, f) for see, o, f in zip(seen, outputs, factors, strict=True) if see]
            loss = sum(np.sum(output * factor) for output, factor in chosen)
        return tape.backward(loss)["grad"]

    found = []
    for chosen in (kernels, refusing(kernels, "recur_gradients"), NONE):
        with running(chosen):
            found.append(gradients())
    eps = np.finfo(dtype).eps
    for name, value in found[2].items():
        scale = max(1, np.abs(value).max())
        for other in found[:2]:
            np.testing.assert_allclose(other[name], value, rtol=0, atol=2000 * eps * scale)


def test_small_weights_have_gradients_by_their_kernel(kernels):
    calls = []

    class Counting(Kernels):
        def recur_gradients(self, *given):
            calls.append(super().recur_gradients(*given))
            return calls[-1]

    x, y = np.zeros((3, 5, 4), np.float32), np.zeros(3, int)
    for hidden in (8, 400):
        layer, head = nn.LSTM(4, hidden, batch_first=True), nn.Linear(hidden, 2)
        with running(Counting(kernels._call)):
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(head(layer(x)[0][:, -1]), y)
            tape.backward(loss)
    assert calls == [True, False]


LAYERS = [
    *(("RNN", {"nonlinearity": each}) for each in ("tanh", "relu")),
    *((kind, {"num_layers": 2, "bidirectional": True}) for kind in ("LSTM", "GRU")),
]


@pytest.mark.parametrize(("kind", "options"), LAYERS)
@pytest.mark.parametrize("quantity", ["grad", "grad_batch", "diag_ggn_exact"])
def test_quantities_of_a_layer(kernels, kind, options, quantity):
    rng = np.random.default_rng(0)
    tracer.seed(0)
    layer = getattr(nn, kind)(3, 20, batch_first=True, **options).double()
    x, y = rng.standard_normal((5, 6, 3)), rng.integers(0, 4, 5)
    width = 40 if options.get("bidirectional") else 20
    head = nn.Linear(width, 4).double()
    found = []
    for chosen in (NONE, kernels):
        with running(chosen):
            with tracer.Tape() as tape:
                shown, *_ = layer(x)
                loss = nn.cross_entropy(head(shown[:, -1] + shown[:, 0]), y)
            found.append(tape.backward(loss, quantity)[quantity])
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-9, atol=1e-12)
