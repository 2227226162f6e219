"""Quantities of models with complex numbers in between: those of the same models in real ones."""

import warnings

import numpy as np
import pytest

import tracer
import tracer_layers as nn
from tracer import registry
from tracer.testing import agree

RNG = np.random.default_rng(0)
N, D = 5, 4
X, Y = RNG.standard_normal((N, D)), RNG.integers(0, 3, N)
PARAMETERS = {
    "w": RNG.standard_normal((D, D)),
    "a": RNG.standard_normal(3),
    "b": RNG.standard_normal(3),
    "u": RNG.standard_normal((3, 3)),
    "c": RNG.standard_normal((3, 3)),
    "v": RNG.standard_normal((6, 3)),
}
ANGLES = -2 * np.pi * np.arange(D)[:, None] * np.arange(3) / D

#: what is made of complex numbers, and the same of their real and imaginary parts
HEADS = {
    "parts": (
        lambda z: np.concatenate([z.real, z.imag], -1),
        lambda re, im: np.concatenate([re, im], -1),
    ),
    "exponential": (
        lambda z: np.concatenate([np.exp(0.1 * z).real, np.exp(0.1 * z).imag], -1),
        lambda re, im: np.concatenate(
            [np.exp(0.1 * re) * np.cos(0.1 * im), np.exp(0.1 * re) * np.sin(0.1 * im)], -1
        ),
    ),
    "sizes": (
        lambda z: np.concatenate([abs(z), abs(z) ** 2], -1),
        lambda re, im: np.concatenate([np.sqrt(re**2 + im**2), re**2 + im**2], -1),
    ),
    "back": (
        lambda z: np.concatenate([np.fft.irfft(z), np.angle(z[:, :2])], -1),
        lambda re, im: np.concatenate(
            [_inverse(re, im), np.arctan2(im, re)[:, :2]], -1
        ),
    ),
}  # fmt: skip


def _inverse(re, im):
    weights = np.array([1.0, 2.0, 1.0]) / D
    return (re * weights) @ np.cos(ANGLES).T + (im * weights) @ np.sin(ANGLES).T


def in_complex(p, x, head):
    z = np.fft.rfft(x @ p["w"]) * (p["a"] + 1j * p["b"])
    z = z @ p["u"] @ (1j * p["c"] + 0.3)
    return np.tanh(HEADS[head][0](z)) @ p["v"]


def in_real(p, x, head):
    h = x @ p["w"]
    re, im = h @ np.cos(ANGLES), h @ np.sin(ANGLES)
    re, im = re * p["a"] - im * p["b"], re * p["b"] + im * p["a"]
    re, im = re @ p["u"], im @ p["u"]
    same = np.full((3, 3), 0.3)
    re, im = re @ same - im @ p["c"], im @ same + re @ p["c"]
    return np.tanh(HEADS[head][1](re, im)) @ p["v"]


