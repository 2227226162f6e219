"""Quantities of every layer against their definitions: single samples, Jacobians, differences."""

import sys
from pathlib import Path

import numpy as np
import pytest
from layer_zoo import COUPLING, LAYERS, network

import tracer
import tracer_layers as nn
from tracer.errors import BatchError

sys.path.insert(0, str(Path(__file__).parents[1]))
import device


def swept(model, x, quantities, reduction="mean"):
    """Quantities of the squared distance to zero."""
    with tracer.Tape() as tape:
        out = model(x)
        loss = nn.mse_loss(out, np.zeros(out.shape), reduction=reduction)
    return tape.backward(loss, quantities)


def jacobians(model, x):
    """parameter name -> `[N, D, *p]`."""
    shape = model(x).shape
    rows = []
    for index in np.ndindex(shape):
        with tracer.Tape() as tape:
            element = model(x)[index]
        rows.append(tape.backward(element)["grad"])
    return {
        name: np.stack([row[name] for row in rows]).reshape(*shape, *value.shape)
        for name, value in rows[0].items()
    }


def hessian_diagonal(model, x, parameter, name, step=1e-5):
    """The diagonal of the Hessian by central differences of the gradient."""
    diagonal, values = np.zeros(parameter.shape), parameter.data
    for index in np.ndindex(parameter.shape):
        slopes = []
        for sign in (1, -1):
            parameter.data = values.copy()
            parameter.data[index] += sign * step
            slopes.append(swept(model, x, ("grad",))["grad"][name][index])
        diagonal[index] = (slopes[0] - slopes[1]) / (2 * step)
    parameter.data = values
    return diagonal


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_single_samples(name):
    model, x = network(*LAYERS[name])
    found = swept(model, x, ("grad", "grad_batch", "batch_l2"), "sum")
    singles = [swept(model, x[n : n + 1], ("grad",), "sum")["grad"] for n in range(len(x))]
    for key, value in found["grad_batch"].items():
        expected = np.stack([g[key] for g in singles])
        np.testing.assert_allclose(value, expected, atol=1e-10)
        np.testing.assert_allclose(found["grad"][key], expected.sum(0), atol=1e-10)
        norms = (expected**2).reshape(len(x), -1).sum(1)
        np.testing.assert_allclose(found["batch_l2"][key], norms, atol=1e-10)


