"""Transformers and positions: masks, copies, tied embeddings, and quantities sample by sample."""

import copy
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
from tracer.errors import QuantityError, ShapeError, TracerError
from tracer.testing import check_operation
from tracer_layers.normalisation.operations import Standardise
from tracer_layers.transformer.positions import AddPositions

sys.path.insert(0, str(Path(__file__).parents[1]))
import device

N, L, S, E, WORDS = 3, 4, 5, 4, 7
LENGTHS = np.array([4, 2, 3])


@pytest.fixture
def on_device():
    """Makes arrays of a library that never mixes with NumPy."""
    tracer.registry.backends.add(device.DeviceBackend(), "tests")
    yield device.asarray
    tracer.registry.backends.remove("device")


def moved(model):
    """In float64, away from the initial values, at which norms are one and biases zero."""
    rng = np.random.default_rng(1)
    for parameter in model.double().parameters():
        parameter.data = parameter.data + 0.3 * rng.standard_normal(parameter.shape)
    return model


def sequence(length=L, batch_first=True, width=E):
    x = np.random.default_rng(length).standard_normal((N, length, width))
    return x if batch_first else np.swapaxes(x, 0, 1)


def encoder(layers=2, **options):
    tracer.seed(0)
    layer = nn.TransformerEncoderLayer(E, 2, 3, 0.0, batch_first=True, **options)
    return moved(nn.TransformerEncoder(layer, layers))


class LanguageModel(nn.Module):
    """Words `[N, L]` to logits `[N, WORDS, L]`, by a last map that is also the table of words."""

    batch_axis = 0

    def __init__(self, batch_first=True, learned=True):
        positions = nn.LearnedPositions if learned else nn.SinusoidalPositions
        self.words = nn.Embedding(WORDS, E)
        self.positions = positions(L + 1, E, batch_first)
        layer = nn.TransformerEncoderLayer(E, 2, 3, 0.0, "gelu", batch_first=batch_first)
        self.body = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(E, WORDS, bias=False)
        self.head.weight = self.words.weight
        self.batch_first = batch_first

    def forward(self, index, padding=None):
        x = self.words(index)
        x = x if self.batch_first else np.swapaxes(x, 0, 1)
        x = self.body(self.positions(x), src_key_padding_mask=padding, is_causal=True)
        x = x if self.batch_first else np.swapaxes(x, 0, 1)
        return np.swapaxes(self.head(x), 1, 2)


def language_model(**options):
    tracer.seed(0)
    return moved(LanguageModel(**options))


INDEX = np.random.default_rng(3).integers(0, WORDS, (N, L))
TARGET = np.random.default_rng(4).integers(0, WORDS, (N, L))
IGNORED = np.where(np.arange(L) < LENGTHS[:, None], TARGET, -100)


def swept(model, index, target, quantities, padding=None, **options):
    with tracer.Tape() as tape:
        loss = nn.cross_entropy(model(index, padding), target, reduction="sum")
    return tape.backward(loss, quantities, **options)


# -- a language model, tied and causal -----------------------------------------------------------

FIRST_ORDER = ("grad", "grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance")


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_of_a_tied_model_are_those_of_single_samples(batch_first, ragged):
    """Ragged: single samples are cut to their lengths, together they are padded and masked."""
    model = language_model(batch_first=batch_first)
    target = IGNORED if ragged else TARGET
    padding = np.arange(L) >= LENGTHS[:, None] if ragged else None
    found = swept(model, INDEX, target, FIRST_ORDER, padding)
    rows = []
    for n, length in enumerate(LENGTHS if ragged else [L] * N):
        some = (slice(n, n + 1), slice(length))
        rows.append(swept(model, INDEX[some], TARGET[some], ("grad",))["grad"])
    assert "head.weight" not in rows[0]
    for name in rows[0]:
        g = np.stack([row[name] for row in rows])
        flat = g.reshape(N, -1)
        expected = {
            "grad": g.sum(0),
            "grad_batch": g,
            "batch_l2": (flat**2).sum(1),
            "batch_dot": flat @ flat.T,
            "sum_grad_squared": (g**2).sum(0),
            "variance": g.var(0),
        }
        for quantity, value in expected.items():
            np.testing.assert_allclose(
                found[quantity][name], value, rtol=1e-9, atol=1e-10, err_msg=f"{quantity} {name}"
            )


