"""Networks in PyTorch's or our `nn` alike: those of DeepOBS, recurrent ones, ResNet-18 and a GPT.

DeepOBS: Schneider, Balles and Hennig 2019. ResNet-18: He et al. 2016. GPT: Radford et al. 2019.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """A network `build(nn)` of inputs `[samples, *shape]` and its number of classes.

    Inputs are numbers, or of a network of `text` classes, of which it tells the next one at every
    place. `quantities` are those that are measured, where they are not all, and `of_peer` those
    that its peer has, where they are fewer.
    """

    build: Callable[[Any], Any]
    samples: int
    shape: tuple[int, ...]
    classes: int
    quantities: tuple[str, ...] | None = None
    of_peer: tuple[str, ...] | None = None
    text: bool = False

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs, numbers in float32, and classes, the same at every call."""
        rng = np.random.default_rng(0)
        if self.text:
            words = rng.integers(0, self.classes, (self.samples, self.shape[0] + 1))
            return words[:, :-1], words[:, 1:]
        inputs = rng.random((self.samples, *self.shape), dtype=np.float32)
        return inputs, rng.integers(0, self.classes, self.samples)


def logreg(nn: Any) -> Any:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def mlp(nn: Any) -> Any:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(784, 1000), nn.ReLU()),
        *(nn.Linear(1000, 500), nn.ReLU()),
        *(nn.Linear(500, 100), nn.ReLU()),
        nn.Linear(100, 10),
    )


def convolutions_2(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    )


def convolutions_3(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Conv2d(64, 96, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Conv2d(96, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        nn.Flatten(),
        *(nn.Linear(1152, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


def all_cnn_c(nn: Any) -> Any:
    return nn.Sequential(
        nn.Dropout(0.2),
        *(nn.Conv2d(3, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(96, 96, 3, stride=2, padding=1), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(96, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(192, 192, 3, stride=2, padding=1), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(192, 192, 3), nn.ReLU()),
        *(nn.Conv2d(192, 192, 1), nn.ReLU()),
        *(nn.Conv2d(192, 100, 1), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten()),
    )


def vgg(nn: Any) -> Any:
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.Tanh()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.Tanh()),
        *(nn.Conv2d(64, 64, 3, stride=2), nn.Tanh()),
        *(nn.Flatten(), nn.Linear(3136, 10)),
    )


def resnet18(nn: Any) -> Any:
    """As torchvision has it, in evaluation."""

    class BasicBlock(nn.Module):  # type: ignore[misc]
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            self.downsample = nn.Sequential(*skip) if stride > 1 else nn.Identity()

        def forward(self, x: Any) -> Any:
            out = self.relu1(self.bn1(self.conv1(x)))
            return self.relu2(self.bn2(self.conv2(out)) + self.downsample(x))

    widths = (64, 64, 128, 256, 512)
    blocks = []
    for inputs, outputs in pairwise(widths):
        blocks += [BasicBlock(inputs, outputs, outputs // inputs), BasicBlock(outputs, outputs, 1)]
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(512, 10),
    ).eval()


def gpt(nn: Any, blocks: int = 4, width: int = 256, heads: int = 4, length: int = 128) -> Any:
    """A GPT of 65 symbols; scores `[N, symbols, length]`."""

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc, self.gelu = nn.Linear(width, 4 * width), nn.GELU()
            self.out = nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            n, t, d = x.shape
            split = self.qkv(self.ln_1(x)).reshape(n, t, 3, heads, d // heads)
            q, k, v = (split[:, :, i].swapaxes(1, 2) for i in range(3))
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.swapaxes(1, 2).reshape(n, t, d))
            return x + self.out(self.gelu(self.fc(self.ln_2(x))))

    class GPT(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(65, width), nn.Embedding(length, width)
            self.h = nn.Sequential(*(Block() for _ in range(blocks)))
            self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, 65, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
            return self.head(self.ln_f(self.h(x))).swapaxes(1, 2)

    return GPT().eval()


def recurrent(kind: str, nn: Any) -> Any:
    """A recurrent layer of this kind and a linear read-out of all its steps."""
    layer = getattr(nn, kind)(INPUTS, HIDDEN, batch_first=True)
    return nn.Sequential(layer, _output_of(nn), nn.Flatten(), nn.Linear(STEPS * HIDDEN, 10))


def _output_of(nn: Any) -> Any:
    """The module that takes the output from what a recurrent layer returns, and leaves its state.

    BackPACK knows its own alone.
    """
    if nn.__name__ == "torch.nn" and importlib.util.find_spec("backpack") is not None:
        from backpack.custom_module.reduce_tuple import ReduceTuple

        return ReduceTuple(index=0)

    class Output(nn.Module):
        def forward(self, result: tuple[Any, Any]) -> Any:
            return result[0]

    return Output()


INPUTS, HIDDEN, STEPS = 32, 64, 50
RECURRENT = (
    *("grad", "grad_batch", "batch_l2", "sum_grad_squared"),
    *("diag_ggn_mc", "diag_ggn_exact"),
)

LARGER = ("grad", "batch_l2", "diag_ggn_mc", "kfac")

NETWORKS = {
    "logreg": Network(logreg, 128, (1, 28, 28), 10),
    "mlp": Network(mlp, 128, (1, 28, 28), 10),
    "2c2d": Network(convolutions_2, 64, (1, 28, 28), 10),
    "3c3d": Network(convolutions_3, 64, (3, 32, 32), 10),
    "vgg": Network(vgg, 32, (3, 32, 32), 10),
    "all-cnn-c": Network(all_cnn_c, 16, (3, 32, 32), 100),
    "rnn": Network(partial(recurrent, "RNN"), 64, (STEPS, INPUTS), 10, RECURRENT),
    "lstm": Network(partial(recurrent, "LSTM"), 64, (STEPS, INPUTS), 10, RECURRENT),
    "resnet-18": Network(resnet18, 64, (3, 32, 32), 10, LARGER, ("grad",)),
    "gpt": Network(gpt, 8, (128,), 65, LARGER, ("grad",), text=True),
}
