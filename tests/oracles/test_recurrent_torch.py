"""Recurrent layers, cells and packed sequences against PyTorch, and quantities against BackPACK.

BackPACK 1.7.1 has recurrent layers of one layer that take samples first; it takes no first state.
"""

import inspect
import itertools

import numpy as np
import pytest

import tracer
import tracer_layers
from tracer_quantities import DiagGGNMC

torch = pytest.importorskip("torch")
rnn = torch.nn.utils.rnn

pytestmark = [
    pytest.mark.oracle,
    # PyTorch's remark on one layer with dropout, and BackPACK on its own account
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
]

T, N, D, H = 5, 3, 3, 4
LENGTHS = [4, 1, 5]

KINDS = {
    "rnn": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
}
CELLS = {
    "rnn": ("RNNCell", {}),
    "rnn-relu": ("RNNCell", {"nonlinearity": "relu"}),
    "lstm": ("LSTMCell", {}),
    "gru": ("GRUCell", {}),
}
OPTIONS = [
    dict(zip(("num_layers", "bidirectional", "batch_first", "bias"), values, strict=True))
    for values in itertools.product((1, 2), (False, True), (False, True), (False, True))
]


def both(name, *arguments, **options):
    """PyTorch's module and ours in float64 with the same parameters, after comparing both."""
    theirs, ours = (getattr(nn, name)(*arguments, **options) for nn in (torch.nn, tracer_layers))
    assert repr(ours) == repr(theirs)
    expected = {k: (tuple(v.shape), str(v.dtype)) for k, v in theirs.state_dict().items()}
    got = {k: (v.shape, f"torch.{v.dtype}") for k, v in ours.state_dict().items()}
    assert list(got.items()) == list(expected.items())
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    theirs.double()
    ours.double().load_state_dict(theirs.state_dict())
    return theirs, ours


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def close(ours, theirs, message=""):
    np.testing.assert_allclose(
        ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-11, err_msg=message
    )


class Comparison:
    """The same call of both: inputs and first states are leaves that want gradients."""

    def __init__(self, theirs, ours, input, states=()):
        self.theirs, self.ours = theirs, ours
        self.arrays = {"input": input, **{f"state {i}": s for i, s in enumerate(states)}}
        self.leaves = {k: tracer.parameter(v, name=k) for k, v in self.arrays.items()}
        self.tensors = {k: torch.tensor(v, requires_grad=True) for k, v in self.arrays.items()}

    def given(self, leaves):
        """The arguments: the input, and the state if there is one."""
        input, *states = leaves.values()
        if not states:
            return [input]
        return [input, tuple(states) if len(states) > 1 else states[0]]

    def run(self, call_theirs=None, call_ours=None):
        """Compare all values, and the gradients of a weighted sum of them."""
        call_theirs, call_ours = call_theirs or self.theirs, call_ours or self.ours
        rng = np.random.default_rng(1)
        with tracer.Tape() as tape:
            values = self.flat(call_ours(*self.given(self.leaves)))
            weights = [rng.standard_normal(v.shape) for v in values]
            loss = sum(np.sum(v * w) for v, w in zip(values, weights, strict=True))
        expected = self.flat(call_theirs(*self.given(self.tensors)))
        for value, other in zip(values, expected, strict=True):
            close(value.data, other)
        gradients = tape.backward(loss)["grad"]
        sum((v * torch.tensor(w)).sum() for v, w in zip(expected, weights, strict=True)).backward()
        named = dict(self.theirs.named_parameters()) | self.tensors
        assert set(gradients) == set(named)
        for name, leaf in named.items():
            close(gradients[name], leaf.grad, f"gradient of {name}")

    @staticmethod
    def flat(result):
        """Outputs, then states, as one list; a cell returns its state alone."""
        if not isinstance(result, tuple):
            return [result]
        return [value for part in result for value in parts(part)]


def drawn_states(kind, options, samples=N):
    """A first state `[layers * directions, N, size]`, two for an LSTM."""
    name, own = KINDS[kind]
    lead = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    sizes = [own.get("proj_size", H)] + [H] * (name == "LSTM")
    rng = np.random.default_rng(2)
    return [rng.standard_normal((lead, *([samples] if samples else []), size)) for size in sizes]


