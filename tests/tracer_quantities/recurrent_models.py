"""Recurrent models twice: as the library runs them, and one sequence at a time in plain NumPy.

The second form is the definition. It takes a sequence `[T_n, I]` without padding, loops over its
steps, and does every linear map of a parameter through a function that it is given, so that the
uses of a weight can be listed and disturbed one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tracer
import tracer_layers as nn

SAMPLES, INPUTS, HIDDEN = 3, 2, 2
RNG = np.random.default_rng(7)


def linear(p, weight, bias, x):
    """The map of one use, undisturbed."""
    return p[weight] @ x if bias is None else p[weight] @ x + p[bias]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# -- steps: (apply, parameters, pattern of names, x, states) -> states, the hidden one first -------


def maps_of(apply, p, name):
    """`(from_input, from_state)` of a layer whose parameters' names are of this pattern."""

    def one(which):
        weight, bias = name.format(f"weight_{which}"), name.format(f"bias_{which}")
        return lambda x: apply(p, weight, bias if bias in p else None, x)

    return one("ih"), one("hh")


def rnn(bend):
    def step(apply, p, name, x, states):
        (h,), (of_x, of_h) = states, maps_of(apply, p, name)
        return (bend(of_x(x) + of_h(h)),)

    return step


def lstm(apply, p, name, x, states):
    (h, c), (of_x, of_h) = states, maps_of(apply, p, name)
    i, f, g, o = np.split(of_x(x) + of_h(h), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    projection = name.format("weight_hr")
    return (apply(p, projection, None, h) if projection in p else h), c


def gru(apply, p, name, x, states):
    (h,), (of_x, of_h) = states, maps_of(apply, p, name)
    xr, xz, xn = np.split(of_x(x), 3)
    hr, hz, hn = np.split(of_h(h), 3)
    z = sigmoid(xz + hz)
    return ((1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h,)


def peephole(apply, p, name, x, states):
    """Gers and Schmidhuber 2000: the gates see the memory."""
    h, c = states
    a = apply(p, "cell.maps.weight", "cell.maps.bias", np.concatenate([x, h]))
    i, f, g, o = np.split(a, 4)
    see_i, see_f, see_o = (p["cell.peep"][k] for k in range(3))
    c = sigmoid(f + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(g)
    return sigmoid(o + see_o * c) * np.tanh(c), c


def continuous(apply, p, name, x, states):
    (h,) = states
    inner = apply(p, "cell.inner.weight", "cell.inner.bias", np.concatenate([x, h]))
    return (h + 0.3 * (-h + np.tanh(inner)),)


def plain(apply, p, name, x, states):
    (h,) = states
    return (np.tanh(apply(p, "w", None, x) + apply(p, "u", "b", h)),)


# -- whole networks, one sequence ------------------------------------------------------------------


def stacked(step, names, firsts):
    """Layers of one or two directions: `names[layer]` are the patterns of their parameters' names.

    `firsts(p, n)` are the first states of sample n, `[place][state] [size]`. Returns the outputs
    of every step and the last states, `[state][place]`.
    """

    def reference(apply, p, x, n):
        states, lasts, steps = iter(firsts(p, n)), [], list(x)
        for patterns in names:
            directions = []
            for direction, name in enumerate(patterns):
                state, shown = next(states), [None] * len(steps)
                order = range(len(steps))[:: -1 if direction else 1]
                for t in order:
                    state = step(apply, p, name, steps[t], state)
                    shown[t] = state[0]
                directions.append(shown)
                lasts.append(state)
            steps = [np.concatenate(parts) for parts in zip(*directions, strict=True)]
        return steps, [list(each) for each in zip(*lasts, strict=True)]

    return reference


def from_the_end(reference):
    """The same that reads its sequence from the last step to the first."""

    def backward(apply, p, x, n):
        steps, lasts = reference(apply, p, x[::-1], n)
        return steps[::-1], lasts

    return backward


def zeros(count, *sizes):
    return lambda p, n: [[np.zeros(size) for size in sizes] for _ in range(count)]


# -- networks of the library -----------------------------------------------------------------------


class Peephole(nn.Module):
    def __init__(self):
        self.maps = nn.Linear(INPUTS + HIDDEN, 4 * HIDDEN)
        self.peep = tracer.parameter(np.zeros((3, HIDDEN)))

    def forward(self, x, state):
        h, c = state
        i, f, g, o = np.split(self.maps(np.concatenate([x, h], axis=1)), 4, axis=1)
        see_i, see_f, see_o = self.peep
        c = sigmoid(f + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(g)
        h = sigmoid(o + see_o * c) * np.tanh(c)
        return h, (h, c)


class Continuous(nn.Module):
    """`h' = h + dt (-h + tanh(W [x, h] + b))`."""

    def __init__(self):
        self.inner = nn.Linear(INPUTS + HIDDEN, HIDDEN)

    def forward(self, x, h):
        h = h + 0.3 * (-h + np.tanh(self.inner(np.concatenate([x, h], axis=1))))
        return h, h


class ByHand(nn.Module):
    """A cell in a loop of the user's."""

    batch_axis = 1

    def __init__(self):
        self.cell = nn.RNNCell(INPUTS, HIDDEN)

    def forward(self, x):
        h, shown = None, []
        for t in tracer.steps(len(x)):
            h = self.cell(x[t], h)
            shown.append(h)
        return np.stack(shown), h


class Tied(nn.Module):
    """The same cell as two layers."""

    sequence_first = True

    def __init__(self):
        self.cell = nn.GRUCell(HIDDEN, HIDDEN)
        self.first, self.second = nn.Recurrent(self.cell), nn.Recurrent(self.cell)

    def forward(self, x, lengths=None):
        h, first = self.first(x, lengths=lengths)
        out, second = self.second(h, lengths=lengths)
        return out, np.stack([first, second])


class Learned(nn.Module):
    """A layer with its first states as parameters `[L, N, H]`, or `[L, 1, H]` for all samples."""

    def __init__(self, layer, samples):
        self.layer = layer
        shape = (layer.num_layers, samples, HIDDEN)
        names = ("h0", "c0")[: layer.architecture.states]
        for name in names:
            self.register_parameter(name, tracer.parameter(np.zeros(shape)))
        self.names = names

    def forward(self, x, lengths=None):
        states = tuple(getattr(self, name) for name in self.names)
        return self.layer(x, states if len(states) > 1 else states[0], lengths=lengths)


def learned(p, n):
    """The first states of sample n from the parameters."""
    names = [name for name in ("h0", "c0") if name in p]
    return [
        [p[name][place, n if p[name].shape[1] > 1 else 0] for name in names]
        for place in range(p["h0"].shape[0])
    ]


class Spelled(nn.Module):
    """A language model of four tokens whose read-out is the table that it reads them with."""

    def __init__(self):
        self.table = nn.Embedding(4, HIDDEN)
        self.layer = nn.LSTM(HIDDEN, HIDDEN)
        self.decoder = nn.Linear(HIDDEN, 4, bias=False)
        self.decoder.weight = self.table.weight

    def forward(self, tokens, lengths=None):
        h, states = self.layer(self.table(tokens), lengths=lengths)
        return self.decoder(h), states


def spelled(x):
    """Tokens from the signs of two numbers."""
    return (x > 0) @ np.array([1, 2])


def language(apply, p, x, n):
    embedded = [p["table.weight"][token] for token in spelled(x)]
    steps, lasts = stacked(lstm, [["layer.{}_l0"]], zeros(1, HIDDEN, HIDDEN))(apply, p, embedded, n)
    return [apply(p, "table.weight", None, h) for h in steps], lasts


@dataclass(frozen=True)
class Model:
    """`run(leaves, x [T, N, I], lengths)` of the library, and `reference(apply, p, x, n)`."""

    parameters: dict[str, np.ndarray]
    run: Callable[..., Any]
    reference: Callable[..., Any]
    ragged: bool = True


def drawn(shapes):
    return {name: 0.7 * RNG.standard_normal(shape) for name, shape in shapes.items()}


def of_module(module, reference, call=None, ragged=True):
    """A model of a module in float64, its parameters drawn anew. Outputs `(output, states)`."""
    module = module.double()
    parameters = drawn({name: p.shape for name, p in module.named_parameters()})
    module.load_state_dict(parameters, strict=False)
    options = {} if ragged else None

    def run(x, lengths):
        given = {} if options is None else {"lengths": lengths}
        return call(module, x, **given) if call else module(x, **given)

    return Model(parameters, run, reference, ragged)


def layer(make, step, names, sizes, **options):
    count = sum(len(patterns) for patterns in names)
    return of_module(make(), stacked(step, names, zeros(count, *sizes)), **options)


def batch_first(module, x, lengths=None):
    output, states = module(np.swapaxes(x, 0, 1), lengths=lengths)
    return np.swapaxes(output, 0, 1), states


def packed(module, x, lengths=None):
    """Packed, and padded again to all steps."""
    lengths = [len(x)] * x.shape[1] if lengths is None else lengths
    given = nn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, states = module(given)
    return nn.pad_packed_sequence(output, total_length=len(x))[0], states


def from_zeros(*sizes):
    """Run a `Recurrent` from zeros of these sizes."""

    def call(module, x, lengths=None):
        state = tuple(np.zeros((x.shape[1], size)) for size in sizes)
        output, last = module(x, state if len(state) > 1 else state[0], lengths=lengths)
        last = last if isinstance(last, tuple) else (last,)
        last = tuple(each[None] for each in last)
        return output, last if len(last) > 1 else last[0]

    return call


def numpy_loop():
    parameters = drawn({"w": (HIDDEN, INPUTS), "u": (HIDDEN, HIDDEN), "b": (HIDDEN,)})
    leaves = {name: tracer.parameter(value, name=name) for name, value in parameters.items()}

    def run(x, lengths):
        x, h, shown = tracer.batch(x, axis=1), np.zeros((x.shape[1], HIDDEN)), []
        for t in tracer.steps(len(x)):
            h = np.tanh(x[t] @ leaves["w"].T + h @ leaves["u"].T + leaves["b"])
            shown.append(h)
        return np.stack(shown), h[None]

    return Model(parameters, run, stacked(plain, CELL, zeros(1, HIDDEN)), ragged=False)


def by_hand(module, x):
    output, h = module(x)
    return output, h[None]


ONE, TWO = [["{}_l0"]], [["{}_l0"], ["{}_l1"]]
BOTH = [["{}_l0", "{}_l0_reverse"], ["{}_l1", "{}_l1_reverse"]]
CELL = [["cell.{}"]]

MODELS = {
    "RNN": layer(lambda: nn.RNN(INPUTS, HIDDEN), rnn(np.tanh), ONE, (HIDDEN,)),
    "RNN, relu": layer(
        lambda: nn.RNN(INPUTS, HIDDEN, nonlinearity="relu"),
        rnn(lambda a: np.maximum(a, 0)),
        ONE,
        (HIDDEN,),
    ),
    "LSTM": layer(lambda: nn.LSTM(INPUTS, HIDDEN), lstm, ONE, (HIDDEN, HIDDEN)),
    "LSTM, two layers without biases": layer(
        lambda: nn.LSTM(INPUTS, HIDDEN, 2, bias=False, batch_first=True),
        lstm,
        TWO,
        (HIDDEN, HIDDEN),
        call=batch_first,
    ),
    "LSTM, projected": layer(lambda: nn.LSTM(INPUTS, HIDDEN, proj_size=1), lstm, ONE, (1, HIDDEN)),
    "GRU": layer(lambda: nn.GRU(INPUTS, HIDDEN), gru, ONE, (HIDDEN,)),
    "GRU, packed": layer(lambda: nn.GRU(INPUTS, HIDDEN), gru, ONE, (HIDDEN,), call=packed),
    "GRU, two layers in two directions": layer(
        lambda: nn.GRU(INPUTS, HIDDEN, 2, bidirectional=True), gru, BOTH, (HIDDEN,)
    ),
    "RNNCell in a loop": of_module(
        ByHand(),
        stacked(rnn(np.tanh), CELL, zeros(1, HIDDEN)),
        by_hand,
        ragged=False,
    ),
    "a loop in NumPy": numpy_loop(),
    "Recurrent, peephole": of_module(
        nn.Recurrent(Peephole()),
        stacked(peephole, CELL, zeros(1, HIDDEN, HIDDEN)),
        from_zeros(HIDDEN, HIDDEN),
    ),
    "Recurrent, continuous time": of_module(
        nn.Recurrent(Continuous()),
        stacked(continuous, CELL, zeros(1, HIDDEN)),
        from_zeros(HIDDEN),
    ),
    "Recurrent, reverse": of_module(
        nn.Recurrent(Continuous(), reverse=True),
        from_the_end(stacked(continuous, CELL, zeros(1, HIDDEN))),
        from_zeros(HIDDEN),
    ),
    "one cell as two layers": of_module(
        Tied(),
        stacked(gru, [*CELL, *CELL], zeros(2, HIDDEN)),
    ),
    "tied embedding": of_module(
        Spelled(), language, lambda module, x, lengths=None: module(spelled(x), lengths=lengths)
    ),
    "LSTM, one learned state": of_module(
        Learned(nn.LSTM(INPUTS, HIDDEN), 1), stacked(lstm, [["layer.{}_l0"]], learned)
    ),
    "GRU, learned states": of_module(
        Learned(nn.GRU(INPUTS, HIDDEN, 2), SAMPLES),
        stacked(gru, [["layer.{}_l0"], ["layer.{}_l1"]], learned),
    ),
}
