"""Attention and Transformers against PyTorch: values, gradients, states, initial values."""

import inspect

import numpy as np
import pytest

import tracer
import tracer_layers

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:Support for mismatched"),
]

N, L, S, E = 3, 4, 5, 6
RNG = np.random.default_rng(0)


def both(make):
    """PyTorch's module and ours in float64, with PyTorch's parameters, some of them moved."""
    theirs, ours = make(torch.nn), make(tracer_layers)
    expected = {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    theirs.double()
    with torch.no_grad():
        for p in theirs.parameters():
            p += torch.tensor(0.2 * RNG.standard_normal(tuple(p.shape)))
    ours.double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def compare(theirs, ours, inputs, arranged=lambda inputs: inputs, **options):
    """Outputs, and the gradients of a weighted sum of all outputs, of inputs and parameters.

    `arranged` makes the arguments of the inputs.
    """
    parameters = dict(theirs.named_parameters()) if isinstance(theirs, torch.nn.Module) else {}
    for parameter in parameters.values():
        parameter.grad = None
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    plain = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    expected = theirs(*arranged(tensors), **plain)
    leaves = [tracer.parameter(x, name=f"input {i}") for i, x in enumerate(inputs)]
    with tracer.Tape() as tape:
        found = ours(*arranged(leaves), **options)
        many = isinstance(expected, tuple)
        pairs = list(zip(found, expected, strict=True)) if many else [(found, expected)]
        loss, their_loss = 0.0, 0.0
        for ours_, theirs_ in pairs:
            assert (ours_ is None) == (theirs_ is None)
            if ours_ is None:
                continue
            np.testing.assert_allclose(ours_.data, theirs_.detach().numpy(), rtol=1e-9, atol=1e-11)
            weights = RNG.standard_normal(ours_.shape)
            loss = loss + np.sum(ours_ * weights)
            their_loss = their_loss + (theirs_ * torch.tensor(weights)).sum()
    their_loss.backward()
    gradients = tape.backward(loss)["grad"]
    leaves = parameters | {f"input {i}": x for i, x in enumerate(tensors)}
    for name, leaf in leaves.items():
        np.testing.assert_allclose(
            gradients[name], leaf.grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=name
        )


def masks(kind):
    """Padding `[N, S]` and mask `[L, S]` of a kind; every query sees a key."""
    hidden = np.arange(S) >= np.array([S, 3, 2])[:, None]
    behind = np.arange(S) > np.arange(L)[:, None]
    float_mask = RNG.standard_normal((L, S))
    each = RNG.random((N * 2, L, S)) < 0.4
    each[..., 0] = False
    return {
        "none": {},
        "padding": {"key_padding_mask": hidden},
        "padding of floats": {"key_padding_mask": np.where(hidden, -np.inf, 0.3)},
        "causal": {"attn_mask": behind},
        "causal hint": {"attn_mask": behind, "is_causal": True},
        "floats": {"attn_mask": float_mask},
        "each head": {"attn_mask": each},
        "both": {"key_padding_mask": hidden, "attn_mask": behind},
    }[kind]


KINDS = ["none", "padding", "padding of floats", "causal", "causal hint", "floats", "each head",
         "both"]  # fmt: skip
LAYERS = {
    "plain": {},
    "no bias": {"bias": False},
    "added bias": {"add_bias_kv": True},
    "added zeros": {"add_zero_attn": True},
    "both added": {"add_bias_kv": True, "add_zero_attn": True},
    "other widths": {"kdim": 3, "vdim": 7},
    "other widths, added": {"kdim": 3, "add_bias_kv": True, "bias": False},
}


def laid(x, batch_first):
    return x if batch_first else np.swapaxes(x, 0, 1)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", LAYERS)
def test_attention_agrees(layer, kind, batch_first):
    options = LAYERS[layer]
    theirs, ours = both(lambda nn: nn.MultiheadAttention(E, 2, batch_first=batch_first, **options))
    widths = E, options.get("kdim", E), options.get("vdim", E)
    inputs = [
        laid(RNG.standard_normal((N, length, width)), batch_first)
        for length, width in zip((L, S, S), widths, strict=True)
    ]
    compare(theirs, ours, inputs, **masks(kind))
    if kind != "causal hint" or "added" not in layer:
        # there PyTorch hides the added keys too, unless it is asked for the weights
        compare(theirs, ours, inputs, need_weights=False, **masks(kind))
    compare(theirs, ours, inputs, average_attn_weights=False, **masks(kind))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_self_attention_and_attention_to_one_memory_agree(bias, batch_first):
    theirs, ours = both(lambda nn: nn.MultiheadAttention(E, 3, bias=bias, batch_first=batch_first))
    x = laid(RNG.standard_normal((N, L, E)), batch_first)
    memory = laid(RNG.standard_normal((N, S, E)), batch_first)
    for inputs in ([x], [x, memory]):
        compare(theirs, ours, inputs, lambda given: (given[0], given[-1], given[-1]))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sample_without_an_axis_agrees(layer, batch_first):
    options = LAYERS[layer]
    theirs, ours = both(lambda nn: nn.MultiheadAttention(E, 2, batch_first=batch_first, **options))
    widths = E, options.get("kdim", E), options.get("vdim", E)
    inputs = [RNG.standard_normal((n, width)) for n, width in zip((L, S, S), widths, strict=True)]
    compare(theirs, ours, inputs, key_padding_mask=np.arange(S) > 2)
    compare(theirs, ours, inputs, average_attn_weights=False)


FUNCTIONS = {
    "plain": ((N, 2, L, E), (N, 2, S, E), (N, 2, S, 3), {}),
    "matrices": ((L, E), (S, E), (S, E), {}),
    "scaled": ((N, L, E), (N, S, E), (N, S, E), {"scale": 0.3}),
    "causal": ((N, 2, L, E), (N, 2, S, E), (N, 2, S, E), {"is_causal": True}),
    "causal, longer": ((N, 2, S, E), (N, 2, L, E), (N, 2, L, E), {"is_causal": True}),
    "bools": (
        (N, 2, L, E), (N, 2, S, E), (N, 2, S, E),
        {"attn_mask": np.arange(S) <= np.arange(L)[:, None]},
    ),
    "bools of samples": (
        (N, 2, L, E), (N, 2, S, E), (N, 2, S, E),
        {"attn_mask": (np.arange(S) < np.array([S, 2, 1])[:, None])[:, None, None]},
    ),
    "floats": (
        (N, 2, L, E), (N, 2, S, E), (N, 2, S, E),
        {"attn_mask": RNG.standard_normal((2, 1, S))},
    ),
    "shared heads": ((N, 6, L, E), (N, 2, S, E), (N, 3, S, E), {"enable_gqa": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_agrees(name):
    *shapes, options = FUNCTIONS[name]
    inputs = [RNG.standard_normal(shape) for shape in shapes]
    theirs = torch.nn.functional.scaled_dot_product_attention
    compare(theirs, tracer_layers.functional.scaled_dot_product_attention, inputs, **options)


def test_a_mask_that_is_learned_gets_its_gradient():
    inputs = [RNG.standard_normal(shape) for shape in ((N, 2, L, E), (N, 2, S, E), (N, 2, S, E))]
    inputs.append(RNG.standard_normal((2, L, S)))
    theirs = torch.nn.functional.scaled_dot_product_attention
    compare(theirs, tracer_layers.functional.scaled_dot_product_attention, inputs)


OPTIONS = {
    "plain": {},
    "norm first": {"norm_first": True},
    "gelu": {"activation": "gelu"},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True, "layer_norm_eps": 1e-2},
}
CAUSAL = np.arange(L) > np.arange(L)[:, None]
PADDED = np.arange(L) >= np.array([L, 3, 1])[:, None]
MEMORY_PADDED = np.arange(S) >= np.array([2, S, 4])[:, None]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_encoders_agree(name, masked):
    options = OPTIONS[name]
    layer = lambda nn: nn.TransformerEncoderLayer(E, 2, 8, 0.0, **options)  # noqa: E731
    x = laid(RNG.standard_normal((N, L, E)), options.get("batch_first", False))
    given = {"src_mask": CAUSAL, "src_key_padding_mask": PADDED} if masked else {}
    compare(*both(layer), [x], **given)
    compare(*both(layer), [x[:, 0]])
    if masked:
        given["mask"] = given.pop("src_mask")
    compare(*both(lambda nn: nn.TransformerEncoder(layer(nn), 2)), [x], **given)
    compare(*both(lambda nn: nn.TransformerEncoder(layer(nn), 3, nn.LayerNorm(E))), [x], **given)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_decoders_agree(name, masked):
    options = OPTIONS[name]
    layer = lambda nn: nn.TransformerDecoderLayer(E, 2, 8, 0.0, **options)  # noqa: E731
    batch_first = options.get("batch_first", False)
    x, memory = (laid(RNG.standard_normal((N, n, E)), batch_first) for n in (L, S))
    given = {}
    if masked:
        given = {
            "tgt_mask": CAUSAL,
            "tgt_is_causal": True,
            "memory_mask": np.arange(S) > 1 + np.arange(L)[:, None],
            "tgt_key_padding_mask": PADDED,
            "memory_key_padding_mask": MEMORY_PADDED,
        }
    compare(*both(layer), [x, memory], **given)
    compare(
        *both(lambda nn: nn.TransformerDecoder(layer(nn), 2, nn.LayerNorm(E))), [x, memory], **given
    )


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_transformers_agree(name, masked):
    options = OPTIONS[name]
    make = lambda nn: nn.Transformer(E, 2, 2, 1, 8, 0.0, **options)  # noqa: E731
    source, target = (laid(RNG.standard_normal((N, n, E)), options.get("batch_first", False))
                      for n in (S, L))  # fmt: skip
    given = {}
    if masked:
        given = {
            "tgt_mask": torch.nn.Transformer.generate_square_subsequent_mask(
                L, dtype=torch.float64
            ).numpy(),
            "src_key_padding_mask": MEMORY_PADDED,
            "tgt_key_padding_mask": np.where(PADDED, -np.inf, 0.0),
            "memory_key_padding_mask": MEMORY_PADDED,
        }
    compare(*both(make), [source, target], **given)


def test_the_causal_mask_agrees():
    expected = torch.nn.Transformer.generate_square_subsequent_mask(4).numpy()
    found = tracer_layers.Transformer.generate_square_subsequent_mask(4)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "name",
    [
        "MultiheadAttention",
        "TransformerEncoderLayer",
        "TransformerDecoderLayer",
        "TransformerEncoder",
        "TransformerDecoder",
        "Transformer",
    ],
)
@pytest.mark.parametrize("method", ["__init__", "forward"])
def test_arguments_agree(name, method):
    theirs = inspect.signature(getattr(getattr(torch.nn, name), method)).parameters
    ours = inspect.signature(getattr(getattr(tracer_layers, name), method)).parameters
    positional = [k for k, p in ours.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert positional == list(theirs)
    for key, parameter in theirs.items():
        default = ours[key].default
        if key == "activation":
            assert default is tracer_layers.relu
        else:
            assert default == parameter.default, key


@pytest.mark.parametrize(
    "make",
    [
        lambda nn: nn.MultiheadAttention(16, 4, add_bias_kv=True),
        lambda nn: nn.MultiheadAttention(16, 4, kdim=8, vdim=12),
        lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 8), 2),
        lambda nn: nn.Transformer(16, 4, 1, 1, 8),
    ],
    ids=["attention", "other widths", "encoder", "transformer"],
)
def test_initial_distributions_agree(make):
    """Moments and quantiles of each parameter, pooled over many models."""
    tracer_layers.seed(0)
    torch.manual_seed(0)
    ours = [make(tracer_layers).state_dict() for _ in range(100)]
    theirs = [make(torch.nn).state_dict() for _ in range(100)]
    for key in ours[0]:
        a = np.concatenate([state[key].ravel() for state in ours])
        b = np.concatenate([state[key].numpy().ravel() for state in theirs])
        if not b.std():
            np.testing.assert_array_equal(a, b)
            continue
        assert abs(a.mean() - b.mean()) < 4.5 * b.std() * np.sqrt(2 / a.size), key
        assert abs(a.std() / b.std() - 1) < 5 / np.sqrt(a.size), key
        quantiles = [0.05, 0.25, 0.75, 0.95]
        np.testing.assert_allclose(
            np.quantile(a, quantiles),
            np.quantile(b, quantiles),
            atol=7 * b.std() / np.sqrt(a.size),
            err_msg=key,
        )


def test_copies_in_a_stack_start_equal_and_are_apart():
    encoder = tracer_layers.TransformerEncoder(tracer_layers.TransformerEncoderLayer(E, 2, 8), 2)
    first, second = (layer.state_dict() for layer in encoder.layers)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
        assert value is not second[name]
    assert len(list(encoder.parameters())) == 2 * len(list(encoder.layers[0].parameters()))


def test_float32_agrees():
    make = lambda nn: nn.Transformer(32, 4, 2, 2, 64, 0.0)  # noqa: E731
    theirs, ours = make(torch.nn), make(tracer_layers)
    ours.load_state_dict(theirs.state_dict())
    source, target = (RNG.standard_normal((n, 3, 32)).astype(np.float32) for n in (7, 5))
    found = ours(source, target)
    assert found.dtype == np.float32
    expected = theirs(torch.tensor(source), torch.tensor(target)).detach().numpy()
    np.testing.assert_allclose(found.data, expected, rtol=1e-4, atol=1e-5)
