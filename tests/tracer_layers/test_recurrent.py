"""Recurrent layers: what they take and refuse, where samples are, their graph, packed sequences."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.errors import ShapeError, TracerError
from tracer.testing import check_operation
from tracer_layers.recurrent.steps import Blend, Candidate, Exposed, Gates, Memory

sys.path.insert(0, str(Path(__file__).parents[1]))
import device

T, N, D, H = 5, 4, 3, 2
LAYERS = [nn.RNN, nn.LSTM, nn.GRU]
CELLS = [nn.RNNCell, nn.LSTMCell, nn.GRUCell]


def rng():
    return np.random.default_rng(0)


def sequences(*shape):
    return rng().standard_normal(shape or (T, N, D))


X = sequences()


def made(layer, *options, **named):
    return layer(D, H, *options, rng=rng(), **named).double()


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


@pytest.fixture
def on_device():
    """Makes arrays of a library that never mixes with NumPy."""
    tracer.registry.backends.add(device.DeviceBackend(), "tests")
    yield device.asarray
    tracer.registry.backends.remove("device")


@pytest.mark.parametrize("op", [Gates, Memory, Exposed, Candidate, Blend], ids=lambda op: op.name)
def test_operations_keep_all_their_rules(op, on_device):
    check_operation(op, backend=on_device)


# -- what comes out --------------------------------------------------------------------------------


@settings(max_examples=30, derandomize=True)
@given(
    layer=st.sampled_from(LAYERS),
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    ragged=st.booleans(),
)
def test_shapes_and_dtypes(layer, sizes, layers, bidirectional, batch_first, ragged):
    steps, samples, features, width = sizes
    module = layer(features, width, layers, batch_first=batch_first, bidirectional=bidirectional)
    shape = (samples, steps) if batch_first else (steps, samples)
    lengths = np.full(samples, 1) if ragged else None
    output, states = module(np.ones((*shape, features), dtype=np.float32), lengths=lengths)
    directions = 1 + bidirectional
    assert output.shape == (*shape, directions * width)
    assert output.dtype == np.float32
    assert len(as_tuple(states)) == 1 + (layer is nn.LSTM)
    for state in as_tuple(states):
        assert state.shape == (layers * directions, samples, width)
        assert state.dtype == np.float32


@pytest.mark.parametrize("layer", LAYERS)
def test_the_last_states_are_the_outputs_at_the_ends(layer):
    module = made(layer, bidirectional=True)
    lengths = np.array([5, 2, 1, 4])
    output, states = module(sequences(), lengths=lengths)
    h = as_tuple(states)[0].data
    np.testing.assert_array_equal(h[0], output.data[lengths - 1, range(N), :H])
    np.testing.assert_array_equal(h[1], output.data[0, :, H:])
    for n, length in enumerate(lengths):
        assert not output.data[length:, n].any()
        assert output.data[:length, n].all()


@pytest.mark.parametrize("layer", LAYERS)
@settings(max_examples=15, derandomize=True)
@given(lengths=st.lists(st.integers(1, T), min_size=1, max_size=4), garbage=st.floats())
def test_padded_sequences_are_what_each_is_alone(layer, lengths, garbage):
    """In two layers and directions, whatever stands in the padding."""
    module = made(layer, 2, bidirectional=True)
    x = sequences(T, len(lengths), D)
    for n, length in enumerate(lengths):
        x[length:, n] = garbage
    output, states = module(x, lengths=lengths)
    for n, length in enumerate(lengths):
        alone, last = module(x[:length, n])
        np.testing.assert_allclose(output.data[:length, n], alone.data, rtol=1e-12)
        for state, own in zip(as_tuple(states), as_tuple(last), strict=True):
            np.testing.assert_allclose(state.data[:, n], own.data, rtol=1e-12)


@pytest.mark.parametrize(("layer", "cell"), list(zip(LAYERS, CELLS, strict=True)))
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 2, 1, 4]])
def test_recurrent_of_a_cell_is_the_layer(layer, cell, reverse, lengths):
    one = made(cell)
    whole = layer(D, H, bidirectional=reverse).double()
    end = "_l0_reverse" if reverse else "_l0"
    whole.load_state_dict({k + end: v for k, v in one.state_dict().items()}, strict=False)
    state = tuple(np.zeros((N, H)) for _ in range(1 + (cell is nn.LSTMCell)))
    output, last = nn.Recurrent(one, reverse=reverse)(
        sequences(), state if len(state) > 1 else state[0], lengths=lengths
    )
    expected, states = whole(sequences(), lengths=lengths)
    np.testing.assert_allclose(output.data, expected.data[..., -H:], rtol=1e-12)
    for mine, other in zip(as_tuple(last), as_tuple(states), strict=True):
        np.testing.assert_allclose(mine.data, other.data[-1], rtol=1e-12)


def test_recurrent_takes_functions_and_nested_states():
    """A running sum and a count of steps, in a dict."""

    def cell(x, state):
        (total,), steps = state["total"], state["steps"]
        return total / (steps + 1), {"total": [total + x], "steps": steps + 1}

    start = {"total": [np.zeros((1, D))], "steps": np.zeros((N, 1))}
    output, state = nn.Recurrent(cell, batch_first=True)(sequences(N, T, D), start)
    assert output.shape == (N, T, D)
    np.testing.assert_allclose(state["total"][0].data, sequences(N, T, D).sum(1), rtol=1e-12)
    np.testing.assert_array_equal(state["steps"].data, np.full((N, 1), T))


def test_a_state_of_one_row_is_that_of_all_samples():
    one = rng().standard_normal((1, 1, H))
    for layer in (nn.RNN, nn.GRU):
        module = made(layer)
        expected = module(sequences(), np.repeat(one, N, axis=1))[0].data
        np.testing.assert_array_equal(module(sequences(), one)[0].data, expected)
    cell = nn.Recurrent(made(nn.GRUCell))
    expected = cell(sequences(), np.repeat(one[0], N, axis=0))[0].data
    np.testing.assert_array_equal(cell(sequences(), one[0])[0].data, expected)


def test_dropout_is_between_layers_at_its_rate():
    """A second layer that hands its input on shows what was dropped, and the scale of the rest."""
    module = nn.RNN(1, 50, 2, nonlinearity="relu", dropout=0.3, rng=rng())
    for name, parameter in module.named_parameters():
        parameter.data = np.zeros_like(parameter.data)
        if name == "bias_ih_l0":
            parameter.data += 1
    module.weight_ih_l1.data = np.eye(50, dtype=np.float32)
    shown = module(np.zeros((20, 40, 1), dtype=np.float32))[0].data
    assert set(np.unique(shown).tolist()) == {0.0, np.float32(1 / 0.7).item()}
    assert abs((shown == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / shown.size)
    np.testing.assert_array_equal(module.eval()(np.zeros((2, 1, 1), np.float32))[0].data, 1)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.LSTM(3, 4, 2, proj_size=2), "LSTM(3, 4, proj_size=2, num_layers=2)"),
        (nn.RNNCell(3, 4, False, "relu"), "RNNCell(3, 4, bias=False, nonlinearity=relu)"),
        (
            nn.Recurrent(nn.GRUCell(3, 4), batch_first=True),
            "Recurrent(\n  batch_first=True\n  (cell): GRUCell(3, 4)\n)",
        ),
    ],
)
def test_text(module, text):
    assert repr(module) == text


# -- packed sequences ------------------------------------------------------------------------------


def ragged():
    draw = rng()
    return [draw.standard_normal((n, D)) for n in (2, 4, 1)]


def test_packed_sequences_go_in_and_come_out():
    module = made(nn.GRU, bidirectional=True)
    packed = nn.pack_sequence(ragged(), enforce_sorted=False)
    output, state = module(packed)
    assert isinstance(output, nn.PackedSequence)
    padded, lengths = nn.pad_packed_sequence(output, batch_first=True, total_length=6)
    expected, last = module(nn.pad_sequence(ragged()), lengths=[2, 4, 1])
    np.testing.assert_array_equal(lengths, [2, 4, 1])
    np.testing.assert_array_equal(padded.data[:, :4], np.swapaxes(expected.data, 0, 1))
    assert not padded.data[:, 4:].any()
    np.testing.assert_array_equal(state.data, last.data)


def test_packed_data_goes_step_by_step_the_longest_sequence_first():
    packed = nn.pack_sequence([np.array(s) for s in ([1, 2], [3, 4, 5], [6])], enforce_sorted=False)
    np.testing.assert_array_equal(packed.data, [3, 1, 6, 4, 2, 5])
    np.testing.assert_array_equal(packed.batch_sizes, [3, 2, 1])


def test_gradients_pass_through_packing_and_padding():
    arrays = ragged()
    leaves = [tracer.parameter(x, name=f"x{i}") for i, x in enumerate(arrays)]
    weights = rng().standard_normal((4, 3, D))
    with tracer.Tape() as tape:
        packed = nn.pack_sequence(leaves, enforce_sorted=False)
        padded, _ = nn.pad_packed_sequence(packed, padding_value=7.0)
        loss = np.sum(padded * weights) + np.sum(packed.data)
    for i, x in enumerate(arrays):
        gradient = tape.backward(loss)["grad"][f"x{i}"]
        np.testing.assert_allclose(gradient, weights[: len(x), i] + 1, rtol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_other_array_libraries(layer, on_device):
    """States, lengths and packing stay where the input is."""
    module = made(layer, 2, bidirectional=True)
    state = module.state_dict()
    results = []
    for put in (np.asarray, on_device):
        module.to("cpu" if put is np.asarray else "double")
        target = put(np.ones((T, N, 2 * H)))
        with tracer.Tape() as tape:
            output, _ = module(put(X), lengths=[5, 2, 1, 4])
            packed, _ = module(nn.pack_padded_sequence(put(X), [5, 3, 2, 2]))
            loss = nn.functional.mse_loss(output, target)
            loss = loss + nn.functional.mse_loss(packed.padded, target)
        results.append(tape.backward(loss, ("grad", "batch_l2", "kflr", "diag_h")))
    expected, found = results
    for name, quantity in itertools.product(state, ("grad", "batch_l2", "diag_h")):
        value = found[quantity][name]
        assert isinstance(value, device.DeviceArray)
        np.testing.assert_allclose(value.get(), expected[quantity][name], rtol=1e-9, atol=1e-14)
    for name in state:
        pairs = zip(found["kflr"][name].factors, expected["kflr"][name].factors, strict=True)
        for mine, other in pairs:
            np.testing.assert_allclose(mine.get(), other, rtol=1e-9, atol=1e-14)


# -- where samples are ---------------------------------------------------------------------------


class Tagger(nn.Module):
    """Tokens `[T, N]` to classes at every step."""

    def __init__(self, batch_first=False):
        self.table = nn.Embedding(7, D)
        self.recurrent = nn.LSTM(D, H, batch_first=batch_first)
        self.head = nn.Linear(H, 3)

    def forward(self, tokens, mask=None, lengths=None):
        h, _ = self.recurrent(self.table(tokens), lengths=lengths)
        return self.head(h)


class Declared(nn.Module):
    """Plain code over time that says where its samples are."""

    batch_axis = 1

    def __init__(self):
        self.map = nn.Linear(D, D)

    def forward(self, x):
        return np.tanh(self.map(x))


def samples_of(module, *inputs, read=lambda result: result):
    """How many samples the gradients are of."""
    with tracer.Tape() as tape:
        output = read(module(*inputs))
        loss = nn.functional.mse_loss(output, np.zeros_like(output.data))
    sizes = {len(g) for g in tape.backward(loss, ("grad_batch",))["grad_batch"].values()}
    (size,) = sizes
    return size


def output_of(result):
    return result[0]


def whole(result):
    return result


#: (make, inputs, what of the result is judged)
MARKED = {
    "LSTM": (lambda: made(nn.LSTM), [X], output_of),
    "LSTM, samples first": (
        lambda: made(nn.LSTM, batch_first=True),
        [sequences(N, T, D)],
        output_of,
    ),
    "Recurrent": (lambda: nn.Recurrent(made(nn.GRUCell)), [X], output_of),
    "Recurrent, samples first": (
        lambda: nn.Recurrent(made(nn.GRUCell), True),
        [sequences(N, T, D)],
        output_of,
    ),
    "Sequential": (
        lambda: nn.Sequential(nn.Linear(D, D).double(), made(nn.GRU)),
        [X],
        output_of,
    ),
    "tokens": (Tagger, [np.ones((T, N), int)], whole),
    "tokens and a mask": (Tagger, [np.ones((T, N), int), np.ones((T, N), bool)], whole),
    "tokens, samples first": (lambda: Tagger(True), [np.ones((N, T), int)], whole),
    "an array of lengths, samples first": (
        lambda: Tagger(True),
        [np.ones((N, T), int), None, np.array([5, 1, 2, 2])],
        whole,
    ),
    "an axis declared": (lambda: Declared().double(), [X], whole),
    "a cell": (lambda: made(nn.GRUCell), [sequences(N, D), sequences(N, H)], whole),
    "a packed sequence": (
        lambda: made(nn.GRU),
        [nn.pack_padded_sequence(X, [5, 5, 2, 1])],
        lambda result: result[0].padded,
    ),
    "states of equal sizes by chance": (
        lambda: made(nn.GRU, N, batch_first=True),
        [sequences(N, T, D), sequences(N, N, H)],
        output_of,
    ),
    "states of equal sizes in a Recurrent": (
        lambda: nn.Recurrent(nn.GRUCell(D, N).double()),
        [X, sequences(N, N)],
        output_of,
    ),
}


@pytest.mark.parametrize("name", MARKED)
def test_the_outermost_module_marks_the_samples(name):
    make, inputs, read = MARKED[name]
    assert samples_of(make(), *inputs, read=read) == N


def test_a_sequence_alone_is_a_batch_of_one():
    assert samples_of(made(nn.LSTM), X[:, 0], read=output_of) == 1
    assert samples_of(made(nn.GRUCell), X[0, 0]) == 1


def test_masks_are_never_marked():
    seen = {}

    class Masked(nn.Module):
        sequence_first = True

        def forward(self, x, mask):
            seen.update(x=x, mask=mask)
            return x

    Masked()(sequences(T, N, D), np.ones((T, N), bool))
    assert isinstance(seen["x"], tracer.Tensor)
    assert isinstance(seen["mask"], np.ndarray)


# -- the graph -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_operations_know_their_layer_and_step(layer):
    module = made(layer, 2, bidirectional=True)
    with tracer.Tape() as tape:
        module(sequences())
    scopes = ["l0", "l0_reverse", "l1", "l1_reverse"]
    times = {scope: [] for scope in scopes}
    for _, node in tape.graph().nodes(data=True):
        if node["kind"] == "operation" and node["time"] is not None:
            times[node["scope"]].append(node["time"])
    for scope in scopes:
        order = list(dict.fromkeys(times[scope]))
        assert order == list(range(T))[:: -1 if scope.endswith("reverse") else 1]
        counts = {times[scope].count(t) for t in range(T)}
        assert len(counts) == 1, "the same operations in every step"


def test_scopes_continue_those_of_the_module_around():
    with tracer.Tape() as tape:
        Tagger()(np.ones((T, N), int))
    found = {node["scope"] for _, node in tape.graph().nodes(data=True) if node["op"] == "gates"}
    assert found == {"recurrent.l0"}


@pytest.mark.parametrize(
    ("layer", "carried"), [(nn.RNN, {"gates"}), (nn.LSTM, {"lstm_memory", "lstm_output"}),
                           (nn.GRU, {"gru_blend"})]
)  # fmt: skip
def test_the_folded_graph_closes_its_cycles_with_the_states(layer, carried):
    module = made(layer, bidirectional=True)
    with tracer.Tape() as tape:
        module(sequences())
    folded = tape.graph(time="folded")
    delayed = [(u, v, a["delay"]) for u, v, a in folded.edges(data=True) if a["delay"]]
    assert {delay for *_, delay in delayed} == {1}
    assert {folded.nodes[u]["op"] for u, *_ in delayed} == carried
    assert {folded.nodes[u]["scope"] for u, *_ in delayed} == {"l0", "l0_reverse"}
    for node in {end for edge in delayed for end in edge[:2]}:
        assert folded.nodes[node]["steps"] == T


def test_the_folded_graph_does_not_grow_with_the_sequence():
    sizes = []
    for steps in (3, 30):
        with tracer.Tape() as tape:
            made(nn.LSTM, 2)(sequences(steps, 2, D))
        sizes.append(len(tape.graph(time="folded")))
    assert sizes[0] == sizes[1]


# -- what is refused -------------------------------------------------------------------------------

STATE = np.zeros((1, N, H))


def cell_of(step):
    """A `Recurrent` of this step, started at zeros."""
    return lambda: nn.Recurrent(step)(X, np.zeros((N, H)))


#: (call, part of the message)
REFUSED = {
    "zero length": (lambda: made(nn.LSTM)(X, lengths=[1, 0, 2, 3]), "lengths from 1 to 5"),
    "long length": (lambda: made(nn.LSTM)(X, lengths=[1, 6, 2, 3]), "got [1, 6, 2, 3]"),
    "few lengths": (lambda: made(nn.GRU)(X, lengths=[1, 2, 3]), "4 ints, one per sequence, got"),
    "float lengths": (lambda: made(nn.GRU)(X, lengths=[1.0, 2, 3, 4]), "got float64[4]"),
    "one length": (lambda: made(nn.GRU)(X, lengths=3), "lengths as 4 ints"),
    "long length of a Recurrent": (
        lambda: nn.Recurrent(made(nn.GRUCell))(X, lengths=[1, 2, 3, 9]),
        "lengths from 1 to 5",
    ),
    "lengths of one sequence": (
        lambda: made(nn.GRU)(X[:, 0], lengths=[3]),
        "lengths are of several sequences",
    ),
    "lengths of a packed sequence": (
        lambda: made(nn.GRU)(nn.pack_padded_sequence(X, [5, 4, 3, 2]), lengths=[5, 4, 3, 2]),
        "has lengths of its own",
    ),
    "LSTM given one state": (lambda: made(nn.LSTM)(X, STATE), "LSTM expects its state as a pair"),
    "LSTM given three": (lambda: made(nn.LSTM)(X, (STATE,) * 3), "a pair (h, c) of arrays, got"),
    "LSTMCell given one": (lambda: made(nn.LSTMCell)(X[0], STATE[0]), "LSTMCell expects its state"),
    "GRU given a pair": (lambda: made(nn.GRU)(X, (STATE, STATE)), "GRU expects its state as one"),
    "lists": (lambda: made(nn.LSTM)(X, ([0.0], [0.0])), "a pair (h, c) of arrays, got ((0.0), ("),
    "lists of one sequence": (lambda: made(nn.GRU)(X[:, 0], [0.0]), "GRU expects its state as one"),
    "state of another size": (
        lambda: made(nn.LSTM)(X, (STATE, np.zeros((1, N, 3)))),
        "LSTM expects a state [4, 2] for 4 samples, or [1, 2] for all of them, got float64[4, 3]",
    ),
    "state of other samples": (
        lambda: made(nn.GRU)(X, np.zeros((1, 3, H))),
        "GRU expects a state [4, 2] for 4 samples",
    ),
    "state without layers": (
        lambda: made(nn.GRU)(X, STATE[0]),
        "GRU expects a state [1, 4, 2] (layers * directions, samples, size), got float64[4, 2]",
    ),
    "state of other layers": (
        lambda: made(nn.GRU, 2, bidirectional=True)(X, STATE),
        "GRU expects a state [4, 4, 2]",
    ),
    "state with samples of one sequence": (
        lambda: made(nn.GRU)(X[:, 0], STATE),
        "GRU expects a state [layers * directions, size] for one sequence",
    ),
    "state of another dtype": (
        lambda: made(nn.GRU)(X, STATE.astype(np.float32)),
        "GRU expects a state of the input's dtype float64, got float32[4, 2]: convert",
    ),
    "cell's state of other samples": (
        lambda: made(nn.RNNCell)(X[0], np.zeros((3, H))),
        "RNNCell expects a state [4, 2] for 4 samples",
    ),
    "cell's state of another dtype": (
        lambda: made(nn.RNNCell)(X[0], np.zeros((N, H), np.float32)),
        "RNNCell expects a state of the input's dtype",
    ),
    "many axes": (lambda: made(nn.RNN)(X[None]), "RNN expects sequences [T, N, 3]"),
    "few axes": (
        lambda: made(nn.RNN, batch_first=True)(X[0, 0]),
        "RNN expects sequences [N, T, 3] of at least one step, or one sequence [T, 3], got",
    ),
    "another input size": (lambda: made(nn.LSTM)(X[..., :2]), "got float64[5, 4, 2]"),
    "another input size, packed": (
        lambda: made(nn.LSTM)(nn.pack_padded_sequence(X[..., :2], [5, 4, 3, 2])),
        "LSTM expects packed sequences [T, N, 3], got float64[5, 4, 2]",
    ),
    "no steps": (lambda: made(nn.LSTM)(X[:0]), "of at least one step"),
    "no steps of one sequence": (lambda: made(nn.LSTM)(X[:0, 0]), "of at least one step"),
    "no steps of a Recurrent": (
        lambda: nn.Recurrent(made(nn.GRUCell))(X[:0]),
        "Recurrent expects sequences of at least one step and sample, [T, N, ...]",
    ),
    "a cell's input": (lambda: made(nn.GRUCell)(X), "GRUCell expects inputs [N, 3], or one sample"),
    "a wide projection": (
        lambda: nn.LSTM(3, 2, proj_size=2),
        "LSTM expects proj_size below hidden_size=2, got 2",
    ),
    "a negative projection": (lambda: nn.LSTM(3, 2, proj_size=-1), "LSTM expects proj_size as an"),
    "an unknown nonlinearity": (
        lambda: nn.RNN(3, 2, nonlinearity="gelu"),
        'RNN expects nonlinearity "tanh" or "relu", got \'gelu\'',
    ),
    "a cell's nonlinearity": (
        lambda: nn.RNNCell(3, 2, nonlinearity="elu"),
        "RNNCell expects nonlinearity",
    ),
    "no hidden units": (lambda: nn.GRU(3, 0), "GRU expects hidden_size as an int of at least 1"),
    "no layers": (lambda: nn.GRU(3, 2, 0), "GRU expects num_layers as an int of at least 1"),
    "dropout": (lambda: nn.GRU(3, 2, 2, dropout=1.5), "GRU expects a probability p between 0 and"),
    "a device": (lambda: nn.GRU(3, 2, device="meta"), "a device is one of cpu, cuda"),
    "no pair": (cell_of(lambda x, h: h), "a cell that returns a pair (y, state), y an array, got"),
    "three values": (cell_of(lambda x, h: (h, h, h)), "got (float64[4, 2], float64[4, 2], float"),
    "nothing": (cell_of(lambda x, h: None), "got NoneType from function"),
    "a pair for an output": (cell_of(lambda x, h: ((h, h), h)), "y an array, got ((float64[4, 2]"),
    "a state that grows": (
        cell_of(lambda x, h: (x, (h, h))),
        "returns a state like the one it is given, float64[4, 2], got (float64[4, 2], float64[4",
    ),
    "a state that is dropped": (cell_of(lambda x, h: (x, None)), "given, float64[4, 2], got None"),
    "a state of another shape": (cell_of(lambda x, h: (x, h[:, :1])), "got float64[4, 1]"),
    "a state under other names": (
        lambda: nn.Recurrent(lambda x, s: (x, {"b": s["a"]}))(X, {"a": np.zeros((N, H))}),
        "given, {'a': float64[4, 2]}, got {'b': float64[4, 2]}",
    ),
    "a Recurrent's state of other samples": (
        lambda: nn.Recurrent(made(nn.GRUCell))(X, np.zeros((3, H))),
        "Recurrent expects a state with the 4 samples first, or one row for all of them, got",
    ),
    "a number for a state": (
        lambda: nn.Recurrent(lambda x, h: (x, h))(X, 1.0),
        "Recurrent expects a state with the 4 samples first",
    ),
    "ragged and backward without a state": (
        lambda: nn.Recurrent(made(nn.GRUCell), reverse=True)(X, lengths=[5, 1, 2, 3]),
        "Recurrent expects state= with lengths= and reverse=True, got None",
    ),
    "unsorted": (
        lambda: nn.pack_padded_sequence(X, [1, 2, 3, 4]),
        "expects lengths that never grow, got [1, 2, 3, 4]: sort the sequences",
    ),
    "packing one array": (
        lambda: nn.pack_padded_sequence(X[0, 0], [1]),
        "expects padded sequences [T, N, ...], got [3]",
    ),
    "packing nothing": (lambda: nn.pack_sequence([]), "expects at least one sequence, got none"),
    "an empty sequence": (lambda: nn.pack_sequence([X[0], X[0, :0]]), "leave out empty sequences"),
    "total length": (
        lambda: nn.pad_packed_sequence(nn.pack_padded_sequence(X, [5, 1, 1, 1]), total_length=4),
        "expects total_length of at least the longest sequence's 5, got 4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(TracerError, match=re.escape(message)):
        call()


def test_shapes_that_do_not_fit_are_shape_errors():
    for name in ("zero length", "state of another size", "many axes", "no pair"):
        with pytest.raises(ShapeError):
            REFUSED[name][0]()


def test_dropout_of_one_layer_warns():
    with pytest.warns(UserWarning, match="GRU drops out between layers, and has one"):
        nn.GRU(3, 2, dropout=0.5)


def test_only_lstm_takes_projections():
    with pytest.raises(TypeError, match="proj_size"):
        nn.GRU(3, 2, proj_size=1)


@pytest.mark.parametrize("layer", [*LAYERS, *CELLS])
def test_first_states_have_names_of_their_own(layer):
    with tracer.Tape() as tape:
        made(layer)(X[0] if layer in CELLS else X)
    names = {data["label"] for _, data in tape.graph().nodes(data=True) if data["kind"] == "input"}
    both = {"first state h", "first state c"}
    assert names - {"input"} == (both if "LSTM" in layer.__name__ else {"first state"})


def test_the_zeros_that_a_learned_state_meets_are_no_first_state():
    learned = tracer.parameter(np.zeros((1, N, H)), name="learned")
    with tracer.Tape() as tape:
        made(nn.GRU)(X, learned)
    names = {data["label"] for _, data in tape.graph().nodes(data=True) if data["kind"] == "input"}
    assert names == {"input", "zero for each sample"}
