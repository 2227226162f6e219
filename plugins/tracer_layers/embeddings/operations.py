"""Rows of a table, selected by indices."""

from __future__ import annotations

import math

import numpy as np

from tracer import Gather, Operation, Summed, operation, samples_first
from tracer.errors import ShapeError
from tracer.extend import ScatterAdd, backend, looked_up
from tracer_layers.module.rules import arange, data_axis, raw


@operation("embedding")
class Lookup(Operation):
    """`weight[index]`: `index [...]` of ints, `weight [K, D]`; row `padding_idx` gets no gradient.

    A gradient reaches the table as an addition of rows, a parameter's as a `Gather`. An index of no
    row is an error or, where asking would wait for a device, gives NaN.
    """

    saves = ("inputs",)
    linear_in = (1,)

    def forward(index, weight, *, padding_idx):
        if index.dtype.kind not in "iu":
            raise ShapeError(f"expects indices of an int dtype, got {index.dtype}: use astype(int)")
        rows, library = len(weight), backend.of(weight)
        if library.asynchronous:
            return library.take_rows(weight, index)
        low, high = (int(index.min()), int(index.max())) if index.size else (0, 0)
        if low < 0 or high >= max(1, rows):
            raise ShapeError(
                f"expects indices from 0 to {rows - 1} for num_embeddings={rows}, got {low} to "
                f"{high}: give the layer more embeddings"
            )
        return weight[index]

    def vjp(node, g):
        """g_W[v,k] = sum_t g[v,t] over the t with index[t] = k, 0 for k = padding_idx."""
        index, weight = node.inputs
        rows, width = weight.shape

        def table():
            wide = raw(index).astype(np.int64, copy=False)  # bytes would overflow
            positions = wide[..., None] * width + arange(wide, width)
            values = _without_padding(node, g)
            return ScatterAdd(values, positions=positions, shape=(rows, width))

        return None, table

    def jvp(node, tangents):
        """t[v] at the index, 0 at the padding."""
        index = raw(node.inputs[0])
        return _without_padding(node, tangents[1][:, index])

    def batch_axis(node, axes):
        return data_axis(axes)

    def parameter_cotangent(node, slot, g):
        """U[v,n,k] = sum_t g[v,n,t] over the t with index[n,t] = k, a `Gather`."""
        index, weight = node.inputs
        first = samples_first(_without_padding(node, g), node.batch_axis, lead=1)
        rows, samples, *_, width = first.shape
        uses = math.prod(first.shape[2:-1])
        index = samples_first(index, node.batch_axes[0])
        right = np.reshape(first, (rows, samples, uses, width))
        return Gather(np.reshape(index, (samples, uses)), right, weight.shape)

    def carry(node, slot, cotangent):
        """Of positions, and other indices that are the same for all samples: a `Gather`.

        U_W[v,n,k] = sum_t U[v,n,t] over the t with index[t] = k, 0 for k = padding_idx.
        """
        (index, weight), padding = map(raw, node.inputs), node.params["padding_idx"]
        if padding is not None:
            terms = cotangent.use_terms()
            if terms is None:
                return None
            zeros = np.where(index[..., None] == padding, 0, terms.terms)
            cotangent = Summed(zeros, terms.present)
        return looked_up(cotangent, index, weight.shape)

    def examples(rng):
        index, weight = np.array([[0, 2], [2, 3], [1, 1]]), rng.random((5, 2))
        return [((index, weight), {"padding_idx": p}) for p in (None, 4)]


def _without_padding(node, g):
    """The cotangents, zero where the index is that of the padding."""
    padding = node.params["padding_idx"]
    return g if padding is None else np.where(node.inputs[0][..., None] == padding, 0, g)
