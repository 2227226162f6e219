"""A long short-term memory that writes text, a character at a time.

It is trained by truncated backpropagation through time: each tape holds a window of the text, and
the state is carried from one window to the next as plain numbers.

    python docs/examples/char_lstm.py tinyshakespeare.txt
    trace-net visualize docs/examples/char_lstm.py --time folded -o char_lstm.svg

Without a file it reads a few sonnets that are here.
"""

from itertools import cycle, islice

import numpy as np
from characters import Adam, Text, arguments, draw, drawn, print_factors, print_norms

import tracer
from tracer.graph.flow import gradient_flow
from tracer_layers import LSTM, Embedding, Linear, Module, cross_entropy

BATCH_SIZE = 32
WINDOW = 64
STEPS = 400
HIDDEN = 128


class CharLSTM(Module):
    """Reads codes `[N, T]`; at each step it says which character is next."""

    def __init__(self, characters, hidden=HIDDEN):
        self.embedding = Embedding(characters, 32)
        self.lstm = LSTM(32, hidden, batch_first=True)
        self.head = Linear(hidden, characters)

    def forward(self, codes, state=None):
        """Logits `[N, characters, T]` of what comes next, and the state after the last step."""
        hidden, state = self.lstm(self.embedding(codes), state)
        return np.swapaxes(self.head(hidden), 1, 2), state


def streams(text, count=BATCH_SIZE):
    """The text cut into `count` parts `[count, length]`, which are read side by side."""
    length = len(text.codes) // count
    return text.codes[: count * length].reshape(count, length)


def train(model, text, steps=STEPS, learning_rate=5e-3):
    """The losses of `steps` windows, in nats per character; the model learns on the way."""
    codes, optimiser = streams(text), Adam(model, learning_rate)
    losses = []
    for start in islice(cycle(range(0, codes.shape[1] - WINDOW, WINDOW)), steps):
        if start == 0:
            state = None
        inputs, targets = window(codes, start)
        with tracer.Tape() as tape:
            logits, state = model(inputs, state)
            objective = cross_entropy(logits, targets)
        optimiser.step(tape.backward(objective)["grad"])
        state = [part.detach() for part in state]
        losses.append(objective.item())
        if len(losses) % 50 == 0:
            print(f"step {len(losses):5}, loss {np.mean(losses[-50:]):.3f}", flush=True)
    return losses


def window(codes, start):
    """Characters `[N, WINDOW]` from a position on, and those that follow each of them."""
    return codes[:, start : start + WINDOW], codes[:, start + 1 : start + WINDOW + 1]


def write(model, text, beginning, length, rng):
    """A text of the model's own that goes on from a beginning."""
    codes, state = list(text.encode(beginning)), None
    unread = codes
    for _ in range(length):
        logits, state = model(np.array([unread]), state)
        unread = [drawn(logits.data[0, :, -1], rng)]
        codes += unread
    return text.decode(codes)


def gradient_through_time(model, text):
    """How far back the last character's loss reaches; and the tape, with norms for the picture.

    The norms `[WINDOW]` of its gradient by the memory and by the hidden state, at each step.
    """
    inputs, targets = window(streams(text), 0)
    with tracer.Tape(watch=True) as tape:
        logits, _ = model(inputs)
        objective = cross_entropy(logits[..., -1], targets[:, -1])
    tape.backward(objective)
    return gradient_flow(tape), tape


def kronecker_factors(model, text):
    """KFAC's factors of every parameter, from one window."""
    inputs, targets = window(streams(text), 0)
    with tracer.Tape() as tape:
        logits, _ = model(inputs)
        objective = cross_entropy(logits, targets)
    return tape.backward(objective, ("kfac",), rng=np.random.default_rng(0))["kfac"]


def build_model():
    """What `trace-net` draws: a model of the sonnets' alphabet, not trained."""
    tracer.seed(0)
    return CharLSTM(len(Text().alphabet))


def example_inputs():
    """A short window of the sonnets, `[4, 12]`."""
    return streams(Text(), 4)[:, :12]


def targets():
    """The characters that follow those of the example inputs."""
    return streams(Text(), 4)[:, 1:13]


def loss(output, targets):
    """The loss of what the model returns, averaged over all characters."""
    logits, _ = output
    return cross_entropy(logits, targets)


if __name__ == "__main__":
    given = arguments("Train an LSTM to write text.", STEPS, "char_lstm.svg")
    text = Text(given.text)
    tracer.seed(0)
    model = CharLSTM(len(text.alphabet))
    train(model, text, given.steps)
    print("\n" + write(model, text, "The ", 400, np.random.default_rng(0)))
    flow, tape = gradient_through_time(model, text)
    for state, norms in flow.items():
        print_norms(f"the gradient of the last character's loss by {state}", norms)
    print_factors(kronecker_factors(model, text))
    draw(tape.graph("both", time="folded"), given.draw, "an LSTM over characters, folded in time")