class Flat:
    """The parameters of a model as one vector, and derivatives by it through differences."""

    def __init__(self, model):
        self.leaves = dict(model.named_parameters())
        stops = np.cumsum([leaf.size for leaf in self.leaves.values()]).tolist()
        self.spans = {
            name: slice(stop - leaf.size, stop)
            for (name, leaf), stop in zip(self.leaves.items(), stops, strict=True)
        }

    def differences(self, function, step=1e-6):
        """`[..., P]`."""
        columns = []
        for leaf in self.leaves.values():
            kept = leaf.data
            for index in np.ndindex(leaf.shape):
                pair = []
                for sign in (1, -1):
                    leaf.data = kept.copy()
                    leaf.data[index] += sign * step
                    pair.append(function())
                columns.append((pair[0] - pair[1]) / (2 * step))
            leaf.data = kept
        return np.stack(columns, -1)


def test_curvature_of_a_tied_model_is_its_definition():
    model = language_model()
    flat = Flat(model)
    quantities = ("sqrt_ggn_exact", "diag_ggn_exact", "diag_ggn_exact_batch", "ggnmp")
    found = swept(model, INDEX, TARGET, quantities)
    jacobian = flat.differences(lambda: model(INDEX).data)  # [N, WORDS, L, P]
    p = np.exp(model(INDEX).data)
    p /= p.sum(1, keepdims=True)
    hessian = np.einsum("nct,cd->ncdt", p, np.eye(WORDS)) - np.einsum("nct,ndt->ncdt", p, p)
    ggns = np.einsum("nctp,ncdt,ndtq->npq", jacobian, hessian, jacobian)
    for name, span in flat.spans.items():
        leaf, blocks = flat.leaves[name], ggns[:, span, span]
        atol = 1e-7 * np.abs(blocks).max()
        diagonals = np.diagonal(blocks, axis1=1, axis2=2).reshape(N, *leaf.shape)
        rows = found["sqrt_ggn_exact"][name].reshape(-1, N, leaf.size)
        np.testing.assert_allclose(np.einsum("cnp,cnq->npq", rows, rows), blocks, atol=atol)
        np.testing.assert_allclose(found["diag_ggn_exact_batch"][name], diagonals, atol=atol)
        np.testing.assert_allclose(found["diag_ggn_exact"][name], diagonals.sum(0), atol=3 * atol)
        eye = np.eye(leaf.size).reshape(-1, *leaf.shape)
        product = found["ggnmp"][name](eye).reshape(leaf.size, -1)
        np.testing.assert_allclose(product, blocks.sum(0), atol=3 * atol)


def test_the_hessian_of_a_tied_model_is_that_of_differences():
    model = language_model()
    flat = Flat(model)
    found = swept(model, INDEX, TARGET, ("diag_h", "diag_h_batch", "hmp"))

    def slopes():
        g = swept(model, INDEX, TARGET, ("grad_batch",))["grad_batch"]
        return np.concatenate([g[name].reshape(N, -1) for name in flat.leaves], 1)

    hessians = flat.differences(slopes)  # [N, P, P]
    for name, span in flat.spans.items():
        leaf, blocks = flat.leaves[name], hessians[:, span, span]
        atol = 2e-7 * max(1, np.abs(blocks).max())
        diagonals = np.diagonal(blocks, axis1=1, axis2=2).reshape(N, *leaf.shape)
        np.testing.assert_allclose(found["diag_h_batch"][name], diagonals, atol=atol)
        np.testing.assert_allclose(found["diag_h"][name], diagonals.sum(0), atol=3 * atol)
        eye = np.eye(leaf.size).reshape(-1, *leaf.shape)
        product = found["hmp"][name](eye).reshape(leaf.size, -1)
        np.testing.assert_allclose(product, blocks.sum(0), atol=3 * atol, err_msg=name)


def test_a_tied_table_has_no_kronecker_factors_and_an_untied_one_has():
    model = language_model()
    with pytest.raises(QuantityError, match="used in several different ways"):
        swept(model, INDEX, TARGET, ("kflr",), undefined="raise")
    model.head.weight = tracer.parameter(model.head.weight.data.copy())
    factors = swept(model, INDEX, TARGET, ("kflr",))["kflr"]
    assert [f.shape for f in factors["words.weight"].factors] == [(E, E), (WORDS, WORDS)]
    assert [f.shape for f in factors["positions.weight"].factors] == [(E, E), (L + 1, L + 1)]
    assert [f.shape for f in factors["head.weight"].factors] == [(WORDS, WORDS), (E, E)]
    name = "body.layers.0.self_attn.in_proj_weight"
    assert [f.shape for f in factors[name].factors] == [(3 * E, 3 * E), (E, E)]


