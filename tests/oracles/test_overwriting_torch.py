"""What is seen of activations in place, through other names and other shapes, as in PyTorch."""

import numpy as np
import pytest

import tracer
import tracer_layers as nn

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def flattened(F, x):
    flat = x.reshape(3, -1)
    F.threshold(x, 0.1, 0.3, True)
    return flat**2


#: programs of a library's functions and a tensor
PROGRAMS = {
    "a skip sees it": lambda F, x: F.relu(x, inplace=True) ** 2 + x,
    "before a skip": lambda F, x: (x + 1) * F.relu6(x, True),
    "of a flattened one": lambda F, x: F.relu_(x.reshape(-1)).sum() + (x**2).sum(),
    "seen flattened": flattened,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_agree(name):
    program, x = PROGRAMS[name], np.random.default_rng(0).standard_normal((3, 2, 4))
    leaf = torch.tensor(x, requires_grad=True)
    expected = program(torch.nn.functional, leaf * 2)
    value, pullback = tracer.vjp(lambda x: program(nn.functional, x * 2), x)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12)
    weights = np.random.default_rng(1).standard_normal(expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(pullback(weights)[0], leaf.grad.numpy(), rtol=1e-9, atol=1e-12)
