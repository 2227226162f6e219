"""Weights of attention and their gradients as functions of arrays, some samples after the others.

Of a few samples, the scores stay in a core's cache from the product that makes them to the last
step of their softmax, or from their cotangent to the products with queries and keys.
"""

from __future__ import annotations

import numpy as np

from tracer.extend import Array, Stack, compiled, in_parallel
from tracer_layers.module.rules import row_sums

#: bytes of scores that are worked on at once
BLOCK_BYTES = 1 << 18


def weights(query: Array, key: Array, bias: Array | None, scale: float) -> Array:
    """`softmax(scale * query @ key.T + bias)`: `[..., L, D]`, `[..., S, D]` give `[..., L, S]`."""
    if not _share_samples(query, key):
        return _weights(query, key, bias, scale)
    out = np.empty((*query.shape[:-1], key.shape[-2]), query.dtype)
    if out.nbytes <= BLOCK_BYTES:
        return _weights(query, key, bias, scale, out)
    of_samples = bias is not None and bias.ndim == out.ndim and len(bias) > 1

    def attend(some: slice) -> None:
        added = bias[some] if of_samples and bias is not None else bias
        _weights(query[some], key[some], added, scale, out[some])

    in_parallel(attend, _blocks(out.shape[0], out.nbytes), like=out)
    return out


def _weights(
    query: Array, key: Array, bias: Array | None, scale: float, out: Array | None = None
) -> Array:
    out = np.matmul(query * scale, np.swapaxes(key, -1, -2), out=out)
    if compiled().softmax(out, bias):
        return out
    if bias is not None:
        out += bias
    out -= np.max(out, axis=-1, keepdims=True)
    out = np.exp(out, out=out)
    out /= row_sums(out)
    return out


def scores(g: Stack, y: Array) -> Stack:
    """The cotangent of the scores `[V, ..., L, S]`, from that of the weights: y (g - sum_s g y)."""
    fast = compiled().softmax_vjp(g, y)
    if fast is not None:
        return fast
    mean = np.einsum("...s,...s->...", g, y)[..., None]
    return (g - mean) * y


def pulled(g: Stack, y: Array, query: Array, key: Array, scale: float) -> tuple[Stack, Stack]:
    """`scale * s @ key` and `scale * s^T @ query` of the cotangent s of the scores."""
    if not (_share_samples(query, key) and type(g) is np.ndarray and g.nbytes > BLOCK_BYTES):
        return _pulled(g, y, query, key, scale)
    rows = len(g)
    queries = np.empty((rows, *query.shape), g.dtype)
    keys = np.empty((rows, *key.shape), g.dtype)

    def pull(some: slice) -> None:
        out = queries[:, some], keys[:, some]
        _pulled(g[:, some], y[some], query[some], key[some], scale, out)

    in_parallel(pull, _blocks(len(y), g.nbytes), like=y)
    return queries, keys


def _pulled(
    g: Stack,
    y: Array,
    query: Array,
    key: Array,
    scale: float,
    out: tuple[Stack | None, Stack | None] = (None, None),
) -> tuple[Stack, Stack]:
    slope = scores(g, y)
    queries = np.matmul(slope, key, out=out[0])
    keys = np.matmul(np.swapaxes(slope, -1, -2), query, out=out[1])
    for each in (queries, keys):
        each *= scale
    return queries, keys


def _share_samples(query: Array, key: Array) -> bool:
    """Whether both are NumPy's, of one dtype, and have the same several first entries."""
    if not type(query) is type(key) is np.ndarray or query.dtype != key.dtype:
        return False
    if query.ndim != key.ndim or query.dtype.kind != "f":
        return False
    return query.ndim > 2 and query.shape[:-2] == key.shape[:-2] and len(query) > 1


def _blocks(samples: int, nbytes: int) -> list[slice]:
    step = max(1, samples * BLOCK_BYTES // nbytes)
    return [slice(start, start + step) for start in range(0, samples, step)]
