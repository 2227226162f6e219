"""`tracer_layers.utils` compared with `torch.nn.utils`."""

import inspect
import math

import numpy as np
import pytest

import tracer
import tracer_layers as nn

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
]

SHAPES = {"w": (4, 3), "b": (4,), "s": (), "e": (2, 0)}


def gradients(scale=1.0):
    rng = np.random.default_rng(0)
    return {name: np.asarray(scale * rng.standard_normal(s)) for name, s in SHAPES.items()}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("order", [0.5, 1, 2, 2.5, math.inf])
@pytest.mark.parametrize(("scale", "most"), [(1, 0.7), (1, 100), (1e-9, 1e-10), (1e6, 3.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipped_norms(order, scale, most, dtype, wrapped):
    ours = {name: array.astype(dtype) for name, array in gradients(scale).items()}
    if order == math.inf:
        del ours["e"]  # of nothing, PyTorch has no largest
    theirs = {}
    for name, array in ours.items():
        theirs[name] = torch.zeros(array.shape, dtype=torch.from_numpy(array).dtype)
        theirs[name].requires_grad_().grad = torch.from_numpy(array.copy())
    norm = nn.utils.clip_grad_norm_({"grad": ours} if wrapped else ours, most, order)
    expected = torch.nn.utils.clip_grad_norm_(theirs.values(), most, order)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(norm, expected.numpy(), rtol=rtol)
    for name, array in ours.items():
        assert array.dtype == dtype
        np.testing.assert_allclose(array, theirs[name].grad.numpy(), rtol=rtol)


def test_clipped_values():
    ours = gradients()
    theirs = [torch.zeros(a.shape).requires_grad_() for a in ours.values()]
    for tensor, array in zip(theirs, ours.values(), strict=True):
        tensor.grad = torch.from_numpy(array.copy()).float()
    nn.utils.clip_grad_value_(ours, 0.4)
    torch.nn.utils.clip_grad_value_(theirs, 0.4)
    for tensor, array in zip(theirs, ours.values(), strict=True):
        np.testing.assert_allclose(array, tensor.grad.numpy(), rtol=1e-6)


def test_vectors():
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    vector = torch.nn.utils.parameters_to_vector(theirs.parameters()).detach().numpy()
    np.testing.assert_array_equal(nn.utils.parameters_to_vector(ours.parameters()).data, vector)
    nn.utils.vector_to_parameters(vector[::-1].copy(), ours.parameters())
    torch.nn.utils.vector_to_parameters(torch.from_numpy(vector[::-1].copy()), theirs.parameters())
    np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach().numpy())


# -- normalised weights ----------------------------------------------------------------------------

LINEAR = (lambda nn: nn.Linear(4, 3), (5, 4))
KERNEL = (lambda nn: nn.Conv2d(2, 3, 2), (2, 2, 4, 4))
TRANSPOSED = (lambda nn: nn.ConvTranspose1d(2, 3, 2), (2, 2, 4))
P = "parametrizations."
CASES = {
    "weight_norm": (LINEAR, "weight_norm", {}),
    "weight_norm-1": (LINEAR, "weight_norm", {"dim": 1}),
    "weight_norm-none": (LINEAR, "weight_norm", {"dim": None}),
    "weight_norm-last": (LINEAR, "weight_norm", {"dim": -1}),
    "weight_norm-kernel": (KERNEL, "weight_norm", {}),
    "weight_norm-bias": (LINEAR, "weight_norm", {"name": "bias"}),
    "P-weight_norm": (LINEAR, P + "weight_norm", {}),
    "P-weight_norm-none": (KERNEL, P + "weight_norm", {"dim": None}),
    "P-weight_norm-1": (KERNEL, P + "weight_norm", {"dim": 1}),
    "spectral_norm": (LINEAR, "spectral_norm", {}),
    "spectral_norm-kernel": (KERNEL, "spectral_norm", {"n_power_iterations": 3}),
    "spectral_norm-transposed": (TRANSPOSED, "spectral_norm", {}),
    "spectral_norm-dim": (KERNEL, "spectral_norm", {"dim": 2, "eps": 1e-4}),
    "P-spectral_norm": (LINEAR, P + "spectral_norm", {}),
    "P-spectral_norm-kernel": (KERNEL, P + "spectral_norm", {"n_power_iterations": 2}),
    "P-spectral_norm-transposed": (TRANSPOSED, P + "spectral_norm", {}),
    "P-spectral_norm-vector": (LINEAR, P + "spectral_norm", {"name": "bias"}),
}


def made(nn, case):
    (make, shape), path, options = CASES[case]
    function = nn.utils
    for part in path.split("."):
        function = getattr(function, part)
    return function(make(nn).double(), **options), shape


@pytest.mark.parametrize("case", CASES)
def test_normalised_weights(case):
    """Names in the state, values over several calls in both modes, and gradients."""
    torch.manual_seed(0)
    theirs, shape = made(torch.nn, case)
    ours, _ = made(nn, case)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal(shape)
    for training in (True, True, False, True):
        ours.train(training)
        theirs.train(training)
        with tracer.Tape() as tape:
            out = ours(x)
            loss = (out**3).sum()
        found = tape.backward(loss)["grad"]
        theirs.zero_grad()
        expected = theirs(torch.from_numpy(x))
        (expected**3).sum().backward()
        np.testing.assert_allclose(out.data, expected.detach().numpy(), rtol=1e-9)
        for name, parameter in theirs.named_parameters():
            wanted = parameter.grad.numpy()
            np.testing.assert_allclose(found[name], wanted, rtol=1e-8, atol=1e-10)
        for name, array in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name], array.numpy(), rtol=1e-9)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})


