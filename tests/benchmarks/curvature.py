"""Quantities of common networks, forward and backward, beside PyTorch with BackPACK."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing.connection import Connection
from typing import Any

from .measure import Prepare, installed
from .networks import NETWORKS, Network

TURNS, TURN, THREADS = 5, 0.1, 2

#: quantity -> BackPACK's extension; the gradient alone needs none
QUANTITIES = {
    "grad": None,
    "grad_batch": "BatchGrad",
    "batch_l2": "BatchL2Grad",
    "sum_grad_squared": "SumGradSquared",
    "variance": "Variance",
    "diag_ggn_mc": "DiagGGNMC",
    "kfac": "KFAC",
    "kflr": "KFLR",
    "diag_ggn_exact": "DiagGGNExact",
    "diag_h": "DiagHessian",
}


@dataclass(frozen=True)
class Cell:
    """A quantity of a network: seconds of trace-net and of its peer, or why there are none."""

    network: str
    quantity: str
    ours: float | str
    peer: float | str

    @property
    def ratio(self) -> float | None:
        """Our time over the peer's: below one, we are faster."""
        if isinstance(self.ours, str) or isinstance(self.peer, str):
            return None
        return self.ours / self.peer


def cells(networks: Iterable[str], quantities: Iterable[str], limit: float) -> Iterator[Cell]:
    """Every quantity of every network; a library has `limit` seconds for each."""
    for network, quantity in product(networks, quantities):
        if quantity not in (NETWORKS[network].quantities or QUANTITIES):
            continue
        chosen = NETWORKS[network], quantity
        steps = {"ours": partial(our_step, *chosen)}
        needs_backpack = QUANTITIES[quantity] is not None
        if has_backpack() if needs_backpack else installed("PyTorch"):
            steps["peer"] = partial(peer_step, *chosen)
        yield Cell(network, quantity, **{"peer": "not installed", **in_turn(steps, limit)})


def mean_ratio(cells: Iterable[Cell]) -> float | None:
    """The geometric mean of the ratios that there are; None if there is none."""
    logarithms = [math.log(cell.ratio) for cell in cells if cell.ratio is not None]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def our_step(network: Network, quantity: str) -> Callable[[], Any]:
    """Forward and backward with trace-net."""
    import tracer
    import tracer_layers as nn

    model, (x, y) = network.build(nn), network.data()

    def step() -> Any:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        return tape.backward(loss, (quantity,))

    return step


def peer_step(network: Network, quantity: str) -> Callable[[], Any]:
    """Forward and backward with PyTorch, extended by BackPACK for all but the gradient."""
    import torch

    torch.set_num_threads(THREADS)
    x, y = map(torch.from_numpy, network.data())
    model, loss = network.build(torch.nn), torch.nn.CrossEntropyLoss()
    extension = QUANTITIES[quantity]
    if extension is None:

        def gradient() -> None:
            model.zero_grad()
            loss(model(x), y).backward()

        return gradient
    from backpack import backpack, extend, extensions

    warnings.simplefilter("ignore")  # its use of PyTorch's hooks warns at every layer
    model, loss = extend(model), extend(loss)

    def step() -> None:
        model.zero_grad()
        with backpack(getattr(extensions, extension)()):
            loss(model(x), y).backward()

    return step


def has_backpack() -> bool:
    """Whether BackPACK and the PyTorch that it extends are installed."""
    return installed("PyTorch") and importlib.util.find_spec("backpack") is not None


def in_turn(steps: dict[str, Prepare], limit: float) -> dict[str, float | str]:
    """The shortest time of each after a turn to warm up, in seconds, or why there is none.

    They take turns, so that what disturbs the machine disturbs all of them.
    """
    runners = {name: Runner(step, limit) for name, step in steps.items()}
    try:
        for turn in range(1 + TURNS):
            for runner in runners.values():
                runner.run(counts=turn > 0)
    finally:
        for runner in runners.values():
            runner.stop()
    return {name: runner.result for name, runner in runners.items()}


class Runner:
    """A step in a process of its own, run each time that it is asked, within `limit` seconds.

    What is measured neither inherits the memory and the threads of what ran before nor outlives
    its limit. `result` is the shortest time so far, or says why there is none.
    """

    def __init__(self, prepare: Prepare, limit: float):
        context = multiprocessing.get_context("spawn")
        self.limit = self.left = limit
        self.result: float | str = f"over {limit:g} s"
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(prepare, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, counts: bool) -> None:
        """One turn, which `counts` or warms up; nothing once the limit is reached."""
        start = time.monotonic()
        try:
            self._pipe.send(None)
            if self.left > 0 and self._pipe.poll(self.left):
                seconds = self._pipe.recv()
                if counts:
                    before = self.result
                    self.result = seconds if isinstance(before, str) else min(before, seconds)
                self.left -= time.monotonic() - start
            else:
                self.left = 0.0
        except (EOFError, OSError):
            self.left, self.result = 0.0, "failed"

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()


def _serve(prepare: Prepare, pipe: Connection) -> None:
    """Whenever asked, run a step for at least `TURN` seconds and answer with the shortest time.

    A single short run would pay for the caches and threads that the other process left cold.
    """
    step = prepare()
    while True:
        pipe.recv()
        begun, best = time.perf_counter(), math.inf
        while best == math.inf or time.perf_counter() - begun < TURN:
            start = time.perf_counter()
            kept = step()
            best = min(best, time.perf_counter() - start)
            del kept
        pipe.send(best)