def test_a_causal_model_does_not_see_what_follows():
    model = language_model(learned=False)
    before = model(INDEX).data
    changed = INDEX.copy()
    changed[:, 2] = (changed[:, 2] + 1) % WORDS
    after = model(changed).data
    np.testing.assert_array_equal(after[..., :2], before[..., :2])
    assert np.abs(after[..., 2:] - before[..., 2:]).max(axis=(0, 1)).min() > 1e-3


# -- layers and stacks ---------------------------------------------------------------------------


def both_orders(make):
    """A model that takes samples first and one that takes sequences first, of equal parameters."""
    tracer.seed(0)
    first = moved(make(True))
    other = make(False).double()
    other.load_state_dict(first.state_dict())
    return first, other


@pytest.mark.parametrize("norm_first", [False, True])
def test_sequences_first_is_the_same_with_axes_exchanged(norm_first):
    first, other = both_orders(
        lambda batch_first: nn.Transformer(
            E, 2, 1, 1, 3, 0.0, norm_first=norm_first, batch_first=batch_first
        )
    )
    quantities = ("grad", "grad_batch", "batch_l2", "diag_ggn_exact", "sqrt_ggn_exact")
    results = []
    for model, axis in ((first, 0), (other, 1)):
        inputs = [sequence(n, model.batch_first) for n in (S, L)]
        with tracer.Tape() as tape:
            out = model(*inputs, tgt_is_causal=True)
            out = np.moveaxis(out, axis, 0).reshape(N, -1)
            loss = nn.mse_loss(out, np.ones(out.shape))
        results.append(tape.backward(loss, quantities))
    for quantity, values in results[0].items():
        for name, value in values.items():
            np.testing.assert_allclose(results[1][quantity][name], value, atol=1e-12)


def test_padded_positions_are_as_if_not_there():
    model = encoder()
    x = sequence()
    padding = np.arange(L) >= LENGTHS[:, None]
    out = model(x, src_key_padding_mask=padding).data
    for n, length in enumerate(LENGTHS):
        alone = model(x[n : n + 1, :length]).data
        np.testing.assert_allclose(out[n : n + 1, :length], alone, rtol=1e-10)


def test_the_memory_of_a_decoder_may_be_padded_and_of_another_length():
    tracer.seed(0)
    layer = nn.TransformerDecoderLayer(E, 2, 3, 0.0, batch_first=True)
    model = moved(nn.TransformerDecoder(layer, 2, nn.LayerNorm(E)))
    x, memory = sequence(L), sequence(S)
    hidden = np.arange(S) >= LENGTHS[:, None]
    out = model(x, memory, memory_key_padding_mask=hidden, tgt_is_causal=True).data
    for n, length in enumerate(LENGTHS):
        some = slice(n, n + 1)
        mask = nn.Transformer.generate_square_subsequent_mask(L)
        alone = model(x[some], memory[some, :length], tgt_mask=mask).data
        np.testing.assert_allclose(out[some], alone, rtol=1e-10)


def test_layers_of_a_stack_are_copies():
    layer = nn.TransformerEncoderLayer(E, 2, 3)
    model = nn.TransformerEncoder(layer, 2, nn.LayerNorm(E))
    held = {id(p) for p in layer.parameters()}
    assert held.isdisjoint(id(p) for p in model.parameters())
    states = [each.state_dict() for each in model.layers]
    for name, value in layer.state_dict().items():
        for state in states:
            np.testing.assert_array_equal(state[name], value)
    with tracer.Tape() as tape:
        loss = np.sum(np.square(model(sequence().astype(np.float32))))
    gradients = tape.backward(loss)["grad"]
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    name = "linear1.weight"
    assert np.any(gradients[f"layers.0.{name}"] != gradients[f"layers.1.{name}"])


def test_names_of_modules_are_in_the_graph():
    model = nn.Transformer(E, 2, 1, 1, 3)
    with tracer.Tape() as tape:
        model(*(sequence(n, False).astype(np.float32) for n in (S, L)))
    scopes = {node.place.scope for node in tape.nodes}
    assert {"encoder.layers.0.self_attn", "decoder.layers.0.multihead_attn.out_proj"} <= scopes


