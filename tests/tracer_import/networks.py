"""Small networks of PyTorch's, one of each family: what the archives of the tests hold.

Imported where PyTorch is installed. Each has its example inputs, and the mode that it is exported
in; `core` is exported and decomposed to core ATen.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Perceptron(nn.Module):
    """Linear maps, a norm, dropout, an activation that writes in place, and tied weights."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.LayerNorm(6)
        self.drop = nn.Dropout(0.5)
        self.middle = nn.Linear(6, 6, bias=False)
        self.again = nn.Linear(6, 6, bias=False)
        self.again.weight = self.middle.weight
        self.last = nn.Linear(6, 3)

    def forward(self, x):
        x = self.drop(self.norm(self.act(self.first(x))))
        return self.last(torch.tanh(self.again(self.middle(x))))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return x + self.act(self.norm(self.conv(x)))


class Convolutional(nn.Module):
    """Convolutions and batch normalisation, pooling, and a list of blocks."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, stride=2)
        self.blocks = nn.ModuleList([Block(3), Block(3)])
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(x).mean((2, 3)))


class Attention(nn.Module):
    """Causal attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, t, d))


class Transformer(nn.Module):
    """Tokens and positions, a class token, attention, and the table of tokens as the head."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(7, 4)
        self.positions = nn.Parameter(torch.randn(1, 6, 4) * 0.1)
        self.start = nn.Parameter(torch.randn(1, 1, 4))
        self.norm = nn.LayerNorm(4)
        self.attention = Attention(4, 2)
        self.scale = nn.Parameter(torch.full((4,), 0.5))
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = torch.cat([self.start.expand(ids.shape[0], -1, -1), self.tokens(ids)], 1)
        x = x + self.positions[:, : x.shape[1]]
        x = x + self.scale * self.attention(self.norm(x))
        return self.head(x[:, 0])


class Recurrent(nn.Module):
    """A recurrent layer over embedded tokens."""

    def __init__(self, kind, **options):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.rnn = getattr(nn, kind)(3, 4, batch_first=True, **options)
        self.head = nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0][:, -1])


class Writing(nn.Module):
    """Writes into views, by masks and by indices."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 6)
        self.b = nn.Linear(6, 2)

    def forward(self, x):
        x = self.a(x)
        mask = torch.zeros(6, dtype=x.dtype)
        mask[1:3].fill_(2.0)
        mask[4] = 0.5
        x = x * mask
        first, second = x[:, :3], x[:, 3:]
        second.mul_(3.0)
        x[:, 0].add_(first[:, 1])
        x = x.clone()
        x[x < 0] = 0.1
        y = x.view(-1, 2, 3)
        y[:, 0].copy_(y[:, 1] * 2)
        z = x.t().contiguous().t()
        z.clamp_(max=5.0)
        return self.b(x + z)


class Nested(nn.Module):
    """Takes a tuple and keywords, calls a module twice, and gives a dictionary."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)
        self.register_buffer("shift", torch.arange(3.0))
        self.register_buffer("hidden", torch.ones(3), persistent=False)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, pair, mask=None, scale=2.0):
        a, b = pair
        a = self.lin(torch.tanh(self.lin(a)))
        if mask is not None:
            a = torch.where(mask, a, self.hidden)
        with torch.no_grad():
            level = b.mean()
        return {"sum": a + b * self.frozen, "more": [a * scale + self.shift, level]}


def example(*shape):
    """Normal numbers in double precision."""
    return torch.randn(shape, dtype=torch.float64)


def tokens(below, *shape):
    """Integers."""
    return torch.randint(0, below, shape)


#: name -> (module, mode, arguments, keywords)
NETWORKS = {
    "perceptron": lambda: (Perceptron(), "eval", (example(3, 4),), {}),
    "convolutional": lambda: (Convolutional(), "eval", (example(3, 1, 9, 9),), {}),
    "training": lambda: (Convolutional(), "train", (example(3, 1, 9, 9),), {}),
    "core": lambda: (Convolutional(), "eval", (example(3, 1, 9, 9),), {}),
    "transformer": lambda: (Transformer(), "eval", (tokens(7, 3, 5),), {}),
    "lstm": lambda: (
        *(Recurrent("LSTM", num_layers=2, bidirectional=True), "eval"),
        *((tokens(5, 3, 4),), {}),
    ),
    "gru": lambda: (Recurrent("GRU"), "eval", (tokens(5, 3, 4),), {}),
    "writing": lambda: (Writing(), "eval", (example(3, 4),), {}),
    "nested": lambda: (
        *(Nested(), "eval", ((example(3, 3), example(3, 3)),)),
        {"mask": torch.tensor([[True, False, True]] * 3)},
    ),
}


def exported(name):
    """The module, the program, and what it is called with."""
    torch.manual_seed(0)
    model, mode, args, kwargs = NETWORKS[name]()
    model = model.double()
    getattr(model, mode)()
    axis = torch.export.Dim.AUTO

    def first(value):
        if isinstance(value, torch.Tensor):
            return {0: axis}
        return tuple(map(first, value)) if isinstance(value, tuple) else None

    shapes = tuple(map(first, (*args, *kwargs.values())))
    if name == "nested":
        shapes = {"pair": first(args[0]), "mask": {0: axis}}
    program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
    if name == "core":
        program = program.run_decompositions()
    return model, program, args, kwargs