def results(model, quantity, head, **options):
    with tracer.Tape() as tape:
        parameters = {n: tracer.parameter(x, name=n) for n, x in PARAMETERS.items()}
        loss = nn.cross_entropy(model(parameters, tracer.batch(X), head), Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parameters for which a quantity is undefined
        return tape.backward(loss, (quantity,), rng=np.random.default_rng(0), **options)[quantity]


def dense(value, shape):
    """A value as an array; of a function, what it makes of vectors."""
    if callable(value):
        return value(np.random.default_rng(1).standard_normal((2, *shape)))
    return value.dense() if hasattr(value, "dense") else np.asarray(value)


def product(operator):
    """What an operator makes of a vector, by name: its parameters are in the order of use."""
    vector, rng = np.empty(operator.shape[1]), np.random.default_rng(1)
    for name in PARAMETERS:
        vector[operator.parameters[name]] = rng.standard_normal(PARAMETERS[name].size)
    out = operator @ vector
    return {name: out[operator.parameters[name]] for name in PARAMETERS}


#: defined use by use, and a product of complex numbers is one use where that of parts is two
BY_USE = {"kfac": {"a", "b", "c"}, "kflr": {"a", "b", "c"}, "kfra": {"a", "b", "c"}}
#: refused by name for what is complex: it is of parameters that the model is linear in
REFUSED = {"pchmp": {"w", "a", "b", "u", "c"}}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("quantity", list(registry.quantities))
def test_a_quantity(quantity, head):
    found, expected = (results(model, quantity, head) for model in (in_complex, in_real))
    if hasattr(found, "__matmul__"):
        one, other = product(found), product(expected)
        for name in PARAMETERS:
            agree(f"{quantity} at {name}", one[name], other[name], 1e-8, 1e-10)
        return
    for name, x in PARAMETERS.items():
        if name in BY_USE.get(quantity, ()):
            continue
        if name in REFUSED.get(quantity, ()):
            with pytest.raises(tracer.QuantityError, match="positive-curvature"):
                found[name]
            continue
        one, other = dense(found[name], x.shape), dense(expected[name], x.shape)
        assert one.dtype == np.float64
        agree(f"{quantity} of {name}", one, other, 1e-8, 1e-10)


def test_factors_of_what_is_used_once_a_sample_are_blocks_of_the_ggn():
    rows = results(in_complex, "sqrt_ggn_exact", "parts")
    factors = results(in_complex, "kflr", "parts")
    for name in ("a", "b"):
        flat = rows[name].reshape(-1, 3)
        agree(name, factors[name].dense(), flat.T @ flat, 1e-9, 1e-12)


@pytest.mark.parametrize("quantity", ["grad_batch", "diag_ggn_exact", "diag_h", "variance"])
def test_within_a_memory_budget(quantity):
    whole = results(in_complex, quantity, "exponential")
    parts = results(in_complex, quantity, "exponential", memory_budget=20_000)
    for name in PARAMETERS:
        agree(name, parts[name], whole[name], 1e-10, 1e-12)


def test_what_a_tape_watches_and_keeps_of_complex_numbers():
    with tracer.Tape(watch=True, values=True, cotangents=True) as tape:
        w = tracer.parameter(PARAMETERS["w"], name="w")
        z = np.fft.rfft(tracer.batch(X) @ w)
        loss = np.sum(abs(z) ** 2)
    gradient = tape.backward(loss)["grad"]["w"]
    agree("the cotangent of z", tape.cotangents[z], 2 * np.conj(z.data), 1e-12, 1e-12)
    agree("the gradient", tape.cotangents[w], gradient, 0, 0)
    graph = tape.graph()
    (data,) = [d for _, d in graph.nodes(data=True) if d.get("op") == "rfft"]
    np.testing.assert_allclose(data["norm"], np.linalg.norm(z.data))


def test_complex_data_and_padded_positions():
    """Positions that are not there count in no factor, as in the model in real numbers."""
    z = RNG.standard_normal((4, 5, 3)) + 1j * RNG.standard_normal((4, 5, 3))
    there = np.arange(5) < np.array([5, 3, 1, 4])[:, None]
    w, y = RNG.standard_normal((3, 2)), np.array([0, 1, 1, 0])

    def factors(split):
        with tracer.Tape() as tape:
            p = tracer.parameter(w, name="w")
            with tracer.present(there):
                if split:
                    data = np.stack([z.real, z.imag], 2).reshape(4, 10, 3)
                    both = np.reshape(tracer.batch(data) @ p, (4, 5, 2, 2))
                    h = np.sum(both * np.array([1.0, 2.0])[:, None], 2)
                else:
                    h = tracer.batch(z) @ p
                    h = h.real + 2 * h.imag
            loss = nn.cross_entropy(np.sum(h * there[..., None], 1), y)
        return tape.backward(loss, ("kflr",))["kflr"]["w"].dense()

    agree("the factors", factors(False), factors(True), 1e-9, 1e-12)


def test_complex_outputs_have_no_gauss_newton_matrix():
    with tracer.Tape() as tape:
        w = tracer.parameter(PARAMETERS["w"], name="w")
        outputs = np.fft.rfft(tracer.batch(X) @ w)
        loss = np.sum(abs(outputs) ** 2)
    with pytest.raises(tracer.QuantityError, match=r"real outputs of a model, got complex"):
        tape.backward(loss, ("diag_ggn_exact",), outputs=outputs)
