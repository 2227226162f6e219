"""Weights that are computed at every call: their norms, derivatives, copies and removal."""

import copy

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer.errors import TracerError

X = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
Y = np.zeros((6, 3), np.float32)


def layer():
    tracer.seed(0)
    return nn.Linear(4, 3)


WAYS = {
    "weight_norm": nn.utils.weight_norm,
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized weight_norm": nn.utils.parametrizations.weight_norm,
    "parametrized spectral_norm": nn.utils.parametrizations.spectral_norm,
}


def test_a_normed_weight_is_the_weight_and_its_parts_have_norms():
    plain, normed = layer(), nn.utils.weight_norm(layer())
    np.testing.assert_allclose(normed(X).data, plain(X).data, rtol=1e-5, atol=1e-6)
    normed.weight_g.data = 2 * normed.weight_g.data
    assert [name for name, _ in normed.named_parameters()] == ["bias", "weight_g", "weight_v"]
    np.testing.assert_allclose(
        normed(X).data - plain.bias.data, 2 * (plain(X).data - plain.bias.data), rtol=1e-4
    )
    whole = nn.utils.weight_norm(layer(), dim=None)
    assert whole.weight_g.shape == ()


def test_the_largest_singular_value_becomes_1():
    normed = nn.utils.spectral_norm(layer(), n_power_iterations=50)
    normed(X)
    singular = np.linalg.svd(normed.weight.data, compute_uv=False)
    assert singular[0] == pytest.approx(1, rel=1e-3)
    u = normed.weight_u.copy()
    normed.eval()(X)
    np.testing.assert_array_equal(normed.weight_u, u)


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_quantity_is_there(way):
    model = WAYS[way](layer()).double().eval()
    with tracer.Tape() as tape:
        loss = nn.mse_loss(model(X.astype(float)), Y.astype(float))
    results = tape.backward(loss, ("grad", "grad_batch", "diag_ggn_exact", "batch_l2"))
    for name, gradient in results["grad"].items():
        samples = results["grad_batch"][name]
        np.testing.assert_allclose(samples.sum(0), gradient, rtol=1e-8, atol=1e-12)
        norms = (samples.reshape(6, -1) ** 2).sum(1)
        np.testing.assert_allclose(results["batch_l2"][name], norms, rtol=1e-6, atol=1e-12)
    parameter = next(iter(dict(model.named_parameters()).values()))
    assert parameter.dtype == np.float64


@pytest.mark.parametrize("way", WAYS)
def test_copies_compute_weights_of_their_own(way):
    model = WAYS[way](layer()).eval()
    other = copy.deepcopy(model)
    before = model(X).data.copy()
    for parameter in other.parameters():
        parameter.data = 3 * parameter.data
    assert (other(X).data != before).any()
    np.testing.assert_array_equal(model(X).data, before)
    assert isinstance(model.weight, tracer.Tensor)
    assert model.weight.node is None


def test_they_are_removed_again():
    plain = layer()
    for way, remove in (
        (nn.utils.weight_norm, nn.utils.remove_weight_norm),
        (nn.utils.spectral_norm, nn.utils.remove_spectral_norm),
    ):
        model = way(layer()).eval()
        before = model(X).data
        remove(model)
        np.testing.assert_allclose(model(X).data, before, rtol=1e-6)
        assert sorted(model.state_dict()) == sorted(plain.state_dict())
        assert "forward" not in vars(model)
        with pytest.raises(TracerError, match="Linear has no"):
            remove(model)


def test_mistakes():
    with pytest.raises(TracerError, match="Linear has no parameter 'weights'"):
        nn.utils.weight_norm(layer(), "weights")
    with pytest.raises(TracerError, match="an iteration or more"):
        nn.utils.spectral_norm(layer(), n_power_iterations=0)
    twice = nn.utils.parametrizations.weight_norm(layer())
    with pytest.raises(TracerError, match="no parameter 'weight'"):
        nn.utils.parametrizations.weight_norm(twice)
