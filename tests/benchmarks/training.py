"""Steps of training: forward, loss, gradient and an update in place, beside PyTorch's SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import tracer
import tracer_layers as nn

from . import transformer
from .measure import Row, at_most, installed
from .networks import NETWORKS, Network
from .processes import THREADS, in_turn

#: so small that no run of many steps leaves the numbers that it started with
LEARNING_RATE, LIMIT = 1e-6, 60.0

TRAINED = {
    **{name: NETWORKS[name] for name in ("mlp", "2c2d", "lstm")},
    "Transformer": Network(
        transformer.network,
        transformer.SAMPLES,
        (transformer.LENGTH, transformer.WIDTH),
        transformer.CLASSES,
    ),
}


def rows() -> Iterator[Row]:
    """A row per network; both libraries have processes of their own, which take turns."""
    for name, network in TRAINED.items():
        steps = {"trace-net": partial(our_step, network)}
        if installed("PyTorch"):
            steps["PyTorch"] = partial(torch_step, network)
        took = in_turn(steps, LIMIT)
        seconds = {"PyTorch": "not installed"} | {key: each.seconds for key, each in took.items()}
        goals = at_most(1.0, seconds["PyTorch"], "PyTorch")
        yield Row(f"a step of training, {name}", 1e-3, seconds, goals)


def our_step(network: Network) -> Callable[[], None]:
    """A step of ours; it changes the model's arrays."""
    model, (x, y) = network.build(nn), network.data()
    parameters = dict(model.named_parameters())

    def step() -> None:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        gradient = tape.backward(loss)["grad"]
        for name, parameter in parameters.items():
            gradient[name] *= LEARNING_RATE
            parameter.data -= gradient[name]

    return step


def torch_step(network: Network) -> Callable[[], None]:
    """The same step in PyTorch."""
    import torch

    torch.set_num_threads(THREADS)
    model, (x, y) = network.build(torch.nn), map(torch.from_numpy, network.data())
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

    return step
