"""One step of a recurrent layer: the operations that it is made of, and how they go together.

A step takes what the input contributes, `x [N, gates * H]`, and what the hidden state does, `u` of
the same shape: both are linear maps, left to the caller, since that of the inputs is one product
for all steps. What bends is elementwise between the gates, which lie in blocks along the last axis,
and takes few operations: an LSTM's step records three, where arithmetic on slices would sixteen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracer import Operation, Tensor, operation
from tracer.extend import (
    UNKNOWN,
    Array,
    Axis,
    DType,
    Embed,
    Generator,
    Placed,
    Stack,
    TensorLike,
    backend,
)
from tracer_layers.activations.functions import relu
from tracer_layers.module.rules import raw


class Blockwise(Operation):
    """Elementwise between blocks of the last axis: every array holds one or more of equal width.

    Samples lie on any other axis, the same in all arrays.
    """

    @staticmethod
    def batch_axis(node: Any, axes: Sequence[Axis]) -> Axis:
        found = {axis for axis in axes if axis is not None}
        mixed = len(found) != 1 or len(node.shape) - 1 in found
        return UNKNOWN if mixed else found.pop()


def block(x: TensorLike, count: int, start: int, stop: int | None = None) -> TensorLike:
    """Blocks `start` to `stop` (one, if not given) of the `count` that the last axis holds."""
    return x[_index(x.shape[-1], count, start, stop)]


def placed(values: Stack, like: Array, count: int, start: int, stop: int | None = None) -> Placed:
    """The cotangent of `like` from that of some of its blocks."""
    return Placed(values, _index(like.shape[-1], count, start, stop), like.shape, Embed)


@functools.lru_cache(256)
def _index(size: int, count: int, start: int, stop: int | None) -> tuple[Any, ...]:
    width = size // count
    return ..., slice(start * width, (start + 1 if stop is None else stop) * width)


@operation("gates")
class Gates(Blockwise):
    """Logistic functions and hyperbolic tangents of `x + u`, gate after gate along the last axis.

    `kinds` has a letter per block of the output: "s" for the logistic function and "t" for tanh.
    `of` is the number of blocks of `x` and `u`, whose first ones are the gates. Since
    `sigmoid(a) = tanh(a / 2) / 2 + 1 / 2`, all are `scale * tanh(scale * a) + shift` with a row of
    scales and shifts, so that no gate is cut out: measured on [64, 256], half the time.
    """

    saves = ("output",)

    def forward(x, u, *, kinds, of):
        count, kernels = len(kinds), backend.kernels_for(x, u)
        if kernels is not None and x.shape == u.shape:
            return kernels.gates(x, u, kinds, of)
        if count < of:
            x, u = block(x, of, 0, count), block(u, of, 0, count)
        y = np.add(x, u)
        scale, shift, _ = _rows(y, kinds)
        y *= scale
        np.tanh(y, out=y)
        y *= scale
        y += shift
        return y

    def vjp(node, g):
        """g_x = g_u = g * y * (1 - y) in logistic gates, g * (1 - y**2) in those of tanh.

        Zero in blocks that are no gates.
        """
        y, kinds, of = node.output, node.params["kinds"], node.params["of"]
        pulled = _through_gates(g, y, kinds)
        if of == len(kinds):
            return pulled, pulled
        width = of * (y.shape[-1] // len(kinds))
        return _first_blocks(pulled, width), _first_blocks(pulled, width)

    def jvp(node, tangents):
        """The slopes of the gates times the sum of t_x and t_u there."""
        y, kinds, of = node.output, node.params["kinds"], node.params["of"]
        count = len(kinds)
        given = [block(t, of, 0, count) if count < of else t for t in tangents if t is not None]
        return _through_gates(sum(given[1:], given[0]), y, kinds)

    def blocks(node):
        return node.params["of"], node.params["of"]

    def examples(rng):
        x, u = rng.standard_normal((3, 6)), rng.standard_normal((3, 6))
        return [((x, u), {"kinds": "sts", "of": 3}), ((x, u), {"kinds": "ss", "of": 3})]


def _through_gates(g: Stack, y: Array, kinds: str) -> Stack:
    """A stack times the slopes of gates with the output y."""
    kernels = backend.kernels_for(g, y)
    if kernels is not None:
        return kernels.gates_vjp(g, y, kinds)
    *_, least = _rows(raw(y), kinds)
    slope = y - least  # of a logistic function y (1 - y), of tanh (y + 1) (1 - y)
    slope *= 1 - y
    return g * slope


def _first_blocks(pulled: Stack, width: int) -> Placed:
    shape = (*pulled.shape[1:-1], width)
    return Placed(pulled, (..., slice(0, pulled.shape[-1])), shape, Embed)


def _alike(*shapes: tuple[int, ...]) -> bool:
    """Whether these shapes agree in all axes but the last, as kernels take them."""
    return len({shape[:-1] for shape in shapes}) == 1


def _products(g: Stack, factors: Sequence[Array]) -> Stack:
    """`g` times each of these, side by side along the last axis."""
    if isinstance(g, Tensor) or any(isinstance(factor, Tensor) for factor in factors):
        return np.concatenate([g * factor for factor in factors], axis=-1)
    count = len(factors)
    out = np.empty_like(g, shape=(*g.shape[:-1], count * g.shape[-1]))
    for k, factor in enumerate(factors):
        np.multiply(g, factor, out=block(out, count, k))
    return out


def _rows(y: Array, kinds: str) -> Any:
    """Scale, shift and least value of each element of the last axis, as in `Gates`."""
    row = kinds, y.shape[-1] // len(kinds), y.dtype
    return _host_rows(*row) if type(y) is np.ndarray else backend.of(y).constant(_host_rows, *row)


@functools.lru_cache(64)
def _host_rows(kinds: str, width: int, dtype: DType) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    logistic = np.repeat([kind == "s" for kind in kinds], width)
    values = ((0.5, 1.0), (0.5, 0.0), (0.0, -1.0))
    scale, shift, least = (np.where(logistic, *pair).astype(dtype) for pair in values)
    return scale, shift, least


def _blocks_of(*counts: int) -> Callable[[Generator], list[Any]]:
    """Examples of arrays with these numbers of blocks of width 2."""
    return lambda rng: [(tuple(rng.standard_normal((3, 2 * count)) for count in counts), {})]


@operation("lstm_memory")
class Memory(Blockwise):
    """`f * c + i * g` of the gates `y = (i, f, g, o)`: what is kept of a memory, and what added."""

    saves = ("inputs",)
    linear_in = (1,)
    examples = _blocks_of(4, 1)

    def blocks(node):
        return (4, 1)

    def forward(y, c):
        kernels = backend.kernels_for(y, c)
        if kernels is not None and _alike(y.shape, c.shape):
            return kernels.lstm_memory(y, c)
        i, f, g = (block(y, 4, k) for k in range(3))
        c = f * c
        c += i * g
        return c

    def vjp(node, cotangent):
        """With cotangent d: d * (g, c, i, 0) of the gates (i, f, g, o), and d * f of c."""
        y, c = node.inputs
        i, f, g = (block(y, 4, k) for k in range(3))
        kernels = backend.kernels_for(cotangent, y, c)

        def gates():
            if kernels is not None and _alike(cotangent.shape[1:], y.shape, c.shape):
                return placed(kernels.lstm_memory_vjp(cotangent, y, c), y, 4, 0, 3)
            return placed(_products(cotangent, (g, c, i)), y, 4, 0, 3)

        return gates, lambda: cotangent * f

    def jvp(node, tangents):
        """t_f * c + f * t_c + t_i * g + i * t_g."""
        (y, c), (t_y, t_c) = node.inputs, tangents
        total = None if t_c is None else t_c * block(y, 4, 1)
        if t_y is not None:
            i, g = block(y, 4, 0), block(y, 4, 2)
            gates = block(t_y, 4, 1) * c + block(t_y, 4, 0) * g + block(t_y, 4, 2) * i
            total = gates if total is None else total + gates
        return total


@operation("lstm_output")
class Exposed(Blockwise):
    """`o * tanh(c)` of the gates `y = (i, f, g, o)`: what an LSTM shows of its memory."""

    saves = ("inputs",)
    linear_in = (0,)
    examples = _blocks_of(4, 1)

    def blocks(node):
        return (4, 1)

    def forward(y, c):
        kernels = backend.kernels_for(y, c)
        if kernels is not None and _alike(y.shape, c.shape):
            return kernels.lstm_output(y, c)
        h = np.tanh(c)
        h *= block(y, 4, 3)
        return h

    def vjp(node, g):
        """g * (0, 0, 0, tanh(c)) of the gates (i, f, g, o), and g * o * (1 - tanh(c)**2) of c."""
        y, c = node.inputs
        kernels = backend.kernels_for(g, y, c)
        if kernels is not None and _alike(g.shape[1:], y.shape, c.shape):
            of_gate, of_memory = kernels.lstm_output_vjp(g, y, c)
            return placed(of_gate, y, 4, 3), of_memory
        shown = np.tanh(c)
        return (
            lambda: placed(g * shown, y, 4, 3),
            lambda: g * (block(y, 4, 3) * (1 - shown * shown)),
        )

    def jvp(node, tangents):
        """t_o * tanh(c) + o * (1 - tanh(c)**2) * t_c."""
        (y, c), (t_y, t_c) = node.inputs, tangents
        shown = np.tanh(c)
        total = None if t_y is None else block(t_y, 4, 3) * shown
        if t_c is not None:
            memory = t_c * (block(y, 4, 3) * (1 - shown * shown))
            total = memory if total is None else total + memory
        return total


@operation("gru_candidate")
class Candidate(Blockwise):
    """`tanh(x_n + r * u_n)` of `x = (., ., x_n)`, `u` alike and the gates `y = (r, z)`."""

    saves = ("inputs", "output")
    examples = _blocks_of(3, 3, 2)

    def blocks(node):
        return (3, 3, 2)

    def forward(x, u, y):
        kernels = backend.kernels_for(x, u, y)
        if kernels is not None and _alike(x.shape, u.shape, y.shape):
            return kernels.gru_candidate(x, u, y)
        n = block(y, 2, 0) * block(u, 3, 2)
        n += block(x, 3, 2)
        return np.tanh(n, out=n)

    def vjp(node, g):
        """With d = g * (1 - n**2): d of x_n, d * r of u_n, d * u_n of r, and 0 of the others."""
        x, u, y = node.inputs
        n = node.output
        kernels = backend.kernels_for(g, u, y, n)
        if kernels is not None and _alike(g.shape[1:], u.shape, y.shape, n.shape):
            of_x, of_u, of_r = kernels.gru_candidate_vjp(g, u, y, n)
            return placed(of_x, x, 3, 2), placed(of_u, u, 3, 2), placed(of_r, y, 2, 0)
        pulled = g * (1 - n * n)
        return (
            lambda: placed(pulled, x, 3, 2),
            lambda: placed(pulled * block(y, 2, 0), u, 3, 2),
            lambda: placed(pulled * block(u, 3, 2), y, 2, 0),
        )

    def jvp(node, tangents):
        """(1 - n**2) * (t_x + r * t_u + u_n * t_r)."""
        (_, u, y), (t_x, t_u, t_y), n = node.inputs, tangents, node.output
        parts = []
        if t_x is not None:
            parts.append(block(t_x, 3, 2))
        if t_u is not None:
            parts.append(block(t_u, 3, 2) * block(y, 2, 0))
        if t_y is not None:
            parts.append(block(t_y, 2, 0) * block(u, 3, 2))
        return sum(parts[1:], parts[0]) * (1 - n * n)


@operation("gru_blend")
class Blend(Blockwise):
    """`n + z * (h - n)` of the gates `y = (r, z)`: a GRU's state, between new values and old."""

    saves = ("inputs",)
    linear_in = (0, 1, 2)
    examples = _blocks_of(1, 2, 1)

    def blocks(node):
        return (1, 2, 1)

    def forward(n, y, h):
        kernels = backend.kernels_for(n, y, h)
        if kernels is not None and _alike(n.shape, y.shape, h.shape):
            return kernels.gru_blend(n, y, h)
        out = h - n
        out *= block(y, 2, 1)
        out += n
        return out

    def vjp(node, g):
        """g * (1 - z) of n, g * (0, h - n) of the gates (r, z), and g * z of h."""
        n, y, h = node.inputs
        kernels = backend.kernels_for(g, n, y, h)
        if kernels is not None and _alike(g.shape[1:], n.shape, y.shape, h.shape):
            of_n, of_z, of_h = kernels.gru_blend_vjp(g, n, y, h)
            return of_n, placed(of_z, y, 2, 1), of_h
        z = block(y, 2, 1)
        return lambda: g * (1 - z), lambda: placed(g * (h - n), y, 2, 1), lambda: g * z

    def jvp(node, tangents):
        """t_n * (1 - z) + t_z * (h - n) + z * t_h."""
        (n, y, h), (t_n, t_y, t_h) = node.inputs, tangents
        z, parts = block(y, 2, 1), []
        if t_n is not None:
            parts.append(t_n * (1 - z))
        if t_y is not None:
            parts.append(block(t_y, 2, 1) * (h - n))
        if t_h is not None:
            parts.append(t_h * z)
        return sum(parts[1:], parts[0])


