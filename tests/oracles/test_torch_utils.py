"""Weight and spectral normalisation compute what PyTorch's do, and have its parameters."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_layers as nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

LAYERS = {
    "linear": (lambda nn: nn.Linear(4, 3), (5, 4)),
    "conv": (lambda nn: nn.Conv2d(2, 3, 3), (5, 2, 4, 4)),
    "transposed": (lambda nn: nn.ConvTranspose1d(2, 3, 2), (5, 2, 4)),
}
WAYS = {
    "weight_norm": lambda utils: utils.weight_norm,
    "spectral_norm": lambda utils: utils.spectral_norm,
    "parametrized weight_norm": lambda utils: utils.parametrizations.weight_norm,
    "parametrized spectral_norm": lambda utils: utils.parametrizations.spectral_norm,
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("way", WAYS)
def test_values_gradients_and_states_are_those_of_pytorch(way, layer):
    make, shape = LAYERS[layer]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = WAYS[way](torch.nn.utils)(make(torch.nn))
    ours = WAYS[way](nn.utils)(make(nn))
    state = theirs.state_dict()
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        theirs.zero_grad()
        with tracer.Tape() as tape:
            output = ours(x)
            loss = (output * output).sum()
        gradients = tape.backward(loss)["grad"]
        expected = theirs(torch.from_numpy(x))
        (expected * expected).sum().backward()
        np.testing.assert_allclose(output.data, expected.detach(), rtol=1e-4, atol=1e-5)
        for name, parameter in theirs.named_parameters():
            np.testing.assert_allclose(
                gradients[name], parameter.grad, rtol=1e-3, atol=1e-3, err_msg=name
            )
        for name, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[name], value, rtol=1e-4, atol=1e-5)