def drawn_input(options):
    shape = (N, T, D) if options.get("batch_first") else (T, N, D)
    return np.random.default_rng(3).standard_normal(shape)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
class TestLayers:
    def compare(self, kind, options, stated, *calls):
        name, own = KINDS[kind]
        states = drawn_states(kind, options) if stated else ()
        theirs, ours = both(name, D, H, **own, **options)
        comparison = Comparison(theirs, ours, drawn_input(options), states)
        comparison.run(*(call(module) for call, module in zip(calls, (theirs, ours), strict=True)))

    @pytest.mark.parametrize("stated", [False, True])
    def test_values_states_and_gradients(self, kind, options, stated):
        self.compare(kind, options, stated, lambda theirs: theirs, lambda ours: ours)

    @pytest.mark.parametrize("stated", [False, True])
    def test_lengths(self, kind, options, stated):
        """Ours takes `lengths=`, PyTorch's a packed sequence."""
        first = options["batch_first"]

        def packed(theirs):
            def call(x, *state):
                given = rnn.pack_padded_sequence(x, LENGTHS, first, enforce_sorted=False)
                output, states = theirs(given, *state)
                return rnn.pad_packed_sequence(output, first)[0], states

            return call

        def with_lengths(ours):
            return lambda x, *state: ours(x, *state, lengths=LENGTHS)

        self.compare(kind, options, stated, packed, with_lengths)

    @pytest.mark.parametrize("stated", [False, True])
    def test_one_sequence_without_samples(self, kind, options, stated):
        name, own = KINDS[kind]
        x = drawn_input({})[:, 0]
        states = drawn_states(kind, options, samples=None) if stated else ()
        Comparison(*both(name, D, H, **own, **options), x, states).run()


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_in_and_out(kind):
    """The packed form itself: `data` step after step, `batch_sizes`, and padding back."""
    name, own = KINDS[kind]
    theirs, ours = both(name, D, H, num_layers=2, bidirectional=True, **own)
    x = drawn_input({})
    expected, their_states = theirs(
        rnn.pack_padded_sequence(torch.tensor(x), LENGTHS, enforce_sorted=False)
    )
    packed = tracer_layers.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    got, our_states = ours(packed)
    close(got.data.data, expected.data)
    np.testing.assert_array_equal(got.batch_sizes, expected.batch_sizes.numpy())
    for mine, other in zip(parts(our_states), parts(their_states), strict=True):
        close(mine.data, other)
    for options in ({}, {"batch_first": True, "padding_value": -1.5}, {"total_length": 7}):
        mine, my_lengths = tracer_layers.pad_packed_sequence(got, **options)
        other, their_lengths = rnn.pad_packed_sequence(expected, **options)
        close(mine.data, other)
        np.testing.assert_array_equal(my_lengths, their_lengths.numpy())


@pytest.mark.parametrize("first", [False, True])
def test_packing_and_padding(first):
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 2)) for n in (4, 3, 3, 1)]
    tensors = [torch.tensor(s) for s in sequences]
    theirs, ours = rnn.pack_sequence(tensors), tracer_layers.pack_sequence(sequences)
    np.testing.assert_array_equal(ours.data, theirs.data.numpy())
    np.testing.assert_array_equal(ours.batch_sizes, theirs.batch_sizes.numpy())
    mine = tracer_layers.pad_sequence(sequences, first, 0.25)
    np.testing.assert_array_equal(mine, rnn.pad_sequence(tensors, first, 0.25).numpy())
    mine = tracer_layers.pack_padded_sequence(mine, [4, 3, 3, 1], first)
    np.testing.assert_array_equal(mine.data, theirs.data.numpy())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("alone", [False, True], ids=["batch", "one sample"])