# -- steps --------------------------------------------------------------------------------------


def _rnn_tanh(x: TensorLike, u: TensorLike, h: TensorLike) -> tuple[TensorLike, ...]:
    return (Gates(x, u, kinds="t", of=1),)


def _rnn_relu(x: TensorLike, u: TensorLike, h: TensorLike) -> tuple[TensorLike, ...]:
    return (relu(x + u),)


def _lstm(x: TensorLike, u: TensorLike, h: TensorLike, c: TensorLike) -> tuple[TensorLike, ...]:
    y = Gates(x, u, kinds="ssts", of=4)
    c = Memory(y, c)
    return Exposed(y, c), c


def _gru(x: TensorLike, u: TensorLike, h: TensorLike) -> tuple[TensorLike, ...]:
    y = Gates(x, u, kinds="ss", of=3)
    return (Blend(Candidate(x, u, y), y, h),)


class Architecture(NamedTuple):
    """A recurrent architecture: `step(x, u, *states) -> states`, the hidden state first.

    `additive` says that x and u enter by their sum alone, so that the biases of both may be added
    once, for all steps.
    """

    name: str
    gates: int
    states: int
    additive: bool
    step: Callable[..., tuple[TensorLike, ...]]


RNN_TANH = Architecture("RNN", 1, 1, True, _rnn_tanh)
RNN_RELU = Architecture("RNN", 1, 1, True, _rnn_relu)
LSTM = Architecture("LSTM", 4, 2, True, _lstm)
GRU = Architecture("GRU", 3, 1, False, _gru)
