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
from multiprocessing.connection import Connection
from typing import Any

from .measure import installed
from .networks import NETWORKS, Network

RUNS, THREADS = 5, 2

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
    """Every quantity of every network, each library in a process of its own."""
    quantities = list(quantities)
    for network in networks:
        for quantity in quantities:
            yield Cell(
                network,
                quantity,
                isolated(our_step, network, quantity, limit),
                isolated(peer_step, network, quantity, limit),
            )


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


def isolated(prepare: Any, network: str, quantity: str, limit: float) -> float | str:
    """The shortest of `RUNS` times after a warm-up, in seconds, or why there is none.

    What is measured runs in a process of its own: it neither inherits the memory and the threads of
    what ran before nor outlives the limit in seconds, after which a started repetition is left out.
    """
    if prepare is peer_step and not (
        has_backpack() if QUANTITIES[quantity] else installed("PyTorch")
    ):
        return "not installed"
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    step = partial(prepare, NETWORKS[network], quantity)
    process = context.Process(target=_measure, args=(step, sender), daemon=True)
    process.start()
    sender.close()
    best, deadline = math.inf, time.monotonic() + limit
    try:
        while receiver.poll(max(0.0, deadline - time.monotonic())):
            best = min(best, receiver.recv())
    except EOFError:
        return best if best < math.inf else "failed"
    finally:
        process.kill()
        process.join()
    return best if best < math.inf else f"over {limit:g} s"


def _measure(prepare: Callable[[], Callable[[], Any]], sender: Connection) -> None:
    """Send the time of every run but the first."""
    step = prepare()
    step()
    for _ in range(RUNS):
        start = time.perf_counter()
        kept = step()
        sender.send(time.perf_counter() - start)
        del kept
