"""The linear map of a last axis."""

from __future__ import annotations

import math

import numpy as np

from tracer import Operation, Outer, Summed, operation, samples_first
from tracer.errors import ShapeError
from tracer.extend import (
    broadcast_tangent,
    lifted,
    product,
    summed,
)
from tracer_layers.module.rules import data_axis, mapped_axis


@operation("linear")
class LinearMap(Operation):
    """`x @ W.T + b`: `x [..., I]`, `W [O, *I]` with its last axes flattened, `b [O]` optional."""

    saves = ("inputs",)
    linear_in = (0, 1, 2)
    maps_alike = True

    def forward(x, weight, bias=None):
        matrix = weight if weight.ndim == 2 else weight.reshape(len(weight), -1)
        outputs, inputs = matrix.shape
        if x.ndim == 0 or x.shape[-1] != inputs:
            raise ShapeError(
                f"expects inputs [..., {inputs}] for in_features={inputs}, "
                f"out_features={outputs}, got {list(x.shape)}: flatten or transpose the input, or "
                f"give the layer in_features={x.shape[-1] if x.ndim else 1}"
            )
        rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), inputs)
        out = product(rows, matrix.T)
        if bias is not None:
            out = np.add(out, bias, out=out) if bias.dtype == out.dtype else out + bias
        return out if x.ndim == 2 else out.reshape(*x.shape[:-1], outputs)

    def vjp(node, g):
        """g_x[v,n,i] = sum_o g[v,n,o] W[o,i]; g_W[v,o,i] = sum_n g[v,n,o] x[n,i].

        g_b[v,o] = sum_n g[v,n,o]; n counts what lies on all axes of x but the last.
        """
        x, weight, *_ = node.inputs
        inputs, outputs = x.shape[-1], g.shape[-1]

        def data():
            matrix = weight if weight.ndim == 2 else weight.reshape(outputs, inputs)
            return product(g.reshape(-1, outputs), matrix).reshape(len(g), *x.shape)

        def matrix():
            rows, columns = g, x
            if x.ndim != 2:
                rows = g.reshape(len(g), math.prod(x.shape[:-1]), outputs)
                columns = x.reshape(-1, inputs)
            rows = rows.swapaxes(1, 2)
            total = product(rows[0], columns) if len(g) == 1 else rows @ columns
            return total.reshape(len(g), *weight.shape)

        def bias():
            return g.sum(axis=tuple(range(1, g.ndim - 1)))

        return (data, matrix, bias)[: len(node.inputs)]

    def jvp(node, tangents):
        """t_x @ W.T + x @ t_W.T + t_b, by one product for all rows of a tangent."""
        x, weight, *_ = node.inputs
        t_x, t_weight, *t_bias = tangents
        outputs, inputs = node.shape[-1], x.shape[-1]
        total = None
        if t_x is not None:
            matrix = weight if weight.ndim == 2 else weight.reshape(outputs, inputs)
            total = product(t_x.reshape(-1, inputs), matrix.T).reshape(len(t_x), *node.shape)
        if t_weight is not None:
            rows = x if x.ndim == 2 else x.reshape(-1, inputs)
            turned = t_weight.reshape(len(t_weight), outputs, inputs).swapaxes(1, 2)
            moved = product(rows, turned[0])[None] if len(turned) == 1 else rows @ turned
            moved = moved.reshape(len(turned), *node.shape)
            total = moved if total is None else summed(total, moved)
        if t_bias and t_bias[0] is not None:
            moved = lifted(t_bias[0], len(node.shape))
            total = broadcast_tangent(moved, node.shape) if total is None else total + moved
        return total

    def batch_axis(node, axes):
        return mapped_axis(data_axis(axes), len(node.shape), mixed=1)

    def parameter_cotangent(node, slot, g):
        """U_W[v,n,o,i] = sum_t g[v,n,t,o] x[n,t,i], an `Outer`; U_b[v,n,o] = sum_t g[v,n,t,o].

        t counts what lies on the axes between that of the samples and the last.
        """
        outputs = g.shape[-1]
        right = samples_first(g, node.batch_axis, lead=1)
        rows, samples = right.shape[:2]
        uses = math.prod(right.shape[2:-1])
        if slot == 2:
            return Summed(right.reshape(rows, samples, uses, outputs))
        left = samples_first(node.inputs[0], node.batch_axes[0])
        return Outer(
            left.reshape(samples, uses, 1, left.shape[-1]),
            right.reshape(rows, samples, uses, 1, outputs),
            node.inputs[1].shape,
        )

    def flops(node):
        return 2 * math.prod(node.shape) * node.input_shape(0)[-1]

    def examples(rng):
        x, weight, bias = rng.random((3, 4)), rng.random((2, 4)), rng.random(2)
        return [
            ((x, weight, bias), {}),
            ((rng.random((3, 5, 4)), weight), {}),
            ((x, weight.reshape(2, 2, 2), bias), {}),
        ]
