"""Trainings on the ranks of MPI: measured on this machine, and by a model of cost for more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: samples of a batch; KFLR has ten rows for each of them
SAMPLES = {"AdamW": 512, "KFAC": 256}
#: of the model of cost: bytes and messages that a rank sends in a second over a network of 10 Gbit
BANDWIDTH, LATENCY = 1.0e9, 30e-6


def run(ranks: int, name: str, samples: int, parts: int, counts: bool = False) -> dict[str, Any]:
    """What `rank.py` prints of steps on so many ranks."""
    found = shutil.which("mpirun", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        raise SystemExit("mpirun is not installed: pip install 'trace-net[mpi]'")
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    words = [found, *root, "--oversubscribe", "-n", str(ranks), sys.executable, "-m"]
    arguments = [name, str(samples), str(parts), "counts" if counts else "-"]
    done = subprocess.run(
        [*words, f"{__package__}.rank", *arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def measured() -> Iterator[list[str]]:
    """Lines: seconds of a step on one rank and on two, with the same batch and with twice it."""
    for name, samples in SAMPLES.items():
        one = run(1, name, samples, 2)["seconds"]
        two = run(2, name, samples, 2)["seconds"]
        twice = run(2, name, 2 * samples, 4)["seconds"]
        times = (f"{1e3 * each:.1f} ms" for each in (one, two, twice))
        yield [name, str(samples), *times, f"{one / two:.2f}", f"{100 * one / twice:.0f} %"]


def sent() -> Iterator[list[str]]:
    """Lines: messages and bytes that the first rank sends in a step, on two and on four ranks."""
    for name, samples in SAMPLES.items():
        for ranks in (2, 4):
            steps = run(ranks, name, samples, 4, counts=True)["sent"]
            least, most = min(steps, key=lambda s: s[1]), max(steps, key=lambda s: s[1])
            yield [name, str(ranks), str(most[0]), f"{least[1]:,}", f"{most[1]:,}"]


def model_of_cost(name: str = "AdamW", most: int = 64) -> Iterator[list[str]]:
    """Lines: seconds of a step of the same batch on more ranks, as the measured terms add up.

    t(R) = a / R + m LATENCY log2(R) + b(R) / BANDWIDTH, where a is the time of a step on one rank,
    m its collective messages, and b(R) the bytes of the gradient's states: each rank sends those of
    its parts to their owners, and what it owns to all, about `2 s (R - 1) / R` of the s bytes that
    there are with as many parts as ranks.
    """
    import math

    one = run(1, name, SAMPLES[name], 2)["seconds"]
    messages, sent_by_two = run(2, name, SAMPLES[name], 2, counts=True)["sent"][-1]
    state = sent_by_two  # on two ranks 2 s / 2
    ranks = 1
    while ranks <= most:
        waits = messages * LATENCY * math.log2(ranks) if ranks > 1 else 0.0
        moved = 2 * state * (ranks - 1) / ranks / BANDWIDTH
        total = one / ranks + waits + moved
        parts = (one / ranks, waits, moved, total)
        yield [str(ranks), *(f"{1e3 * each:.2f} ms" for each in parts), f"{one / total:.1f}"]
        ranks *= 2
