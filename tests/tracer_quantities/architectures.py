"""Small models of common architectures, as a user writes them with layers and plain NumPy.

`MODELS` maps a name to a function without arguments that gives (model, inputs, targets); models are
of float64 and small enough for explicit blocks.
"""

import numpy as np

import tracer
import tracer_layers as nn

SAMPLES = 3


def drawn(*shape, scale=0.3):
    """A parameter of normal values."""
    return tracer.parameter(scale * tracer.arrays.random.generator().standard_normal(shape))


def softmax(scores):
    return np.exp(scores - tracer.logsumexp(scores, axis=-1, keepdims=True))


class Attention(nn.Module):
    """Self-attention of heads `[N, T, D]`, with a bias `[H, T, T]` of the scores if given."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x, bias=None):
        n, t, d = x.shape
        parts = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = np.moveaxis(parts, (2, 3), (0, 2))
        scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(d // self.heads)
        if bias is not None:
            scores = scores + bias
        mixed = np.swapaxes(softmax(scores) @ v, 1, 2)
        return self.proj(mixed.reshape(n, t, d))


class Block(nn.Module):
    """A Transformer's block, normalised first, with scales of its branches if asked for."""

    def __init__(self, width, heads=2, scaled=False):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        if scaled:
            self.gamma1, self.gamma2 = drawn(width), drawn(width)
        self.scaled = scaled

    def forward(self, x, bias=None):
        first = self.attn(self.norm1(x), bias)
        x = x + (self.gamma1 * first if self.scaled else first)
        second = self.fc2(nn.gelu(self.fc1(self.norm2(x))))
        return x + (self.gamma2 * second if self.scaled else second)


