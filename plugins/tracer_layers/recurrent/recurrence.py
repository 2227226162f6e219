"""A recurrent layer's loop over time: step by step, and the whole of it as one operation.

`by_steps` defines a layer. `Recurrence` is the same on plain arrays, which a plain sweep takes:
the inputs of all steps go through one product, and so do the gradients of each weight. Its history
holds gates and states in blocks `[T + 1, N, H]` of their own, so that all arithmetic within a step
is on contiguous memory: measured on an LSTM of 50 steps, 64 samples and 64 units, forward and
backward take 8.1 ms, with the gates of a sample side by side 9.6 ms (one thread).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import tracer
from tracer import Outer, Summed, operation, samples_first
from tracer.extend import (
    UNKNOWN,
    Array,
    Composite,
    Node,
    Stack,
    TensorLike,
    compiled,
    expect_kernels,
    product,
)
from tracer_layers.linear_maps.layers import linear
from tracer_layers.recurrent.steps import GRU, LSTM, RNN_RELU, RNN_TANH, Architecture


def by_steps(
    x: TensorLike,
    weight_ih: TensorLike,
    bias_ih: TensorLike | None,
    weight_hh: TensorLike,
    bias_hh: TensorLike | None,
    *states: TensorLike,
    architecture: Architecture,
    reverse: bool,
    weight_hr: TensorLike | None = None,
    mask: Array | None = None,
    shortest: int | None = None,
) -> tuple[TensorLike, ...]:
    """One layer in one direction: `[T, N, H]` of inputs `[T, N, I]`, and the last states.

    The inputs of all steps go through one product. A sequence that has ended (or, in reverse, not
    begun) keeps its state: `mask [T, N]` tells, and the shortest sequence has `shortest` steps.
    """
    with tracer.present(None if mask is None else mask.T):
        projected = linear(x, weight_ih, bias_ih)
    shown: list[TensorLike] = [None] * len(x)
    for t in tracer.steps(len(x), reverse=reverse):
        there = None if mask is None or t < shortest else mask[t]
        with tracer.present(there):
            u = linear(states[0], weight_hh, bias_hh)
            after = architecture.step(projected[t], u, *states)
            if weight_hr is not None:
                after = (linear(after[0], weight_hr), *after[1:])
        shown[t] = after[0]
        if there is not None:
            column = there[:, None]
            shown[t] = np.where(column, after[0], 0)
            after = tuple(np.where(column, a, s) for a, s in zip(after, states, strict=True))
        states = after
    return np.stack(shown), *states


#: what the way back through steps multiplies by, an array or several
Slopes: TypeAlias = Any


class Arithmetic(NamedTuple):
    """What an architecture does between products, on plain arrays, in blocks `[N, H]`.

    Compiled kernels know it by `name`. A step has so many `blocks`: first its gates in this `order`
    (of the architecture's), of which the first ones are `logistic`; among the others its `states`,
    the hidden one first.

    - `forward(u, before, now)` completes the blocks `now`. Its gates hold what the inputs
      contribute; `u [gates, N, H]` is what the hidden state does, and `before` are the blocks of
      the step before. What enters a logistic gate is halved: it is `tanh(y / 2) / 2 + 1 / 2`.
    - `slopes(before, now)` gives what the way back multiplies by, from the blocks `[t, N, H]` of
      some steps at once: so calls are few, and the same for any number of rows.
    - `backward(slopes, states, d, du)` goes back through one step. `states` are stacks `[V, N, H]`
      of their cotangents; `d` and `du` take those of the two contributions, `[V, gates, N, H]` in
      the architecture's order, and are one array where they are the same. In `states` it leaves
      what passes by the products, and it returns whether some of the hidden state does.
    """

    name: str
    blocks: int
    order: tuple[int, ...]
    logistic: int
    states: tuple[int, ...]
    forward: Callable[[Array, Array, Array], None]
    slopes: Callable[[Array, Array], Slopes]
    backward: Callable[[Slopes, Array, Array, Array], bool]


def _rnn_tanh(u: Array, before: Array, now: Array) -> None:
    u += now
    np.tanh(u, out=now)


def _rnn_tanh_slopes(before: Array, now: Array) -> Slopes:
    return 1 - now * now


def _rnn_relu(u: Array, before: Array, now: Array) -> None:
    u += now
    np.maximum(u, 0, out=now)


def _rnn_relu_slopes(before: Array, now: Array) -> Slopes:
    return now > 0


def _rnn_back(slopes: Slopes, states: Array, d: Array, du: Array) -> bool:
    """d = dh (1 - h**2), or dh where h > 0."""
    np.multiply(states[0][:, None], slopes, out=d)
    return False


def _lstm(u: Array, before: Array, now: Array) -> None:
    u += now[:4]
    np.tanh(u, out=now[:4])
    logistic = now[:3]
    logistic *= 0.5
    logistic += 0.5
    o, i, f, g, c, shown, h = now
    np.multiply(f, before[4], out=c)
    c += i * g
    np.tanh(c, out=shown)
    np.multiply(o, shown, out=h)


def _lstm_slopes(before: Array, now: Array) -> Slopes:
    (o, i, f, g, _, shown, h), gates = now, now[1:4]
    slopes = np.empty((6, *h.shape), h.dtype)
    np.multiply(gates, gates, out=slopes[:3])
    np.subtract(gates[:2], slopes[:2], out=slopes[:2])
    np.subtract(1, slopes[2], out=slopes[2])
    slopes[0] *= g
    slopes[1] *= before[4]
    slopes[2] *= i
    np.subtract(h, h * o, out=slopes[3])
    np.subtract(o, h * shown, out=slopes[4])
    slopes[5] = f
    return slopes


def _lstm_back(slopes: Slopes, states: Array, d: Array, du: Array) -> bool:
    """dc += dh o (1 - tanh(c)**2); of (i, f, g) dc (g i (1 - i), c' f (1 - f), i (1 - g**2)).

    Of o, dh tanh(c) o (1 - o); c', the memory before the step, gets dc f.
    """
    dh, dc = states
    dc += dh * slopes[4]
    np.multiply(slopes[:3], dc[:, None], out=d[:, :3])
    np.multiply(slopes[3], dh, out=d[:, 3])
    dc *= slopes[5]
    return False


def _gru(u: Array, before: Array, now: Array) -> None:
    logistic, (r, z, n, hidden, h) = now[:2], now
    logistic += u[:2]
    np.tanh(logistic, out=logistic)
    logistic *= 0.5
    logistic += 0.5
    hidden[...] = u[2]
    n += r * hidden
    np.tanh(n, out=n)
    np.subtract(before[4], n, out=h)
    h *= z
    h += n


def _gru_slopes(before: Array, now: Array) -> Slopes:
    r, z, n, hidden, _ = now
    by_r, by_z = hidden * (r - r * r), (before[4] - n) * (z - z * z)
    return np.stack([by_r, by_z, (1 - z) * (1 - n * n), r, z])


def _gru_back(slopes: Slopes, states: Array, d: Array, du: Array) -> bool:
    """Of (r, z, n): (dn u_n r (1 - r), dh (h' - n) z (1 - z), dn = dh (1 - z) (1 - n**2)).

    In du that of n is r dn; h', the state before the step, gets z dh besides.
    """
    by_r, by_z, by_n, r, z = slopes
    (dh,), dn = states, d[:, 2]
    np.multiply(dh, by_n, out=dn)
    np.multiply(dn, r, out=du[:, 2])
    np.multiply(dn, by_r, out=du[:, 0])
    np.multiply(dh, by_z, out=du[:, 1])
    d[:, :2] = du[:, :2]
    dh *= z
    return True


ARITHMETIC = {
    RNN_TANH: Arithmetic("rnn_tanh", 1, (0,), 0, (0,), _rnn_tanh, _rnn_tanh_slopes, _rnn_back),
    RNN_RELU: Arithmetic("rnn_relu", 1, (0,), 0, (0,), _rnn_relu, _rnn_relu_slopes, _rnn_back),
    LSTM: Arithmetic("lstm", 7, (3, 0, 1, 2), 3, (6, 4), _lstm, _lstm_slopes, _lstm_back),
    GRU: Arithmetic("gru", 5, (0, 1, 2), 2, (4,), _gru, _gru_slopes, _gru_back),
}


#: Elements of a block in the steps whose slopes are computed at a time. Of an LSTM with 50 steps,
#: 64 samples and 64 units, forward and backward hold 12 MB so, with all steps at once 16 MB, in the
#: same time; where samples and units are few, all steps at once save calls.
SLOPES = 2**15


class Contributions(NamedTuple):
    """Cotangents in a recurrence: of what inputs (`d`) and hidden states (`du`) contribute,
    `[V, T, N, gates * H]` in the order of the loop, and of the first states `[V, N, H]`."""

    d: Array
    du: Array
    states: list[Array]


class Pulled:
    """What comes back to a recurrence: gone back through when a rule asks, in one of two ways.

    `shown [V, T, N, H]`, in the order of the loop, or None, are cotangents of the hidden states,
    and `last` those of the last states, or None.
    """

    def __init__(self, node: Node, shown: Array | None, last: Sequence[Array | None]):
        self.node, self.shown, self.last = node, shown, last
        self._contributions: Contributions | None = None
        self._gradients: list[Array | None] | None = None

    def _states(self) -> list[Array]:
        """The cotangents of the last states, zeros where nothing came back."""
        _, _, count, size = self.node.output.shape
        given = next(g for g in (self.shown, *self.last) if g is not None)
        zeros = np.zeros((len(given), count, size), given.dtype)
        return [zeros.copy() if g is None else g.copy() for g in self.last]

    def contributions(self) -> Contributions:
        """The cotangents of each step."""
        if self._contributions is None:
            self._contributions = _gone_back(self.node, self.shown, self._states())
        return self._contributions

    def gradients(self) -> list[Array | None] | None:
        """Those of all inputs that want one, `[1, *input.shape]`, by a kernel that keeps no step's.

        None where none does: for several rows, and where the steps' are there already.
        """
        if self._gradients is None and self._contributions is None:
            self._gradients = _summed_back(self.node, self.shown, self._states())
        return self._gradients or None


@operation("recurrence")
class Recurrence(Composite):
    """`by_steps` of a layer as one operation. Its array is the history, `[blocks, T + 1, N, H]`.

    The history is in the order of the loop; before its first step are the first states.
    """

    def forward(x, weight_ih, bias_ih, weight_hh, bias_hh, *states, architecture, reverse):
        expect_kernels()
        arithmetic = ARITHMETIC[architecture]
        (steps, count, _), size = x.shape, weight_hh.shape[1]
        history = np.empty((arithmetic.blocks, 1 + steps, count, size), x.dtype)
        gates = history.reshape(arithmetic.blocks, (1 + steps) * count, size)[
            : architecture.gates, count:
        ]
        for block, state in zip(arithmetic.states, states, strict=True):
            history[block, 0] = state
        inputs = x[::-1] if reverse else x
        weights = weight_ih, bias_ih, weight_hh, bias_hh
        if compiled().recur(arithmetic.name, history, inputs, *weights):
            return history
        weight = _by_gate(weight_ih, arithmetic)
        if bias_ih is not None:  # by a column of ones: adding it takes two thirds of the product
            ones = np.ones((steps, count, 1), x.dtype)
            inputs = np.concatenate([inputs, ones], axis=-1)
            bias = _by_gate(bias_ih, arithmetic)[:, :, None]
            weight = np.concatenate([weight, bias], axis=-1)
        np.matmul(inputs.reshape(-1, inputs.shape[-1]), weight.swapaxes(1, 2), out=gates)
        hidden = history[arithmetic.states[0]]
        weight = np.ascontiguousarray(_by_gate(weight_hh, arithmetic).swapaxes(1, 2))
        bias = None if bias_hh is None else _by_gate(bias_hh, arithmetic).reshape(-1, 1, size)
        u = np.empty((architecture.gates, count, size), x.dtype)
        for t in range(steps):
            np.matmul(hidden[t], weight, out=u)
            if bias is not None:
                u += bias
            arithmetic.forward(u, history[:, t], history[:, t + 1])
        return history

    def parts(*, architecture, reverse):
        hidden, *others = ARITHMETIC[architecture].states
        shown = slice(None, 0, -1) if reverse else slice(1, None)
        return ((hidden, shown), (hidden, -1), *((other, -1) for other in others))

    def steps(*inputs, architecture, reverse):
        return by_steps(*inputs, architecture=architecture, reverse=reverse)

    def pull(node, cotangents):
        shown, *last = cotangents
        if shown is not None and node.params["reverse"]:
            shown = shown[:, ::-1]
        return Pulled(node, shown, last)

    def vjp(node, g):
        """g_x[v,t,n,i] = sum_o d[v,t,n,o] W_ih[o,i]; g_W_ih[v,o,i] = sum_tn d[v,t,n,o] x[t,n,i].

        g_b_ih[v,o] = sum_tn d[v,t,n,o]. Of W_hh and b_hh alike from du, with the hidden state
        before step t in place of x[t].
        """
        (x, weight_ih, *_), reverse = node.inputs, node.params["reverse"]
        ordered = x[::-1] if reverse else x

        def data(d, du, states):
            pulled = d @ weight_ih
            return pulled[:, ::-1] if reverse else pulled

        by_slot = [
            data,
            lambda d, du, states: _weight(d, ordered),
            lambda d, du, states: _bias(d),
            lambda d, du, states: _weight(du, _hidden(node)),
            lambda d, du, states: _bias(du),
            *(lambda d, du, states, i=i: states[i] for i in range(len(node.inputs) - 5)),
        ]

        def entry(slot):
            def evaluated():
                found = g.gradients()
                if found is None or found[slot] is None:
                    return by_slot[slot](*g.contributions())
                return found[slot]

            return evaluated

        return tuple(map(entry, range(len(by_slot))))

    grouped_axes = True  # of which it follows none: the steps do

    def batch_axis(node, axes):
        data, *others = axes
        states = zip(others[4:], node.parents[5:], strict=True)
        apart = all(axis is None for axis in others[:4]) and all(
            (isinstance(axis, int) and axis == 0) or parent is None for axis, parent in states
        )
        return 2 if apart and isinstance(data, int) and data == 1 else UNKNOWN

    def parameter_cotangent(node, slot, g):
        """U_W_ih[v,n,o,i] = sum_t d[v,t,n,o] x[t,n,i], an `Outer`; of b_ih sum_t d[v,t,n,o].

        Of W_hh and b_hh alike from du, with the hidden state before step t in place of x[t].
        """
        d, du, _ = g.contributions()
        right = samples_first(d if slot < 3 else du, 1, lead=1)[:, :, :, None]
        if slot in (2, 4):
            return Summed(right[:, :, :, 0])
        x = node.inputs[0]
        left = (x[::-1] if node.params["reverse"] else x) if slot == 1 else _hidden(node)
        return Outer(samples_first(left, 1)[:, :, None], right, node.inputs[slot].shape)


def _gone_back(node: Node, shown: Array | None, states: list[Array]) -> Contributions:
    """Backpropagation through time: h[t] gets g[t] + sum_o du[t+1,o] W_hh[o]; in a GRU + z dh.

    `states` are the cotangents of the last states and become those of the first.
    """
    architecture, history = node.params["architecture"], node.output
    arithmetic, weight = ARITHMETIC[architecture], node.inputs[3]
    (_, stop, count, size), given = history.shape, states[0]
    d = np.empty((len(given), stop - 1, count, len(weight)), given.dtype)
    du = d if architecture.additive else np.empty_like(d)
    if compiled().recur_back(arithmetic.name, history, weight, shown, states, d, du):
        return Contributions(d, du, states)
    gates = d.reshape(*d.shape[:3], len(weight) // size, size).transpose(1, 0, 3, 2, 4)
    gates_u = du.reshape(*d.shape[:3], len(weight) // size, size).transpose(1, 0, 3, 2, 4)
    together = max(4, SLOPES // max(1, count * size))
    for end in range(stop - 1, 0, -together):
        start = max(0, end - together)
        slopes = arithmetic.slopes(history[:, start:end], history[:, start + 1 : end + 1])
        for t in range(end - 1, start - 1, -1):
            if shown is not None:
                states[0] += shown[:, t]
            if arithmetic.backward(slopes[:, t - start], states, gates[t], gates_u[t]):
                states[0] += du[:, t] @ weight
            else:
                np.matmul(du[:, t], weight, out=states[0])
    return Contributions(d, du, states)


def _summed_back(node: Node, shown: Array | None, states: list[Array]) -> list[Array | None]:
    """The same of one row, and sums over its steps by a kernel; an empty list if none does that.

    `[1, *input.shape]` of each input of `node` that wants a gradient, else None.
    """
    if len(states[0]) != 1:
        return []
    (x, weight_ih, _, weight_hh, _, *_), turn = node.inputs, -1 if node.params["reverse"] else 1
    made = [
        None if parent is None or not parent.wants else np.empty_like(value)
        for value, parent in zip(node.inputs[:5], node.parents, strict=False)
    ]
    ordered = [None if made[0] is None else made[0][::turn], *made[1:]]
    name = ARITHMETIC[node.params["architecture"]].name
    given = x[::turn], weight_ih, weight_hh, None if shown is None else shown[0]
    first = [state[0] for state in states]
    if not compiled().recur_gradients(name, node.output, *given, first, ordered):
        return []
    return [*(None if each is None else each[None] for each in made), *states]


def _by_gate(weight: Array, arithmetic: Arithmetic) -> Array:
    """`[gates * H, ...]` as `[gates, H, ...]`, in this order and halved for logistic gates."""
    gates = weight.reshape(len(arithmetic.order), -1, *weight.shape[1:])[list(arithmetic.order)]
    gates[: arithmetic.logistic] *= 0.5
    return gates


def _hidden(node: Node) -> Array:
    """The hidden states `[T, N, H]` that the steps start from."""
    return node.output[ARITHMETIC[node.params["architecture"]].states[0], :-1]


def _weight(d: Array, inputs: Array) -> Stack:
    """`[V, gates * H, I]`: what all steps `[V, T, N, gates * H]` give a weight."""
    rows = d.reshape(len(d), d.shape[1] * d.shape[2], d.shape[-1])
    columns = inputs.reshape(rows.shape[1], inputs.shape[-1])
    if len(rows) == 1:
        return product(rows[0].T, columns)[None]
    return rows.swapaxes(1, 2) @ columns


def _bias(d: Array) -> Stack:
    """`[V, gates * H]`, as a product, which takes a third of the time of a sum."""
    rows = d.reshape(len(d), d.shape[1] * d.shape[2], d.shape[-1])
    return np.ones(rows.shape[1], d.dtype) @ rows