@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(kind, stated, alone, bias):
    name, own = CELLS[kind]
    rng = np.random.default_rng(4)
    lead = () if alone else (N,)
    states = [rng.standard_normal((*lead, H)) for _ in range(1 + (kind == "lstm"))]
    theirs, ours = both(name, D, H, bias=bias, **own)
    x = rng.standard_normal((*lead, D))
    Comparison(theirs, ours, x, states if stated else ()).run()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_is_off_in_evaluation(kind):
    name, own = KINDS[kind]
    theirs, ours = both(name, D, H, 2, dropout=0.4, **own)
    Comparison(theirs.eval(), ours.eval(), drawn_input({})).run()


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_everything_leaves_the_second_layer_its_biases(kind):
    name, own = KINDS[kind]
    theirs, ours = both(name, D, H, 2, dropout=1.0, **own)
    Comparison(theirs, ours, drawn_input({})).run()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"])
class TestInitialValues:
    def test_they_are_uniform_within_the_same_bounds(self, name):
        theirs = getattr(torch.nn, name)(5, 64)
        ours = getattr(tracer_layers, name)(5, 64, rng=np.random.default_rng(0))
        for key, value in theirs.state_dict().items():
            mine = ours.state_dict()[key]
            assert abs(mine).max() <= 1 / 8
            assert abs(value).max() <= 1 / 8
            if mine.size > 1000:  # five standard errors
                assert abs(mine).max() > 0.99 / 8
                assert abs(mine.mean()) < 5 / 8 / np.sqrt(3 * mine.size)
                assert abs(mine.std() * 8 * np.sqrt(3) - 1) < 5 / np.sqrt(mine.size)

    def test_they_take_the_same_arguments(self, name):
        """PyTorch's layers leave all to their base, but for the activation of `RNN`."""
        ours = inspect.signature(getattr(tracer_layers, name)).parameters
        if name.endswith("Cell"):
            theirs = inspect.signature(getattr(torch.nn, name)).parameters
            expected = {k: p.default for k, p in theirs.items()}
        else:
            theirs = inspect.signature(torch.nn.RNNBase).parameters
            expected = {k: p.default for k, p in theirs.items() if k != "mode"}
            if name != "LSTM":
                del expected["proj_size"]
            if name == "RNN":
                order = ["input_size", "hidden_size", "num_layers", "nonlinearity"]
                expected |= {"nonlinearity": "tanh"}
                expected = {k: expected[k] for k in dict.fromkeys([*order, *expected])}
        found = {k: p.default for k, p in ours.items() if p.kind != p.KEYWORD_ONLY}
        assert list(found.items()) == list(expected.items())


def test_a_language_model_of_torch_loads_and_agrees():
    """Tokens `[T, N]`, an embedding, a recurrent layer, and a read-out of all steps."""

    def build(nn, base):
        class Model(base):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(7, D)
                self.recurrent = nn.LSTM(D, H, 2)
                self.head = nn.Linear(H, 7)

            def forward(self, tokens):
                return self.head(self.recurrent(self.table(tokens))[0])

        return Model()

    theirs = build(torch.nn, torch.nn.Module).double()
    ours = build(tracer_layers, tracer_layers.Module).double()
    ours.load_state_dict(theirs.state_dict())
    tokens = np.random.default_rng(0).integers(0, 7, (T + 1, N))
    logits = theirs(torch.tensor(tokens[:-1]))
    torch.nn.CrossEntropyLoss()(logits.flatten(0, 1), torch.tensor(tokens[1:]).flatten()).backward()
    with tracer.Tape() as tape:
        output = ours(tokens[:-1])
        loss = tracer_layers.CrossEntropyLoss()(
            np.transpose(output, (1, 2, 0)), np.transpose(tokens[1:])
        )
    close(output.data, logits)
    gradients = tape.backward(loss)["grad"]
    for name, parameter in theirs.named_parameters():
        close(gradients[name], parameter.grad, name)


# -- BackPACK --------------------------------------------------------------------------------------


class Read(tracer_layers.Module):
    """Our side of BackPACK's modules: an entry of a tuple, or axes in another order."""

    def __init__(self, read):
        self.read = read

    def forward(self, value):
        return self.read(value)


