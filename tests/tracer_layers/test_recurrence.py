"""The loop of a recurrent layer as one operation: the same as its steps, which it gives back."""

import contextlib
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.curvature.request import SWEPT_SEPARATELY as APART
from tracer.errors import ShapeError
from tracer.registry import quantities
from tracer_layers.recurrent import recurrence
from tracer_layers.recurrent.layers import RecurrentLayer
from tracer_layers.recurrent.recurrence import Recurrence
from tracer_layers.recurrent.steps import RNN_TANH

KINDS = {
    "tanh": lambda **options: nn.RNN(3, 4, **options),
    "relu": lambda **options: nn.RNN(3, 4, nonlinearity="relu", **options),
    "lstm": lambda **options: nn.LSTM(3, 4, **options),
    "gru": lambda **options: nn.GRU(3, 4, **options),
}
kinds = pytest.mark.parametrize("kind", KINDS)
OPTIONS = [{}, {"bias": False}, {"bidirectional": True, "num_layers": 2}, {"batch_first": True}]


class Reader(nn.Module):
    """A loss that looks at every step and at the last states, from a first state that is learned.

    The latter not with `learned=False`: it has no Kronecker factors.
    """

    def __init__(self, layer, steps, learned):
        self.rnn = layer.double()
        directions = 1 + layer.bidirectional
        first = np.random.default_rng(1).standard_normal((layer.num_layers * directions, 1, 4))
        self.first = tracer.parameter(first) if learned else None
        self.out = nn.Linear(steps * 4 * directions + 4, 3).double()

    def forward(self, x):
        first = self.first
        if first is not None and isinstance(self.rnn, nn.LSTM):
            first = first, first
        shown, last = self.rnn(x, first)
        last = last[0] * last[1] if isinstance(last, tuple) else last
        if not self.rnn.batch_first:
            shown = np.swapaxes(shown, 0, 1)
        return self.out(np.concatenate([shown.reshape(len(shown), -1), last[-1]], axis=-1))


def example(kind, steps=5, samples=2, seed=0, learned=True, **options):
    tracer.seed(seed)
    model = Reader(KINDS[kind](**options), steps, learned)
    rng = np.random.default_rng(seed)
    shape = (samples, steps, 3) if options.get("batch_first") else (steps, samples, 3)
    return model, rng.standard_normal(shape), rng.integers(0, 3, samples)


def recorded(model, x, y, by_steps):
    """A tape and its loss; the steps are recorded in place of the whole if they are asked for."""
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(x), y)
    if by_steps:
        tape.recorded()
    return tape, loss


def names(nodes):
    return [node.op.name for node in nodes]


def swept(model, x, y, asked, by_steps, **options):
    tape, loss = recorded(model, x, y, by_steps)
    assert ("recurrence" in names(tape.condensed())) is not by_steps
    return tape.backward(loss, asked, rng=np.random.default_rng(3), **options)


def assert_same(found, expected):
    for name, values in expected.items():
        for parameter, value in values.items():
            numbers = arrays(value)
            assert numbers, f"nothing to compare in {name} of {parameter}"
            for a, b in zip(arrays(found[name][parameter]), numbers, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def arrays(value):
    """The arrays that a value is made of, such as the factors of a Kronecker product."""
    if isinstance(value, np.ndarray | np.generic | float):
        return [value]
    parts = value if isinstance(value, tuple | list) else getattr(value, "__dict__", {}).values()
    return [array for part in parts for array in arrays(part)]


# -- the same values -----------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_whole_gives_what_the_steps_give(kind, options):
    model, x, y = example(kind, **options)
    found, expected = (swept(model, x, y, ("grad",), by_steps) for by_steps in (False, True))
    assert_same(found, expected)


@kinds
@settings(max_examples=15)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 9), st.booleans())
def test_the_gradient_of_any_shape_is_the_numerical_one(kind, steps, samples, seed, reverse):
    model, x, y = example(kind, steps, samples, seed, bidirectional=reverse)
    tape, loss = recorded(model, x, y, by_steps=False)
    gradient = tape.backward(loss)["grad"]
    direction = {
        name: np.random.default_rng(seed).standard_normal(p.shape)
        for name, p in model.named_parameters()
    }
    slope = sum((gradient[name] * direction[name]).sum() for name in direction)

    def at(step):
        values = {name: p.data.copy() for name, p in model.named_parameters()}
        for name, p in model.named_parameters():
            p.data += step * direction[name]
        loss = nn.cross_entropy(model(x), y)
        for name, p in model.named_parameters():
            p.data[...] = values[name]
        return float(loss)

    numerical = (8 * (at(1e-4) - at(-1e-4)) - (at(2e-4) - at(-2e-4))) / 12e-4
    if kind != "relu":  # whose kinks lie anywhere
        np.testing.assert_allclose(slope, numerical, rtol=1e-6, atol=1e-8)
    assert_same({"grad": gradient}, swept(model, x, y, ("grad",), by_steps=True))


