"""Models in plain NumPy code, one per way in which parameters are used."""

import numpy as np

import tracer

MODELS = {}
N = 4


def model(*, axes=None, **shapes):
    """Register `f(parameters, inputs)`; `shapes` are of parameters, `x`, `z` of inputs.

    A shape that is a list of ints `[bound, *shape]` makes integer inputs below the bound.
    """

    def add(function):
        MODELS[function.__name__] = function, shapes, axes
        return function

    return add


def draw(name, rng):
    """(function, parameters, inputs, axes) of a model."""
    function, shapes, axes = MODELS[name]
    parameters, inputs = {}, []
    for key, shape in shapes.items():
        if isinstance(shape, list):
            bound, *rest = shape
            inputs.append(rng.integers(0, bound, rest))
        elif key in ("x", "z"):
            inputs.append(rng.standard_normal(shape))
        else:
            parameters[key] = rng.uniform(0.2, 1.0, shape) * rng.choice([-1.0, 1.0], shape)
    return (lambda p, given: function(*p.values(), *given)), parameters, inputs, axes


@model(w=(3, 4), b=(4,), v=(4, 2), c=(2,), x=(N, 3))
def mlp(w, b, v, c, x):
    return np.tanh(x @ w + b) @ v + c


@model(w=(4, 3), v=(2, 4), x=(N, 3))
def transposed(w, v, x):
    return np.tanh(x @ w.T) @ np.swapaxes(v, 0, 1)


@model(w=(2, 3), x=(N, 3))
def einsum(w, x):
    return np.einsum("ni,oi->no", np.sin(x), w)


@model(w=(4, 3), x=(N, 3))
def einsum_with_the_weight_first(w, x):
    return np.einsum("oi,ni->no", w, x)


@model(w=(2, 3, 2), x=(N, 2, 2))
def einsum_in_groups(w, x):
    return np.einsum("ngi,goi->ngo", x, w).reshape(len(x), -1)


@model(w=(2, 3), x=(N, 5, 3))
def einsum_summing_positions(w, x):
    return np.einsum("nti,oi->no", x, w)


@model(w=(3, 3, 2), x=(N, 3))
def bilinear_form(w, x):
    return np.einsum("ni,ijk,nj->nk", x, w, x)


@model(w=(5, 6), v=(2, 2), x=(N, 3))
def sliced(w, v, x):
    return x @ w[1:4, ::3] @ v


@model(w=(4, 2), x=(N, 3))
def reversed_and_sliced(w, x):
    return x @ w[::-1][1:]


@model(w=(3, 2), s=(2,), x=(N, 3))
def scaled(w, s, x):
    return x @ (w * np.exp(s))


@model(w=(3, 2), g=(2,), x=(N, 3))
def weight_normalised(w, g, x):
    return x @ (w * (g / np.linalg.norm(w, axis=0)))


@model(a=(3, 1), b=(1, 2), x=(N, 3))
def factored(a, b, x):
    return x @ (a @ b)


@model(a=(3, 2), b=(3, 3), x=(N, 3))
def inverted(a, b, x):
    return x @ np.linalg.solve(b + 4 * np.eye(3), a)


@model(w=(3, 2), x=(N, 3))
def masked(w, x):
    return x @ np.where(np.eye(3, 2, dtype=bool), w, 0.5 * w)


@model(w=(6,), x=(N, 3))
def reshaped(w, x):
    return x @ w.reshape(3, 2)


@model(w=(2, 2, 3), x=(N, 3))
def flattened(w, x):
    return x @ np.transpose(w, (2, 0, 1)).reshape(3, 4)


@model(w=(3, 1), v=(3, 2), x=(N, 3))
def concatenated(w, v, x):
    return x @ np.concatenate([w, v, w], axis=1)


@model(w=(3,), v=(3,), x=(N, 3))
def stacked(w, v, x):
    return x @ np.stack([w, v, w * v], axis=-1)


@model(w=(3, 3), u=(2, 3), b=(3,), x=(N, 4, 2))
def recurrent(w, u, b, x):
    h = np.zeros_like(b)
    for t in tracer.steps(4):
        h = np.tanh(h @ w + x[:, t] @ u + b)
    return h


@model(w=(3, 2), x=(N, 3))
def tied_autoencoder(w, x):
    return np.tanh(x @ w) @ w.T


@model(w=(3, 3), x=(N, 3))
def reused_in_depth(w, x):
    for _ in range(3):
        x = np.tanh(x @ w)
    return x


@model(w=(3, 3), v=(3, 3), x=(N, 3))
def residual(w, v, x):
    h = x + np.tanh(x @ w)
    return h + h * np.sin(h @ v)


@model(s=(3,), b=(1, 3), a=(), x=(N, 3))
def broadcast_scales(s, b, a, x):
    return np.tanh(x * s + b) * a


@model(s=(2, 1), b=(5,), x=(N, 2, 5))
def broadcast_in_the_middle(s, b, x):
    return (np.sin(x * s) + b).reshape(len(x), -1)


@model(b=(3,), x=(N, 3))
def broadcast_to_the_batch(b, x):
    return np.tanh(x + np.broadcast_to(np.exp(b), (len(x), 3)))