def test_dropout_is_that_of_training_and_of_the_seed():
    tracer.seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, 3, 0.3), 2).double()
    x = sequence(batch_first=False)

    def out(seed):
        tracer.seed(seed)
        return model(x).data

    np.testing.assert_array_equal(out(1), out(1))
    assert np.any(out(1) != out(2))
    model.eval()
    np.testing.assert_array_equal(out(1), out(2))


def test_with_dropout_samples_have_their_gradients():
    tracer.seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, 3, 0.3), 1).double()
    with tracer.Tape() as tape:
        loss = np.sum(np.square(model(sequence(batch_first=False))))
    found = tape.backward(loss, ("grad", "grad_batch"))
    for name, value in found["grad_batch"].items():
        np.testing.assert_allclose(value.sum(0), found["grad"][name], atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "gelu", nn.Tanh(), np.tanh])
def test_activations_are_names_or_functions(activation):
    layer = moved(nn.TransformerEncoderLayer(E, 2, 3, 0.0, activation, batch_first=True))
    named = {"relu": nn.relu, "gelu": nn.functional.gelu}
    function = activation if callable(activation) else named[activation]
    x = sequence()
    found = layer(x).data
    h = layer.norm1(x + layer.self_attn(x, x, x)[0].data).data
    expected = layer.norm2(h + layer.linear2(function(layer.linear1(h))).data).data
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert isinstance(copy.deepcopy(layer), nn.TransformerEncoderLayer)


def test_custom_stacks_take_the_place_of_ours():
    class Through(nn.Module):
        def forward(self, src, **options):
            return src

    model = nn.Transformer(E, 2, 1, 1, 3, 0.0, custom_encoder=Through(), batch_first=True)
    assert not any(name.startswith("encoder") for name, _ in model.named_parameters())
    source, target = sequence(S).astype(np.float32), sequence(L).astype(np.float32)
    np.testing.assert_array_equal(model(source, target).data, model.decoder(target, source).data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(E, 2, 3, 0.0, "gelu"), 1),
        lambda: nn.Transformer(E, 2, 1, 1, 3, 0.0),
        lambda: nn.LearnedPositions(L, E),
        lambda: nn.SinusoidalPositions(L, E),
    ],
    ids=["encoder", "transformer", "learned", "sinusoidal"],
)
def test_float32_stays_and_another_array_library_agrees(make, on_device):
    tracer.seed(0)
    model = make()
    count = 2 if isinstance(model, nn.Transformer) else 1
    inputs = [sequence(batch_first=False)] * count
    assert model(*(x.astype(np.float32) for x in inputs)).dtype == np.float32
    moved(model)

    def gradients(put):
        with tracer.Tape() as tape:
            leaf = tracer.parameter(put(inputs[0]), name="input")
            loss = np.sum(np.square(model(leaf, *map(put, inputs[1:]))))
        return tape.backward(loss)["grad"]

    expected = gradients(np.asarray)
    for parameter in model.parameters():
        parameter.data = on_device(parameter.data)
    for name, value in gradients(on_device).items():
        assert isinstance(value, device.DeviceArray)
        np.testing.assert_allclose(value.get(), expected[name], atol=1e-12)


# -- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [AddPositions, Standardise], ids=lambda op: op.name)
def test_operations_keep_all_their_rules(op, on_device):
    check_operation(op, backend=on_device)