@kinds
def test_every_quantity_of_one_sweep_is_the_same(kind):
    model, x, y = example(kind, bidirectional=True, learned=False)
    asked = tuple(name for name, make in quantities.items() if make.rows not in APART)
    assert len(asked) > 8
    found, expected = (swept(model, x, y, asked, by_steps) for by_steps in (False, True))
    assert_same(found, expected)


@kinds
@pytest.mark.parametrize("reverse", [False, True])
def test_slopes_of_some_steps_at_a_time_are_the_same(kind, reverse, monkeypatch):
    model, x, y = example(kind, steps=9, bidirectional=reverse)
    expected = swept(model, x, y, ("grad",), by_steps=False)
    monkeypatch.setattr(recurrence, "SLOPES", 1)
    assert_same(swept(model, x, y, ("grad",), by_steps=False), expected)


@kinds
def test_rows_in_chunks_are_the_same(kind):
    model, x, y = example(kind, samples=5)
    asked = ("diag_ggn_exact", "grad_batch")
    expected = swept(model, x, y, asked, by_steps=False)
    assert_same(swept(model, x, y, asked, by_steps=False, memory_budget=2000), expected)


@kinds
def test_masked_rows_are_the_same(kind):
    """Behind a normalisation of the batch: one row per sample."""
    model, x, y = example(kind, samples=4, learned=False)
    model.out = nn.Sequential(nn.BatchNorm1d(24), nn.Linear(24, 3)).double()
    asked = ("grad", "diag_ggn_exact", "kflr")
    found, expected = (swept(model, x, y, asked, by_steps) for by_steps in (False, True))
    assert_same(found, expected)


def test_a_second_sweep_replays_the_whole():
    model, x, y = example("lstm")
    tape, loss = recorded(model, x, y, by_steps=False)
    first, second = tape.backward(loss), tape.backward(loss, ("grad", "batch_l2"))
    assert "recurrence" in names(tape.condensed())
    assert_same(second, first)


# -- its steps -----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_graph_is_that_of_the_steps(kind, options):
    """Watched tapes record steps from the beginning."""
    model, x, y = example(kind, **options)

    def traced(watch):
        with tracer.Tape(watch=watch) as tape:
            nn.cross_entropy(model(x), y)
        return tape

    plain, watched = traced(False), traced(True)
    assert "recurrence" in names(plain.condensed())
    assert "recurrence" not in names(watched.condensed())
    for direction, time in (("forward", "unrolled"), ("both", "unrolled"), ("forward", "folded")):
        found, expected = (tape.graph(direction, time) for tape in (plain, watched))
        shown = ("op", "label", "shape", "scope", "time", "source", "kind")
        assert [{key: data.get(key) for key in shown} for _, data in found.nodes(data=True)] == [
            {key: data.get(key) for key in shown} for _, data in expected.nodes(data=True)
        ]
        assert list(found.edges) == list(expected.edges)


@kinds
def test_the_graph_after_a_sweep_is_the_same_and_can_be_swept_again(kind):
    model, x, y = example(kind)
    tape, loss = recorded(model, x, y, by_steps=False)
    before = names(recorded(model, x, y, by_steps=True)[0].recorded())
    first = tape.backward(loss)
    assert names(tape.recorded()) == before
    assert_same(tape.backward(loss), first)
    assert_same(tape.backward(loss, ("diag_h",)), swept(model, x, y, ("diag_h",), by_steps=True))


def test_tensors_of_the_whole_are_those_of_its_steps():
    model, x, _ = example("lstm")
    with tracer.Tape() as tape:
        shown, (h, c) = model.rnn(x)
        loss = shown.sum() + (h * c).sum()
    nodes = tape.recorded()
    assert shown.node in nodes
    assert shown.node.op.name == "stack"
    assert names(nodes).count("lstm_memory") == 5
    assert tape.backward(loss)["grad"]


def test_what_is_recorded_between_the_whole_and_its_parts_stays(monkeypatch):
    """As by another thread, where several record on one tape."""
    model, x, _ = example("lstm")
    other, between = tracer.parameter(np.ones(3), name="other"), []
    parts = Recurrence.parts

    def interrupted(**params):
        if not between:
            between.append(np.exp(other))
        return parts(**params)

    monkeypatch.setattr(type(Recurrence), "parts", staticmethod(interrupted))
    with tracer.Tape() as tape:
        shown, (h, c) = model.rnn(x)
        loss = (shown.sum() + (h * c).sum()) * between[0].sum()
    assert names(tape.condensed())[1:3] == ["recurrence", "exp"]
    expected = tape.backward(loss)
    assert names(tape.recorded()).count("exp") == 1
    assert_same(tape.backward(loss), expected)


