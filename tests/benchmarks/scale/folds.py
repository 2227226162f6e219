"""Folds in worker processes: two against one, what a fold adds to a plain loop, and its memory."""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.connection
import pickle
import time
from collections.abc import Iterator

import tracer
import tracer_layers as nn
import tracer_scale as scale
import tracer_training as training
from tracer.extend import on_this_thread
from tracer_scale.quantities import resolved
from tracer_scale.work import Part, Work

from ..processes import peak_resident
from .networks import Images, Rows, network, small

#: quantity -> samples of a shard, so that one takes some tenths of a second
SHARDS = {"grad": 2048, "kflr": 480, "diag_ggn_exact": 480}
#: shards of a fold, and how often each number of workers has its turn
COUNT, TURNS = 12, 2


def workers() -> Iterator[list[str]]:
    """Lines: seconds a shard of one worker, and of two with the same data and with twice it."""
    for quantity, samples in SHARDS.items():
        best = {(1, COUNT): math.inf, (2, COUNT): math.inf, (2, 2 * COUNT): math.inf}
        for _ in range(TURNS):
            for workers, count in best:
                seconds = seconds_a_shard(quantity, samples, workers, count)
                best[workers, count] = min(best[workers, count], seconds)
        one, strong, weak = best.values()
        times = (f"{each:.3f} s" for each in (one, strong, weak))
        yield [quantity, str(samples), *times, f"{one / strong:.2f}", f"{50 * one / weak:.0f} %"]


def seconds_a_shard(quantity: str, samples: int, workers: int, count: int) -> float:
    """Of a fold in processes, from when each of them has done its first shard."""
    arrived: list[float] = []
    scale.fold(
        network(),
        nn.cross_entropy,
        scale.Shards(Images(samples), count),
        quantity,
        workers=workers,
        progress=lambda done, total, text: arrived.append(time.perf_counter()),
    )
    first = workers - 1
    return (arrived[-1] - arrived[first]) / (len(arrived) - 1 - first)


def bytes_a_shard() -> Iterator[list[str]]:
    """Lines: what comes back of a shard of 96 samples, pickled."""
    for quantity in ("grad", "diag_ggn_exact", "variance", "kfac", "kflr", "batch_l2"):
        shards = scale.Shards(Images(96), 1)
        part = Work(network(), nn.cross_entropy, shards, resolved(quantity)).part(0)
        assert isinstance(part, Part)
        yield [quantity, f"{len(pickle.dumps(part)):,}"]


def overhead() -> tuple[float, float]:
    """Seconds of a plain loop over shards of about a second, and of a fold of them here."""
    samples, count = 8000, 3
    shards, model = scale.Shards(Images(samples), count), network()

    def plain() -> object:
        total = training.Accumulated(("grad",))
        with on_this_thread():
            for i in range(count):
                x, y = shards[i]
                with tracer.Tape() as tape:
                    loss = nn.cross_entropy(model(x), y)
                total.add(tape.backward(loss, total.quantities), samples=len(x))
        return total.results()

    def folded() -> object:
        return scale.fold(model, nn.cross_entropy, shards, "grad", engine="here")

    best = [math.inf, math.inf]
    for _ in range(3):
        for place, run in enumerate((plain, folded)):
            begun = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - begun)
    return best[0], best[1]


def memory() -> int | None:
    """Peak resident bytes of a driver that folds 10,000 shards of the small network."""
    pipe, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_driver, args=(theirs,))
    process.start()
    found = pipe.recv()
    process.join()
    return found


def _driver(pipe: multiprocessing.connection.Connection) -> None:
    shards = scale.Shards(Rows(), 10_000)
    scale.fold(small(), nn.cross_entropy, shards, ("grad", "kflr", "variance"), workers=2)
    pipe.send(peak_resident())