class ViT(nn.Module):
    """Patches by a convolution, a class token in front of them, learned positions, layer scales."""

    def __init__(self, width=4, patches=4, classes=3):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, 2)
        self.cls_token = drawn(1, 1, width)
        self.pos_embed = drawn(1, patches + 1, width)
        self.blocks = nn.ModuleList([Block(width, scaled=True) for _ in range(2)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = self.patch(images)
        x = np.swapaxes(x.reshape(*x.shape[:2], -1), 1, 2)
        token = np.broadcast_to(self.cls_token, (len(x), 1, x.shape[-1]))
        x = np.concatenate([token, x], axis=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def relative_index(side):
    """`[side^2, side^2]`: the row of a table for each pair of places in a window."""
    places = np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij")).reshape(2, -1)
    apart = places[:, :, None] - places[:, None, :] + side - 1
    return apart[0] * (2 * side - 1) + apart[1]


class WindowBlock(nn.Module):
    """A block within windows of an image `[N, H, W, D]`, with a table of relative positions."""

    def __init__(self, width, window=2, heads=2, shift=0):
        super().__init__()
        self.window, self.shift = window, shift
        self.block = Block(width, heads)
        self.relative_position_bias_table = drawn((2 * window - 1) ** 2, heads)
        self.index = relative_index(window)

    def forward(self, x):
        n, h, w, d = x.shape
        if self.shift:
            x = np.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        side = self.window
        x = x.reshape(n, h // side, side, w // side, side, d)
        x = np.moveaxis(x, 3, 2).reshape(-1, side * side, d)
        bias = self.relative_position_bias_table[self.index.reshape(-1)]
        bias = np.transpose(bias.reshape(side * side, side * side, -1), (2, 0, 1))
        x = self.block(x, bias[None])
        x = np.moveaxis(x.reshape(n, h // side, w // side, side, side, d), 2, 3)
        x = x.reshape(n, h, w, d)
        return np.roll(x, (self.shift, self.shift), axis=(1, 2)) if self.shift else x


class Swin(nn.Module):
    """Windows and shifted windows, an absolute position table, a merging of patches."""

    def __init__(self, width=4, classes=3):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 1)
        self.absolute = drawn(1, 4, 4, width)
        self.stages = nn.ModuleList([WindowBlock(width), WindowBlock(width, shift=1)])
        self.reduction = nn.Linear(4 * width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images):
        x = np.moveaxis(self.patch(images), 1, -1) + self.absolute
        for stage in self.stages:
            x = stage(x)
        corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        x = self.reduction(np.concatenate(corners, axis=-1))
        return self.head(self.norm(x).mean((1, 2)))


class GPT(nn.Module):
    """Characters and positions, causal blocks, a head that may be the table of characters."""

    def __init__(self, tied, words=5, context=4, width=4):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(words, width), nn.Embedding(context + 1, width)
        self.blocks = nn.ModuleList([Block(width) for _ in range(2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, words, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, codes):
        length = codes.shape[1]
        mask = np.where(np.tril(np.ones((length, length), bool)), 0, -1e9)
        x = self.wte(codes) + self.wpe(np.arange(length))
        for block in self.blocks:
            x = block(x, mask)
        return np.swapaxes(self.lm_head(self.ln_f(x)), 1, 2)


class BERT(nn.Module):
    """Words, positions and segments, blocks normalised last, a pooler of the first word."""

    def __init__(self, words=5, context=4, width=4, classes=3):
        super().__init__()
        self.words, self.segments = nn.Embedding(words, width), nn.Embedding(2, width)
        self.positions = drawn(context + 2, width)
        self.norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout=0, activation="gelu", batch_first=True
        )
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, codes):
        segments = (np.arange(codes.shape[1]) > 1).astype(int)[None]
        x = self.words(codes) + self.segments(segments) + self.positions[: codes.shape[1]]
        x = self.encoder(self.norm(x))
        return self.classifier(np.tanh(self.pooler(x[:, 0])))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution, a network of channels, a layer scale `[C, 1, 1]`."""

    def __init__(self, width):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.layer_scale = drawn(width, 1, 1)

    def forward(self, x):
        h = self.norm(np.moveaxis(self.dwconv(x), 1, -1))
        h = self.pwconv2(nn.gelu(self.pwconv1(h)))
        return x + self.layer_scale * np.moveaxis(h, -1, 1)


class ConvNeXt(nn.Module):
    def __init__(self, width=3, classes=3):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 2, 2)
        self.blocks = nn.ModuleList([ConvNeXtBlock(width) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, images):
        x = self.stem(images)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.mean((2, 3))))


class MambaMixer(nn.Module):
    """A gated, selective scan: `A_log [E, S]`, `D [E]`, a causal depthwise convolution."""

    def __init__(self, width, inner=4, states=2, rank=2, kernel=3):
        super().__init__()
        self.inner, self.states, self.rank = inner, states, rank
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, kernel, groups=inner, padding=kernel - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = tracer.parameter(np.log(np.tile(np.arange(1.0, states + 1), (inner, 1))))
        self.D = tracer.parameter(np.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        length = x.shape[1]
        x, gate = np.split(self.in_proj(x), 2, axis=-1)
        x = np.swapaxes(self.conv1d(np.swapaxes(x, 1, 2))[:, :, :length], 1, 2)
        x = nn.silu(x)
        dt, b, c = np.split(self.x_proj(x), [self.rank, self.rank + self.states], axis=-1)
        dt = np.logaddexp(0, self.dt_proj(dt))
        a = -np.exp(self.A_log)
        h, outs = np.zeros((1, self.inner, self.states)), []
        for t in tracer.steps(length):
            step = dt[:, t, :, None]
            h = np.exp(step * a) * h + step * b[:, t, None, :] * x[:, t, :, None]
            outs.append(np.sum(h * c[:, t, None, :], axis=-1))
        return self.out_proj((np.stack(outs, axis=1) + self.D * x) * nn.silu(gate))


class Mamba(nn.Module):
    def __init__(self, words=5, width=3, classes=3):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.norms = nn.ModuleList([nn.RMSNorm(width) for _ in range(2)])
        self.mixers = nn.ModuleList([MambaMixer(width) for _ in range(2)])
        self.head = nn.Linear(width, classes)

    def forward(self, codes):
        x = self.embedding(codes)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
        return self.head(x.mean(1))


def images(rng):
    return rng.standard_normal((SAMPLES, 1, 4, 4)), rng.integers(0, 3, SAMPLES)


def sequences(rng):
    return rng.integers(0, 5, (SAMPLES, 4)), rng.integers(0, 3, SAMPLES)


def texts(rng):
    codes = rng.integers(0, 5, (SAMPLES, 5))
    return codes[:, :-1], codes[:, 1:]


def made(model, data):
    """A function that gives (model, inputs, targets), the same each time."""

    def make():
        tracer.seed(0)
        return model().double(), *data(np.random.default_rng(0))

    return make


MODELS = {
    "ViT": made(ViT, images),
    "Swin": made(Swin, images),
    "GPT": made(lambda: GPT(tied=False), texts),
    "GPT, tied": made(lambda: GPT(tied=True), texts),
    "BERT": made(BERT, sequences),
    "ConvNeXt": made(ConvNeXt, images),
    "Mamba": made(Mamba, sequences),
}
