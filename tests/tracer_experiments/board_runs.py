"""Databases of runs for the tests of the board, small ones and large ones."""

from __future__ import annotations

import sqlite3

import numpy as np

import tracer
import tracer_layers as nn
from tracer_experiments import Chart, Histogram, Recorder

#: instruments as they describe themselves, in the words of a cockpit
CHARTS = {
    "Loss": Chart("Mini-batch loss", "training", about="The loss of each batch."),
    "Alpha": Chart("Step length", "step", lines=((0, "minimum along the step"),),
                   about="-1 is the start, 0 the minimum along the step, 1 the opposite wall."),
    "Distance": Chart("Distance from the start", "step"),
    "GradNorm": Chart("Gradient norm", "gradients", scale="log"),
    "NormTest": Chart("Norm test", "gradients", scale="log", lines=((1, "noise as signal"),)),
    "HessTrace": Chart("Trace of the Hessian", "curvature", scale="symlog"),
    "HessMaxEV": Chart("Largest eigenvalue", "curvature", scale="log"),
    "GradHist1d": Chart("Elements of the gradient", "histograms", "histogram"),
    "GradHist2d": Chart("Gradients and parameters", "histograms", "histogram2d"),
}  # fmt: skip


def network(width=6):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(),
                         nn.Linear(width, 3))  # fmt: skip


def tape_of(model):
    with tracer.Tape() as tape:
        loss = (model(np.ones((5, 4), np.float32)) ** 2).mean()
    tape.backward(loss)
    return tape


def record(recorder, number, *, steps=200, name=None, group="", width=6, config=None):
    """A run of a made-up training that has something of every kind; it is not finished."""
    rng = np.random.default_rng(number)
    lr = [0.3, 0.1, 0.03][number % 3]
    config = {"lr": lr, "optimizer": ["sgd", "adam"][number % 2], "model": {"width": width}} | (
        config or {}
    )
    run = recorder.run(name or f"run-{number}", config, group=group, seed=number)
    for series, chart in CHARTS.items():
        run.describe(series, chart)
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    for step in range(steps):
        at, noise = step / steps, rng.standard_normal(8)
        loss = 2.3 * np.exp(-4 * at * (0.5 + lr * 4)) + 0.1 + 0.05 * abs(noise[0])
        run.log(
            step, epoch=step / 50, Loss=loss, accuracy=1 - loss / 2.6,
            Alpha=0.4 * noise[1] - 0.3 + at, Distance=np.sqrt(step) * lr,
            GradNorm=np.exp(-3 * at + 0.3 * noise[2]), NormTest=np.exp(2 * at + 0.4 * noise[3]) / 3,
            HessTrace=30 * np.exp(-2 * at) * noise[4], HessMaxEV=8 + 20 * at + noise[5],
        )  # fmt: skip
        layers = {f"GradNorm/{n}": np.exp(-3 * at - 0.6 * i + 0.2 * noise[6])
                  for i, n in enumerate(names)}  # fmt: skip
        run.log(step, **layers)
        if step % 10 == 0:
            elements = rng.standard_normal(2000) * np.exp(-2 * at) * 0.8
            run.log(step, GradHist1d=Histogram.of(elements, 100, (-2, 2)))
            run.log(step, **{"GradHist1d/0.weight": Histogram.of(elements[:99], 20, (-1, 1))})
            parameters = elements * 0.4 + rng.standard_normal(2000) * 0.5
            counts, *edges = np.histogram2d(
                elements, parameters, bins=(40, 50), range=((-1, 1), (-2, 2))
            )
            run.log(step, GradHist2d=Histogram(counts, tuple(edges)))
        if step % 50 == 0:
            run.image("filters", np.clip(rng.random((12, 12, 3)) * 0.4 + at, 0, 1), step)
    run.graph(tape_of(network(width)))
    return run


def some(path, count=6, **how):
    """A database of a few finished runs in groups, one that failed and one that goes on."""
    recorder = Recorder(path)
    for number in range(count):
        group, width = ("base", 6) if number % 2 else ("wide", 8)
        run = record(recorder, number, group=group, width=width, **how)
        run.finish(*(("failed", "ValueError: no luck") if number == 2 else ("finished",)))
    return recorder


#: of many runs, as many are recorded, and copied in the database
DIFFERENT = 20
COPY = """
INSERT INTO runs SELECT :new, 'run-' || :new, sweep, status, error, begun, seen, ended, config,
    environment FROM runs WHERE id = :old;
INSERT INTO series SELECT NULL, :new, name, kind, chart, count, last_step, last FROM series
    WHERE run = :old;
INSERT INTO blocks SELECT NULL, copy.id, number, blocks.count, steps, times, numbers FROM blocks
    JOIN series AS kept ON kept.id = blocks.series
    JOIN series AS copy ON copy.run = :new AND copy.name = kept.name WHERE kept.run = :old
"""


def many(path, runs=1000, points=10_000):
    """A database of many long runs."""
    rng = np.random.default_rng(0)
    with Recorder(path) as recorder:
        for number in range(DIFFERENT):
            config = {"lr": float(rng.random()), "depth": number % 7}
            run = recorder.run(f"run-{number + 1}", config, seed=0)
            noise = rng.standard_normal(points) * 0.05
            loss = np.exp(-np.arange(points) / (500 + 250 * number)) + noise
            for step, value in enumerate(loss.tolist()):
                run.log(step, loss=value)
            run.finish()
        file = recorder.path
    connection = sqlite3.connect(file)
    with connection:
        for number in range(DIFFERENT, runs):
            for statement in COPY.split(";"):
                old = number % DIFFERENT + 1
                connection.execute(statement, {"old": old, "new": number + 1})
    connection.close()
