"""The hooks that a plugin may implement, called through pluggy (project name `tracer`).

A plugin is a module named by an entry point of the group `tracer`. It implements any of these
functions and marks them with `@tracer.hookimpl`. Registering hooks run once, when plugins load;
the others run at the beginning and the end of a trace or of a sweep. None runs per operation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pluggy

from tracer.curvature.quantity import Value

if TYPE_CHECKING:
    from tracer.api.tape import Tape
    from tracer.arrays.backend import Backend
    from tracer.arrays.compiled import Compiled
    from tracer.curvature.quantity import Quantity
    from tracer.curvature.rows import Rows
    from tracer.extensions import Command, Overlay, Renderer
    from tracer.folds import Fold
    from tracer.imports import ImportedOperator, Importer
    from tracer.record.operation import Operation
    from tracer.record.tensor import Tensor
    from tracer.trainings import Sampler, Team, Tracker
    from tracer.watching import Instrument, Sink

hookspec = pluggy.HookspecMarker("tracer")
#: the decorator of a plugin's functions that are hooks; it takes pluggy's options, as `tryfirst`
hookimpl = pluggy.HookimplMarker("tracer")


@hookspec
def register_operations() -> Iterable[Operation]:
    """Operations with their rules, as made by `@tracer.operation`."""


@hookspec
def register_quantities() -> Iterable[type[Quantity]]:
    """Quantities that `Tape.backward` computes: subclasses of `tracer.Quantity`."""


@hookspec
def register_rows() -> Iterable[Rows]:
    """Kinds of rows that quantities propagate: instances of `tracer.Rows`."""


@hookspec
def register_backends() -> Iterable[Backend]:
    """Array libraries besides NumPy: instances of `tracer.Backend`."""


@hookspec
def register_kernels() -> Iterable[Compiled]:
    """Compiled kernels for NumPy's arrays: instances of `tracer.extend.Compiled`."""


@hookspec
def register_renderers() -> Iterable[Renderer]:
    """Formats that a graph is drawn in: instances of `tracer.Renderer`."""


@hookspec
def register_overlays() -> Iterable[Overlay]:
    """Values that colour the nodes of a drawn graph: instances of `tracer.Overlay`."""


@hookspec
def register_commands() -> Iterable[Command]:
    """Subcommands of `trace-net`: instances of `tracer.Command`."""


@hookspec
def register_instruments() -> Iterable[type[Instrument]]:
    """What is measured in trainings: subclasses of `tracer.extend.Instrument`."""


@hookspec
def register_sinks() -> Iterable[type[Sink]]:
    """Where recorded runs are written to: subclasses of `tracer.extend.Sink`."""


@hookspec
def register_trackers() -> Iterable[Tracker]:
    """What `trace-net train` is kept by: instances of `tracer.extend.Tracker`."""


@hookspec
def register_samplers() -> Iterable[type[Sampler]]:
    """What chooses the settings of a sweep: subclasses of `tracer.extend.Sampler`."""


@hookspec
def register_teams() -> Iterable[Team]:
    """Processes that train together: instances of `tracer.extend.Team`."""


@hookspec
def register_folds() -> Iterable[Fold]:
    """What computes quantities of a data set in parts: instances of `tracer.extend.Fold`."""


@hookspec
def register_imports() -> Iterable[ImportedOperator]:
    """Operators of imported programs: instances of `tracer.extend.ImportedOperator`."""


@hookspec
def register_importers() -> Iterable[Importer]:
    """What opens models of other libraries: instances of `tracer.extend.Importer`."""


@hookspec
def begin_trace(tape: Tape) -> None:
    """A `with tracer.Tape()` block begins, or `tracer.grad` or another records a function."""


@hookspec
def end_trace(tape: Tape) -> None:
    """The block or the recorded function ends, with or without an error."""


@hookspec
def begin_sweep(tape: Tape, loss: Tensor | None) -> None:
    """`Tape.backward` begins, or a derivative of a function or a product with a matrix.

    `loss` is what the gradient is of; None where that is not one number.
    """


@hookspec
def end_sweep(tape: Tape, results: Mapping[str, Mapping[str, Value]]) -> None:
    """The sweep ends, with its results by quantity and parameter.

    Those of functions are by `grad`, `vjp`, `jvp` or `jacobian` and argument, as `"argument 0"`;
    those of products by `hessian_product` or `ggn_product` and parameter, stacks `[V, *p.shape]`.
    """


@hookspec
def begin_run(run: object) -> None:
    """`tracer_training.fit` begins; `run` is what its callbacks see, `tracer_training.Run`."""


@hookspec
def end_run(run: object) -> None:
    """It ends, with or without an error."""


@hookspec
def begin_epoch(run: object) -> None:
    """An epoch of it begins."""


@hookspec
def end_epoch(run: object) -> None:
    """An epoch ends; `run.history[-1]` is its record."""


@hookspec
def end_step(run: object) -> None:
    """A step was taken: `run.step` of them, with `run.results`. Called where a plugin has it."""
