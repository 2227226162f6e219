"""Quantities of common networks, forward and backward, beside PyTorch with BackPACK."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product
from typing import Any

from .floors import HEAVY, Rates, work
from .measure import installed
from .networks import NETWORKS, Network
from .processes import THREADS, Memory, Taken, in_turn

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

#: network -> what the gradient's time may be of the peer's at most, by NumPy alone and compiled
GOALS = {
    "logreg": (1.0, 1.0),
    "mlp": (0.6, 0.55),
    "2c2d": (1.05, 0.7),
    "3c3d": (0.95, 0.65),
    "vgg": (1.4, 0.7),
    "rnn": (0.5, 0.4),
    "lstm": (1.6, 0.65),
    "resnet-18": (1.6, 0.9),
    "gpt": (0.7, 0.7),
}


@dataclass(frozen=True)
class Cell:
    """A quantity of a network: seconds of trace-net and of its peer, or why there are none.

    `ours` is by NumPy alone, `compiled` with compiled kernels, None where they were not tried.
    `floor` is what it cannot take less than, in seconds, where that is counted.
    """

    network: str
    quantity: str
    ours: float | str
    peer: float | str
    compiled: float | str | None = field(default=None, kw_only=True)
    floor: float | None = field(default=None, kw_only=True)
    our_memory: Memory | None = field(default=None, kw_only=True)
    peer_memory: Memory | None = field(default=None, kw_only=True)

    @property
    def ratio(self) -> float | None:
        """Our time over the peer's: below one, we are faster."""
        return _over(self.ours, self.peer)

    @property
    def compiled_ratio(self) -> float | None:
        """The same with compiled kernels."""
        return _over(self.compiled, self.peer)

    @property
    def above_floor(self) -> float | None:
        """Our time over the floor's."""
        return _over(self.ours, self.floor)

    @property
    def memory_ratio(self) -> float | None:
        """Our peak resident size over the peer's."""
        if self.our_memory is None or self.peer_memory is None:
            return None
        return self.our_memory.peak / self.peer_memory.peak

    @property
    def growth_ratio(self) -> float | None:
        """What our steps add to the peak, over what the peer's add."""
        if self.our_memory is None or self.peer_memory is None or not self.peer_memory.growth:
            return None
        return self.our_memory.growth / self.peer_memory.growth


def _over(time: float | str | None, other: float | str | None) -> float | None:
    """A ratio of two times; None where one is missing."""
    if time is None or other is None or isinstance(time, str) or isinstance(other, str):
        return None
    return time / other


def cells(
    networks: Iterable[str], quantities: Iterable[str], limit: float, rates: Rates
) -> Iterator[Cell]:
    """Every quantity of every network; a library has `limit` seconds for each."""
    for network, quantity in product(networks, quantities):
        if quantity not in (NETWORKS[network].quantities or QUANTITIES):
            continue
        chosen = NETWORKS[network], quantity
        steps = {"ours": partial(our_step, *chosen)}
        if has_kernels():
            steps["compiled"] = partial(our_step, *chosen, kernels=True)
        needs_backpack = QUANTITIES[quantity] is not None
        lacks = quantity not in (NETWORKS[network].of_peer or QUANTITIES)
        if not lacks and (has_backpack() if needs_backpack else installed("PyTorch")):
            steps["peer"] = partial(peer_step, *chosen)
        missing = Taken("has none" if lacks else "not installed")
        took = {"peer": missing, **in_turn(steps, limit)}
        yield Cell(
            *(network, quantity, took["ours"].seconds, took["peer"].seconds),
            compiled=took["compiled"].seconds if "compiled" in took else None,
            floor=work(network, quantity).seconds(rates) if network in HEAVY else None,
            our_memory=took["ours"].memory,
            peer_memory=took["peer"].memory,
        )


def mean_ratio(cells: Iterable[Cell]) -> float | None:
    """The geometric mean of the ratios of time that there are; None if there is none."""
    return mean(cell.ratio for cell in cells)


def mean(ratios: Iterable[float | None]) -> float | None:
    """The geometric mean of the positive ratios that there are; None if there is none."""
    logarithms = [math.log(ratio) for ratio in ratios if ratio]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


@cache
def has_kernels() -> bool:
    """Whether there are compiled kernels to be measured: whether they run, in another process."""
    ask = """
from tracer import registry
from tracer.extend import Compiled, compiled
registry.load_plugins()
print(type(compiled()) is not Compiled)
"""
    told = subprocess.run(
        [sys.executable, "-c", ask],
        env=os.environ | {"TRACER_NATIVE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return told.stdout.strip() == "True"


def our_step(network: Network, quantity: str, kernels: bool = False) -> Callable[[], Any]:
    """Forward and backward with trace-net, with compiled kernels or by NumPy alone.

    Kernels are a process's own choice, so that it has to be one in which nothing was traced.
    """
    os.environ["TRACER_NATIVE"] = str(int(kernels))
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