def every_step(nn, name):
    """Classes of every step: `[N, C, T]`."""
    if nn is tracer_layers:
        output, classes_first = Read(lambda v: v[0]), Read(lambda v: np.swapaxes(v, 1, 2))
    else:
        from backpack.custom_module.permute import Permute
        from backpack.custom_module.reduce_tuple import ReduceTuple

        output, classes_first = ReduceTuple(0), Permute(0, 2, 1)
    return nn.Sequential(
        getattr(nn, name)(D, H, batch_first=True), output, nn.Linear(H, 3), classes_first
    )


def whole_sequence(nn, name):
    """One classification of each sequence, from the outputs of all steps."""
    if nn is tracer_layers:
        output = Read(lambda v: v[0])
    else:
        from backpack.custom_module.reduce_tuple import ReduceTuple

        output = ReduceTuple(0)
    return nn.Sequential(
        getattr(nn, name)(D, H, batch_first=True), output, nn.Flatten(), nn.Linear(H * T, 3)
    )


@pytest.fixture(params=["mean", "sum"])
def reduction(request):
    """BackPACK makes some of its constants in PyTorch's default type."""
    torch.set_default_dtype(torch.float64)
    yield request.param
    torch.set_default_dtype(torch.float32)


class AgainstBackpack:
    def __init__(self, name, build, reduction):
        self.backpack = pytest.importorskip("backpack")
        torch.manual_seed(0)
        self.theirs = self.backpack.extend(build(torch.nn, name))
        self.ours = build(tracer_layers, name).double()
        self.ours.load_state_dict(self.theirs.state_dict())
        self.reduction = reduction
        self.x = torch.randn(N, T, D)
        output = self.theirs(self.x)
        self.target = torch.randint(3, (N, *output.shape[2:]))

    def expect(self, *extensions):
        """name -> parameter with BackPACK's results."""
        loss = self.backpack.extend(torch.nn.CrossEntropyLoss(reduction=self.reduction))
        with self.backpack.backpack(*extensions):
            loss(self.theirs(self.x), self.target).backward()
        return dict(self.theirs.named_parameters())

    def compute(self, quantities, **options):
        with tracer.Tape() as tape:
            output = self.ours(self.x.numpy())
            loss = tracer_layers.CrossEntropyLoss(reduction=self.reduction)(
                output, self.target.numpy()
            )
        return tape.backward(loss, quantities, **options)


@pytest.mark.parametrize("build", [every_step, whole_sequence])
@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_backpacks_first_order(name, build, reduction):
    problem = AgainstBackpack(name, build, reduction)
    ext = pytest.importorskip("backpack.extensions")
    expected = problem.expect(
        ext.BatchGrad(), ext.BatchL2Grad(), ext.SumGradSquared(), ext.Variance()
    )
    quantities = ("grad", "grad_batch", "batch_l2", "sum_grad_squared", "variance")
    results = problem.compute(quantities)
    for quantity, (key, p) in itertools.product(quantities, expected.items()):
        close(results[quantity][key], getattr(p, quantity), f"{quantity} of {key}")


@pytest.mark.parametrize("build", [every_step, whole_sequence])
@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_backpacks_gauss_newton_diagonal(name, build, reduction):
    problem = AgainstBackpack(name, build, reduction)
    ext = pytest.importorskip("backpack.extensions")
    expected = problem.expect(ext.DiagGGNExact())
    results = problem.compute(("diag_ggn_exact",))["diag_ggn_exact"]
    for key, p in expected.items():
        close(results[key], p.diag_ggn_exact, key)


@pytest.mark.parametrize("name", ["RNN", "LSTM"])
def test_sampled_diagonals_of_both_approach_the_same(name, reduction):
    """Of 4,000 samples each: the sum of six standard errors."""
    problem = AgainstBackpack(name, whole_sequence, reduction)
    ext = pytest.importorskip("backpack.extensions")
    samples = 4000
    expected = problem.expect(ext.DiagGGNMC(mc_samples=samples))
    results = problem.compute((DiagGGNMC(samples),), rng=np.random.default_rng(0))["diag_ggn_mc"]
    for key, p in expected.items():
        scale = float(p.diag_ggn_mc.max())
        assert abs(results[key] - p.diag_ggn_mc.numpy()).max() < 6 / samples**0.5 * scale, key
