"""Steps of optimisers beside PyTorch's, and what `fit` costs beside the same steps by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import tracer
import tracer_layers as nn
import tracer_training as training

from .measure import Row, at_most, installed
from .networks import NETWORKS
from .processes import THREADS, in_turn

LIMIT = 60.0
#: shapes of parameters: those of the MLP, and those of twenty blocks with a width of 64
SHAPES = {
    "an MLP": [(1000, 784), (1000,), (500, 1000), (500,), (100, 500), (100,), (10, 100), (10,)],
    "160 small parameters": [(64, 64), (64,), (256, 64), (256,), (64, 256), (64,), (64,), (64,)]
    * 20,
}
#: steps of an epoch of `fit`
STEPS = 20


def rows() -> Iterator[Row]:
    """A row for each set of parameters, and one for `fit`; processes take turns."""
    for name, shapes in SHAPES.items():
        steps = {"trace-net": partial(our_step, shapes)}
        if installed("PyTorch"):
            steps["PyTorch"] = partial(torch_step, shapes)
        took = in_turn(steps, LIMIT)
        seconds = {"PyTorch": "not installed"} | {key: each.seconds for key, each in took.items()}
        yield Row(f"AdamW, {name}", 1e-3, seconds, at_most(1.5, seconds["PyTorch"], "PyTorch"))
    took = in_turn({"trace-net": by_fit, "by hand": by_hand}, LIMIT)
    goals = at_most(1.05, took["by hand"].seconds, "the same steps by hand")
    seconds = {"trace-net": took["trace-net"].seconds}
    yield Row(f"`fit`, {STEPS} steps of the MLP, N=128", 1e-3, seconds, goals)


def values(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def our_step(shapes: list[tuple[int, ...]]) -> Callable[[], None]:
    """A step of ours, with a gradient for each parameter."""
    parameters = [(str(i), tracer.parameter(v)) for i, v in enumerate(values(shapes))]
    results = {"grad": {str(i): v for i, v in enumerate(values(shapes))}}
    return partial(training.AdamW(parameters).step, results)


def torch_step(shapes: list[tuple[int, ...]]) -> Callable[[], object]:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(THREADS)
    parameters = [torch.tensor(v, requires_grad=True) for v in values(shapes)]
    for parameter in parameters:
        parameter.grad = parameter.detach().clone()
    return torch.optim.AdamW(parameters).step


def setting() -> tuple[nn.Module, training.AdamW, list[tuple[np.ndarray, np.ndarray]]]:
    """The MLP, its optimiser, and batches."""
    network = NETWORKS["mlp"]
    model = network.build(nn)
    return model, training.AdamW(model.parameters(), lr=1e-6), [network.data()] * STEPS


def by_fit() -> Callable[[], object]:
    """An epoch of `fit`."""
    model, optimizer, batches = setting()
    return lambda: training.fit(
        model, nn.cross_entropy, batches, optimizer=optimizer, epochs=1, progress=False
    )


def by_hand() -> Callable[[], object]:
    """The same steps in a loop."""
    model, optimizer, batches = setting()

    def epoch() -> None:
        for x, y in batches:
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            optimizer.step(tape.backward(loss, optimizer.quantities))

    return epoch
