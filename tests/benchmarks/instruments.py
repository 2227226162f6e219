"""Steps of training with instruments beside the same steps without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import tracer
import tracer_experiments as experiments
import tracer_layers as nn
import tracer_training as training

from .measure import Goal, Row
from .networks import NETWORKS, Network
from .processes import in_turn

LIMIT = 60.0
MEASURED = {
    "3c3d, N=64": replace(NETWORKS["3c3d"], samples=64),
    "MLP, N=128": replace(NETWORKS["mlp"], samples=128),
}
#: preset -> times that training without may take, at every step and at every 16th
GOALS = {"economy": (1.4, 1.05), "business": (2.2, 1.1), "full": (15.0, 1.9)}


def rows() -> Iterator[Row]:
    """A row for each network, preset and interval; with and without take turns."""
    for name, network in MEASURED.items():
        for every, at in ((1, 0), (16, 1)):
            runs = {preset: partial(steps, network, preset, every) for preset in GOALS}
            runs["without"] = partial(steps, network, None, every)
            took = in_turn(runs, LIMIT)
            without = took["without"].seconds
            for preset, goals in GOALS.items():
                seconds = {"trace-net": took[preset].seconds}
                goal: tuple[Goal, ...] = ()
                if not isinstance(without, str):
                    text = f"{goals[at]} of {1e3 * without:.1f} ms without"
                    goal = (Goal(goals[at] * without, text),)
                how = "every step" if every == 1 else f"every {every}th"
                yield Row(f"{preset}, {how}, {name}, {every} steps", 1e-3, seconds, goal)


def steps(network: Network, preset: str | None, every: int) -> Callable[[], None]:
    """As many steps of SGD as lie between two that are measured, with one of those amid them.

    The first ones follow a rest, in which other processes had the caches.
    """
    tracer.seed(0)
    model, (x, y) = network.build(nn), network.data()
    optimizer = training.SGD(model.named_parameters(), lr=1e-3)
    instruments = None if preset is None else experiments.Instruments(preset, every)
    step = every // 2

    def run() -> None:
        nonlocal step
        for _ in range(every):
            with tracer.Tape() as tape:
                loss = nn.cross_entropy(model(x), y)
            asked = () if instruments is None else instruments.quantities(step)
            results = tape.backward(loss, (*optimizer.quantities, *asked))
            if instruments is not None:
                instruments.measure(step, results, loss=loss, model=model, optimizer=optimizer)
            optimizer.step(results)
            step += 1

    return run
