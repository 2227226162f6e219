"""Convolutions and pooling of random geometry, in one to four dimensions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
import tracer_layers as nn


@st.composite
def geometries(draw):
    """Arguments of a convolution with the input's shape; every window fits."""
    rank = draw(st.integers(1, 4))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups = draw(st.integers(1, 2))
    inputs, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    room = each(0, 2)
    size = tuple(
        max(1, d * (k - 1) + 1 - 2 * p) + r
        for k, p, d, r in zip(kernel, padding, dilation, room, strict=True)
    )
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (inputs, outputs, kernel), options, (2, inputs, *size)


def gradients_and_ggn(model, x):
    """name -> (gradients per sample, the diagonal of the Gauss-Newton matrix)."""
    with tracer.Tape() as tape:
        out = model(x)
        loss = nn.mse_loss(out, np.zeros(out.shape), reduction="sum")
    found = tape.backward(loss, ("grad_batch", "diag_ggn_exact", "kflr"))
    return {
        name: (value, found["diag_ggn_exact"][name], found["kflr"][name])
        for name, value in found["grad_batch"].items()
    }


@settings(max_examples=30, derandomize=True)
@given(geometries())
def test_a_convolution_and_its_transpose_of_any_geometry(geometry):
    arguments, options, shape = geometry
    inputs, outputs, kernel = arguments
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    there = nn.ConvNd(*arguments, bias=False, **options).double()
    y = rng.standard_normal(there(x).shape)
    # the transpose takes y to the size of x where that is within a stride of the least
    back = nn.ConvTransposeNd(outputs, inputs, kernel, bias=False, **options).double()
    back.weight.data = there.weight.data
    returned = back(y, output_size=shape[2:]).data
    np.testing.assert_allclose(np.sum(there(x).data * y), np.sum(x * returned), atol=1e-9)
    weight = there.weight.data.ravel()
    for model, data in ((there, x), (lambda y: back(y, output_size=shape[2:]), y)):
        rows, diagonal, block = gradients_and_ggn(model, data)["weight"]
        # of a linear model with squared error: the gradient is half the curvature times the weight
        curvature = block.dense()
        np.testing.assert_allclose(curvature @ weight, rows.sum(0).ravel(), atol=1e-8)
        np.testing.assert_allclose(np.diag(curvature), diagonal.ravel(), atol=1e-8)


@settings(max_examples=30, derandomize=True)
@given(geometries(), st.booleans())
def test_pooling_of_any_geometry(geometry, ceil_mode):
    """The largest lies above the mean, and a constant is its own maximum and mean."""
    (_, _, kernel), options, shape = geometry
    padding = tuple(min(p, k // 2) for p, k in zip(options["padding"], kernel, strict=True))
    size = tuple(max(n, k) for n, k in zip(shape[2:], kernel, strict=True))
    x = np.random.default_rng(0).standard_normal((*shape[:2], *size))
    arguments = (kernel, options["stride"], padding)
    largest = nn.MaxPoolNd(*arguments, ceil_mode=ceil_mode, return_indices=True)
    mean = nn.AvgPoolNd(*arguments, ceil_mode=ceil_mode, count_include_pad=False)
    out, places = largest(x)
    assert out.shape == mean(x).shape
    assert (out.data >= mean(x).data - 1e-12).all()
    flat = np.take_along_axis(x.reshape(*shape[:2], -1), places.reshape(*shape[:2], -1), axis=-1)
    np.testing.assert_array_equal(flat.reshape(out.shape), out.data)
    np.testing.assert_allclose(mean(np.full_like(x, 3.0)).data, 3)