@pytest.mark.parametrize("case", ["weight_norm", "spectral_norm"])
def test_removed_normalisations(case):
    ours, theirs = made(nn, case)[0].eval(), made(torch.nn, case)[0].eval()
    ours.load_state_dict(theirs.state_dict())
    for each, utils in ((ours, nn.utils), (theirs, torch.nn.utils)):
        getattr(utils, f"remove_{case}")(each)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-9)


def own(nn, steps):
    """A parametrization of one's own, in either library."""

    class Symmetric(nn.Module):
        def forward(self, w):
            return (w + w.T) / 2

        def right_inverse(self, w):
            return w

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(1, 1).double()

        def forward(self, w):
            return w * self.inner.weight

    layer = nn.Linear(3, 3).double()
    for step in steps:
        kind = {"symmetric": Symmetric, "scaled": Scaled}[step]
        nn.utils.parametrize.register_parametrization(layer, "weight", kind())
    return layer


@pytest.mark.parametrize("steps", [["symmetric"], ["scaled"], ["symmetric", "scaled"]])
def test_parametrizations_of_ones_own(steps):
    ours, theirs = own(nn, steps), own(torch.nn, steps)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_allclose(ours(x).data, theirs(torch.from_numpy(x)).detach(), rtol=1e-10)


FUSED = {
    "conv": (lambda nn: nn.Conv2d(2, 4, 3, groups=2), lambda nn: nn.BatchNorm2d(4), (3, 2, 5, 4)),
    "conv-plain": (
        lambda nn: nn.Conv1d(2, 3, 2, bias=False),
        lambda nn: nn.BatchNorm1d(3, affine=False),
        (3, 2, 5),
    ),
    "transposed": (lambda nn: nn.ConvTranspose1d(2, 3, 2), lambda nn: nn.BatchNorm1d(3), (3, 2, 4)),
    "linear": (lambda nn: nn.Linear(4, 3), lambda nn: nn.BatchNorm1d(3), (5, 4)),
}


@pytest.mark.parametrize("name", FUSED)
def test_normalisation_is_put_into_the_map_before_it(name):
    first, second, shape = FUSED[name]
    theirs = torch.nn.Sequential(first(torch.nn), second(torch.nn)).double()
    x = np.random.default_rng(0).standard_normal(shape)
    theirs(torch.from_numpy(2 * x + 1))  # statistics that are not the initial ones
    ours = nn.Sequential(first(nn), second(nn)).double()
    ours.load_state_dict(theirs.state_dict())
    fuse = "fuse_linear_bn_eval" if name == "linear" else "fuse_conv_bn_eval"
    options = {"transpose": True} if name == "transposed" else {}
    fused, expected = (
        getattr(library.utils, fuse)(*model.eval(), **options)
        for library, model in ((nn, ours), (torch.nn, theirs))
    )
    for key, value in expected.state_dict().items():
        np.testing.assert_allclose(fused.state_dict()[key], value.numpy(), rtol=1e-12)
    np.testing.assert_allclose(fused(x).data, ours(x).data, rtol=1e-10, atol=1e-12)
    with pytest.raises(nn.utils.fusion.TracerError, match="is for evaluation"):
        getattr(nn.utils, fuse)(*ours.train(), **options)


def test_sequences_are_taken_out_again():
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 2)) for n in (4, 3, 1)]
    rnn, theirs = nn.utils.rnn, torch.nn.utils.rnn
    given = [torch.from_numpy(sequence) for sequence in sequences]
    for options in ({}, {"batch_first": True, "padding_value": 2.0, "padding_side": "left"}):
        expected = theirs.pad_sequence(given, **options).numpy()
        np.testing.assert_array_equal(rnn.pad_sequence(sequences, **options), expected)
    for found in (
        rnn.unpack_sequence(rnn.pack_sequence(sequences)),
        rnn.unpad_sequence(rnn.pad_sequence(sequences), [4, 3, 1]),
        rnn.unpad_sequence(rnn.pad_sequence(sequences, True), np.array([4, 3, 1]), True),
    ):
        for one, other in zip(found, sequences, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "path",
    "weight_norm remove_weight_norm spectral_norm remove_spectral_norm clip_grad_value_ "
    "parametrizations.weight_norm parametrizations.spectral_norm parameters_to_vector "
    "vector_to_parameters parametrize.register_parametrization parametrize.is_parametrized "
    "parametrize.remove_parametrizations clip_grad_norm_ clip_grads_with_norm_ get_total_norm "
    "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights "
    "rnn.pad_sequence rnn.pack_sequence rnn.unpad_sequence rnn.unpack_sequence "
    "rnn.pack_padded_sequence".split(),
)
def test_arguments(path):
    ours, theirs = nn.utils, torch.nn.utils
    for part in path.split("."):
        ours, theirs = getattr(ours, part), getattr(theirs, part)
    ours, theirs = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    names = [name for name in theirs if name != "foreach"]
    first = 1 if "clip" in path else 0  # results in place of parameters
    assert list(ours)[first : len(names)] == names[first:]
    for name in names[first:]:
        assert ours[name].default == theirs[name].default
