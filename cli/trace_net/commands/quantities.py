"""`trace-net quantities`: computes quantities of every parameter in one sweep."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trace_net import options, report, streams, write
from trace_net.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from trace_net.describe import Row

NAMES = ("quantity", "parameter", "part", "shape")
SPECTRUM = (">trace", ">largest", ">smallest", ">rank", ">condition")

#: Kinds of rows -> title and columns of their table.
TABLES: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {
    ("array",): ("arrays", (*NAMES, ">norm", ">min", ">max", ">mean")),
    ("factor", "block"): (
        "Kronecker products, with their eigenvalues of largest and smallest magnitude",
        (*NAMES, ">norm", *SPECTRUM),
    ),
    ("operator",): (
        "operators over all parameters: matvec and matmat multiply by them",
        ("quantity", "shape", *SPECTRUM),
    ),
    ("function",): ("functions of vectors of this shape", ("quantity", "parameter", "shape")),
}


def quantities(
    target: options.TargetArgument,
    quantity: options.QuantityOption = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE.npz", help="Where to; - is stdout."),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="FILE.png",
            help="Draw what the quantities are: png, pdf or svg. Needs trace-net[plot].",
        ),
    ] = None,
    input: options.InputOption = None,
    loss: options.LossOption = None,
    device: options.DeviceOption = None,
    shards: Annotated[
        int | None,
        typer.Option(min=1, help="Take all data that the file defines, in so many parts."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where: processes, here or dask://HOST:PORT."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many processes; else one for each core.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Go on from there where a fold was ended."),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Compute quantities of TARGET's parameters in one sweep.

    Prints norm, minimum, maximum and mean of arrays; eigenvalues, rank and condition number of
    Kronecker products, factor by factor and as a block; trace and extreme eigenvalues of operators.
    Of a recurrent model, with grad, the norm of the gradient at each step, too.

    The file has an array `quantity/parameter` for each, and `quantity/parameter/factor0` ... for
    Kronecker products. Operators (ggn, hessian, ...) and functions (hmp, ...) hold no arrays and
    are not in it.

    With --shards they are those of all samples of datasets(), or of the example inputs; each part
    is computed by a process or by a worker of Dask.
    """
    from trace_net import flow
    from trace_net.describe import rows
    from trace_net.folding import folded, shapes_of
    from trace_net.inputs import parse_inputs
    from trace_net.made_loss import check_loss, with_loss
    from trace_net.run import describe_choices, on_device, run
    from trace_net.target import load, parse_target
    from tracer import registry

    options.check_device(device)
    check_loss(loss)
    if shards is None and (engine or workers or checkpoint):
        raise UsageError(
            "--engine, --workers and --checkpoint are of data in parts", hint="give --shards"
        )
    parsed = parse_target(target)
    names = tuple(dict.fromkeys(quantity or ("grad",)))
    if output == write.STDOUT and json:
        raise UsageError("-o - and --json both write to stdout", hint="give -o a file")
    place = None if output is None else write.writable(output)
    picture = None if plot is None else picture_place(plot)
    given = parse_inputs(input or ())

    with streams.progress(steps=6) as step:
        step(f"loading {target}")
        subject = on_device(with_loss(load(parsed, given), loss), device)
        for name in names:  # the file may have registered some
            options.look_up(registry.quantities, name)
        if shards is not None:
            results = folded(
                subject,
                names,
                step,
                shards=shards,
                engine=engine or "processes",
                workers=workers,
                checkpoint=checkpoint,
            )
            streams.note(describe_choices(subject))
            shapes, gradient_flow = shapes_of(subject.model), {}
        else:
            done = run(subject, names, step)
            streams.note(describe_choices(subject))
            if done.failure is not None:
                raise done.failure
            results, shapes = done.results, done.parameter_shapes()
            gradient_flow = done.gradient_flow()
        step("looking at the values")
        described = list(rows(results, shapes))
        note_what_is_missing(names, described, place is not None)
        if place is not None:
            write.write(place, to_npz({**results, "gradient_flow": gradient_flow}))
        if picture is not None:
            from trace_net import plot as drawing

            step("drawing")
            drawn = drawing.draw(results, shapes, gradient_flow, parsed.stem, suffix(plot))
            write.write(picture, drawn)
    if json:
        payload = {
            "target": parsed.where,
            "choices": subject.choices,
            "values": described,
            "gradient_flow": {state: norms.tolist() for state, norms in gradient_flow.items()},
        }
        report.print_json("quantities", payload)
        return
    console = streams.console(sys.stderr if output == write.STDOUT else sys.stdout)
    for part in tables(described):
        console.print(part)
    if gradient_flow:
        console.print(flow.TITLE)
        console.print(report.table(flow.COLUMNS, flow.rows(gradient_flow)))


def picture_place(path: str) -> str:
    """Where the picture goes; an error before the model runs if it cannot be drawn there."""
    from trace_net import plot

    if suffix(path) not in plot.FORMATS:
        raise UsageError(
            f"--plot draws {', '.join(plot.FORMATS)}, by the file's suffix, got {path!r}",
            hint="name a file, as in --plot quantities.png",
        )
    plot.require_matplotlib()
    return write.writable(path)


def suffix(path: str) -> str:
    """The file's suffix in small letters, without its dot."""
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def note_what_is_missing(names: Iterable[str], described: Sequence[Row], writing: bool) -> None:
    """Say which quantities are in no table, and which are in no file."""
    kinds = {row["quantity"]: row["kind"] for row in described}
    for name in sorted(names):
        if name not in kinds:
            streams.note(f"{name} has no arrays to show")
        elif writing and kinds[name] in ("operator", "function"):
            streams.note(f"{name} has no arrays to write: what it gives is {kinds[name]}s")


def tables(described: Sequence[Row]) -> Iterable[str | Table]:
    """A table for each kind of value that there is, under a line that says which."""
    groups = {kinds: [row for row in described if row["kind"] in kinds] for kinds in TABLES}
    found = {kinds: rows for kinds, rows in groups.items() if rows}
    for kinds, rows in found.items():
        title, columns = TABLES[kinds]
        if not any(row["part"] for row in rows):
            columns = tuple(column for column in columns if column != "part")
        cells = ([entry(row, column.removeprefix(">")) for column in columns] for row in rows)
        yield title
        yield report.table(columns, cells)


def entry(row: Row, column: str) -> Any:
    """What stands in a cell; nothing where a number is not known."""
    value = row.get(column)
    if column == "shape":
        return report.shape(value)
    if column == "rank" and value is not None:
        return f"{value:,}/{row['shape'][0]:,}"
    return "" if value is None else value


def to_npz(results: Mapping[str, Any]) -> bytes:
    """An .npz file of the arrays, with keys `quantity/parameter` or `quantity/parameter/part`."""
    import numpy as np

    from trace_net.values import arrays, by_parameter

    found: dict[str, np.ndarray] = {
        "/".join(filter(None, (quantity, parameter, part))): array
        for quantity in results
        for parameter, value in by_parameter(results, quantity).items()
        for part, array in arrays(value).items()
    }
    file = io.BytesIO()
    np.savez(file, **found)
    return file.getvalue()