@pytest.mark.parametrize("width", [1, 4, 5])
def test_sinusoids_are_their_formula(width):
    layer = nn.SinusoidalPositions(6, width, batch_first=True)
    out = layer(np.zeros((1, 5, width))).data[0]
    for t in range(5):
        for i in range(width):
            angle = t / 10000 ** (2 * (i // 2) / width)
            expected = np.sin(angle) if i % 2 == 0 else np.cos(angle)
            np.testing.assert_allclose(out[t, i], expected, atol=1e-12)
    assert layer.state_dict() == {}


@pytest.mark.parametrize("kind", [nn.SinusoidalPositions, nn.LearnedPositions])
def test_positions_are_on_the_axis_of_the_layout(kind):
    tracer.seed(0)
    first = kind(6, 3, batch_first=True).double()
    tracer.seed(0)
    other = kind(6, 3).double()
    x = sequence(L, width=3)
    added = first(x).data - x
    np.testing.assert_allclose(added, np.broadcast_to(added[0], added.shape), atol=1e-12)
    np.testing.assert_allclose(other(np.swapaxes(x, 0, 1)).data, np.swapaxes(first(x).data, 0, 1))
    for layer in (first, other):
        np.testing.assert_allclose(layer(x[0]).data, first(x).data[0])


@given(
    samples=st.integers(1, 4), length=st.integers(1, 4), spare=st.integers(0, 2),
    batch_first=st.booleans(),
)  # fmt: skip
@settings(max_examples=20)
def test_learned_positions_get_what_reaches_their_rows(samples, length, spare, batch_first):
    layer = nn.LearnedPositions(length + spare, 3, batch_first).double()
    x = np.random.default_rng(0).standard_normal((samples, length, 3))
    laid = x if batch_first else np.swapaxes(x, 0, 1)
    with tracer.Tape() as tape:
        out = layer(laid)
        loss = np.sum(np.square(out)) / 2
    found = tape.backward(loss, ("grad", "grad_batch", "batch_l2"))
    rows = layer.weight.data[:length]
    expected = np.pad(x + rows, [(0, 0), (0, spare), (0, 0)])
    np.testing.assert_allclose(found["grad_batch"]["weight"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["grad"]["weight"], expected.sum(0), atol=1e-12)
    np.testing.assert_allclose(found["batch_l2"]["weight"], (expected**2).sum((1, 2)), rtol=1e-12)


# -- bad input -----------------------------------------------------------------------------------

ERRORS = {
    "too long": (
        lambda: nn.LearnedPositions(3, 4)(np.ones((4, 2, 4))),
        "LearnedPositions has 3 positions, got an input [4, 2, 4] of length 4: give it a larger "
        "max_length, or batch_first=True",
    ),
    "too long, samples first": (
        lambda: nn.SinusoidalPositions(3, 4, batch_first=True)(np.ones((2, 4, 4))),
        "SinusoidalPositions has 3 positions, got an input [2, 4, 4] of length 4",
    ),
    "width of positions": (
        lambda: nn.LearnedPositions(3, 4)(np.ones((2, 3))),
        "expects inputs [L, N, 4] or [L, 4], got [2, 3]",
    ),
    "no positions": (
        lambda: nn.LearnedPositions(0, 4), "max_length as an int of at least 1, got 0",
    ),
    "heads": (lambda: nn.TransformerEncoderLayer(5, 2), "num_heads that divides embed_dim"),
    "activation": (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="swish"),
        'TransformerEncoderLayer expects activation as "relu", "gelu" or a function, got \'swish\'',
    ),
    "width of the network": (
        lambda: nn.TransformerDecoderLayer(4, 2, 0),
        "TransformerDecoderLayer expects dim_feedforward as an int of at least 1, got 0",
    ),
    "no layers": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 3), 0),
        "num_layers as an int of at least 1, got 0",
    ),
    "width": (
        lambda: nn.TransformerEncoderLayer(4, 2, 3)(np.ones((3, 2, 5), np.float32)),
        "expects query [L, N, 4]",
    ),
    "samples": (
        lambda: nn.Transformer(4, 2, 1, 1, 3)(*(np.ones((3, n, 4)) for n in (2, 1))),
        "batch_first=False) expects src [S, N, 4] and tgt [L, N, 4], or both without N, got "
        "[3, 2, 4] and [3, 1, 4]",
    ),
    "ranks": (
        lambda: nn.Transformer(4, 2, 1, 1, 3, batch_first=True)(
            np.ones((3, 4)), np.ones((1, 3, 4))
        ),
        "expects src [N, S, 4] and tgt [N, L, 4], or both without N, got [3, 4] and [1, 3, 4]",
    ),
    "widths": (
        lambda: nn.Transformer(4, 2, 1, 1, 3)(np.ones((3, 2, 5)), np.ones((3, 2, 5))),
        "got [3, 2, 5] and [3, 2, 5]",
    ),
    "mask": (
        lambda: nn.TransformerEncoderLayer(4, 2, 3)(
            np.ones((3, 2, 4), np.float32), src_mask=np.ones((2, 2), bool)
        ),
        "attn_mask [queries, keys] = [3, 3]",
    ),
    "hidden sample": (
        lambda: nn.TransformerEncoderLayer(4, 2, 3)(
            np.ones((3, 2, 4), np.float32),
            src_key_padding_mask=np.array([[False] * 3, [True] * 3]),
        ),
        "hides all 3 keys from sample 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_was_expected(case):
    call, message = ERRORS[case]
    with pytest.raises(TracerError, match=re.escape(message)) as caught:
        call()
    if case in ("too long", "mask", "hidden sample"):
        assert isinstance(caught.value, ShapeError)
