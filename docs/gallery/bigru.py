"""Two bidirectional layers of GRU cells over 50 steps, written as loops."""

import numpy as np

import tracer
import tracer_layers as nn


class BiGRU(nn.Module):
    def __init__(self, symbols=30, width=16, classes=5):
        self.embed = nn.Embedding(symbols, width)
        self.ahead = nn.ModuleList([nn.GRUCell(width, width), nn.GRUCell(2 * width, width)])
        self.back = nn.ModuleList([nn.GRUCell(width, width), nn.GRUCell(2 * width, width)])
        self.head = nn.Linear(2 * width, classes)

    def forward(self, tokens):
        x = self.embed(tokens)
        for ahead, back in zip(self.ahead, self.back, strict=True):
            x = np.concatenate([over_time(ahead, x), over_time(back, x, reverse=True)], axis=-1)
        return self.head(np.mean(x, axis=1))


def over_time(cell, x, reverse=False):
    """The states of a cell at all steps, `[N, T, H]`."""
    length = x.shape[1]
    states, h = [None] * length, None
    for t in tracer.steps(length, reverse=reverse):
        h = states[t] = cell(x[:, t], h)
    return np.stack(states, axis=1)


def build_model():
    return BiGRU()


def example_inputs():
    return np.random.default_rng(0).integers(30, size=(3, 50))


targets = np.array([0, 3, 1])
loss = nn.CrossEntropyLoss()
