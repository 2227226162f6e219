"""Small data sets, models and losses that are folded, also in other processes."""

import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import tracer
import tracer_layers as nn
import tracer_scale as scale
from tracer_quantities import QUANTITIES

SAMPLES = 23
RNG = np.random.default_rng(0)
X, IMAGES = RNG.standard_normal((SAMPLES, 4)), RNG.standard_normal((SAMPLES, 1, 5, 5))
LABELS, TARGETS = RNG.integers(0, 3, SAMPLES), RNG.standard_normal((SAMPLES, 3))

#: what a fold gives values of; those of kfra are not of a union
VALUES = tuple(q.name for q in QUANTITIES if q.rows is not None and q.name != "kfra")
MATRICES = tuple(q.name for q in QUANTITIES if q.rows is None)
SAMPLED = {"sqrt_ggn_mc", "diag_ggn_mc", "diag_ggn_mc_batch", "kfac", "fisher_mc"}


def mlp():
    tracer.seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def convnet():
    tracer.seed(0)
    layers = nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(18, 3)
    return nn.Sequential(*layers).double()


class Transposed(nn.Module):
    """A weight that is used transposed, and one that scales: others than linear layers."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(3)
        self.weight = tracer.parameter(rng.standard_normal((4, 3)))
        self.scale = tracer.parameter(rng.standard_normal(3))

    def forward(self, x):
        return np.tanh(x @ self.weight) * self.scale


def squared(output, target):
    """The mean over samples of a loss in plain code."""
    return np.sum((output - target) ** 2) / len(target)


CASES = {
    "mlp, mean": (mlp, X, LABELS, nn.cross_entropy),
    "mlp, sum": (mlp, X, LABELS, partial(nn.cross_entropy, reduction="sum")),
    "convnet": (convnet, IMAGES, LABELS, nn.cross_entropy),
    "transposed, regression": (Transposed, X, TARGETS, nn.mse_loss),
}


@dataclass(frozen=True)
class Parts:
    """Parts of arrays that end at these places, of which one may begin where another ends."""

    x: np.ndarray
    y: np.ndarray
    ends: tuple[int, ...]

    def __call__(self, i):
        some = slice(([0, *self.ends])[i], self.ends[i])
        return self.x[some], self.y[some]

    @property
    def shards(self):
        return scale.Shards(self, len(self.ends))


@dataclass(frozen=True)
class Slow(Parts):
    """The same; the first shards take longer, so that later ones arrive before them."""

    seconds: float = 0.02

    def __call__(self, i):
        time.sleep(self.seconds * (len(self.ends) - i) / len(self.ends))
        return super().__call__(i)


@dataclass(frozen=True)
class Counted(Slow):
    """The same; each load leaves a file with its process's number in a folder."""

    folder: str = ""

    def __call__(self, i):
        Path(self.folder, f"{i}-{os.getpid()}-{time.monotonic_ns()}").touch()
        return super().__call__(i)


@dataclass(frozen=True)
class Deadly(Parts):
    """The worker of a shard kills itself, or its load raises, so many times."""

    folder: str = ""
    shard: int = 1
    times: int = 1
    raises: bool = False

    def __call__(self, i):
        marks = Path(self.folder)
        if i == self.shard and len(list(marks.glob("*"))) < self.times:
            Path(marks, str(time.monotonic_ns())).touch()
            if self.raises:
                raise OSError("the disk is gone")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(i)


def even(count, case="mlp, mean", kind=Parts, **options):
    """`count` shards of the samples of a case, as even as it goes."""
    _, x, y, _ = CASES[case]
    ends = tuple(SAMPLES * (i + 1) // count for i in range(count))
    return kind(x, y, ends, **options).shards


def swept(model, x, y, loss, quantities, rng=None):
    with tracer.Tape() as tape:
        value = loss(model(x), y)
    return tape.backward(value, quantities, rng=rng)


def arrays(value):
    """The arrays of a value by names; of a matrix its products with a few vectors."""
    if isinstance(value, dict):
        return {f"{k}/{p}": a for k in sorted(value) for p, a in arrays(value[k]).items()}
    if hasattr(value, "factors"):
        return {str(i): factor for i, factor in enumerate(value.factors)}
    if hasattr(value, "matmat"):
        columns = np.random.default_rng(5).standard_normal((value.shape[1], 3))
        return {"": value.matmat(columns)}
    if callable(value):
        return {"": value(np.random.default_rng(5).standard_normal((3, *value.shape)))}
    return {"": value}


def assert_same_bits(one, other):
    found, expected = arrays(one), arrays(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


def assert_close(one, other, what=""):
    found, expected = arrays(one), arrays(other)
    assert found.keys() == expected.keys(), what
    for name, array in expected.items():
        np.testing.assert_allclose(
            found[name], array, rtol=1e-10, atol=1e-12, err_msg=f"{what} {name}", strict=True
        )
