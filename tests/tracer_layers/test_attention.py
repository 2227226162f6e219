"""Attention: its definition, masks, heads, and quantities sample by sample."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn
import tracer_quantities as tq
from tracer.errors import BatchError, ShapeError, TracerError
from tracer.testing import check_operation
from tracer_layers.attention import arrays
from tracer_layers.attention.operations import AttentionWeights, Heads
from tracer_layers.functional import scaled_dot_product_attention

sys.path.insert(0, str(Path(__file__).parents[1]))
import device

N, L, S, E = 3, 4, 5, 6
HIDDEN = np.arange(S) >= np.array([S, 3, 2])[:, None]


def rng():
    return np.random.default_rng(0)


def sequences(*widths, lengths=(L, S, S)):
    """Queries, keys and values `[N, length, width]`."""
    widths = widths or (E, E, E)
    draw = rng()
    return [draw.standard_normal((N, n, width)) for n, width in zip(lengths, widths, strict=True)]


def attention(*arguments, **options):
    """A layer in float64 whose biases are not zero."""
    tracer.seed(0)
    layer = nn.MultiheadAttention(*arguments, **options).double()
    draw = rng()
    for parameter in layer.parameters():
        parameter.data = parameter.data + 0.3 * draw.standard_normal(parameter.shape)
    return layer


@pytest.fixture
def on_device():
    """Makes arrays of a library that never mixes with NumPy."""
    tracer.registry.backends.add(device.DeviceBackend(), "tests")
    yield device.asarray
    tracer.registry.backends.remove("device")


# -- the function ---------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [AttentionWeights, Heads], ids=lambda op: op.name)
def test_operations_keep_all_their_rules(op, on_device):
    check_operation(op, backend=on_device)


def by_definition(query, key, value, seen, added, scale):
    """One query at a time, the softmax over the keys that it sees alone."""
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for *lead, i in np.ndindex(query.shape[:-1]):
        lead = tuple(lead)
        keys = [j for j in range(key.shape[-2]) if seen[(*lead, i, j)]]
        scores = np.array([
            scale * query[(*lead, i)] @ key[(*lead, j)] + added[(*lead, i, j)] for j in keys
        ])  # fmt: skip
        weights = np.exp(scores) / np.exp(scores).sum()
        out[(*lead, i)] = sum(w * value[(*lead, j)] for w, j in zip(weights, keys, strict=True))
    return out


@given(
    lead=st.sampled_from([(), (2,), (2, 3)]),
    sizes=st.tuples(*[st.integers(1, 4)] * 4),
    is_causal=st.booleans(),
    mask=st.sampled_from([None, "bool", "float"]),
    scale=st.sampled_from([None, 0.3]),
)
@settings(max_examples=40)
def test_the_function_is_its_definition(lead, sizes, is_causal, mask, scale):
    queries, keys, width, out = sizes
    draw = np.random.default_rng(sum(sizes))
    query, key, value = (
        draw.standard_normal((*lead, *shape))
        for shape in ((queries, width), (keys, width), (keys, out))
    )
    shape = (*lead, queries, keys)
    given_, seen, added = None, np.ones(shape, bool), np.zeros(shape)
    if mask == "bool":
        given_ = draw.random((queries, keys)) < 0.6
        given_[:, 0] = True
        seen = seen & given_
    elif mask == "float":
        given_ = added = draw.standard_normal(shape)
    if is_causal:
        seen = seen & (np.arange(keys) <= np.arange(queries)[:, None])
    found = scaled_dot_product_attention(
        query, key, value, given_, is_causal=is_causal, scale=scale
    )
    expected = by_definition(query, key, value, seen, added, scale or 1 / np.sqrt(width))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_large_scores_do_not_overflow():
    query, key, value = (x.astype(np.float32) for x in sequences())
    out = scaled_dot_product_attention(1e4 * query, key, value)
    assert np.isfinite(out).all()
    assert out.dtype == np.float32


def test_groups_of_query_heads_share_keys():
    draw = rng()
    query = draw.standard_normal((2, 6, L, 3))
    key, value = draw.standard_normal((2, 2, 2, S, 3))
    found = scaled_dot_product_attention(query, key, value, enable_gqa=True)
    for head in range(6):
        shared = (x[:, head // 3] for x in (key, value))
        alone = scaled_dot_product_attention(query[:, head], *shared)
        np.testing.assert_allclose(found[:, head], alone, rtol=1e-12)


def test_dropped_weights_are_those_of_the_generator():
    query, key = sequences()[:2]
    value = np.broadcast_to(np.eye(S), (N, S, S))
    weights = scaled_dot_product_attention(query, key, value)
    found = scaled_dot_product_attention(
        query, key, value, dropout_p=0.25, rng=np.random.default_rng(3)
    )
    kept = np.random.default_rng(3).random((N, L, S), dtype=np.float32) >= 0.25
    np.testing.assert_allclose(found, weights * kept / 0.75, rtol=1e-6)


def test_a_learned_bias_has_every_quantity():
    query, key, value = sequences()
    bias = tracer.parameter(rng().standard_normal((L, S)), name="bias")

    def swept(samples, quantities):
        with tracer.Tape() as tape:
            out = scaled_dot_product_attention(
                *(tracer.batch(x[samples]) for x in (query, key, value)), attn_mask=bias
            )
            loss = np.sum(np.square(out))
        return tape.backward(loss, quantities, outputs=out)

    found = swept(slice(None), ("grad", "grad_batch", "batch_l2", "diag_ggn_exact", "diag_h"))
    singles = np.stack([swept(slice(n, n + 1), ("grad",))["grad"]["bias"] for n in range(N)])
    np.testing.assert_allclose(found["grad_batch"]["bias"], singles, atol=1e-12)
    np.testing.assert_allclose(found["grad"]["bias"], singles.sum(0), atol=1e-12)

    def output(b):
        return scaled_dot_product_attention(query, key, value, attn_mask=b)

    jacobian = tracer.jacobian(output)(bias.data).reshape(-1, L, S)
    np.testing.assert_allclose(found["diag_ggn_exact"]["bias"], 2 * (jacobian**2).sum(0), rtol=1e-9)
    hessian = tracer.hessian(lambda b: np.sum(np.square(output(b))))(bias.data)
    diagonal = np.diagonal(hessian.reshape(L * S, L * S)).reshape(L, S)
    np.testing.assert_allclose(found["diag_h"]["bias"], diagonal, rtol=1e-9, atol=1e-12)


FUNCTION_ERRORS = {
    "widths": (
        [(2, 3), (4, 5), (4, 5)], {}, r"query \[..., L, D\], .* got \[2, 3\], \[4, 5\] and",
    ),
    "lengths": ([(2, 3), (4, 3), (5, 3)], {}, r"with equal leading axes .* \[4, 3\] and \[5, 3\]"),
    "leading axes": ([(2, 4, 3), (3, 4, 3), (3, 4, 3)], {}, "equal leading axes"),
    "no key": ([(2, 3), (0, 3), (0, 3)], {}, "at least one key"),
    "heads": ([(4, 2, 3), (3, 2, 3), (3, 2, 3)], {"enable_gqa": True}, "divides that of queries"),
    "mask": (
        [(2, 3), (4, 3), (4, 3)], {"attn_mask": np.ones((4, 2), bool)},
        r"\[..., queries, keys\] = \[2, 4\], got \[4, 2\]",
    ),
    "rank of mask": (
        [(2, 3), (4, 3), (4, 3)], {"attn_mask": np.ones((1, 2, 4), bool)}, r"got \[1, 2, 4\]",
    ),
    "dtype of mask": (
        [(2, 3), (4, 3), (4, 3)], {"attn_mask": np.ones((2, 4), int)},
        r"attn_mask is of dtype bool or of a float dtype, got int64\[2, 4\]: convert it",
    ),
    "list": (
        [(1, 3), (1, 3), (1, 3)], {"attn_mask": [[True]]}, "attn_mask is an array .* got list",
    ),
    "empty row": (
        [(5, 2, 3), (5, 4, 3), (5, 4, 3)],
        {"attn_mask": np.arange(5)[:, None, None] != np.full((1, 2, 4), 3)},
        r"leaves every query a key, got one \[5, 2, 4\] that hides all 4 keys from query 0 of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FUNCTION_ERRORS)
def test_the_function_says_what_does_not_fit(case):
    shapes, options, message = FUNCTION_ERRORS[case]
    with pytest.raises(ShapeError, match=message):
        scaled_dot_product_attention(*map(np.ones, shapes), **options)


# -- the layer ------------------------------------------------------------------------------------


def test_weights_are_means_over_heads_that_sum_to_one():
    layer, inputs = attention(E, 2, batch_first=True), sequences()
    output, weights = layer(*inputs)
    assert (output.shape, weights.shape) == ((N, L, E), (N, L, S))
    _, each = layer(*inputs, average_attn_weights=False)
    np.testing.assert_allclose(each.data.mean(1), weights.data, rtol=1e-12)
    np.testing.assert_allclose(each.data.sum(-1), np.ones((N, 2, L)), rtol=1e-12)
    again, none = layer(*inputs, need_weights=False)
    assert none is None
    np.testing.assert_array_equal(again.data, output.data)


def test_sequences_first_is_the_same_with_axes_exchanged():
    inputs, layer = sequences(), attention(E, 2, batch_first=True)
    expected, weights = layer(*inputs, key_padding_mask=HIDDEN)
    other = nn.MultiheadAttention(E, 2).double()
    other.load_state_dict(layer.state_dict())
    found, found_weights = other(*(np.swapaxes(x, 0, 1) for x in inputs), key_padding_mask=HIDDEN)
    np.testing.assert_allclose(np.swapaxes(found.data, 0, 1), expected.data, rtol=1e-12)
    np.testing.assert_allclose(found_weights.data, weights.data, rtol=1e-12)


def test_hidden_keys_are_as_if_not_there():
    layer, (query, key, value) = attention(E, 3, batch_first=True), sequences()
    for mask in (HIDDEN, np.where(HIDDEN, -np.inf, 0.0)):
        output, weights = layer(query, key, value, key_padding_mask=mask)
        assert not weights.data[np.broadcast_to(HIDDEN[:, None], weights.shape)].any()
        for n, count in enumerate((~HIDDEN).sum(1)):
            some = slice(n, n + 1)
            alone, _ = layer(query[some], key[some, :count], value[some, :count])
            np.testing.assert_allclose(output.data[some], alone.data, rtol=1e-12)


def test_masks_add_up():
    layer, inputs = attention(E, 2, batch_first=True), sequences()
    behind = np.arange(S) > np.arange(L)[:, None]
    floats = rng().standard_normal((N * 2, L, S))
    both = np.where(behind, -np.inf, 0) + floats
    both = both + np.repeat(np.where(HIDDEN, -np.inf, 0), 2, axis=0)[:, None]
    expected, _ = layer(*inputs, attn_mask=both)
    found, _ = layer(*inputs, key_padding_mask=HIDDEN, attn_mask=floats, is_causal=True)
    np.testing.assert_allclose(found.data, expected.data, rtol=1e-12)


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_added_keys_are_always_seen(options):
    layer, (query, key, value) = attention(E, 2, batch_first=True, **options), sequences()
    _, weights = layer(query, key, value, key_padding_mask=np.ones((N, S), bool))
    expected = np.zeros((N, L, S + 1))
    expected[..., -1] = 1
    np.testing.assert_allclose(weights.data, expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_self_attention_is_one_linear_map(batch_first):
    layer = attention(E, 2, batch_first=batch_first)
    x, memory = sequences()[0], sequences(lengths=(L, L, L))[1]
    for inputs, maps in (((x, x, x), 2), ((x, memory, memory), 3), ((x, memory, x), 4)):
        for marked in (False, True):
            if marked:
                tensors = {id(a): tracer.batch(a, 1 - batch_first) for a in inputs}
                given_ = [tensors[id(a)] for a in inputs]
            else:
                given_ = inputs
            with tracer.Tape() as tape:
                layer(*given_)
            assert [node.op.name for node in tape.nodes].count("linear") == maps


def test_a_detached_copy_is_another_input():
    layer, x = attention(E, 2), tracer.parameter(sequences()[0], name="x")

    def gradient(other):
        with tracer.Tape() as tape:
            loss = np.sum(np.square(layer(x, other, other)[0]))
        return tape.backward(loss)["grad"]["x"]

    assert np.abs(gradient(x) - gradient(x.detach())).max() > 1e-3


def test_dropout_is_that_of_training():
    layer, (query, key, value) = attention(E, 2, dropout=0.5, batch_first=True), sequences()
    tracer.seed(1)
    _, first = layer(query, key, value)
    tracer.seed(1)
    _, second = layer(query, key, value)
    np.testing.assert_array_equal(first.data, second.data)
    _, whole = layer.eval()(query, key, value, average_attn_weights=False)
    layer.train().rng = np.random.default_rng(2)
    _, found = layer(query, key, value, average_attn_weights=False)
    kept = np.random.default_rng(2).random((N, 2, L, S), dtype=np.float32) >= 0.5
    np.testing.assert_allclose(found.data, whole.data * kept * 2, rtol=1e-12)


# -- quantities -----------------------------------------------------------------------------------

FIRST_ORDER = ("grad", "grad_batch", "batch_l2", "batch_dot", "sum_grad_squared", "variance")


class Model(nn.Module):
    """Samples first, whatever the layer takes, to outputs `[N, L * E]`."""

    batch_axis = 0

    def __init__(self, layer, **options):
        self.layer, self.options = layer, options

    def forward(self, *inputs, **masks):
        if self.layer.sequence_first:
            inputs = [np.swapaxes(x, 0, 1) for x in inputs]
        inputs = [*inputs, *[inputs[-1]] * (3 - len(inputs))]
        out = self.layer(*inputs, need_weights=False, **masks, **self.options)[0]
        out = np.swapaxes(out, 0, 1) if self.layer.sequence_first else out
        return np.tanh(out).reshape(len(out), -1)


def swept(model, inputs, quantities, **masks):
    with tracer.Tape() as tape:
        out = model(*inputs, **masks)
        loss = nn.mse_loss(out, np.ones(out.shape), reduction="sum")
    return tape.backward(loss, quantities)


def assert_first_order(model, inputs, padding=None):
    """Against gradients of single samples, each without the keys that are hidden from it."""
    masks = {} if padding is None else {"key_padding_mask": padding}
    found = swept(model, inputs, FIRST_ORDER, **masks)
    rows = []
    for n in range(len(inputs[0])):
        keys = slice(None) if padding is None else ~padding[n]
        alone = [inputs[0][n : n + 1], *(x[n : n + 1, keys] for x in inputs[1:])]
        rows.append(swept(model, alone, ("grad",))["grad"])
    for name in rows[0]:
        g = np.stack([row[name] for row in rows])
        flat = g.reshape(len(g), -1)
        expected = {
            "grad": g.sum(0),
            "grad_batch": g,
            "batch_l2": (flat**2).sum(1),
            "batch_dot": flat @ flat.T,
            "sum_grad_squared": (g**2).sum(0),
            "variance": g.var(0),
        }
        for quantity, value in expected.items():
            scale = max(1e-3, np.abs(value).max())
            np.testing.assert_allclose(
                found[quantity][name], value, rtol=1e-8, atol=1e-9 * scale, err_msg=quantity
            )


@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 5),
    batch_first=st.booleans(),
    kind=st.sampled_from(["self", "memory", "apart", "widths", "added"]),
    data=st.data(),
)
@settings(max_examples=40)
def test_gradients_are_those_of_single_samples(sizes, batch_first, kind, data):
    samples, queries, keys, heads, width = sizes
    draw = np.random.default_rng(sum(sizes))
    options = {"widths": {"kdim": 3, "vdim": 2}, "added": {"add_bias_kv": True}}.get(kind, {})
    model = Model(attention(heads * width, heads, batch_first=batch_first, **options))
    shapes = [(samples, queries, heads * width)]
    if kind != "self":
        widths = [options.get(name, heads * width) for name in ("kdim", "vdim")]
        count = 1 if kind == "memory" else 2
        shapes += [(samples, keys, width) for width in widths[:count]]
    inputs = [draw.standard_normal(shape) for shape in shapes]
    padding = None
    if kind != "self" and data.draw(st.booleans()):
        lengths = data.draw(st.lists(st.integers(1, keys), min_size=samples, max_size=samples))
        padding = np.arange(keys) >= np.array(lengths)[:, None]
    assert_first_order(model, inputs, padding)


def test_the_axis_of_samples_is_marked_by_the_layer():
    """Sequences first: axis 1."""
    layer, (x, *_) = attention(E, 2), sequences()
    with tracer.Tape() as tape:
        out = layer(*[np.swapaxes(x, 0, 1)] * 3, need_weights=False)[0]
        loss = np.sum(np.square(out))
    found = tape.backward(loss, ("grad_batch",))["grad_batch"]
    assert {value.shape[0] for value in found.values()} == {N}


def test_one_sample_without_an_axis_has_a_gradient_and_no_samples():
    for batch_first in (False, True):
        layer, (query, key, value) = attention(E, 2, batch_first=batch_first), sequences()
        axis = 0 if batch_first else 1

        def of(given_, quantities, layer=layer):
            with tracer.Tape() as tape:
                out, weights = layer(*given_)
                loss = np.sum(np.square(out)) + np.sum(np.square(weights))
            return out.data, weights.data, tape.backward(loss, quantities)["grad"]

        alone = [x[0] for x in (query, key, value)]
        out, weights, gradient = of(alone, ("grad",))
        expected = of([np.expand_dims(x, axis) for x in alone], ("grad",))
        np.testing.assert_allclose(out, expected[0].squeeze(axis), rtol=1e-12)
        np.testing.assert_allclose(weights, expected[1][0], rtol=1e-12)
        for name, value_ in expected[2].items():
            np.testing.assert_allclose(gradient[name], value_, rtol=1e-12)
        with pytest.raises(BatchError, match=r"tracer\.batch"):
            of(alone, ("grad", "grad_batch"))


def test_gauss_newton_rows_and_products_of_sliced_weights():
    """Attention to a memory slices one weight for queries and for keys and values."""
    model, inputs = Model(attention(4, 2)), [x[..., :4] for x in sequences()[:2]]
    found = swept(model, inputs, ("sqrt_ggn_exact", "diag_ggn_exact", "ggnmp", "hmp"))
    weight = model.layer.in_proj_weight
    values = weight.data

    def of_weight(function):
        rows = []
        for index in np.ndindex(weight.shape):
            pair = []
            for sign in (1, -1):
                weight.data = values.copy()
                weight.data[index] += sign * 1e-6
                pair.append(function())
            rows.append((pair[0] - pair[1]) / 2e-6)
        weight.data = values
        return np.stack(rows, -1)

    jacobian = of_weight(lambda: model(*inputs).data).reshape(-1, weight.size)
    ggn = 2 * jacobian.T @ jacobian
    name = "layer.in_proj_weight"
    rows = found["sqrt_ggn_exact"][name].reshape(-1, weight.size)
    scale = np.abs(ggn).max()
    np.testing.assert_allclose(rows.T @ rows, ggn, atol=1e-7 * scale)
    np.testing.assert_allclose(
        found["diag_ggn_exact"][name].ravel(), np.diagonal(ggn), atol=1e-7 * scale
    )
    eye = np.eye(weight.size).reshape(-1, *weight.shape)
    products = found["ggnmp"][name](eye).reshape(ggn.shape)
    np.testing.assert_allclose(products, ggn, atol=1e-7 * scale)
    hessian = of_weight(lambda: swept(model, inputs, ("grad",))["grad"][name])
    products = found["hmp"][name](eye).reshape(ggn.shape)
    np.testing.assert_allclose(products, hessian.reshape(ggn.shape), atol=1e-7 * scale)


def jacobian_of(layer, inputs, parameter):
    """`[N, L, E, *p]`."""
    values = parameter.data

    def output(p):
        parameter.data = p.data if isinstance(p, tracer.Tensor) else p
        return layer(*inputs, need_weights=False)[0].data

    columns = []
    for index in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[index] = 1e-6
        columns.append((output(values + step) - output(values - step)) / 2e-6)
    parameter.data = values
    return np.moveaxis(np.stack(columns), 0, -1).reshape(*columns[0].shape, *values.shape)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_kronecker_factors_of_the_projection_are_those_of_its_uses(sharing):
    """From the inputs `a` of the one map and the rows `b` at its output."""
    layer, x = attention(4, 2, batch_first=True), sequences()[0][..., :4]
    with tracer.Tape() as tape:
        out = layer(x, x, x, need_weights=False)[0]
        out = out.reshape(N, -1)
        loss = nn.mse_loss(out, np.zeros(out.shape), reduction="sum")
    found = tape.backward(loss, (tq.KFLR(sharing=sharing),))["kflr"]["in_proj_weight"]
    projected = x @ layer.in_proj_weight.data.T + layer.in_proj_bias.data

    def rest(p):
        parts = [p[..., i : i + 4].reshape(N, L, 2, 2).transpose(0, 2, 1, 3) for i in (0, 4, 8)]
        heads = scaled_dot_product_attention(*parts)
        merged = heads.transpose(0, 2, 1, 3).reshape(N, L, 4)
        return merged @ layer.out_proj.weight.data.T

    jacobian = tracer.jacobian(rest)(projected).reshape(N, L * 4, N, L, 12)
    b = np.sqrt(2) * np.stack([jacobian[n, :, n] for n in range(N)])  # [N, C, T, 12]
    if sharing == "expand":
        output = np.einsum("ncto,nctp->op", b, b)
        inputs = np.einsum("nti,ntj->ij", x, x) / (N * L)
    else:
        output = np.einsum("nco,ncp->op", b.sum(2), b.sum(2))
        inputs = np.einsum("ni,nj->ij", x.mean(1), x.mean(1)) / N
    np.testing.assert_allclose(found.factors[0], output, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.factors[1], inputs, rtol=1e-9, atol=1e-12)


def test_a_weight_in_slices_has_factors_of_each():
    """Attention to a memory: one pair for the rows of queries, one for those of keys and values."""
    model, inputs = Model(attention(4, 2)), [x[..., :4] for x in sequences()[:2]]
    found = swept(model, inputs, ("kflr", "diag_ggn_exact"))
    factors = found["kflr"]["layer.in_proj_weight"].factors
    assert [len(factor) for factor in factors] == [4, 4, 8, 4]
    for factor, x in zip(factors[1::2], inputs, strict=True):
        expected = np.einsum("nti,ntj->ij", x, x) / (x.shape[0] * x.shape[1])
        np.testing.assert_allclose(factor, expected, rtol=1e-12)

    weight = tracer.parameter(rng().standard_normal((6, 4)), name="weight")
    first, second = rng().standard_normal((2, 5, 4))
    with tracer.Tape() as tape:
        parts = tracer.batch(first) @ weight[:2].T, tracer.batch(second) @ weight[2:].T
        out = np.concatenate(parts, axis=1)
        loss = nn.mse_loss(out, np.zeros((5, 6)), reduction="sum")
    found = tape.backward(loss, ("kflr", "ggnmp"))
    block = found["ggnmp"]["weight"](np.eye(24).reshape(24, 6, 4)).reshape(24, 24)
    kronecker = found["kflr"]["weight"]
    np.testing.assert_allclose(kronecker.dense(), block, atol=1e-12)
    v = rng().standard_normal((6, 4))
    np.testing.assert_allclose(kronecker.matvec(v).ravel(), block @ v.ravel(), atol=1e-12)
    np.testing.assert_allclose(kronecker.inverse().matvec(kronecker.matvec(v)), v, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"kdim": 3}, {"add_bias_kv": True}], ids=str)
def test_attention_runs_on_another_array_library(options, on_device):
    layer, inputs = attention(E, 2, **options), sequences(E, options.get("kdim", E), E)
    inputs = [np.swapaxes(x, 0, 1) for x in inputs]

    def gradients(put):
        with tracer.Tape() as tape:
            out, weights = layer(*map(put, inputs), key_padding_mask=put(HIDDEN), is_causal=True)
            loss = np.sum(np.square(out)) + np.sum(np.square(weights))
        return tape.backward(loss)["grad"]

    expected = gradients(np.asarray)
    for parameter in layer.parameters():
        parameter.data = on_device(parameter.data)
    found = gradients(on_device)
    for name, value in found.items():
        assert isinstance(value, device.DeviceArray)
        np.testing.assert_allclose(value.get(), expected[name], atol=1e-12)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((6, 4), {}, "num_heads that divides embed_dim, got embed_dim=6, num_heads=4"),
        ((0, 1), {}, "embed_dim as an int of at least 1, got 0"),
        ((6, 2.0), {}, "num_heads as an int of at least 1, got 2.0"),
        ((6, 2), {"kdim": 0}, "kdim as an int of at least 1"),
        ((6, 2, 1.5), {}, "a probability p between 0 and 1, got 1.5"),
    ],
)
def test_arguments_that_make_no_layer(arguments, options, message):
    with pytest.raises(TracerError, match=re.escape(message)):
        nn.MultiheadAttention(*arguments, **options)


INPUTS = {
    "width of queries": ([(N, L, 5), (N, S, E), (N, S, E)], {}, "got [3, 4, 5], [3, 5, 6]"),
    "width of keys": ([(N, L, E), (N, S, 5), (N, S, E)], {}, "key [N, S, 6] and value [N, S, 6]"),
    "lengths": ([(N, L, E), (N, S, E), (N, L, E)], {}, "[3, 5, 6] and [3, 4, 6]: transpose them"),
    "samples": ([(N, L, E), (2, S, E), (2, S, E)], {}, "query [N, L, 6]"),
    "ranks": ([(L, E), (N, S, E), (N, S, E)], {}, "or all without N, got [4, 6], [3, 5, 6]"),
    "axes": ([(1, N, L, E)] * 3, {}, "got [1, 3, 4, 6]"),
    "no keys": ([(N, L, E), (N, 0, E), (N, 0, E)], {}, "got [3, 4, 6], [3, 0, 6]"),
    "padding": (
        [(N, L, E), (N, S, E), (N, S, E)], {"key_padding_mask": np.ones((S, N), bool)},
        "key_padding_mask [samples, keys] = [3, 5], got [5, 3]",
    ),
    "mask": (
        [(N, L, E), (N, S, E), (N, S, E)], {"attn_mask": np.ones((S, L), bool)},
        "attn_mask [queries, keys] = [4, 5] or [samples * heads, queries, keys] = [6, 4, 5], got "
        "[5, 4]",
    ),
    "mask of samples": (
        [(N, L, E), (N, S, E), (N, S, E)], {"attn_mask": np.ones((N, L, S), bool)}, "got [3, 4, 5]",
    ),
    "dtype": (
        [(N, L, E), (N, S, E), (N, S, E)], {"attn_mask": np.ones((L, S), int)},
        "attn_mask is of dtype bool or of a float dtype, got int64[4, 5]",
    ),
    "hidden sample": (
        [(N, L, E), (N, S, E), (N, S, E)],
        {"key_padding_mask": np.arange(N)[:, None] == np.ones((1, S))},
        "hides all 5 keys from sample 1: let it see a key",
    ),
    "hidden query": (
        [(N, L, E), (N, S, E), (N, S, E)],
        {"attn_mask": np.where(np.arange(L)[:, None] == np.full((1, S), 2), -np.inf, 0)},
        "hides all 5 keys from query 2",
    ),
    "hidden together": (
        [(N, L, E), (N, S, E), (N, S, E)],
        {"key_padding_mask": HIDDEN[::-1, ::-1], "is_causal": True},
        "hides all 5 keys from query 0 of sample 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", INPUTS)
def test_the_layer_says_what_does_not_fit(case):
    shapes, options, message = INPUTS[case]
    layer = nn.MultiheadAttention(E, 2, batch_first=True).double()
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer(*map(np.ones, shapes), **options)


# -- blocks of samples ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", ["none", "of positions", "of samples"])
@pytest.mark.parametrize("rows", [1, 3])
def test_some_samples_after_the_others_give_what_all_at_once_give(monkeypatch, dtype, bias, rows):
    """Weights and cotangents, from queries and keys by heads that lie as a projection does."""
    draw = rng()
    query, key = (draw.standard_normal((5, n, 2, 3)).astype(dtype).swapaxes(1, 2) for n in (6, 7))
    added = {"none": None, "of positions": draw.standard_normal((6, 7)).astype(dtype)}
    added["of samples"] = draw.standard_normal((5, 1, 6, 7)).astype(dtype)
    g = draw.standard_normal((rows, 5, 2, 6, 7)).astype(dtype)

    def results():
        y = arrays.weights(query, key, added[bias], 0.7)
        return y, *arrays.pulled(g, y, query, key, 0.7)

    whole = results()
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * whole[0][0].nbytes)
    scores = 0.7 * query.astype(np.float64) @ key.swapaxes(-1, -2)
    scores = scores if added[bias] is None else scores + added[bias]
    np.testing.assert_allclose(whole[0], softmax(scores), rtol=1e-5)
    for found, expected in zip(results(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def softmax(x):
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
