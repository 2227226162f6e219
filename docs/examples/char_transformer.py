"""A small Transformer that writes text, a character at a time.

A mask hides from each position those after it, so that one pass learns from all positions.

    python docs/examples/char_transformer.py tinyshakespeare.txt
    trace-net visualize docs/examples/char_transformer.py --depth 2 -o char_transformer.svg

Without a file it reads a few sonnets that are here.
"""

import numpy as np
from characters import Adam, Text, arguments, draw, drawn, print_factors, print_norms

import tracer
from tracer_layers import (
    Embedding,
    LayerNorm,
    LearnedPositions,
    Linear,
    Module,
    TransformerEncoder,
    TransformerEncoderLayer,
    cross_entropy,
)

BATCH_SIZE = 16
WINDOW = 64
STEPS = 1000
WIDTH = 96


class CharTransformer(Module):
    """Reads codes `[N, T]`, T up to WINDOW; at each position it says which character is next."""

    def __init__(self, characters, width=WIDTH):
        self.embedding = Embedding(characters, width)
        self.positions = LearnedPositions(WINDOW, width, batch_first=True)
        layer = TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=4 * width, dropout=0, batch_first=True, norm_first=True
        )
        self.encoder = TransformerEncoder(layer, num_layers=2, norm=LayerNorm(width))
        self.head = Linear(width, characters)

    def forward(self, codes):
        """Logits `[N, characters, T]` of what comes next."""
        x = self.positions(self.embedding(codes))
        return np.swapaxes(self.head(self.encoder(x, is_causal=True)), 1, 2)


def windows(text, rng, count=BATCH_SIZE):
    """`count` random windows: characters `[count, WINDOW]`, and those that follow each of them."""
    starts = rng.integers(len(text.codes) - WINDOW, size=(count, 1))
    codes = text.codes[starts + np.arange(WINDOW + 1)]
    return codes[:, :-1], codes[:, 1:]


def train(model, text, steps=STEPS, learning_rate=2e-3):
    """The losses of `steps` batches, in nats per character; the model learns on the way."""
    rng, optimiser = np.random.default_rng(0), Adam(model, learning_rate)
    losses = []
    for _ in range(steps):
        inputs, targets = windows(text, rng)
        with tracer.Tape() as tape:
            objective = cross_entropy(model(inputs), targets)
        optimiser.step(tape.backward(objective)["grad"])
        losses.append(objective.item())
        if len(losses) % 50 == 0:
            print(f"step {len(losses):5}, loss {np.mean(losses[-50:]):.3f}", flush=True)
    return losses


def write(model, text, beginning, length, rng):
    """A text of the model's own that goes on from a beginning."""
    codes = list(text.encode(beginning))
    for _ in range(length):
        logits = model(np.array([codes[-WINDOW:]]))
        codes.append(drawn(logits.data[0, :, -1], rng))
    return text.decode(codes)


def gradient_by_position(model, text):
    """The norm `[WINDOW]` of the last character's loss's gradient by each position's vector.

    Row t of the table of positions is added at position t alone: its gradient is the sum over the
    samples of what arrives there.
    """
    inputs, targets = windows(text, np.random.default_rng(0))
    with tracer.Tape() as tape:
        objective = cross_entropy(model(inputs)[..., -1], targets[:, -1])
    return np.linalg.norm(tape.backward(objective)["grad"]["positions.weight"], axis=1)


def kronecker_factors(model, text):
    """KFAC's factors of every parameter, from one batch; and the tape."""
    inputs, targets = windows(text, np.random.default_rng(0))
    with tracer.Tape() as tape:
        objective = cross_entropy(model(inputs), targets)
    return tape.backward(objective, ("kfac",), rng=np.random.default_rng(0))["kfac"], tape


def build_model():
    """What `trace-net` draws: a model of the sonnets' alphabet, not trained."""
    tracer.seed(0)
    return CharTransformer(len(Text().alphabet))


def example_inputs():
    """A batch of windows of the sonnets, `[BATCH_SIZE, WINDOW]`."""
    return windows(Text(), np.random.default_rng(0))[0]


def targets():
    """The characters that follow those of the example inputs."""
    return windows(Text(), np.random.default_rng(0))[1]


loss = cross_entropy

if __name__ == "__main__":
    given = arguments("Train a Transformer to write text.", STEPS, "char_transformer.svg")
    text = Text(given.text)
    tracer.seed(0)
    model = CharTransformer(len(text.alphabet))
    train(model, text, given.steps)
    print("\n" + write(model, text, "The ", 400, np.random.default_rng(0)))
    norms = gradient_by_position(model, text)
    print_norms("the gradient of the last character's loss by the positions", norms)
    factors, tape = kronecker_factors(model, text)
    print_factors(factors)
    draw(tape.graph("both"), given.draw, "a Transformer over characters")
