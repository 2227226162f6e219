"""Quantities of networks on a GPU, forward and backward, beside PyTorch with BackPACK on the same.

Each library has a process of its own for each cell. A step is timed between two events on the
device's stream, which counts the gaps in which the device waits for the host's launches, too.
"""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from .curvature import QUANTITIES, has_backpack, mean_ratio
from .curvature import Cell as Times
from .measure import installed
from .networks import NETWORKS, Network

WARM_UP, RUNS, LIMIT = 10, 30, 300.0
SIZES = {"2c2d": (64, 256), "3c3d": (64, 256), "all-cnn-c": (64, 256), "lstm": (64,)}

#: the most that our time may be of the peer's, as a geometric mean over all cells of a kind
GOALS = {"grad": 1.5, "quantities": 0.7}

MATRIX = 8192

HEADER = ("network", "samples", "quantity", "trace-net, ms", "peer, ms", "ratio", "share")


@dataclass(frozen=True)
class Cell(Times):
    """The times of a cell, and its samples and floating-point operations if they are counted."""

    samples: int = 0
    operations: int | None = None


def cells() -> Iterator[Cell]:
    """Every quantity of every network and number of samples."""
    for name, sizes in SIZES.items():
        for samples in sizes:
            network = replace(NETWORKS[name], samples=samples)
            for quantity in NETWORKS[name].quantities or QUANTITIES:
                ours = alone(partial(our_time, network, quantity))
                yield Cell(
                    *(name, quantity, ours, peer(network, quantity), samples),
                    operations=alone(partial(operations, network)) if quantity == "grad" else None,
                )


def peer(network: Network, quantity: str) -> float | str:
    """Seconds of the peer's step, or why there are none."""
    if not (installed("PyTorch") if QUANTITIES[quantity] is None else has_backpack()):
        return "not installed"
    return alone(partial(peer_time, network, quantity))


def alone(measure: Callable[[], Any]) -> Any:
    """What a function returns in a process of its own, or that it failed."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            return pool.apply_async(measure).get(LIMIT)
        except multiprocessing.TimeoutError:
            return f"over {LIMIT:g} s"
        except Exception as error:  # the peer's errors, of memory among them, are of many types
            return f"failed: {type(error).__name__}"


# -- our side -----------------------------------------------------------------------------------


def our_time(network: Network, quantity: str) -> float:
    """The median time of a step of ours, in seconds."""
    import cupy

    return median(our_step(network, quantity), cupy.cuda.Event, cupy.cuda.get_elapsed_time)


def our_step(network: Network, quantity: str, device: str = "cuda") -> Callable[[], Any]:
    """Forward and backward with trace-net."""
    import tracer
    import tracer_layers as nn

    model, (x, y) = network.build(nn).to(device), tracer.to_device(network.data(), device)

    def step() -> Any:
        with tracer.Tape() as tape:
            loss = nn.cross_entropy(model(x), y)
        return tape.backward(loss, (quantity,))

    return step


def operations(network: Network) -> int:
    """Floating-point operations of a gradient: three times those of the forward pass."""
    import tracer
    import tracer_layers as nn

    model, (x, y) = network.build(nn), network.data()
    with tracer.Tape() as tape:
        nn.cross_entropy(model(x), y)
    return 3 * sum(node.op.flops(node) for node in tape.recorded() if node.op.flops)


def product_rate() -> float:
    """Floating-point operations a second of a product of two large matrices in float32."""
    import cupy

    a = cupy.random.default_rng(0).standard_normal((MATRIX, MATRIX), dtype="float32")
    seconds = median(lambda: a @ a, cupy.cuda.Event, cupy.cuda.get_elapsed_time)
    return 2 * MATRIX**3 / seconds


def chip() -> str:
    """The name of the GPU."""
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()


# -- the peer's ---------------------------------------------------------------------------------


def peer_time(network: Network, quantity: str) -> float:
    """The median time of a step of PyTorch's, in seconds; in float32, as ours."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    event = partial(torch.cuda.Event, enable_timing=True)
    step = peer_step(network, quantity)
    return median(step, event, lambda start, stop: start.elapsed_time(stop))


def peer_step(network: Network, quantity: str, device: str = "cuda") -> Callable[[], Any]:
    """Forward and backward with PyTorch, extended by BackPACK for all but the gradient."""
    import torch

    x, y = (torch.from_numpy(array).to(device) for array in network.data())
    model, loss = network.build(torch.nn).to(device), torch.nn.CrossEntropyLoss()
    extension = QUANTITIES[quantity]
    if extension is None:

        def gradient() -> None:
            model.zero_grad()
            loss(model(x), y).backward()

        return gradient
    import warnings

    from backpack import backpack, extend, extensions

    warnings.simplefilter("ignore")  # its use of PyTorch's hooks warns at every layer
    model, loss = extend(model), extend(loss)

    def step() -> None:
        model.zero_grad()
        with backpack(getattr(extensions, extension)()):
            loss(model(x), y).backward()

    return step


# -- times and text -----------------------------------------------------------------------------


def median(
    step: Callable[[], Any], event: Callable[[], Any], between: Callable[[Any, Any], float]
) -> float:
    """The median time of a step after some to warm up, in seconds; `between` gives milliseconds."""
    times = []
    for run in range(WARM_UP + RUNS):
        start, stop = event(), event()
        start.record()
        kept = step()
        stop.record()
        stop.synchronize()
        del kept
        if run >= WARM_UP:
            times.append(between(start, stop) / 1e3)
    return statistics.median(times)


def lines(measured: list[Cell], rate: float) -> list[tuple[str, ...]]:
    """A line per cell, and the geometric means beside their goals."""
    found = [line(cell, rate) for cell in measured]
    for kind, goal in GOALS.items():
        of_kind = [cell for cell in measured if (cell.quantity == "grad") == (kind == "grad")]
        mean = mean_ratio(of_kind)
        text = "none" if mean is None else f"{mean:.2f}"
        found.append((f"**mean of {kind}**", "", "", "", "", f"**{text}**", f"goal {goal}"))
    return found


def line(cell: Cell, rate: float) -> tuple[str, ...]:
    """The cells of one line; a share is that of the rate of matrix products."""
    times = (t if isinstance(t, str) else f"{t * 1e3:.2f}" for t in (cell.ours, cell.peer))
    ratio = "" if cell.ratio is None else f"{cell.ratio:.2f}"
    share = ""
    if isinstance(cell.operations, int) and isinstance(cell.ours, float):
        share = f"{cell.operations / cell.ours / rate:.0%}"
    return cell.network, str(cell.samples), f"`{cell.quantity}`", *times, ratio, share