@pytest.mark.parametrize("asked", ["diag_h", "hmp", "ggnmp", "kfra"])
def test_what_goes_from_operation_to_operation_takes_the_steps(asked):
    model, x, y = example("gru", steps=3, learned=False)
    tape, loss = recorded(model, x, y, by_steps=False)
    results = tape.backward(loss, (asked,))
    assert "gru_blend" in names(tape.condensed())
    assert set(results[asked])


def test_on_an_inner_tape_steps_are_recorded():
    model, x, _ = example("lstm", steps=2)

    def loss(weight):
        shown, _ = model.rnn(x)
        return (shown * weight).sum() ** 2

    point = np.random.default_rng(2).standard_normal(4)
    hessian = tracer.hessian(loss)(point)
    shown, _ = model.rnn(x)
    total = np.asarray(shown.data if hasattr(shown, "data") else shown).sum((0, 1))
    np.testing.assert_allclose(hessian, 2 * np.outer(total, total), rtol=1e-9)


def test_samples_that_cannot_be_followed_through_the_whole_are_through_its_steps():
    """One sequence without an axis of samples."""
    layer = nn.LSTM(3, 4).double()
    x = np.random.default_rng(0).standard_normal((5, 3))
    with tracer.Tape() as tape:
        shown, _ = layer(x)
        loss = nn.mse_loss(shown, np.zeros((5, 4)))
    tape.backward(loss, ("grad", "diag_ggn_exact"))
    assert "lstm_memory" in names(tape.condensed())


def test_dtypes_that_differ_go_by_steps():
    layer = nn.LSTM(3, 4)
    with tracer.Tape() as tape:
        shown, _ = layer(np.zeros((5, 2, 3)), (np.zeros((1, 2, 4)), np.zeros((1, 2, 4))))
    assert "lstm_memory" in names(tape.condensed())
    assert shown.dtype == np.float64


def test_an_architecture_without_arithmetic_goes_by_steps():
    architecture = RNN_TANH._replace(step=lambda x, u, h: (np.sin(x + u),))
    layer = RecurrentLayer(
        architecture, 3, 4, 1, True, False, 0.0, False, 0, None, np.float64, None
    )
    x = np.random.default_rng(0).standard_normal((2, 1, 3))
    with tracer.Tape() as tape:
        shown, _ = layer(x)
    assert "sin" in names(tape.condensed())
    held = {name: parameter.data for name, parameter in layer.named_parameters()}
    bias = held["bias_ih_l0"] + held["bias_hh_l0"]
    first = np.sin(x[0] @ held["weight_ih_l0"].T + bias)
    second = np.sin(x[1] @ held["weight_ih_l0"].T + bias + first @ held["weight_hh_l0"].T)
    np.testing.assert_allclose(shown.data, [first, second], rtol=1e-12)


# -- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "culprit"),
    [
        ("weight_ih_l0", (12, 5), "linear .* expects inputs .*, 5"),
        ("weight_hh_l0", (12, 5), "linear .*, 5"),
        ("weight_hh_l0", (9, 4), "linear .*9, 4"),
        ("bias_ih_l0", (3,), r"linear .*float64\[3\]"),
        ("bias_hh_l0", (3,), r"linear .*float64\[3\]"),
    ],
)
@pytest.mark.parametrize("taped", [False, True])
def test_an_error_names_the_step_that_fails(name, shape, culprit, taped):
    """A bias of one number a gate, which could be broadcast to its units, among them."""
    layer = nn.GRU(3, 4).double()
    setattr(layer, name, tracer.parameter(np.zeros(shape)))
    with tracer.Tape() if taped else tracer.pause(), pytest.raises(ShapeError, match=culprit) as e:
        layer(np.zeros((5, 2, 3)))
    assert "recurrence" not in str(e.value)


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_steps", [False, True])
def test_a_tape_is_freed_without_the_collector(by_steps):
    model, x, y = example("lstm")
    gc.collect()
    gc.disable()
    try:
        tape, loss = recorded(model, x, y, by_steps)
        gone = weakref.ref(tape)
        history = weakref.ref(next(n.output for n in tape.condensed() if n.output is not None))
        del tape, loss
        assert gone() is None
        assert history() is None
    finally:
        gc.enable()


def test_outputs_without_a_tape_do_not_hold_the_history():
    shown, (h, c) = nn.LSTM(3, 4)(np.zeros((5, 2, 3), np.float32))
    for value in (shown, h, c):
        data = value.data if isinstance(value, tracer.Tensor) else value
        root = data if data.base is None else data.base
        assert root.size <= 5 * 2 * 4


@pytest.mark.parametrize("traced", [True, False])
def test_outputs_lie_in_memory_as_inputs_do(traced):
    layer, x = nn.LSTM(3, 4, batch_first=True), np.zeros((5, 6, 3), np.float32)
    with tracer.Tape() if traced else contextlib.nullcontext():
        output, _ = layer(x)
    array = output.data if isinstance(output, tracer.Tensor) else output
    assert array.shape == (5, 6, 4)
    assert array.flags.c_contiguous
