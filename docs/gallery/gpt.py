"""A GPT (Radford et al. 2019) of six blocks."""

import numpy as np

import tracer_layers as nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = np.moveaxis(self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads), 2, 0)
        scores = np.einsum("nthd,nshd->nhts", q, k) / (d // self.heads) ** 0.5
        future = np.triu(np.ones((t, t), bool), 1)
        weights = nn.functional.softmax(np.where(future, -np.inf, scores), -1)
        return self.proj(np.einsum("nhts,nshd->nthd", weights, v).reshape(n, t, d))

    def extra_repr(self):
        return f"heads={self.heads}"


class MLP(nn.Module):
    def __init__(self, width):
        self.fc = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.proj = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.proj(self.gelu(self.fc(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, symbols=65, length=16, width=32, heads=4, blocks=6):
        self.wte = nn.Embedding(symbols, width)
        self.wpe = nn.Embedding(length, width)
        self.h = nn.ModuleList([Block(width, heads) for _ in range(blocks)])
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)

    def forward(self, tokens):
        x = self.wte(tokens) + self.wpe(np.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.head(self.ln_f(x))


def build_model():
    return GPT()


def example_inputs():
    return np.random.default_rng(0).integers(65, size=(2, 16))


def loss(logits, y):
    return nn.functional.cross_entropy(logits.reshape(-1, 65), y)


targets = np.zeros(32, dtype=np.int64)
