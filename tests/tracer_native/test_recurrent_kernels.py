"""The loops of recurrent layers by kernels against those on NumPy, forth and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tests.tracer_native.conftest import running
from tracer.arrays.compiled import NONE, Compiled
from tracer_layers.recurrent.recurrence import ARITHMETIC, Recurrence


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


def test_weights_that_do_not_fit_are_left_to_numpy_which_says_so(kernels):
    history = np.zeros((7, 3, 12, 20))
    assert not kernels.recur("lstm", history, np.zeros((4, 20, 19)), None)
    assert not kernels.recur("lstm", history, np.zeros((3, 20, 20)), None)
    assert not kernels.recur("lstm", history, np.zeros((4, 20, 20)), np.zeros(79))
    assert kernels.recur("lstm", history, np.zeros((4, 20, 20)), np.zeros(80))


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
