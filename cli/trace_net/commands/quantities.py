"""`trace-net quantities`: computes quantities of every parameter in one sweep."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trace_net import options, report, streams, write
from trace_net.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("quantity", "parameter", "part", "shape", ">norm", ">min", ">max", ">mean")


def quantities(
    target: options.TargetArgument,
    quantity: options.QuantityOption = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE.npz", help="Where to; - is stdout."),
    ] = None,
    input: options.InputOption = None,
    json: options.JsonOption = False,
) -> None:
    """Compute quantities of TARGET's parameters in one sweep.

    Prints norm, minimum, maximum and mean of each. The file has an array `quantity/parameter`
    for each, and `quantity/parameter/factor0` ... for Kronecker products.
    """
    from trace_net.inputs import parse_inputs
    from trace_net.run import describe_choices, run
    from trace_net.target import load, parse_target
    from tracer import registry

    parsed = parse_target(target)
    names = tuple(dict.fromkeys(quantity or ("grad",)))
    for name in names:
        options.look_up(registry.quantities, name)
    if output == write.STDOUT and json:
        raise UsageError("-o - and --json both write to stdout", hint="give -o a file")
    place = None if output is None else write.writable(output)
    given = parse_inputs(input or ())

    with streams.progress(steps=4) as step:
        step(f"loading {target}")
        subject = load(parsed, given)
        done = run(subject, names, step)
    streams.note(describe_choices(subject))
    if done.failure is not None:
        raise done.failure
    parts = list(flatten(done.results))
    for name in sorted(set(names) - {part[0] for part, _ in parts}):
        streams.note(f"{name} has no arrays to show")
    if place is not None:
        write.write(place, to_npz(parts))
    if json:
        keys = [column.removeprefix(">") for column in COLUMNS]
        rows = [(*part, list(array.shape), *statistics(array)) for part, array in parts]
        values = [dict(zip(keys, row, strict=True)) for row in rows]
        payload = {"target": parsed.where, "choices": subject.choices, "values": values}
        report.print_json("quantities", payload)
        return
    shown = [(*part, report.shape(array.shape), *statistics(array)) for part, array in parts]
    file = sys.stderr if output == write.STDOUT else sys.stdout
    streams.console(file).print(report.table(COLUMNS, shown))


def flatten(
    results: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    """((quantity, parameter, part), array) for every array in the results."""
    from trace_net.values import arrays, by_parameter

    for quantity in results:
        for parameter, value in by_parameter(results, quantity).items():
            for part, array in arrays(value).items():
                yield (quantity, parameter, part), array


def statistics(array: np.ndarray) -> tuple[float, ...]:
    """Norm, minimum, maximum and mean; NaN for what an empty array does not have."""
    import numpy as np

    if array.size == 0:
        return 0.0, np.nan, np.nan, np.nan
    wide = array.astype(np.float64)
    return tuple(map(float, (np.linalg.norm(wide), wide.min(), wide.max(), wide.mean())))


def to_npz(parts: list[tuple[tuple[str, str, str], np.ndarray]]) -> bytes:
    """An .npz file of the arrays, with keys `quantity/parameter` or `quantity/parameter/part`."""
    import numpy as np

    file = io.BytesIO()
    np.savez(file, **{"/".join(filter(None, names)): array for names, array in parts})
    return file.getvalue()
