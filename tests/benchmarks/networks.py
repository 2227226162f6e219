"""Networks in PyTorch's or our `nn` alike: those of DeepOBS, and recurrent ones.

DeepOBS: Schneider, Balles and Hennig 2019.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """A network `build(nn)` of inputs `[samples, *shape]` and its number of classes.

    `quantities` are those that its peer has, where they are not all.
    """

    build: Callable[[Any], Any]
    samples: int
    shape: tuple[int, ...]
    classes: int
    quantities: tuple[str, ...] | None = None

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Random inputs in float32 and classes, the same at every call."""
        rng = np.random.default_rng(0)
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

NETWORKS = {
    "logreg": Network(logreg, 128, (1, 28, 28), 10),
    "mlp": Network(mlp, 128, (1, 28, 28), 10),
    "2c2d": Network(convolutions_2, 128, (1, 28, 28), 10),
    "3c3d": Network(convolutions_3, 128, (3, 32, 32), 10),
    "all-cnn-c": Network(all_cnn_c, 16, (3, 32, 32), 100),
    "rnn": Network(partial(recurrent, "RNN"), 64, (STEPS, INPUTS), 10, RECURRENT),
    "lstm": Network(partial(recurrent, "LSTM"), 64, (STEPS, INPUTS), 10, RECURRENT),
}
