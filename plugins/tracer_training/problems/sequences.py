"""Networks that say which character comes next: an LSTM whose state is carried, a Transformer."""

from __future__ import annotations

import numpy as np

import tracer_layers as nn
from tracer.extend import Array, Generator, TensorLike, raw
from tracer_layers import Module
from tracer_training.data import DataLoader, Dataset
from tracer_training.data.datasets import Text
from tracer_training.data.splits import generator_of
from tracer_training.loop.metrics import accuracy
from tracer_training.problems.problem import Problem
from tracer_training.problems.sources import Given, text

__all__ = ["char_transformer", "tolstoi_char_rnn"]

WIDTH, LENGTH, BATCH = 128, 50, 50


def tolstoi_char_rnn(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """An embedding of 128, an LSTM of two layers of 128, windows of 50, dropout 0.2 between layers.

    The state is carried from batch to batch, and is zero again where an epoch begins. `data` is the
    name of a text, or a pair of `datasets.Text`; without it, a synthetic text of as many characters
    as War and Peace has (83) is taken. Initial values are those of the layers.
    """
    train, test, source = text(data, LENGTH, "War and Peace")
    return Problem(
        "tolstoi_char_rnn",
        CarriedLSTM(len(train.vocabulary), generator_of(rng)),
        nn.cross_entropy,
        _read_side_by_side(train),
        _read_side_by_side(test),
        batch_size=BATCH,
        epochs=200,
        metrics={"accuracy": accuracy},
        source=source,
    )


def char_transformer(rng: Generator | int | None = 0, data: Given = None) -> Problem:
    """A Transformer of two layers of width 64, with 4 heads, over windows of 50 characters.

    Not of DeepOBS. Data as in `tolstoi_char_rnn`; windows begin anywhere. Initial values are those
    of the layers.
    """
    train, test, source = text(data, LENGTH, "War and Peace")
    return Problem(
        "char_transformer",
        CharTransformer(len(train.vocabulary), generator_of(rng)),
        nn.cross_entropy,
        train,
        test,
        batch_size=BATCH,
        epochs=10,
        metrics={"accuracy": accuracy},
        source=source,
    )


class CarriedLSTM(Module):
    """Reads codes `[N, T]` and says what comes next, logits `[N, characters, T]`.

    `continues [N]` is 1 where a window goes on where the last call's ended, and 0 where it begins
    anew. The state that is carried is a buffer, so that checkpoints have it; it is that of batches
    of `BATCH` windows, and others begin at zero.
    """

    def __init__(self, characters: int, rng: Generator):
        self.embedding = nn.Embedding(characters, WIDTH, rng=rng)
        self.lstm = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True, dropout=0.2, rng=rng)
        self.lstm.rng = None  # of dropout: the shared generator, which checkpoints keep
        self.head = nn.Linear(WIDTH, characters, rng=rng)
        self.hidden: Array
        self.cell: Array
        for name in ("hidden", "cell"):
            self.register_buffer(name, np.zeros((2, BATCH, WIDTH), np.float32))

    def forward(self, codes: TensorLike, continues: TensorLike) -> TensorLike:
        carries, state = len(codes) == BATCH, None
        if carries:
            kept = raw(continues)[:, None]
            state = self.hidden * kept, self.cell * kept
        outputs, (hidden, cell) = self.lstm(self.embedding(codes), state)
        if carries:
            self.hidden, self.cell = raw(hidden), raw(cell)
        return np.swapaxes(self.head(outputs), 1, 2)


class CharTransformer(Module):
    """Reads codes `[N, T]` and says what comes next, logits `[N, characters, T]`."""

    def __init__(self, characters: int, rng: Generator, width: int = 64):
        self.embedding = nn.Embedding(characters, width, rng=rng)
        self.positions = nn.LearnedPositions(LENGTH, width, batch_first=True, rng=rng)
        layers = [
            nn.TransformerEncoderLayer(
                *(width, 4, 4 * width, 0.0), batch_first=True, norm_first=True, rng=rng
            )
            for _ in range(2)
        ]
        self.layers, self.norm = nn.ModuleList(layers), nn.LayerNorm(width)
        self.head = nn.Linear(width, characters, rng=rng)

    def forward(self, codes: TensorLike) -> TensorLike:
        x = self.positions(self.embedding(codes))
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return np.swapaxes(self.head(self.norm(x)), 1, 2)


class Streams(Dataset):
    """Windows of a text with whether each goes on: `(x, continues, y)`; see `CarriedLSTM`."""

    def __init__(self, characters: Text, begins: np.ndarray):
        self.characters, self.begins = characters, begins

    def __len__(self) -> int:
        return len(self.characters)

    def batch(self, indices: np.ndarray) -> tuple[Array, ...]:
        x, y = self.characters.batch(indices)
        return x, (~np.isin(indices, self.begins)).astype(np.float32), y


def _read_side_by_side(characters: Text) -> DataLoader:
    """Batches of `BATCH` pieces of the text, each of which goes on where the one before ended."""
    windows = characters.streams(BATCH)
    return DataLoader(Streams(characters, windows[0]), batch_sampler=windows, rng=0)