@pytest.mark.parametrize("name", [*LAYERS, *COUPLING])
def test_the_gauss_newton_diagonal_is_that_of_jacobians(name):
    model, x = network(*(LAYERS | COUPLING)[name])
    found = swept(model, x, ("diag_ggn_exact",))["diag_ggn_exact"]
    for key, jacobian in jacobians(model, x).items():
        size = jacobian.shape[0] * jacobian.shape[1]
        expected = 2 / size * (jacobian**2).sum((0, 1))
        np.testing.assert_allclose(found[key], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", [*LAYERS, *COUPLING])
def test_the_hessian_diagonal_is_that_of_differences(name):
    model, x = network(*(LAYERS | COUPLING)[name])
    found = swept(model, x, ("diag_h",))["diag_h"]
    for key, parameter in model.named_parameters():
        expected = hessian_diagonal(model, x, parameter, key)
        np.testing.assert_allclose(found[key], expected, rtol=1e-4, atol=1e-7, err_msg=key)


@pytest.mark.parametrize("name", LAYERS)
def test_every_parameter_has_kronecker_factors(name):
    """Of a vector they are the block itself, where each sample uses it once."""
    model, x = network(*LAYERS[name])
    found = swept(model, x, ("kflr", "kfac"))
    blocks = jacobians(model, x)
    for key, parameter in model.named_parameters():
        factors = found["kflr"][key].factors
        assert len(factors) == len(found["kfac"][key].factors)
        if "Norm" in name and name.endswith("-axes") and key.startswith("1."):
            jacobian = blocks[key].reshape(-1, parameter.size)
            block = 2 / len(jacobian) * jacobian.T @ jacobian
            np.testing.assert_allclose(factors[0], block, rtol=1e-8, atol=1e-12)


TRANSPOSED = {
    "plain": (lambda: nn.ConvTranspose1d(2, 3, 3, 2, 1, 1), (4, 2, 3)),
    "groups": (lambda: nn.ConvTranspose1d(4, 6, 2, groups=2), (3, 4, 2)),
    "2d": (lambda: nn.ConvTranspose2d(2, 2, (2, 1), bias=False), (3, 2, 1, 2)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_kronecker_factors_of_a_transposed_convolution_are_exact_as_the_last_layer(name):
    """Of linear maps at every output position, squared error has an exact "expand" block."""
    make, shape = TRANSPOSED[name]
    model = make().double()
    x = np.random.default_rng(0).standard_normal(shape)
    found = swept(model, x, ("kflr",))["kflr"]
    outputs, kernel = model.out_channels // model.groups, np.prod(model.kernel_size)
    inputs = model.in_channels // model.groups * kernel
    sizes = [len(factor) for factor in found["weight"].factors]
    assert sizes == [outputs, inputs] * model.groups
    jacobian = jacobians(model, x)["weight"]
    rows = jacobian.reshape(-1, model.weight.size)
    expected = 2 / len(rows) * rows.T @ rows
    np.testing.assert_allclose(found["weight"].dense(), expected, atol=1e-12)


@pytest.mark.parametrize("name", COUPLING)
def test_samples_coupled_by_a_batch_have_no_gradients_of_their_own(name):
    model, x = network(*COUPLING[name])
    for quantity in ("grad_batch", "batch_l2", "variance"):
        with pytest.raises(BatchError, match=r"in layer '1'.*model.eval\(\)"):
            swept(model, x, (quantity,))


def test_a_batch_normalisation_of_data_couples_nothing():
    layer = nn.BatchNorm1d(3).double()
    x = np.random.default_rng(0).standard_normal((4, 3))
    found = swept(layer, x, ("grad", "grad_batch", "kflr"))
    np.testing.assert_allclose(found["grad_batch"]["weight"].sum(0), found["grad"]["weight"])
    standard = (x - x.mean(0)) / np.sqrt(x.var(0) + layer.eps)
    block = 2 / 12 * np.diag((standard**2).sum(0))
    np.testing.assert_allclose(found["kflr"]["weight"].factors[0], block, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_no_samples_and_one_sample(name):
    model, x = network(*LAYERS[name])
    whole = model(x).data
    np.testing.assert_allclose(model(x[:1]).data, whole[:1], atol=1e-12)
    with tracer.Tape() as tape:
        out = model(x[:0])
        loss = np.sum(out)
    assert out.shape == (0, *whole.shape[1:])
    for value in tape.backward(loss)["grad"].values():
        assert not value.any()


@pytest.mark.parametrize("name", [*LAYERS, *COUPLING])
def test_float32_stays_float32(name):
    model, x = network(*(LAYERS | COUPLING)[name])
    expected = swept(model, x, ("grad",))["grad"]
    x = x.astype(np.float32)
    assert model.float()(x).dtype == np.float32
    for key, value in swept(model, x, ("grad",))["grad"].items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[key], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", [*LAYERS, *COUPLING])
def test_layers_run_on_another_array_library(name):
    model, x = network(*(LAYERS | COUPLING)[name])
    expected = swept(model, x, ("grad",))["grad"]
    tracer.registry.backends.add(device.DeviceBackend(), "tests")
    try:
        for module in model.modules():
            for key, value in module._held("parameter", "buffer"):
                if isinstance(value, tracer.Tensor):
                    value.data = device.asarray(value.data)
                else:
                    setattr(module, key, device.asarray(value))
        with tracer.Tape() as tape:
            out = model(device.asarray(x))
            loss = np.mean(np.square(out))
        found = tape.backward(loss)["grad"]
    finally:
        tracer.registry.backends.remove("device")
    for key, value in found.items():
        assert isinstance(value, device.DeviceArray)
        np.testing.assert_allclose(value.get(), expected[key], atol=1e-12)
