"""The page of the docs, docs/reference/benchmarks.md: of one run, beside earlier ones."""

from __future__ import annotations

from pathlib import Path

from . import tables
from .plots import PLOTS, draw
from .processes import REST, THREADS, TURN, TURNS
from .results import Results, read

HERE = Path(__file__).parent
#: the runs whose numbers are kept, a file for each day
RUNS = HERE / "runs"
DOCS = HERE.parent.parent / "docs"
#: group -> the file of its picture
PICTURES = {"curvature": "overhead.svg", "scaling": "scaling.svg"}

PAGE = """---
hide:
  - toc
---

# Benchmarks

Measured on {date}, in one run: {environment}.

## Quantities of networks

{times}

{summary}

Times are of one step: the network's forward pass, cross-entropy and the backward sweep with that
one quantity. The peer is PyTorch for `grad` and PyTorch with BackPACK for the others. A ratio
below 1 means that trace-net is faster; means are geometric, over the cells that both have. Data
are random, float32, the same for both. For each cell both have a process of their own with
{threads} threads and take turns: one to warm up, then {turns}, each of one run or of as many as
fit into {turn:g} seconds, after a rest of {rest:g} seconds, in which the threads that the other
library's linear algebra leaves spinning come to a halt. The shortest run counts. A library that
does not end its first two turns within {limit:g} s is said to be over it; `grad_batch` of 2c2d,
whose first run waits for the system to hand over 1.8 GB, may be given longer. The networks are
those of DeepOBS, with batches of 128 for the first two, 64 for 2c2d and 3c3d, and 16 with 100
classes for All-CNN-C; a small VGG of four convolutions with tanh, 32 images; recurrent ones of 64
units, which take 64 sequences of 50 steps of 32 numbers and read out all steps at once, with the
quantities that the peer has; ResNet-18 with 64 images of 32 x 32; and a GPT of four blocks of width
256 with 8 texts of 128 symbols. Of the last two the peer has the gradient.

A floor is the time of what a quantity cannot avoid: the matrix products of the forward pass, of
the rows that go back (C - 1 of them where the quantity is exact in C classes) and of the
contraction with each weight, in the cheapest form that we know, and the writing of the result.
{rates}
These rates were measured in the same run. No elementwise work, pooling or rearranging is counted,
so a floor cannot be reached. The cheapest form may be one that neither library uses: Kronecker
factors, for one, are counted by half for their symmetry, and those of convolutions with stride 1
by the offsets between two entries of a window.

![Time of each quantity over that of the gradient, by network](../images/overhead.svg)

Each library's time is relative to its own `grad`, as in Dangel, Kunstner and Hennig (2020).

### Memory

{memory}

The peak resident size of the whole process, libraries included, and what the steps add to the
peak that there was when the library was imported and the model and data were made.

## Scaling

![Time against samples, rows, steps and layers, in logarithmic scales](../images/scaling.svg)

{scaling}

N are samples and V the outputs of an MLP with two hidden layers of 256 units; with N it has 10
classes and cross-entropy, with V squared error, which has V exact rows, and 32 samples. T are the
steps of an LSTM of 8 units, depth the layers of an MLP of 8 units, both with 32 samples and 10
classes. The exponent is that of the power law between the last two columns: 1 is linear.

## Growth with time

{growth}

An LSTM of 8 units takes 8 sequences of T steps of 4 numbers; the loss is on the last step. The
exponent p is that of `T^p` between the last two columns: 1 is linear. The Hessian's diagonal takes
whichever is cheaper of rows, whose cost grows with T^2, and products, whose cost grows with T.

## Training, recording, sweeping and drawing

{rows}

Recording and sweeping are per operation, on arrays of three elements, in a chain of 1,000
operations. NumPy is the same call on plain arrays; the other columns are totals and contain that
call, or the library's own. Each number is the shortest of several runs. The libraries take turns in
one process. The Jacobians are of a network of 20, 50 and 100 units at one sample. The Transformer
has 2 layers of width 128, 512 inside, with 4 heads, and takes 16 sequences of 64 positions. A step
of training is the forward pass, cross-entropy, the gradient and SGD's update in place; its networks
are those above. [Programs](../tutorials/programs.md) run with the same text on autograd, and are
timed in CPU seconds, on one thread. Those of
[models from PyTorch](../how-to/models-from-pytorch.md#what-it-costs) have a table there.

## From run to run

{runs}

The geometric mean of the ratios to the peer, over the quantities of a network: by NumPy, and after
a comma with compiled kernels. Numbers of every run are in `tests/benchmarks/runs`.

## What made it faster

{history}

Milliseconds, the shortest of several runs before and after the change, which took turns on the same
machine; where it says "processor", of both threads together, as other programs were running. Each
is beside the code that it is about, or in its history.

## On a GPU

Not yet measured: no machine with a GPU was at hand. This prints the table, of 2c2d, 3c3d and
All-CNN-C with 64 and 256 samples and of an LSTM, beside PyTorch with BackPACK on the same GPU, with
the share of the GPU's measured rate of matrix products that the gradient reaches:

```console
$ python -m tests.benchmarks --device cuda
```

[Devices](devices.md) says what was tested without one.

## Measuring again

The page, its pictures and the file of the run are made by

```console
$ python -m tests.benchmarks --write
```

with the peers installed by `pip install '.[benchmarks,plot]' torch` and `pip install --no-deps
backpack-for-pytorch unfoldNd`. Without `--write` the tables are printed, with `--json` the numbers,
which `--from` reads again. A peer that is not installed is marked so. Where variables decide which
kernels NumPy's linear algebra runs, a warning says how to measure without them. A part is measured
by its name:

```console
$ python -m tests.benchmarks recording sweep
$ python -m tests.benchmarks curvature --network 2c2d --quantity kfac
```
"""


def write(results: Results) -> None:
    """Keep a run, and make the page and its pictures of it."""
    RUNS.mkdir(exist_ok=True)
    (RUNS / f"{results.environment.date}.json").write_text(results.text() + "\n")
    (DOCS / "reference" / "benchmarks.md").write_text(page(results) + "\n")
    for group in PLOTS:
        draw(results, group, DOCS / "images" / PICTURES[group])


def page(results: Results) -> str:
    """The page with these results."""
    return PAGE.format(
        date=results.environment.date,
        environment=results.environment.text,
        times=tables.times_table(results.cells),
        summary=tables.summary(results.cells),
        rates=tables.rates_text(results),
        memory=tables.memory_table(results.cells),
        scaling=tables.growth_tables(results.scaling),
        growth=tables.growth_tables(results.growth),
        rows=tables.rows_table(tables.of_libraries(results)),
        history=tables.history_table(),
        runs=tables.runs_table(map(read, sorted(RUNS.glob("*.json")))),
        threads=THREADS,
        turns=TURNS,
        turn=TURN,
        rest=REST,
        limit=results.limit,
    ).rstrip()