@model(w=(3, 2), v=(2, 2), b=(2,), x=(N, 4, 3))
def sequence(w, v, b, x):
    return np.mean(np.tanh(x @ w + b), axis=1) @ v


@model(w=(2, 3), b=(5,), x=(N, 5, 3))
def outputs_at_positions(w, b, x):
    return np.swapaxes(x @ w.T, 1, 2) * b


@model(w=(2, 3), b=(2, 1), x=(3, N), axes=[1])
def samples_last(w, b, x):
    return np.tanh(w @ x + b).T


@model(w=(2, 3), x=(5, N, 3), axes=[1])
def samples_in_the_middle(w, x):
    return np.moveaxis(np.tanh(x @ w.T).sum(0), 0, 0)


@model(w=(3, 3), x=(3, N), z=(N, 3), axes=[1, 0])
def two_batches(w, x, z):
    return np.tanh(x.T @ w) + z @ w


@model(t=(5, 3), w=(3, 2), x=[5, N, 4])
def table_marked_after_lookup(t, w, x):
    return np.tanh(tracer.batch(t[x.data if isinstance(x, tracer.Tensor) else x])).sum(1) @ w


@model(t=(5, 3), x=[5, N, 2])
def table(t, x):
    return np.tanh(t[x].sum(1))


@model(t=(5, 3), x=[5, N])
def taken_from_a_table(t, x):
    return np.tanh(np.take(t, x, axis=0))


@model(t=(5, 3), x=[5, N])
def indices_from_the_end(t, x):
    return np.tanh(t[x - 5])


@model(t=(5, 2, 2), x=[5, 3, N], axes=[1])
def table_of_matrices(t, x):
    return np.tanh(t[x]).sum(0).reshape(-1, 4)


@model(t=(5, 3), w=(3, 2), x=[5, 3, N], axes=[1])
def table_with_samples_last(t, w, x):
    return np.tanh(t[x].sum(0)) @ w


@model(t=(5, 3), x=[5, N, 2])
def table_tied_to_the_output(t, x):
    return np.tanh(t[x].sum(1)) @ t.T


@model(q=(3, 2), k=(3, 2), v=(3, 2), x=(N, 4, 3))
def attention(q, k, v, x):
    scores = np.einsum("nti,nsi->nts", x @ q, x @ k)
    weights = np.exp(scores - tracer.logsumexp(scores, axis=-1, keepdims=True))
    return (weights @ (x @ v)).reshape(len(x), -1)


@model(w=(3, 3), g=(3,), b=(3,), x=(N, 3))
def layer_normalised(w, g, b, x):
    h = x @ w
    h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 0.1)
    return h * g + b


@model(w=(3, 6), x=(N, 3))
def maxima(w, x):
    return (x @ w).reshape(len(x), 3, 2).max(axis=-1)


@model(w=(3, 2), x=(N, 6))
def convolution_by_hand(w, x):
    taps = [x[:, k : k + 4, None] * w[k] for k in range(3)]
    return np.tanh(taps[0] + taps[1] + taps[2]).reshape(len(x), -1)


@model(w=(3, 2), x=(N, 3))
def split_and_joined(w, x):
    first, second = np.split(x @ w, 2, axis=1)
    return np.concatenate([first * second, np.sin(first)], axis=-1)


@model(w=(3, 2), v=(), x=(N, 3))
def normed_by_a_parameter(w, v, x):
    return (x / np.sqrt(np.sum(w * w))) @ w * np.exp(v)


@model(c=(1, 1, 2), p=(1, 4, 2), w=(2, 3), x=(N, 3, 2))
def class_token(c, p, w, x):
    token = np.broadcast_to(c, (len(x), 1, 2))
    h = np.tanh((np.concatenate([token, x], axis=1) + p) @ w)
    return h[:, 0] * h.mean(1)


@model(c=(1, 2), p=(6, 2), x=(N, 3, 2))
def repeated_token_and_sliced_positions(c, p, x):
    token = np.repeat(c[None], len(x), axis=0)
    h = np.concatenate([x, token], axis=1) * p[1:5]
    return np.sin(h).reshape(len(x), -1)


@model(g=(2, 1, 1), s=(2, 3, 1), x=(N, 2, 3, 2))
def layer_scale(g, s, x):
    return np.tanh(x + g * np.sin(x - 2 * s)).reshape(len(x), -1)


@model(b=(5, 2), x=(N, 3, 2))
def relative_positions(b, x):
    index = np.arange(3)[:, None] - np.arange(3) + 2
    bias = np.transpose(b[index.reshape(-1)].reshape(3, 3, 2), (2, 0, 1))
    x = 0.1 * x
    scores = (x @ np.swapaxes(x, 1, 2))[:, None] + bias
    weights = np.exp(scores - tracer.logsumexp(scores, axis=-1, keepdims=True))
    return (weights @ x[:, None]).sum(1).reshape(len(x), -1)


@model(a=(2, 3), c=(1, 2, 3), x=(N, 4, 2))
def scan(a, c, x):
    h, rate = np.zeros((1, 2, 3)), -np.exp(a)
    for t in tracer.steps(4):
        h = np.exp(0.1 * x[:, t, :, None] * rate) * h + x[:, t, :, None] * c
    return h.sum(-1)
