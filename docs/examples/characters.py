"""What char_lstm.py and char_transformer.py share: text as numbers, Adam, and two reports."""

import argparse
from pathlib import Path

import numpy as np

from tracer import DrawOptions, registry

SONNETS = Path(__file__).parent / "data" / "sonnets.txt"  # eight of Shakespeare's


class Text:
    """A text as the positions of its characters in their alphabet, `codes [length]`."""

    def __init__(self, path=SONNETS):
        text = Path(path).read_text(encoding="utf-8")
        self.alphabet = "".join(sorted(set(text)))
        self.codes = self.encode(text)

    def encode(self, text):
        """Characters as codes `[length]`."""
        return np.array([self.alphabet.index(character) for character in text])

    def decode(self, codes):
        """Codes as characters."""
        return "".join(self.alphabet[code] for code in codes)


class Adam:
    """Adam (Kingma and Ba 2015) on gradients that are cut to a norm of at most `clip`."""

    def __init__(self, model, learning_rate, clip=1.0, decays=(0.9, 0.99)):
        self.model, self.learning_rate, self.clip, self.decays = model, learning_rate, clip, decays
        self.steps = 0
        self.moments = {name: (0.0, 0.0) for name, _ in model.named_parameters()}

    def step(self, gradient):
        """Move the parameters, given `tape.backward(loss)["grad"]`."""
        self.steps += 1
        norm = np.sqrt(sum(np.vdot(g, g) for g in gradient.values()))
        scale = float(min(1.0, self.clip / norm))
        for name, parameter in self.model.named_parameters():
            g = scale * gradient[name]
            (mean, square), (keep, keep_square) = self.moments[name], self.decays
            mean = keep * mean + (1 - keep) * g
            square = keep_square * square + (1 - keep_square) * g * g
            self.moments[name] = mean, square
            mean = mean / (1 - keep**self.steps)
            square = square / (1 - keep_square**self.steps)
            parameter.data = parameter.data - self.learning_rate * mean / (np.sqrt(square) + 1e-8)


def drawn(logits, rng):
    """A code from the distribution with `logits [C]`: the largest after Gumbel noise."""
    return int(np.argmax(logits + rng.gumbel(size=logits.shape)))


def spectrum(factor):
    """Rank and condition number of a factor `[K, K]` on the space that it is not zero on."""
    values = np.linalg.eigvalsh(factor)
    values = values[values > values[-1] * len(values) * np.finfo(factor.dtype).eps]
    return len(values), values[-1] / values[0]


def print_factors(blocks):
    """Size, rank and condition number of every Kronecker factor: a parameter a line."""
    print("\nKFAC factors: size, rank and condition number, of outputs and of inputs")
    for name, block in blocks.items():
        parts = [
            "{:4} {:4} {:8.1e}".format(len(factor), *spectrum(factor)) for factor in block.factors
        ]
        print(f"  {name:42}", " | ".join(parts))


def print_norms(title, norms):
    """The gradient's norm at the last step, and 1, 2, 4, ... before it, with bars of their logs."""
    print(f"\n{title}")
    last = len(norms) - 1
    for back in [0, *(2**i for i in range(20) if 2**i <= last)]:
        norm = norms[last - back]
        print(f"  {back:4} steps back {norm:9.2e}", "#" * round(50 + 10 * np.log10(norm + 1e-10)))


def draw(graph, path, title):
    """Write the picture of a graph, in the format that the file's suffix names."""
    renderer = registry.renderers[path.suffix.removeprefix(".")]
    path.write_bytes(renderer.render(graph, DrawOptions(title=title, depth=2)))
    print(f"\ndrawn: {path.name}")


def arguments(purpose, steps, picture):
    """What both programs are told on the command line: `text`, `steps` and `draw`."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("text", nargs="?", type=Path, default=SONNETS, help="a text file")
    parser.add_argument("--steps", type=int, default=steps, help="of training")
    parser.add_argument("--draw", type=Path, default=Path(picture), help="where the picture goes")
    return parser.parse_args()
